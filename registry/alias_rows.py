"""Alias rows: where each alias points, by the engine database; the rows that promotions lock.

A row orders the moves of one alias (`registry.promotion`) and remembers where MLflow's own alias
was last seen (`registry.outside_moves`). Functions that take a connection work in the caller's
transaction. Nothing here asks MLflow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from registry import tables
from registry.database import insert_for, reading

PRODUCTION, STAGING = "production", "staging"
NO_VERSION = 0
"""What `pending` holds while an alias is being withdrawn; MLflow's numbers begin at 1."""
REMOVED = ("the alias was removed in MLflow",)
_ALIASES = tables.aliases


@dataclass(frozen=True, slots=True)
class AliasState:
    """Where an alias stands.

    `number` is the version that serves under it (None: none). `outside` is where MLflow's own
    alias points when somebody moved it there and it is not followed; `refusals` say why (also when
    somebody removed it: then `outside` is None).
    `generation` grows with every move; `pending` is a move begun and not finished (`NO_VERSION`: a
    withdrawal).
    """

    model_id: str
    alias: str
    number: int | None
    generation: int
    pending: int | None = None
    outside: int | None = None
    refusals: tuple[str, ...] = ()


def find(engine: sa.Engine, model_id: str, alias: str) -> AliasState:
    """Return the state of an alias; one that never moved has generation 0."""
    with reading(engine) as connection:
        row = connection.execute(select(model_id, alias)).one_or_none()
    return state_of(row, model_id, alias)


def find_all(engine: sa.Engine, alias: str) -> dict[str, sa.Row[Any]]:
    """Return model -> row of every model that has this alias, in one query."""
    with reading(engine) as connection:
        rows = connection.execute(sa.select(_ALIASES).where(_ALIASES.c.alias == alias))
        return {row.model_id: row for row in rows}


def of_model(engine: sa.Engine, model_id: str) -> dict[str, AliasState]:
    """Return alias -> state of every alias of a model that ever moved."""
    query = sa.select(_ALIASES).where(_ALIASES.c.model_id == model_id).order_by(_ALIASES.c.alias)
    with reading(engine) as connection:
        return {row.alias: state_of(row, model_id, row.alias) for row in connection.execute(query)}


def abandoned(engine: sa.Engine, after: timedelta) -> list[tuple[str, str]]:
    """Return (model_id, alias) of every move that has been pending for longer than `after`."""
    query = sa.select(_ALIASES.c.model_id, _ALIASES.c.alias).where(
        _ALIASES.c.pending.is_not(None), _ALIASES.c.moved_at < now() - after
    )
    with reading(engine) as connection:
        return [(row.model_id, row.alias) for row in connection.execute(query)]


def state_of(row: sa.Row[Any] | None, model_id: str, alias: str) -> AliasState:
    """Return what a row says; None is an alias that never moved."""
    if row is None:
        return AliasState(model_id, alias, None, 0)
    if row.seen == row.number:
        return AliasState(model_id, alias, row.number, row.generation, row.pending)
    reasons = REMOVED if row.seen is None else ()
    return AliasState(model_id, alias, row.number, row.generation, row.pending, row.seen, reasons)


def ensure(connection: sa.Connection, model_id: str, alias: str) -> None:
    """Insert the row of an alias that never moved."""
    values = {"model_id": model_id, "alias": alias, "generation": 0, "moved_at": now()}
    insert = insert_for(connection, _ALIASES).values(values)
    connection.execute(insert.on_conflict_do_nothing())


def select(model_id: str, alias: str) -> sa.Select[Any]:
    """Return the query of one row."""
    return sa.select(_ALIASES).where(_ALIASES.c.model_id == model_id, _ALIASES.c.alias == alias)


def locked(connection: sa.Connection, model_id: str, alias: str) -> sa.Row[Any] | None:
    """Return the row, held until the transaction ends."""
    return connection.execute(select(model_id, alias).with_for_update()).one_or_none()


def update(
    connection: sa.Connection,
    model_id: str,
    alias: str,
    conditions: tuple[sa.ColumnElement[bool], ...],
    values: Mapping[str, object],
) -> bool:
    """Change the row where every condition holds; return whether it did. `moved_at` becomes now."""
    change = sa.update(_ALIASES).where(
        _ALIASES.c.model_id == model_id, _ALIASES.c.alias == alias, *conditions
    )
    return connection.execute(change.values({**values, "moved_at": now()})).rowcount == 1


def now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)
