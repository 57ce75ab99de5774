"""Acceptances: what was too good to be true, and which person took it for true, for one version.

A plausibility gate (`registry.gates.PLAUSIBILITY`) that refuses is opened by nothing but an event
of the history: a named person, a reason, one version, and the rows that this person saw. The lock
reads the event beside the record, which stays as it was. Another gate, one that refuses only in a
later validation, needs another acceptance.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from registry import events
from registry.errors import NothingImplausibleError, ParameterError
from registry.gates import GateRow
from registry.tables import events as table

KIND = "implausible_accepted"
PROCESSES = (
    *("main", "serving", "validate", "retraining", "drift", "worker", "scheduler", "monitoring"),
    *("registry", "system", "root"),
)
"""Actors that are no person: processes of this platform, and the account that many run under."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Who accepted which gates of a version, when and why."""

    number: int
    gates: tuple[str, ...]
    actor: str
    reason: str
    at: datetime


def accept(
    connection: sa.Connection,
    which: tuple[str, int, str],
    rows: tuple[GateRow, ...],
    *,
    actor: str,
    reason: str,
) -> Acceptance:
    """Append the event that opens these rows' gates for one version, and return what it says.

    Args:
        which: model, number and run of the version.
        rows: what is too good to be true now, `registry.gates.implausible`.

    Raises:
        ParameterError: the actor is empty or a process, or there is no reason.
        NothingImplausibleError: there are no such rows.
    """
    model_id, number, run_id = which
    person, why = actor.strip(), reason.strip()
    if not person or person.lower() in PROCESSES:
        raise ParameterError("person", actor, "the name of the person who has looked at it")
    if not why:
        raise ParameterError("reason", reason, "why it is true after all")
    if not rows:
        raise NothingImplausibleError(model_id, number)
    events.append(
        connection,
        KIND,
        actor=person,
        reason=why,
        model_id=model_id,
        number=number,
        run_id=run_id,
        facts={"gates": [row.to_json() for row in rows]},
    )
    return Acceptance(number, tuple(row.gate for row in rows), person, why, datetime.now(UTC))


def of_model(connection: sa.Connection, model_id: str) -> dict[int, tuple[Acceptance, ...]]:
    """Return version number -> its acceptances, oldest first."""
    query = sa.select(table).where(table.c.model_id == model_id, table.c.kind == KIND)
    found: dict[int, tuple[Acceptance, ...]] = {}
    for row in connection.execute(query.order_by(table.c.id)):
        gates = tuple(str(gate["gate"]) for gate in row.facts["gates"])
        made = Acceptance(row.number, gates, row.actor, row.reason, row.at)
        found[row.number] = (*found.get(row.number, ()), made)
    return found


def gates_of(acceptances: tuple[Acceptance, ...]) -> tuple[str, ...]:
    """Return the gates that these acceptances open, each once."""
    return tuple(dict.fromkeys(gate for one in acceptances for gate in one.gates))
