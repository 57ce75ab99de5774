"""Validations: what was measured of a version after its registration.

The record that a version was registered with never changes. A later validation is a row of its own
with its event, and `registry.version_rows.Version.refusals` says what the two mean together
(docs/decisions/0010-later-validations.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from registry import events
from registry.gates import COMPARISONS, GateRow
from registry.tables import validations as table

ACTOR = "validate"


@dataclass(frozen=True, slots=True)
class Validation:
    """One later validation; `data_sha256` and `data_end` say on which data."""

    model_id: str
    number: int
    run_id: str
    champion: int | None
    data_sha256: str
    data_end: datetime
    record: tuple[GateRow, ...]
    created_at: datetime

    @property
    def comparison(self) -> tuple[GateRow, ...]:
        """Its rows about the champion."""
        return tuple(row for row in self.record if row.gate in COMPARISONS)

    @property
    def alone(self) -> tuple[GateRow, ...]:
        """Its rows about the version alone."""
        return tuple(row for row in self.record if row.gate not in COMPARISONS)


def keep(engine: sa.Engine, validation: Validation, refusals: Sequence[str]) -> None:
    """Append a validation with its event `validated`.

    Args:
        refusals: why the serve lock is shut with it; empty when it is open.
    """
    rows = [row.to_json() for row in validation.record]
    values = {
        "model_id": validation.model_id,
        "number": validation.number,
        "run_id": validation.run_id,
        "champion": validation.champion,
        "data_sha256": validation.data_sha256,
        "data_end": validation.data_end,
        "record": rows,
        "created_at": validation.created_at,
    }
    with engine.begin() as connection:
        connection.execute(sa.insert(table).values(values))
        events.append(
            connection,
            "validated",
            actor=ACTOR,
            reason="; ".join(refusals) or "the serve lock is open",
            model_id=validation.model_id,
            number=validation.number,
            run_id=validation.run_id,
            facts={
                "champion": validation.champion,
                "data_sha256": validation.data_sha256,
                "data_end": validation.data_end.astimezone(UTC).isoformat(),
                "refusals": list(refusals),
                "record": rows,
            },
        )


def of_model(connection: sa.Connection, model_id: str) -> dict[int, tuple[Validation, ...]]:
    """Return version number -> its validations, oldest first."""
    query = sa.select(table).where(table.c.model_id == model_id).order_by(table.c.id)
    found: dict[int, tuple[Validation, ...]] = {}
    for row in connection.execute(query):
        found[row.number] = (*found.get(row.number, ()), _validation(row))
    return found


def _validation(row: sa.Row[Any]) -> Validation:
    facts = row._asdict()
    del facts["id"]
    return Validation(**facts | {"record": tuple(GateRow.from_json(r) for r in facts["record"])})
