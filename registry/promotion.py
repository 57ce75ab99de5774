"""Moving an alias: the steps that make a promotion happen once, or visibly not at all.

MLflow's alias is the truth and cannot be compared-and-set, so the `aliases` row of the engine
database orders the moves. A move has two transactions:

1. `begin`: one conditional UPDATE (generation unchanged, nothing pending) claims the row, appends
   `promoting`. Of two at once one claims, the other is refused.
2. `finish`: takes the row's lock, sets MLflow's alias while holding it, appends `promoted`, moves
   the `deployments` row. MLflow's alias is only ever moved by us under this lock.

A process that dies in between leaves `pending`. `settle` reads where MLflow's alias points and
writes the history accordingly: finished when the alias had moved, abandoned when it had not.
Whether a version may be moved to at all is decided before, in `registry.versions`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from registry import events, tables
from registry.contract import Json
from registry.database import insert_for, reading
from registry.errors import PromotionConflictError
from registry.model_store import ModelStore

PRODUCTION, STAGING = "production", "staging"
UNSETTLED_AFTER = timedelta(seconds=10)
"""A pending move older than this is settled by whoever comes next; a younger one is running."""

_REMOVED = ("the alias was removed in MLflow",)
_ALIASES, _DEPLOYMENTS, _EVENTS = tables.aliases, tables.deployments, tables.events


@dataclass(frozen=True, slots=True)
class Move:
    """A wanted move of an alias, and under which names it enters the event log."""

    model_id: str
    alias: str
    number: int
    actor: str
    reason: str
    run_id: str | None = None
    begun: str = "promoting"
    done: str = "promoted"


@dataclass(frozen=True, slots=True)
class AliasState:
    """Where an alias stands.

    `number` is the version that serves under it (None: none yet). `outside` is where MLflow's own
    alias points when somebody moved it there and it is not followed; `refusals` say why (also when
    somebody removed it: then `outside` is None).
    `generation` grows with every move; `pending` is a move begun and not finished.
    """

    model_id: str
    alias: str
    number: int | None
    generation: int
    pending: int | None = None
    outside: int | None = None
    refusals: tuple[str, ...] = ()


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


def begin(engine: sa.Engine, move: Move, generation: int) -> int:
    """Claim the alias for a move and return the new generation.

    Args:
        generation: the one the decision was made on.

    Raises:
        PromotionConflictError: the alias moved since, or another move is under way.
    """
    with engine.begin() as connection:
        _ensure_row(connection, move.model_id, move.alias)
        unchanged = _ALIASES.c.generation == generation, _ALIASES.c.pending.is_(None)
        values = {"generation": generation + 1, "pending": move.number, "moved_at": _now()}
        if not _update(connection, move.model_id, move.alias, unchanged, values):
            raise PromotionConflictError(move.model_id, move.alias, generation)
        _append(connection, move, move.begun, generation + 1)
    return generation + 1


def finish(engine: sa.Engine, store: ModelStore, move: Move, generation: int) -> None:
    """Set MLflow's alias under the row's lock and write the history.

    Raises:
        PromotionConflictError: somebody settled this move meanwhile.
        RegistryUnavailableError: MLflow does not answer; the move stays pending until `settle`.
    """
    store.probe()  # so that the lock is not held while a dead server is waited for
    with engine.begin() as connection:
        claimed = _ALIASES.c.generation == generation, _ALIASES.c.pending == move.number
        values = {"number": move.number, "seen": move.number, "pending": None, "moved_at": _now()}
        if not _update(connection, move.model_id, move.alias, claimed, values):
            raise PromotionConflictError(move.model_id, move.alias, generation)
        store.set_alias(move.model_id, move.alias, move.number)
        _append(connection, move, move.done, generation)
        _deploy(connection, move, generation)


def settle(engine: sa.Engine, store: ModelStore, model_id: str, alias: str) -> bool:
    """Write the history of a move whose process died; return whether there was one."""
    store.probe()
    with engine.begin() as connection:
        row = _locked(connection, model_id, alias)
        if row is None or row.pending is None:
            return False
        move = _begun_move(connection, row)
        if store.aliases(model_id).get(alias) == row.pending:
            values = {"number": row.pending, "seen": row.pending, "pending": None}
            _append(connection, move, move.done, row.generation, reconciled=True)
            _deploy(connection, move, row.generation)
        else:
            values = {"pending": None, "generation": row.generation + 1}
            _append(connection, move, "promotion_abandoned", row.generation, reconciled=True)
        _update(connection, model_id, alias, (), values | {"moved_at": _now()})
    return True


def set_freely(engine: sa.Engine, store: ModelStore, move: Move) -> None:
    """Move an alias that no lock guards (`staging`)."""
    store.probe()
    with engine.begin() as connection:
        _ensure_row(connection, move.model_id, move.alias)
        row = _locked(connection, move.model_id, move.alias)
        assert row is not None
        generation = row.generation + 1
        values = {"number": move.number, "seen": move.number, "generation": generation}
        _update(connection, move.model_id, move.alias, (), values | {"moved_at": _now()})
        store.set_alias(move.model_id, move.alias, move.number)
        _append(connection, move, move.done, generation)


def state(engine: sa.Engine, model_id: str, alias: str) -> AliasState:
    """Return the state of the alias in the engine database; asks MLflow nothing."""
    with reading(engine) as connection:
        row = connection.execute(_select(model_id, alias)).one_or_none()
    return _state(row, model_id, alias)


def observe(
    engine: sa.Engine,
    store: ModelStore,
    model_id: str,
    alias: str,
    judge: Callable[[int], tuple[str, ...]],
) -> AliasState:
    """Compare MLflow's alias with the history; record a move made by hand, once, and judge it.

    Args:
        judge: version number -> why it may not serve; empty means that the move is followed.
    """
    pointed = store.aliases(model_id).get(alias)
    with reading(engine) as connection:
        row = connection.execute(_select(model_id, alias)).one_or_none()
    if row is not None and row.pending is not None:
        return _state(row, model_id, alias)
    if pointed == (None if row is None else row.seen):
        return _with_refusals(_state(row, model_id, alias), judge)
    with engine.begin() as connection:
        _ensure_row(connection, model_id, alias)
        row = _locked(connection, model_id, alias)
        assert row is not None
        pointed = store.aliases(model_id).get(alias)  # again: now nobody else of us moves it
        if row.pending is None and pointed != row.seen:
            _record_outside_move(connection, row, pointed, judge)
            row = connection.execute(_select(model_id, alias)).one()
    return _with_refusals(_state(row, model_id, alias), judge)


def find_deployment(engine: sa.Engine, model_id: str) -> Deployment | None:
    """Return the open deployment of a model, None when nothing was ever promoted."""
    wanted = (_DEPLOYMENTS.c.model_id == model_id) & _DEPLOYMENTS.c.ended_at.is_(None)
    with reading(engine) as connection:
        row = connection.execute(sa.select(_DEPLOYMENTS).where(wanted)).mappings().one_or_none()
    return None if row is None else Deployment(**row)


def earlier_champions(engine: sa.Engine, model_id: str) -> list[int]:
    """Return former champions, newest first, without those that were rolled back."""
    query = (
        sa.select(_DEPLOYMENTS.c.champion, _DEPLOYMENTS.c.verdict)
        .where(_DEPLOYMENTS.c.model_id == model_id, _DEPLOYMENTS.c.ended_at.is_not(None))
        .order_by(_DEPLOYMENTS.c.id.desc())
    )
    with reading(engine) as connection:
        ended = connection.execute(query).all()
    newest: dict[int, str | None] = {}
    for champion, verdict in ended:
        newest.setdefault(champion, verdict)
    return [champion for champion, verdict in newest.items() if verdict != "rolled_back"]


def abandoned(engine: sa.Engine) -> list[tuple[str, str]]:
    """Return (model_id, alias) of every move pending for so long that its process must be gone."""
    query = sa.select(_ALIASES.c.model_id, _ALIASES.c.alias).where(
        _ALIASES.c.pending.is_not(None), _ALIASES.c.moved_at < _now() - UNSETTLED_AFTER
    )
    with reading(engine) as connection:
        return [(row.model_id, row.alias) for row in connection.execute(query)]


def _record_outside_move(
    connection: sa.Connection,
    row: sa.Row[tuple[object, ...]],
    pointed: int | None,
    judge: Callable[[int], tuple[str, ...]],
) -> None:
    reasons = _REMOVED if pointed is None else judge(pointed)
    number = row.number if reasons or pointed is None else pointed
    move = Move(row.model_id, row.alias, pointed or 0, "unknown", "moved outside of this engine")
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
        _deploy(connection, move, generation)
    values = {"number": number, "seen": pointed, "generation": generation, "moved_at": _now()}
    _update(connection, row.model_id, row.alias, (), values)


def _with_refusals(found: AliasState, judge: Callable[[int], tuple[str, ...]]) -> AliasState:
    if found.outside is None:
        return found
    return replace(found, refusals=judge(found.outside))


def _state(row: sa.Row[tuple[object, ...]] | None, model_id: str, alias: str) -> AliasState:
    if row is None:
        return AliasState(model_id, alias, None, 0)
    if row.seen == row.number:
        return AliasState(model_id, alias, row.number, row.generation, row.pending)
    reasons = _REMOVED if row.seen is None else ()
    return AliasState(model_id, alias, row.number, row.generation, row.pending, row.seen, reasons)


def _deploy(connection: sa.Connection, move: Move, generation: int) -> None:
    """Close the open deployment and open the new champion's (`production` only)."""
    if move.alias != PRODUCTION:
        return
    now = _now()
    verdict = "rolled_back" if move.done == "rolled_back" else "replaced"
    is_open = (_DEPLOYMENTS.c.model_id == move.model_id) & _DEPLOYMENTS.c.ended_at.is_(None)
    close = sa.update(_DEPLOYMENTS).where(is_open)
    connection.execute(close.values(ended_at=now, verdict=verdict))
    values = {
        "model_id": move.model_id,
        "champion": move.number,
        "strategy": "direct",
        "generation": generation,
        "started_at": now,
    }
    connection.execute(sa.insert(_DEPLOYMENTS).values(values))


def _begun_move(connection: sa.Connection, row: sa.Row[tuple[object, ...]]) -> Move:
    query = (
        sa.select(_EVENTS)
        .where(_EVENTS.c.model_id == row.model_id, _EVENTS.c.number == row.pending)
        .where(_EVENTS.c.kind.in_(("promoting", "rolling_back")))
        .order_by(_EVENTS.c.id.desc())
        .limit(1)
    )
    event = connection.execute(query).one()
    done = {"promoting": "promoted", "rolling_back": "rolled_back"}[event.kind]
    pending = int(row.pending)
    return Move(
        row.model_id, row.alias, pending, event.actor, event.reason, event.run_id, event.kind, done
    )


def _append(
    connection: sa.Connection, move: Move, kind: str, generation: int, **facts: Json
) -> None:
    events.append(
        connection,
        kind,
        actor=move.actor,
        reason=move.reason,
        model_id=move.model_id,
        number=move.number,
        run_id=move.run_id,
        facts={"alias": move.alias, "generation": generation, **facts},
    )


def _ensure_row(connection: sa.Connection, model_id: str, alias: str) -> None:
    values = {"model_id": model_id, "alias": alias, "generation": 0, "moved_at": _now()}
    insert = insert_for(connection, _ALIASES).values(values)
    connection.execute(insert.on_conflict_do_nothing())


def _select(model_id: str, alias: str) -> sa.Select[tuple[object, ...]]:
    return sa.select(_ALIASES).where(_ALIASES.c.model_id == model_id, _ALIASES.c.alias == alias)


def _locked(
    connection: sa.Connection, model_id: str, alias: str
) -> sa.Row[tuple[object, ...]] | None:
    return connection.execute(_select(model_id, alias).with_for_update()).one_or_none()


def _update(
    connection: sa.Connection,
    model_id: str,
    alias: str,
    conditions: tuple[sa.ColumnElement[bool], ...],
    values: Mapping[str, object],
) -> bool:
    update = sa.update(_ALIASES).where(
        _ALIASES.c.model_id == model_id, _ALIASES.c.alias == alias, *conditions
    )
    return connection.execute(update.values(dict(values))).rowcount == 1


def _now() -> datetime:
    return datetime.now(UTC)
