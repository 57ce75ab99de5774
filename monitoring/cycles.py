"""Retraining cycles: the rows of `retraining_cycles` and the moves between their states.

At most one cycle of a model is open; a partial unique index holds that. A move is one transaction:
the row changes only while it is in the state that was read, and an event with the reason goes with
it. So of two processes that advance the same model only one can move it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from registry import events
from registry.contract import Json
from registry.database import insert_for, reading
from registry.tables import drift_reports
from registry.tables import retraining_cycles as table

ACTOR = "retraining"


class State(StrEnum):
    """Where a cycle stands; OBSERVE is the absence of an open cycle."""

    OBSERVE = "OBSERVE"
    SUSPECT = "SUSPECT"
    CONFIRMED = "CONFIRMED"
    RETRAIN_QUEUED = "RETRAIN_QUEUED"
    TRAINING = "TRAINING"
    VALIDATING = "VALIDATING"
    PROMOTED = "PROMOTED"
    REJECTED = "REJECTED"
    COOLDOWN = "COOLDOWN"
    HOLD = "HOLD"


@dataclass(frozen=True, slots=True)
class Cycle:
    """One row of `retraining_cycles`.

    `as_of` is the end of the newest window it was decided on. `evidence` holds `windows` (end and
    share of those that confirmed) and `run_at` (real time when its run was enqueued). Later it also
    holds `outcome` (`promoted` or `rejected`), and `resumed` when a person ended a HOLD. `refit` is
    the day of a cycle that the schedule of refits opened, without drift.
    """

    id: int
    model_id: str
    state: State
    champion: int
    challenger: int | None
    trigger: str
    as_of: datetime
    job_id: str | None
    reason: str
    evidence: Mapping[str, Json]
    opened_at: datetime
    cooldown_until: datetime | None
    closed_at: datetime | None

    @property
    def outcome(self) -> str | None:
        """`promoted`, `rejected`, or None while there is none."""
        value = self.evidence.get("outcome")
        return value if isinstance(value, str) else None

    @property
    def run_at(self) -> datetime | None:
        """When the run of this cycle was enqueued; None while there is none."""
        value = self.evidence.get("run_at")
        return datetime.fromisoformat(value) if isinstance(value, str) else None

    @property
    def refit_day(self) -> str | None:
        """The day whose refit this cycle is; None for a cycle that a trigger opened."""
        value = self.evidence.get("refit")
        return value if isinstance(value, str) else None


def find_open(engine: sa.Engine, model_id: str) -> Cycle | None:
    """Return the model's open cycle."""
    cycles = history(engine, model_id, limit=1)
    return cycles[0] if cycles and cycles[0].closed_at is None else None


def history(engine: sa.Engine, model_id: str, limit: int = 100) -> list[Cycle]:
    """Return the model's cycles, newest first."""
    query = sa.select(table).where(table.c.model_id == model_id).order_by(table.c.id.desc())
    with reading(engine) as connection:
        return [_cycle(row) for row in connection.execute(query.limit(limit))]


def models_with_work(engine: sa.Engine) -> list[str]:
    """Return the models that have an open cycle or a drift report, by name."""
    open_cycles = sa.select(table.c.model_id).where(table.c.closed_at.is_(None))
    both = open_cycles.union(sa.select(drift_reports.c.model_id))
    with reading(engine) as connection:
        return sorted(str(row.model_id) for row in connection.execute(both))


def open_cycle(
    engine: sa.Engine, model_id: str, champion: int, trigger: str, as_of: datetime, reason: str
) -> bool:
    """Open a cycle in SUSPECT; False when another process has just opened one."""
    with engine.begin() as connection:
        return open_in(connection, model_id, champion, trigger, as_of, reason) is not None


def open_in(
    connection: sa.Connection,
    model_id: str,
    champion: int,
    trigger: str,
    as_of: datetime,
    reason: str,
) -> Cycle | None:
    """Open a cycle in SUSPECT in the caller's transaction; None when another one is open."""
    values = {
        "model_id": model_id,
        "state": State.SUSPECT.value,
        "champion": champion,
        "trigger": trigger,
        "as_of": as_of,
        "reason": reason,
        "evidence": {},
        "opened_at": datetime.now(UTC),
    }
    added = connection.execute(
        insert_for(connection, table).values(values).on_conflict_do_nothing().returning(table)
    ).one_or_none()
    if added is None:
        return None
    _append(connection, State.SUSPECT, model_id, champion, reason, {"trigger": trigger})
    return _cycle(added)


def move(
    connection: sa.Connection, cycle: Cycle, state: State, reason: str, **changes: Any
) -> bool:
    """Move a cycle to another state in the caller's transaction, with its event.

    Args:
        changes: further columns; `evidence` is merged into what is there.

    Returns:
        False when the cycle is no longer in the state that `cycle` says: nothing was changed.
    """
    evidence = dict(cycle.evidence) | changes.pop("evidence", {})
    moved = connection.execute(
        sa.update(table)
        .where(table.c.id == cycle.id, table.c.state == cycle.state.value)
        .where(table.c.closed_at.is_(None))
        .values(state=state.value, reason=reason, evidence=evidence, **changes)
    )
    if moved.rowcount != 1:
        return False
    number = changes.get("challenger", cycle.challenger) or cycle.champion
    facts = {"cycle": cycle.id, "from": cycle.state.value, "as_of": cycle.as_of.isoformat()}
    _append(connection, state, cycle.model_id, number, reason, facts)
    return True


def note(connection: sa.Connection, cycle: Cycle, reason: str, as_of: datetime) -> None:
    """Write down why a cycle stays where it is; an event goes with it when the reason is new."""
    connection.execute(
        sa.update(table)
        .where(table.c.id == cycle.id, table.c.state == cycle.state.value)
        .values(reason=reason, as_of=as_of)
    )
    if reason != cycle.reason:
        events.append(
            connection,
            "retraining_waits",
            actor=ACTOR,
            reason=reason,
            model_id=cycle.model_id,
            number=cycle.champion,
            facts={"cycle": cycle.id, "state": cycle.state.value},
        )


def close(connection: sa.Connection, cycle: Cycle, reason: str, **changes: Any) -> bool:
    """End a cycle: the model is observed again. The row keeps `outcome` in its evidence."""
    return move(connection, cycle, State.OBSERVE, reason, closed_at=datetime.now(UTC), **changes)


def _append(
    connection: sa.Connection,
    state: State,
    model_id: str,
    number: int,
    reason: str,
    facts: Mapping[str, Json],
) -> None:
    events.append(
        connection,
        f"retraining_{state.value.lower()}",
        actor=ACTOR,
        reason=reason,
        model_id=model_id,
        number=number,
        facts=facts,
    )


def _cycle(row: sa.Row[Any]) -> Cycle:
    facts = row._asdict()
    return Cycle(**facts | {"state": State(facts["state"])})
