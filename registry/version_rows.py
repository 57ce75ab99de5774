"""Versions as the engine database holds them; looking up asks MLflow nothing."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

import sqlalchemy as sa

from registry import acceptances, events, managed_models, tables, validations
from registry.acceptances import Acceptance
from registry.contract import ModelContract
from registry.database import reading
from registry.errors import VersionExistsError, VersionNotFoundError
from registry.gates import COMPARISONS, GateRow, Lock, Record, implausible, refusals
from registry.validations import Validation
from registry.version_files import artifacts

_VERSIONS = tables.versions


@dataclass(frozen=True, slots=True)
class Version:
    """One registered version.

    `digests` are relative path -> SHA-256 of every file; `record` is the gate record it was
    registered with, `validations` are what was measured later, oldest first; `may_trade` says
    whether its trade lock was open at registration, or since a person accepted what shut it;
    `acceptances` are these.
    """

    model_id: str
    number: int
    run_id: str
    contract: ModelContract
    digests: Mapping[str, str]
    record: tuple[GateRow, ...]
    may_trade: bool
    created_at: datetime
    validations: tuple[Validation, ...] = ()
    acceptances: tuple[Acceptance, ...] = ()

    def refusals(self, lock: Lock, champion: int | None = None) -> tuple[str, ...]:
        """Return one line per gate that keeps a lock shut, as `registry.gates.refusals` does.

        The newest validation may shut the serve lock, and opens no gate that the record refuses.
        A comparison with the champion may come from any validation.
        """
        record = self.record if champion is None else self._compared_with(champion)
        lines = self._shut_by(record, lock, champion)
        if lock == "trade" or not self.validations:
            return lines
        newest = self.validations[-1]
        measured = {row.gate for row in newest.alone}
        rest = (row for row in self.record if row.gate not in measured | set(COMPARISONS))
        later = self._shut_by((*newest.alone, *rest), lock)
        which = f"validated {newest.created_at:%F}"
        return (*lines, *(f"{which}: {line}" for line in later if line not in lines))

    def _shut_by(self, record: Record, lock: Lock, champion: int | None = None) -> tuple[str, ...]:
        carried, accepted = tuple(artifacts(self.digests)), acceptances.gates_of(self.acceptances)
        return refusals(record, lock, self.contract.template, champion, carried, accepted)

    def implausible(self) -> tuple[GateRow, ...]:
        """Return the rows of record and newest validation that a person has yet to accept."""
        newest = self.validations[-1].alone if self.validations else ()
        found = implausible((*self.record, *newest), self.contract.template)
        accepted = acceptances.gates_of(self.acceptances)
        return tuple(row for row in found if row.gate not in accepted)

    def _compared_with(self, champion: int) -> Record:
        """Return the record with the comparison that counts.

        A comparison stands for its data: measured again on the same data it changes nothing, so
        that nobody asks until the answer fits. One on newer data replaces it.
        """
        own = tuple(row for row in self.record if row.gate in COMPARISONS)
        measured = [(self.contract.data.sha256, own)]
        measured += [(v.data_sha256, v.comparison) for v in self.validations]
        first_of: dict[str, tuple[GateRow, ...]] = {}
        for data, rows in measured:
            if any(row.against == champion and row.value is not None for row in rows):
                first_of.setdefault(data, rows)
        others = [rows for _, rows in measured if rows] or [()]
        counts = (list(first_of.values()) or others)[-1]
        return (*(row for row in self.record if row.gate not in COMPARISONS), *counts)


@dataclass(frozen=True, slots=True)
class VersionLine:
    """What a list of all models shows of a version."""

    number: int
    template: str
    may_trade: bool


def get(engine: sa.Engine, model_id: str, number: int) -> Version:
    """Return a version.

    Raises:
        ModelNotFoundError: no such model.
        VersionNotFoundError: the model has no such version.
    """
    found = _read(engine, model_id, _VERSIONS.c.number == number)
    if not found:
        managed_models.check_exists(engine, model_id)
        known = [str(n) for n in numbers(engine, model_id)]
        raise VersionNotFoundError(model_id, f"version {number}", known)
    return found[0]


def list_versions(engine: sa.Engine, model_id: str) -> list[Version]:
    """Return the model's versions, oldest first; none of a model that was only created.

    Raises:
        ModelNotFoundError: no such model.
    """
    found = _read(engine, model_id)
    if not found:
        managed_models.check_exists(engine, model_id)
    return found


def numbers(engine: sa.Engine, model_id: str) -> list[int]:
    """Return the numbers of the model's versions, ascending; none for an unknown model."""
    query = sa.select(_VERSIONS.c.number).where(_VERSIONS.c.model_id == model_id)
    with reading(engine) as connection:
        return list(connection.scalars(query.order_by(_VERSIONS.c.number)))


def lines(engine: sa.Engine) -> dict[str, list[VersionLine]]:
    """Return model -> a line per version, oldest first, of every model in one query."""
    columns = _VERSIONS.c
    template = columns.contract["template"].as_string()
    query = sa.select(columns.model_id, columns.number, template, columns.may_trade)
    found: dict[str, list[VersionLine]] = {}
    with reading(engine) as connection:
        for model_id, *facts in connection.execute(
            query.order_by(columns.model_id, columns.number)
        ):
            found.setdefault(model_id, []).append(VersionLine(*facts))
    return found


def model_ids(engine: sa.Engine) -> list[str]:
    """Return the names of models that have a version, in alphabetical order."""
    query = sa.select(_VERSIONS.c.model_id).distinct().order_by(_VERSIONS.c.model_id)
    with reading(engine) as connection:
        return list(connection.scalars(query))


def record(engine: sa.Engine, version: Version) -> None:
    """Insert a version with its event `registered`.

    Raises:
        VersionExistsError: the engine database belongs to another MLflow.
    """
    values = {
        "model_id": version.model_id,
        "number": version.number,
        "run_id": version.run_id,
        "contract": asdict(version.contract),
        "digests": dict(version.digests),
        "record": [row.to_json() for row in version.record],
        "may_trade": version.may_trade,
        "created_at": version.created_at,
    }
    try:
        with engine.begin() as connection:
            connection.execute(sa.insert(_VERSIONS).values(values))
            append_event(connection, "registered", version, "main", "a candidate was made")
    except sa.exc.IntegrityError as exc:
        raise VersionExistsError(version.model_id, version.number) from exc


def remove(connection: sa.Connection, version: Version, actor: str, reason: str) -> None:
    """Delete a version with its event `deleted`, in the caller's transaction."""
    key = (_VERSIONS.c.model_id == version.model_id) & (_VERSIONS.c.number == version.number)
    connection.execute(sa.delete(_VERSIONS).where(key))
    append_event(connection, "deleted", version, actor, reason)


def set_may_trade(connection: sa.Connection, version: Version) -> None:
    """Record whether a version may trade with its acceptances, in the caller's transaction."""
    key = (_VERSIONS.c.model_id == version.model_id) & (_VERSIONS.c.number == version.number)
    may_trade = not version.refusals("trade")
    connection.execute(sa.update(_VERSIONS).where(key).values(may_trade=may_trade))


def append_event(
    connection: sa.Connection, kind: str, version: Version, actor: str, reason: str
) -> None:
    """Append an event that holds all that is recorded of a version."""
    events.append(
        connection,
        kind,
        actor=actor,
        reason=reason,
        model_id=version.model_id,
        number=version.number,
        run_id=version.run_id,
        facts={
            "may_trade": version.may_trade,
            "record": [row.to_json() for row in version.record],
            "digests": dict(version.digests),
        },
    )


def _read(engine: sa.Engine, model_id: str, *conditions: sa.ColumnElement[bool]) -> list[Version]:
    query = sa.select(_VERSIONS).where(_VERSIONS.c.model_id == model_id, *conditions)
    with reading(engine) as connection:
        rows = connection.execute(query.order_by(_VERSIONS.c.number)).mappings().all()
        later = validations.of_model(connection, model_id)
        accepted = acceptances.of_model(connection, model_id)
    return [
        _version(row, later.get(row["number"], ()), accepted.get(row["number"], ())) for row in rows
    ]


def _version(
    row: sa.RowMapping, later: tuple[Validation, ...], accepted: tuple[Acceptance, ...]
) -> Version:
    return Version(
        row["model_id"],
        row["number"],
        row["run_id"],
        ModelContract.from_json(json.dumps(row["contract"])),
        row["digests"],
        tuple(GateRow.from_json(gate) for gate in row["record"]),
        row["may_trade"],
        row["created_at"],
        later,
        accepted,
    )
