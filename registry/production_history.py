"""Production history: which version answered at a time, since when, why, by whom, until when.

Read from `deployments` (the spans) and `events` (who moved the alias and why). A serving process
follows a move within its poll interval; a version that it could not load then is named in
`load_failures`, because the version before it went on answering there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from registry import deployments, tables
from registry.alias_rows import PRODUCTION
from registry.database import reading
from registry.deployments import Deployment
from registry.events import Event

MOVES = ("promoted", "rolled_back", "withdrawn", "alias_moved_outside")
"""Kinds of events that moved the alias production."""
_EVENTS = tables.events


@dataclass(frozen=True, slots=True)
class Production:
    """What stood in production at a time; `version` is None where nothing did.

    `since` and `began` are None before the first promotion, `until` and `ended` while it lasts.
    `began` and `ended` are the events that opened and closed the span (None: not recorded).
    """

    version: int | None
    since: datetime | None
    until: datetime | None
    began: Event | None
    ended: Event | None
    load_failures: tuple[Event, ...] = ()


def production_at(engine: sa.Engine, model_id: str, at: datetime) -> Production:
    """Return what stood in production of a model at a time.

    Rows are taken in the order in which they were written, so that a clock that was set back does
    not hide a later deployment.
    """
    known = deployments.of_model(engine, model_id)  # newest first
    moves = _moves(engine, model_id)
    index = next((i for i, d in enumerate(known) if d.started_at <= at), None)
    if index is None:
        first = known[-1] if known else None
        until = first.started_at if first else None
        return Production(None, None, until, None, _event_of(moves, first))
    deployment = known[index]
    following = known[index - 1] if index else None
    if deployment.ended_at is None or at < deployment.ended_at:
        return _serving(engine, deployment, following, moves)
    until = following.started_at if following else None
    withdrawn = _withdrawal(moves, deployment)
    return Production(None, deployment.ended_at, until, withdrawn, _event_of(moves, following))


def _serving(
    engine: sa.Engine, deployment: Deployment, following: Deployment | None, moves: Sequence[Event]
) -> Production:
    is_withdrawn = deployment.verdict == "withdrawn"
    ended = _withdrawal(moves, deployment) if is_withdrawn else _event_of(moves, following)
    return Production(
        deployment.champion,
        deployment.started_at,
        deployment.ended_at,
        _event_of(moves, deployment),
        ended if deployment.ended_at else None,
        _load_failures(engine, deployment),
    )


def _moves(engine: sa.Engine, model_id: str) -> list[Event]:
    """Return the events that moved the alias production, oldest first."""
    query = sa.select(_EVENTS).where(_EVENTS.c.model_id == model_id, _EVENTS.c.kind.in_(MOVES))
    found = _read(engine, query)
    return [
        e for e in found if e.facts.get("alias") == PRODUCTION and e.facts.get("followed", True)
    ]


def _event_of(moves: Sequence[Event], deployment: Deployment | None) -> Event | None:
    """Return the event that opened a deployment."""
    if deployment is None:
        return None
    made = (e for e in moves if e.kind != "withdrawn" and e.number == deployment.champion)
    return next((e for e in made if e.facts.get("generation") == deployment.generation), None)


def _withdrawal(moves: Sequence[Event], deployment: Deployment) -> Event | None:
    """Return the event that withdrew a deployment: the first after it."""
    generations = ((e, e.facts.get("generation")) for e in moves if e.kind == "withdrawn")
    later = (e for e, n in generations if isinstance(n, int) and n > deployment.generation)
    return next(later, None)


def _load_failures(engine: sa.Engine, deployment: Deployment) -> tuple[Event, ...]:
    query = (
        sa.select(_EVENTS)
        .where(_EVENTS.c.model_id == deployment.model_id, _EVENTS.c.kind == "load_failed")
        .where(_EVENTS.c.number == deployment.champion, _EVENTS.c.at >= deployment.started_at)
    )
    if deployment.ended_at is not None:
        query = query.where(_EVENTS.c.at < deployment.ended_at)
    return tuple(_read(engine, query))


def _read(engine: sa.Engine, query: sa.Select[Any]) -> list[Event]:
    with reading(engine) as connection:
        rows = connection.execute(query.order_by(_EVENTS.c.id)).mappings()
        return [Event(**row) for row in rows]
