"""Outcome reports: what a caller says became of predictions, resolved, checked and kept.

A report names a prediction by the id of its request, or by model, symbol and time; the prediction
log says which answer that is. Nothing is lost silently: every report is counted as accepted, as a
duplicate, as a conflict, as unknown or as invalid, with the reason.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import sqlalchemy as sa

from monitoring.logged_answers import LoggedAnswer, by_request, by_time
from monitoring.prediction_log import PredictionLog
from monitoring.reported_outcomes import Key, ReportedOutcome, keep
from pipelines.recipes.inputs import kind_of
from registry import events
from registry.contract import ModelContract
from registry.errors import TableError, VersionNotFoundError
from registry.versions import Registry

LATE_AFTER = timedelta(days=1)
"""An outcome that is received longer than this after it was known is late; it counts all the same.
Windows that were judged before do not change."""
CLOCK_TOLERANCE = timedelta(minutes=1)
LONGEST_SYMBOL = 200
EVENT = "outcomes_reported"


@dataclass(frozen=True, slots=True)
class OutcomeReport:
    """What a caller says. `known_at` None means: known when it is received."""

    value: float | str
    request_id: str | None = None
    model_id: str | None = None
    symbol: str | None = None
    as_of: datetime | None = None
    known_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """No such prediction is logged. `is_kept` where model, symbol and time name it all the same."""

    index: int
    reason: str
    is_kept: bool


@dataclass(frozen=True, slots=True)
class Invalid:
    """A report that cannot be used."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another value is held for this prediction, and stays."""

    index: int
    model_id: str
    symbol: str
    as_of: datetime
    held: float | str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of the reports.

    `accepted`, `duplicates`, `conflicts`, `invalid` and those `unknown` that are not kept add up to
    the number of reports. `late` of the accepted were received long after they were known.
    """

    accepted: int
    duplicates: int
    late: int
    conflicts: tuple[Conflict, ...]
    unknown: tuple[Unknown, ...]
    invalid: tuple[Invalid, ...]


@dataclass(frozen=True, slots=True)
class Reporting:
    """What reports are resolved with."""

    engine: sa.Engine
    registry: Registry
    log: PredictionLog

    def take(
        self,
        reports: Sequence[OutcomeReport],
        allows: Callable[[str], bool],
        actor: str,
        now: datetime,
    ) -> Receipt:
        """Resolve, check and keep reports; the event is part of the same transaction.

        Args:
            allows: whether the caller may speak of a model.
            now: when they were received.

        Raises:
            SQLAlchemyError: the database does not answer; nothing was kept.
        """
        model_ids = [name for name in self.registry.model_ids() if allows(name)]
        found = _Resolver(self, model_ids, actor, now).resolve(reports)
        known = {i: each for i, each in enumerate(found) if isinstance(each, ReportedOutcome)}
        with self.engine.begin() as connection:
            verdicts = _kept(connection, known)
            receipt = _receipt(found, known, verdicts)
            _append_events(connection, known, verdicts, receipt, actor)
        return receipt


Resolved = ReportedOutcome | Unknown | Invalid


class _Resolver:
    """Finds what reports of one call speak of."""

    def __init__(
        self, sources: Reporting, model_ids: Sequence[str], actor: str, now: datetime
    ) -> None:
        self._sources, self._model_ids = sources, model_ids
        self._actor, self._now = actor, now
        self._contracts: dict[tuple[str, int], ModelContract | None] = {}
        self._by_request: Mapping[str, Sequence[LoggedAnswer]] = {}
        self._by_time: Mapping[Key, LoggedAnswer] = {}

    def resolve(self, reports: Sequence[OutcomeReport]) -> list[Resolved]:
        """Return for each report what is to be kept, or why it cannot be."""
        log = self._sources.log
        ids = {report.request_id for report in reports if report.request_id is not None}
        symbols = {report.symbol for report in reports if report.symbol is not None}
        self._by_request = by_request(log, self._model_ids, ids, symbols)
        self._by_time = {
            (model_id, symbol, as_of): answer
            for model_id, keys in self._keys(reports).items()
            for (symbol, as_of), answer in by_time(log, model_id, keys).items()
        }
        return [self._resolved(i, report) for i, report in enumerate(reports)]

    def _keys(self, reports: Sequence[OutcomeReport]) -> dict[str, set[tuple[str, datetime]]]:
        found: dict[str, set[tuple[str, datetime]]] = {}
        for report in reports:
            model_id, symbol, as_of = report.model_id, report.symbol, report.as_of
            if report.request_id is not None or model_id is None or symbol is None:
                continue
            if as_of is not None and model_id in self._model_ids:
                found.setdefault(model_id, set()).add((symbol, as_of))
        return found

    def _resolved(self, index: int, report: OutcomeReport) -> Resolved:
        named = (report.model_id, report.symbol, report.as_of)
        if report.request_id is not None:
            return self._of_request(index, report)
        if None in named:
            return Invalid(index, "expected request_id, or model_id, symbol and as_of")
        if report.model_id not in self._model_ids:
            return Invalid(index, "model_id: no registered model of this name")
        return self._checked(index, report, self._by_time.get(named))  # type: ignore[arg-type]

    def _of_request(self, index: int, report: OutcomeReport) -> Resolved:
        answers = self._by_request.get(report.request_id or "", ())
        if not answers:
            return Unknown(index, "request_id: no prediction of this request is logged", False)
        for name, wanted in (
            ("model_id", report.model_id),
            ("symbol", report.symbol),
            ("as_of", report.as_of),
        ):
            answers = [a for a in answers if wanted is None or getattr(a, name) == wanted]
            if not answers:
                return Unknown(index, f"{name}: this request has no such answer", False)
        if len(answers) > 1:
            reason = "symbol: the request has several answers; name one of them"
            return Invalid(index, reason)
        return self._checked(index, report, answers[0])

    def _checked(self, index: int, report: OutcomeReport, answer: LoggedAnswer | None) -> Resolved:
        model_id = answer.model_id if answer else report.model_id
        symbol = answer.symbol if answer else report.symbol
        as_of = answer.as_of if answer else report.as_of
        known_at = report.known_at or self._now
        assert model_id is not None and symbol is not None
        if as_of is None:
            return Invalid(index, "the answer has no time, so its outcome cannot be kept")
        if len(symbol) > LONGEST_SYMBOL or "\x00" in symbol:
            reason = f"symbol: it has more than {LONGEST_SYMBOL} letters, or a NUL"
            return Invalid(index, reason)
        if known_at > self._now + CLOCK_TOLERANCE:
            return Invalid(index, "known_at: expected a time that is not in the future")
        if known_at < as_of:
            return Invalid(index, "known_at: expected a time after that of the prediction")
        number = answer.version if answer else None
        if problem := self._problem(model_id, number, report.value):
            return Invalid(index, f"value: {problem}")
        return ReportedOutcome(
            model_id=model_id,
            symbol=symbol,
            as_of=as_of,
            number=number,
            value=report.value,
            known_at=known_at,
            received_at=self._now,
            actor=self._actor,
        )

    def _problem(self, model_id: str, number: int | None, value: float | str) -> str:
        contract = None if number is None else self._contract(model_id, number)
        if contract is None or not kind_of(contract.template).is_reported:
            return ""
        try:
            kind_of(contract.template).reported(contract, value)
        except TableError as error:
            return str(error)
        return ""

    def _contract(self, model_id: str, number: int) -> ModelContract | None:
        key = (model_id, number)
        if key not in self._contracts:
            try:
                self._contracts[key] = self._sources.registry.get(model_id, number).contract
            except VersionNotFoundError:  # deleted since: what it answered is judged no more
                self._contracts[key] = None
        return self._contracts[key]


Verdict = Literal["accepted", "duplicate"] | Conflict


def _kept(connection: sa.Connection, known: Mapping[int, ReportedOutcome]) -> dict[int, Verdict]:
    """Store what is new; return what became of each, by its place among the reports."""
    first: dict[Key, tuple[int, ReportedOutcome]] = {}
    for index, outcome in known.items():
        first.setdefault(outcome.key, (index, outcome))
    added, held = keep(connection, [outcome for _, outcome in first.values()])
    held |= {key: first[key][1].value for key in added}
    verdicts: dict[int, Verdict] = {}
    for index, outcome in known.items():
        if outcome.key in added and index == first[outcome.key][0]:
            verdicts[index] = "accepted"
        elif held[outcome.key] == outcome.value:
            verdicts[index] = "duplicate"
        else:
            verdicts[index] = Conflict(index, *outcome.key, held[outcome.key])
    return verdicts


def _receipt(
    found: Sequence[Resolved],
    known: Mapping[int, ReportedOutcome],
    verdicts: Mapping[int, Verdict],
) -> Receipt:
    reason = "no prediction of this model, symbol and time is logged"
    kept = [Unknown(i, reason, True) for i, outcome in known.items() if outcome.number is None]
    unknown = [*kept, *(each for each in found if isinstance(each, Unknown))]
    return Receipt(
        accepted=sum(verdict == "accepted" for verdict in verdicts.values()),
        duplicates=sum(verdict == "duplicate" for verdict in verdicts.values()),
        late=sum(_is_late(known[i]) for i, verdict in verdicts.items() if verdict == "accepted"),
        conflicts=tuple(each for each in verdicts.values() if isinstance(each, Conflict)),
        unknown=tuple(sorted(unknown, key=lambda each: each.index)),
        invalid=tuple(each for each in found if isinstance(each, Invalid)),
    )


def _append_events(
    connection: sa.Connection,
    known: Mapping[int, ReportedOutcome],
    verdicts: Mapping[int, Verdict],
    receipt: Receipt,
    actor: str,
) -> None:
    """Append an event per model, and one for what belongs to none; repetitions are no news."""
    for model_id in sorted({outcome.model_id for outcome in known.values()}):
        mine = {i: verdicts[i] for i, outcome in known.items() if outcome.model_id == model_id}
        new = [known[i] for i, verdict in mine.items() if verdict == "accepted"]
        counts = {
            "accepted": len(new),
            "late": sum(map(_is_late, new)),
            "unknown": sum(outcome.number is None for outcome in new),
            "conflicts": sum(isinstance(verdict, Conflict) for verdict in mine.values()),
        }
        if any(counts.values()):
            _append(connection, actor, model_id, counts)
    if lost := sum(not each.is_kept for each in receipt.unknown):
        _append(connection, actor, None, {"unknown": lost})


def _append(
    connection: sa.Connection, actor: str, model_id: str | None, counts: Mapping[str, int]
) -> None:
    reason = ", ".join(f"{n} {name}" for name, n in counts.items() if n)
    events.append(
        connection, EVENT, actor=actor, reason=reason, model_id=model_id, facts={**counts}
    )


def _is_late(outcome: ReportedOutcome) -> bool:
    return outcome.received_at - outcome.known_at > LATE_AFTER
