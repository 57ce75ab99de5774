"""Deployments: which version served a model from when to when.

One open row per model names the champion. A move of the alias production closes it and opens the
next in the move's own transaction; a withdrawal only closes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import sqlalchemy as sa

from registry.database import reading
from registry.tables import deployments as table

Verdict = Literal["replaced", "rolled_back", "withdrawn"]
TAKEN_AWAY = ("rolled_back", "withdrawn")
"""Verdicts of champions that a roll-back does not return to."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """Who serves a model since when. `ended_at` and `verdict` are None while it is open."""

    id: int
    model_id: str
    champion: int
    challenger: int | None
    strategy: str
    generation: int
    verdict: str | None
    started_at: datetime
    ended_at: datetime | None


def find_open(engine: sa.Engine, model_id: str) -> Deployment | None:
    """Return the open deployment of a model, None when nothing serves it."""
    query = sa.select(table).where(_is_open(model_id))
    with reading(engine) as connection:
        row = connection.execute(query).mappings().one_or_none()
    return None if row is None else Deployment(**row)


def of_model(engine: sa.Engine, model_id: str) -> list[Deployment]:
    """Return every deployment of a model, newest first."""
    query = sa.select(table).where(table.c.model_id == model_id).order_by(table.c.id.desc())
    with reading(engine) as connection:
        return [Deployment(**row) for row in connection.execute(query).mappings()]


def earlier_champions(engine: sa.Engine, model_id: str) -> list[int]:
    """Return former champions, newest first, without those that were taken away."""
    newest: dict[int, str | None] = {}
    for deployment in _ended(of_model(engine, model_id)):
        newest.setdefault(deployment.champion, deployment.verdict)
    return [champion for champion, verdict in newest.items() if verdict not in TAKEN_AWAY]


def withdrawn_champion(engine: sa.Engine, model_id: str, registered: Sequence[int]) -> int | None:
    """Return the champion that was withdrawn last, None where none was or one serves now.

    Args:
        registered: the versions that still exist; the others are passed over.
    """
    found = of_model(engine, model_id)
    if not found or found[0].verdict != "withdrawn":
        return None
    return next((d.champion for d in found if d.champion in registered), None)


def replace_in(
    connection: sa.Connection, model_id: str, champion: int, generation: int, verdict: Verdict
) -> None:
    """Close the open deployment, if there is one, and open that of a new champion."""
    now = datetime.now(UTC)
    _close(connection, model_id, verdict, now)
    values = {
        "model_id": model_id,
        "champion": champion,
        "strategy": "direct",
        "generation": generation,
        "started_at": now,
    }
    connection.execute(sa.insert(table).values(values))


def close_in(connection: sa.Connection, model_id: str, verdict: Verdict) -> None:
    """Close the open deployment, if there is one; nothing serves the model then."""
    _close(connection, model_id, verdict, datetime.now(UTC))


def _close(connection: sa.Connection, model_id: str, verdict: Verdict, now: datetime) -> None:
    close = sa.update(table).where(_is_open(model_id))
    connection.execute(close.values(ended_at=now, verdict=verdict))


def _ended(found: Sequence[Deployment]) -> list[Deployment]:
    return [deployment for deployment in found if deployment.ended_at is not None]


def _is_open(model_id: str) -> sa.ColumnElement[bool]:
    return (table.c.model_id == model_id) & table.c.ended_at.is_(None)
