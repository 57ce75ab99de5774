"""Outside moves: aliases that somebody moved in MLflow itself, recorded once and judged.

MLflow's aliases are compared with where they were last seen. A move that this engine did not make
appends `alias_moved_outside`, and is followed where the version's serve lock is open. Before it is
recorded, MLflow is asked again under the row's lock, so that a move of this engine that ended
meanwhile is never taken for one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from registry import alias_rows, events
from registry.alias_rows import REMOVED, AliasState
from registry.contract import Json
from registry.database import reading
from registry.model_store import ModelStore
from registry.promotion import Move, deploy

Judge = Callable[[str, int], tuple[str, ...]]
"""(model_id, version number) -> why it may not serve; empty means that the move is followed."""


def observe(
    engine: sa.Engine, store: ModelStore, model_id: str, alias: str, judge: Judge
) -> AliasState:
    """Compare one of MLflow's aliases with the history; record a move made by hand, and judge it.

    Raises:
        RegistryUnavailableError: MLflow does not answer.
    """
    pointed = store.aliases(model_id).get(alias)
    with reading(engine) as connection:
        row = connection.execute(alias_rows.select(model_id, alias)).one_or_none()
    return _compared(engine, store, (model_id, alias), row, pointed, judge)


def observe_all(
    engine: sa.Engine,
    store: ModelStore,
    model_ids: Sequence[str],
    alias: str,
    pointed: Mapping[str, Mapping[str, int]],
    judge: Judge,
) -> dict[str, AliasState]:
    """Do as `observe` for many models, from one look at MLflow; returns model -> state.

    Args:
        pointed: model -> alias -> number, as `ModelStore.all_aliases` has just given it.
    """
    rows = alias_rows.find_all(engine, alias)
    return {
        model_id: _compared(
            engine,
            store,
            (model_id, alias),
            rows.get(model_id),
            pointed.get(model_id, {}).get(alias),
            judge,
        )
        for model_id in model_ids
    }


def _compared(
    engine: sa.Engine,
    store: ModelStore,
    which: tuple[str, str],
    row: sa.Row[Any] | None,
    pointed: int | None,
    judge: Judge,
) -> AliasState:
    if row is not None and row.pending is not None:
        return alias_rows.state_of(row, *which)
    if pointed != (None if row is None else row.seen):
        row = _recorded(engine, store, which, judge)
    return _with_refusals(alias_rows.state_of(row, *which), judge)


def _recorded(
    engine: sa.Engine, store: ModelStore, which: tuple[str, str], judge: Judge
) -> sa.Row[Any]:
    """Record the move, unless MLflow says under the lock that there was none; return the row."""
    model_id, alias = which
    with engine.begin() as connection:
        alias_rows.ensure(connection, model_id, alias)
        row = alias_rows.locked(connection, model_id, alias)
        assert row is not None
        pointed = store.aliases(model_id).get(alias)  # again: now nobody else of us moves it
        if row.pending is None and pointed != row.seen:
            _record(connection, row, pointed, judge)
            row = connection.execute(alias_rows.select(model_id, alias)).one()
    return row


def _record(connection: sa.Connection, row: sa.Row[Any], pointed: int | None, judge: Judge) -> None:
    reasons = REMOVED if pointed is None else judge(row.model_id, pointed)
    number = row.number if reasons or pointed is None else pointed
    move = Move(row.model_id, row.alias, pointed, "unknown", "moved outside of this engine")
    generation = row.generation + (number != row.number)
    facts: dict[str, Json] = {
        "alias": row.alias,
        "from": row.seen,
        "to": pointed,
        "generation": generation,
        "followed": not reasons,
        "refusals": list(reasons),
    }
    events.append(
        connection,
        "alias_moved_outside",
        actor=move.actor,
        reason=move.reason,
        model_id=move.model_id,
        number=pointed,
        facts=facts,
    )
    if number != row.number:
        deploy(connection, move, generation)
    values = {"number": number, "seen": pointed, "generation": generation}
    alias_rows.update(connection, row.model_id, row.alias, (), values)


def _with_refusals(found: AliasState, judge: Judge) -> AliasState:
    if found.outside is None:
        return found
    return replace(found, refusals=judge(found.model_id, found.outside))
