"""The event log: append-only history of what happened, who did it, why, on which evidence.

It is the audit trail, and later the outbox of the message bus. An event is appended inside the
transaction of the change it describes, so there is never one without the other. The database
itself refuses to change or delete a row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from registry import tables
from registry.contract import Json
from registry.database import reading


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    `id` grows with each event of one database. `actor` is a person or a process ("main",
    "serving"), `run_id` the MLflow run that holds the evidence, `facts` plain JSON values.
    """

    id: int
    at: datetime
    kind: str
    model_id: str | None
    number: int | None
    actor: str
    reason: str
    run_id: str | None
    facts: Mapping[str, Json]


def append(
    connection: sa.Connection,
    kind: str,
    *,
    actor: str,
    reason: str,
    model_id: str | None = None,
    number: int | None = None,
    run_id: str | None = None,
    facts: Mapping[str, Json] | None = None,
) -> int:
    """Append an event in the caller's transaction and return its id."""
    values = {
        "at": datetime.now(UTC),
        "kind": kind,
        "model_id": model_id,
        "number": number,
        "actor": actor,
        "reason": reason,
        "run_id": run_id,
        "facts": dict(facts or {}),
    }
    insert = sa.insert(tables.events).values(values).returning(tables.events.c.id)
    return int(connection.execute(insert).scalar_one())


def read(
    engine: sa.Engine,
    model_id: str | None = None,
    after_id: int = 0,
    limit: int = 1000,
    *,
    newest: bool = False,
) -> list[Event]:
    """Return at most `limit` events with an id above `after_id`, oldest first.

    Args:
        model_id: only this model's events; None means all.
        newest: newest first, with ids below `after_id` unless that is 0.
    """
    ids = tables.events.c.id
    query = sa.select(tables.events).order_by(ids.desc() if newest else ids)
    if not newest:
        query = query.where(ids > after_id)
    elif after_id:
        query = query.where(ids < after_id)
    if model_id is not None:
        query = query.where(tables.events.c.model_id == model_id)
    with reading(engine) as connection:
        rows = connection.execute(query.limit(limit)).mappings()
        return [Event(**row) for row in rows]


def of_kind(
    engine: sa.Engine, kind: str, model_id: str | None = None, number: int | None = None
) -> list[Event]:
    """Return every event of a kind, oldest first; those about one version where it is named."""
    columns = tables.events.c
    query = sa.select(tables.events).where(columns.kind == kind)
    if model_id is not None:
        query = query.where(columns.model_id == model_id, columns.number == number)
    with reading(engine) as connection:
        rows = connection.execute(query.order_by(columns.id)).mappings()
        return [Event(**row) for row in rows]
