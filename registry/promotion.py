"""Moving an alias: the steps that make a promotion happen once, or visibly not at all.

MLflow's alias is the truth and cannot be compared-and-set, so the `aliases` row of the engine
database orders the moves. A move has two transactions:

1. `begin`: one conditional UPDATE (generation unchanged, nothing pending) claims the row, appends
   `promoting`. Of two at once one claims, the other is refused.
2. `finish`: takes the row's lock, sets MLflow's alias while holding it, appends `promoted`, moves
   the `deployments` row. MLflow's alias is only ever moved by us under this lock.

A withdrawal is a move to no version: `withdrawing`, `withdrawn`.

A process that dies in between leaves `pending`. `settle` reads where MLflow's alias points and
writes the history accordingly: finished when the alias had moved, abandoned when it had not.
Whether a version may be moved to at all is decided before, in `registry.versions`.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from registry import alias_rows, deployments, events, tables
from registry.alias_rows import NO_VERSION, PRODUCTION
from registry.contract import Json
from registry.deployments import Verdict
from registry.errors import ModelArchivedError, PromotionConflictError
from registry.model_store import ModelStore

UNSETTLED_AFTER = timedelta(seconds=10)
"""A pending move older than this is settled by whoever comes next; a younger one is running."""
DONE = {"promoting": "promoted", "rolling_back": "rolled_back", "withdrawing": "withdrawn"}
"""Kind of the event that begins a move -> kind of the one that ends it."""

_ALIASES, _EVENTS, _MODELS = tables.aliases, tables.events, tables.models


@dataclass(frozen=True, slots=True)
class Move:
    """A wanted move of an alias, and under which names it enters the event log.

    `number` None takes the alias away; `before` is then the version that it names.
    """

    model_id: str
    alias: str
    number: int | None
    actor: str
    reason: str
    run_id: str | None = None
    begun: str = "promoting"
    done: str = "promoted"
    before: int | None = None

    @property
    def pending(self) -> int:
        """How the row holds the move until it is finished."""
        return NO_VERSION if self.number is None else self.number


def begin(engine: sa.Engine, move: Move, generation: int) -> int:
    """Claim the alias for a move and return the new generation.

    Args:
        generation: the one the decision was made on.

    Raises:
        PromotionConflictError: the alias moved since, or another move is under way.
        ModelArchivedError: the model was archived, and the move is to a version.
    """
    with engine.begin() as connection:
        alias_rows.ensure(connection, move.model_id, move.alias)
        unchanged = _ALIASES.c.generation == generation, _ALIASES.c.pending.is_(None)
        values = {"generation": generation + 1, "pending": move.pending}
        if not alias_rows.update(connection, move.model_id, move.alias, unchanged, values):
            raise PromotionConflictError(move.model_id, move.alias, generation)
        if move.number is not None:
            check_not_archived(connection, move.model_id)
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
        claimed = _ALIASES.c.generation == generation, _ALIASES.c.pending == move.pending
        values = {"number": move.number, "seen": move.number, "pending": None}
        if not alias_rows.update(connection, move.model_id, move.alias, claimed, values):
            raise PromotionConflictError(move.model_id, move.alias, generation)
        if move.number is None:
            store.delete_alias(move.model_id, move.alias)
        else:
            store.set_alias(move.model_id, move.alias, move.number)
        _append(connection, move, move.done, generation)
        deploy(connection, move, generation)


def settle(engine: sa.Engine, store: ModelStore, model_id: str, alias: str) -> bool:
    """Write the history of a move whose process died; return whether there was one."""
    store.probe()
    with engine.begin() as connection:
        row = alias_rows.locked(connection, model_id, alias)
        if row is None or row.pending is None:
            return False
        move = _begun_move(connection, row)
        if store.aliases(model_id).get(alias) == move.number:
            values = {"number": move.number, "seen": move.number, "pending": None}
            _append(connection, move, move.done, row.generation, reconciled=True)
            deploy(connection, move, row.generation)
        else:
            values = {"pending": None, "generation": row.generation + 1}
            _append(connection, move, "promotion_abandoned", row.generation, reconciled=True)
        alias_rows.update(connection, model_id, alias, (), values)
    return True


def set_freely(engine: sa.Engine, store: ModelStore, move: Move) -> None:
    """Move an alias that no lock guards (`staging`)."""
    assert move.number is not None
    store.probe()
    with engine.begin() as connection:
        alias_rows.ensure(connection, move.model_id, move.alias)
        row = alias_rows.locked(connection, move.model_id, move.alias)
        assert row is not None
        generation = row.generation + 1
        values = {"number": move.number, "seen": move.number, "generation": generation}
        alias_rows.update(connection, move.model_id, move.alias, (), values)
        store.set_alias(move.model_id, move.alias, move.number)
        _append(connection, move, move.done, generation)


def abandoned(engine: sa.Engine) -> list[tuple[str, str]]:
    """Return (model_id, alias) of every move pending for so long that its process must be gone."""
    return alias_rows.abandoned(engine, UNSETTLED_AFTER)


def deploy(connection: sa.Connection, move: Move, generation: int) -> None:
    """Close the open deployment and open the new champion's, if any (`production` only)."""
    if move.alias != PRODUCTION:
        return
    if move.number is None:
        deployments.close_in(connection, move.model_id, "withdrawn")
        return
    verdict: Verdict = "rolled_back" if move.done == "rolled_back" else "replaced"
    deployments.replace_in(connection, move.model_id, move.number, generation, verdict)


def check_not_archived(connection: sa.Connection, model_id: str) -> None:
    """Refuse a model that was archived.

    Raises:
        ModelArchivedError: it was.
    """
    query = sa.select(_MODELS.c.archived_at).where(_MODELS.c.model_id == model_id)
    if connection.scalar(query) is not None:
        raise ModelArchivedError(model_id)


def _begun_move(connection: sa.Connection, row: sa.Row[Any]) -> Move:
    """Return the pending move of a row, as the event that began it tells."""
    query = (
        sa.select(_EVENTS)
        .where(_EVENTS.c.model_id == row.model_id, _EVENTS.c.kind.in_(DONE))
        .order_by(_EVENTS.c.id.desc())
    )
    begun = connection.execute(query)
    event = next(event for event in begun if event.facts["alias"] == row.alias)
    is_withdrawal = row.pending == NO_VERSION
    return Move(
        row.model_id,
        row.alias,
        None if is_withdrawal else int(row.pending),
        event.actor,
        event.reason,
        event.run_id,
        event.kind,
        DONE[event.kind],
        event.number if is_withdrawal else None,
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
        number=move.before if move.number is None else move.number,
        run_id=move.run_id,
        facts={"alias": move.alias, "generation": generation, **facts},
    )
