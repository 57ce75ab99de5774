"""Gates: what a version must show before an alias may point at it. Closed by default.

`validate` and `convert` write rows (gate, value, limit). This module knows which rows each lock
requires, and compares; it computes nothing. A missing row refuses, and so does a row that reads
`not computed`. A value must meet two limits: that of its own row, and the platform's of today. So a
template or an override may be stricter than `GATES`, never looser, and a version that was
registered under another limit is judged by what was measured.

Extension point: another distribution's template declares its gates as a `TemplateGates` under the
entry-point group `nautilus_ml_engine.template_gates`, named like the template. A template without
an entry has both locks shut.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from registry.catalog import Catalog
from registry.errors import UnknownNameError
from registry.flavors import FULL, Artifact, parity
from registry.flavors.native import NATIVE

Comparison = Literal["<", "<=", ">", ">=", "between", "is"]


@dataclass(frozen=True, slots=True)
class GateRow:
    """One measured value beside its limit.

    `value` None means not computed (refuses) unless `applicable` is False. `limit` is a pair for
    `between` (both ends included) and 1.0 for `is` (value 1.0 means yes). `note` says how the
    value was measured, or why it was not. `against` is the version it was compared with.
    """

    gate: str
    value: float | None
    comparison: Comparison
    limit: float | tuple[float, float]
    note: str = ""
    applicable: bool = True
    against: int | None = None

    @property
    def passed(self) -> bool:
        """Whether the value is there, finite and within its limit."""
        if self.value is None or not math.isfinite(self.value):
            return False
        if isinstance(self.limit, tuple):
            return self.limit[0] <= self.value <= self.limit[1]
        return {
            "<": self.value < self.limit,
            "<=": self.value <= self.limit,
            ">": self.value > self.limit,
            ">=": self.value >= self.limit,
            "is": self.value == self.limit,
            "between": False,
        }[self.comparison]

    @property
    def measured(self) -> str:
        """The value for people."""
        return "not computed" if self.value is None else f"{self.value:.6g}"

    @property
    def needed(self) -> str:
        """Comparison and limit for people."""
        if isinstance(self.limit, tuple):
            return f"in [{self.limit[0]:g}, {self.limit[1]:g}]"
        return f"{self.comparison} {self.limit:g}"

    def line(self) -> str:
        """Return `gate: value, needs comparison limit (note)` for people."""
        note = f" ({self.note})" if self.note else ""
        return f"{self.gate}: {self.measured}, needs {self.needed}{note}"

    def judged(self) -> str:
        """Return the verdict and what it rests on: `passed  ...`, `refused ...` or `absent  ...`.

        What is not applicable is absent, for the reason that its note says.
        """
        if not self.applicable:
            return f"absent  {self.gate}: {self.note}"
        return f"{'passed ' if self.passed else 'refused'} {self.line()}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, with `passed` for readers.

        A value that is not finite has no JSON number and becomes text (`"inf"`).
        """
        value = self.value
        shown = value if value is None or math.isfinite(value) else str(value)
        return asdict(self) | {"value": shown, "passed": self.passed}

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> "GateRow":
        """Return the row that `to_json` wrote."""
        limit, value = facts["limit"], facts["value"]
        return cls(
            facts["gate"],
            None if value is None else float(value),
            facts["comparison"],
            (limit[0], limit[1]) if isinstance(limit, list | tuple) else limit,
            facts["note"],
            facts["applicable"],
            facts.get("against"),
        )


Record = Sequence[GateRow]
Lock = Literal["serve", "trade"]


@dataclass(frozen=True, slots=True)
class Requirement:
    """A gate that a lock requires, with the loosest limit that the platform accepts.

    `comparison` and `limit` read as in `GateRow`; without them only the row's own limit counts.
    `may_be_inapplicable` says whether a row may declare that the gate has no meaning here.
    `is_later`: it came after 0.2. A record from before may lack it; a row that it has counts.
    """

    gate: str
    comparison: Comparison | None = None
    limit: float | tuple[float, float] = math.nan
    may_be_inapplicable: bool = False
    is_later: bool = False

    def row(self, value: float | None, note: str = "", against: int | None = None) -> GateRow:
        """Return a value beside this limit; without a value the note says why there is none."""
        assert self.comparison is not None, f"the limit of {self.gate} is not declared here"
        return GateRow(self.gate, value, self.comparison, self.limit, note, against=against)

    def absent(self, note: str) -> GateRow:
        """Return a row that says why this gate has no meaning here."""
        return replace(self.row(None, note), applicable=False)


@dataclass(frozen=True, slots=True)
class TemplateGates:
    """What one template requires beyond the gates that all share (`COMMON`)."""

    serve: tuple[Requirement, ...] = ()
    trade: tuple[Requirement, ...] = ()

    def row(self, gate: str, value: float | None, note: str = "") -> GateRow:
        """Return a value beside the limit that is declared here for this gate."""
        (requirement,) = {r for r in (*self.serve, *self.trade) if r.gate == gate}
        return requirement.row(value, note)


# Limits stand here and nowhere else (docs/promotion.md, docs/templates.md show them); what computes
# a value takes its row from here.
SIGNIFICANT = -1.645
"""A one-sided 5 % test of a mean, as a normal quantile; the difference is better when lower.

It is the limit of a single trial; a row's own limit is stricter by what further trials of the same
data reach by luck (`pipelines/recipes/selection_bias.py`)."""
GOLDEN_LIMIT = 1e-5
"""Scores are float32, and another processor may add them in another order."""
COMMON = TemplateGates(
    serve=(
        Requirement("data.checks", "<=", 0.0),
        Requirement("causality", "<=", 1e-9),
        Requirement("feature_parity", "<=", 1e-6),
        Requirement("golden_rows", "<=", GOLDEN_LIMIT),
        Requirement("golden_answers", "<=", 0.0, is_later=True),
    )
)
GATE_OF_0_2 = "digests"
"""A gate that records have up to 0.2 and never after it. They keep the rules of their day."""
PLAUSIBILITY = "plausibility."
"""Gates about results that are too good to be true. A person may accept what they refuse, by name,
for one version and with a reason (`registry.acceptances`); nothing else opens them."""


def _plausible(gate: str, comparison: Comparison, limit: float) -> Requirement:
    """Return a plausibility gate with the loosest limit that any length of bar has."""
    return Requirement(
        PLAUSIBILITY + gate, comparison, limit, may_be_inapplicable=True, is_later=True
    )


PLAUSIBLE_SHARPE = _plausible("sharpe", "<=", 10.0)
PLAUSIBLE_DIRECTION = _plausible("direction", "<=", 0.65)
PLAUSIBLE_RETURN_R2 = _plausible("r2", "<=", 0.10)
PLAUSIBLE_VOLATILITY_R2 = _plausible("r2", "<=", 0.85)
PLAUSIBLE_LIKELIHOOD = _plausible("likelihood", "<=", 0.5)
PLAUSIBLE_MOVES = _plausible("likelihood", "<=", 0.25)
PLAUSIBLE_PINBALL = _plausible("pinball", "<=", 0.5)
PLAUSIBLE_TABLE_R2 = _plausible("r2", "<=", 0.90)
PLAUSIBLE_AUC = _plausible("auc", "<=", 0.98)
DATED_OPENS = _plausible("opens", ">=", 0.60)
DATED_RANGES = _plausible("ranges", "<=", 0.10)
KNOWING_COLUMNS = _plausible("columns", "<=", 0.0)
DATED_BARS = (DATED_OPENS, DATED_RANGES, KNOWING_COLUMNS)
"""Whether the columns of bars are dated right; every template over bars asks it."""

BETTER = Requirement("champion.better", "<", 0.1)
NON_INFERIOR = Requirement("champion.non_inferior")  # the margin is the template's
COMPARISONS = (BETTER.gate, NON_INFERIOR.gate)
"""Gates of a comparison with the champion."""
DEFLATED_SHARPE = Requirement("edge.dsr", ">=", 0.95)
CHOICE_LOSS = Requirement("edge.choice_loss", "<", 0.25, may_be_inapplicable=True, is_later=True)
OVERFITTING = Requirement("edge.pbo", "<", 0.5)
"""A gate up to 0.2: among equally good recipes it is a coin flip."""
SKILL = Requirement("quality.skill", "<", SIGNIFICANT)
EXCESS = Requirement("quality.loss_vs_baseline", "<", 0.0)
"""Recorded for monitoring; no lock needs it, because SKILL implies it."""

RIVAL_MARGIN = 0.02
"""Of ln f + rv/f: how much worse than a classical rival a model of volatility may be, by the upper
bound of the mean difference."""
VALIDATED_EXCESS = "monitoring.excess"
"""Row of every record that says what later losses are compared with; no lock needs it."""
EXCESS_BARS = 63
"""Times whose mean excess loss monitoring looks at."""

VOLATILITY_FORECAST = TemplateGates(
    serve=(
        Requirement("quality.dm_ewma", "<", SIGNIFICANT),
        Requirement("quality.dm_scaled_ewma", "<", SIGNIFICANT),
        Requirement("quality.bias", "between", (0.8, 1.25)),
        Requirement("quality.qlike_vs_ewma", "<", 0.0),
        Requirement("quality.not_worse_than_har", "<=", RIVAL_MARGIN, is_later=True),
        Requirement("quality.not_worse_than_gjr_garch", "<=", RIVAL_MARGIN, is_later=True),
        PLAUSIBLE_VOLATILITY_R2,
        *DATED_BARS,
    )
)
PLAUSIBLE_SIGNALS = (PLAUSIBLE_SHARPE, PLAUSIBLE_DIRECTION, *DATED_BARS)
TRADING_SIGNALS = TemplateGates(
    serve=PLAUSIBLE_SIGNALS,
    trade=(
        Requirement("edge.log_loss", "<", SIGNIFICANT),
        Requirement("edge.direction", "<", SIGNIFICANT),
        DEFLATED_SHARPE,
        CHOICE_LOSS,
        Requirement("edge.net_sharpe_2x", ">", 0.0),
        Requirement("edge.ece", "<=", 0.05),
        Requirement("edge.coverage"),
        Requirement("edge.costs", "is", 1.0, is_later=True),
        *PLAUSIBLE_SIGNALS,
    ),
)
RETURN_FORECAST = TemplateGates(
    serve=(
        Requirement("quality.dm_random_walk", "<", SIGNIFICANT),
        Requirement("quality.coverage", "between", (0.88, 0.92)),
        PLAUSIBLE_RETURN_R2,
        PLAUSIBLE_DIRECTION,
        *DATED_BARS,
    )
)
MARKET_REGIME = TemplateGates(
    serve=(
        Requirement("quality.predictive_likelihood", ">", -SIGNIFICANT),
        PLAUSIBLE_LIKELIHOOD,
        *DATED_BARS,
    ),
)
ANOMALY = TemplateGates(
    serve=(
        Requirement("quality.false_alarm_rate"),  # the interval is that of the stated rate
        PLAUSIBLE_MOVES,
        *DATED_BARS,
    ),
)
SENTIMENT = TemplateGates(serve=(SKILL, PLAUSIBLE_AUC))
TABULAR = TemplateGates(serve=(SKILL, PLAUSIBLE_AUC, PLAUSIBLE_TABLE_R2, KNOWING_COLUMNS))
PORTFOLIO_RISK = TemplateGates(
    serve=(
        Requirement("quality.kupiec", ">", 0.01),
        Requirement("quality.conditional_coverage", ">", 0.01),
        Requirement("quality.z2"),  # the limit is the forecasts' own, simulated
        PLAUSIBLE_PINBALL,
        *DATED_BARS,
    )
)
GATES: Catalog[TemplateGates] = Catalog(
    "template gates",
    {
        "volatility_forecast": "registry.gates:VOLATILITY_FORECAST",
        "trading_signals": "registry.gates:TRADING_SIGNALS",
        "return_forecast": "registry.gates:RETURN_FORECAST",
        "market_regime": "registry.gates:MARKET_REGIME",
        "anomaly": "registry.gates:ANOMALY",
        "sentiment": "registry.gates:SENTIMENT",
        "tabular": "registry.gates:TABULAR",
        "portfolio_risk": "registry.gates:PORTFOLIO_RISK",
    },
)


def unmeasured_artifacts(record: Record, carried: Iterable[Artifact]) -> dict[Artifact, str]:
    """Return artifact -> note of those that the record calls impossible but the version has."""
    absent = {row.gate: row.note for row in record if not row.applicable}
    gates = {artifact: _parity_gate(artifact, record) for artifact in carried}
    return {artifact: absent[gate] for artifact, gate in gates.items() if gate in absent}


def refusals(
    record: Record,
    lock: Lock,
    template: str,
    champion: int | None = None,
    carried: Collection[Artifact] | None = None,
    accepted: Collection[str] = (),
) -> tuple[str, ...]:
    """Return one line per gate that keeps the lock shut; empty means open.

    Args:
        accepted: plausibility gates whose refusal a person has accepted for this version.
        carried: the artifacts whose files the version has; None before there are any. Each needs
            its parity row (serve lock only).
        lock: `serve` (an alias may move to the version) or `trade` (it may emit BUY and SELL).
        champion: the other version that serves now; the record must hold exactly one passed
            comparison, with this version and no other (serve lock only).
    """
    try:
        declared = GATES.get(template)
    except UnknownNameError:
        return (f"template {template!r}: no gates declared, so every lock stays shut",)
    if lock == "trade":
        needed = (*declared.trade, *_replaced(record, declared.trade))
        shut = tuple(_shut(record, needed, accepted))
        return shut or _without_gates(declared.trade, template)
    parity_rows = parity_requirements(record, carried)
    own = (*declared.serve, *_undeclared(record, declared))
    required = (*COMMON.serve, *_of_its_day(record), *parity_rows, *own)
    lines = list(_shut(record, required, accepted))
    if champion is not None:
        lines += _comparison_refusals(record, champion)
    return tuple(lines)


def _without_gates(trade: Sequence[Requirement], template: str) -> tuple[str, ...]:
    return () if trade else (f"template {template!r}: its answers are not actions",)


def implausible(record: Record, template: str) -> tuple[GateRow, ...]:
    """Return the rows that only a person may accept: too good to be true, with a value to read."""
    found: list[GateRow] = []
    for requirement in (*GATES.get(template).serve, *_undeclared(record, GATES.get(template))):
        rows = (row for row in record if row.gate == requirement.gate)
        found += (row for row in rows if _may_be_accepted(row) and _refusal(row, requirement))
    return tuple(found)


def _may_be_accepted(row: GateRow) -> bool:
    """Whether a person may accept a row: what was not computed nobody can judge."""
    is_measured = row.applicable and row.value is not None and math.isfinite(row.value)
    return row.gate.startswith(PLAUSIBILITY) and is_measured


def _undeclared(record: Record, declared: TemplateGates) -> tuple[Requirement, ...]:
    """Return the plausibility gates that were measured though this template does not name them."""
    known = {requirement.gate for requirement in (*declared.serve, *declared.trade)}
    found = dict.fromkeys(row.gate for row in record if row.gate.startswith(PLAUSIBILITY))
    return tuple(Requirement(g, may_be_inapplicable=True) for g in found if g not in known)


def parity_requirements(
    record: Record, carried: Collection[Artifact] | None = None
) -> tuple[Requirement, ...]:
    """Return what every flavor must show: one rule for all of them.

    Each artifact that the version carries needs a value within the limit of its variant; each
    flavor of `parity.SAID_OF_EACH` a value, or a row that says why there is none; and whatever else
    the record measured must hold too. Records from before there were variants keep the limits of
    their day.
    """
    found = {row.gate for row in record if row.gate.startswith("parity.")}
    flavors = parity.EARLIER_LIMITS if _is_earlier(record) else parity.SAID_OF_EACH
    needed = {_parity_gate(Artifact(flavor), record) for flavor in flavors}
    carries = {_parity_gate(artifact, record) for artifact in (*(carried or ()), NATIVE)}
    gates = sorted(found | needed | carries)
    return tuple(_parity_requirement(gate, may_be_absent=gate not in carries) for gate in gates)


def _is_earlier(record: Record) -> bool:
    """Whether a record is from before there were variants."""
    return any(row.gate == "parity.native" for row in record)


def _parity_gate(artifact: Artifact, record: Record) -> str:
    """Return the name of an artifact's gate in a record."""
    is_earlier = artifact.variant == FULL and artifact.flavor in parity.EARLIER_LIMITS
    if is_earlier and _is_earlier(record):
        return f"parity.{artifact.flavor}"
    return parity.gate_name(artifact)


def _parity_requirement(gate: str, *, may_be_absent: bool) -> Requirement:
    match gate.split("."):
        case [_, flavor]:
            highest = parity.EARLIER_LIMITS.get(flavor, 0.0)
        case [_, flavor, variant, parity.LABELS]:
            lowest = parity.limit(Artifact(flavor, variant), parity.LABELS)
            return Requirement(gate, ">=", lowest, may_be_absent)
        case [_, flavor, variant, *measure]:
            highest = parity.limit(Artifact(flavor, variant), ".".join(measure))
        case _:
            highest = 0.0
    return Requirement(gate, "<=", highest, may_be_absent)


def _comparison_refusals(record: Record, champion: int) -> list[str]:
    rows = [row for row in record if row.gate in COMPARISONS]
    if len(rows) != 1:
        found = ", ".join(row.gate for row in rows) or "none"
        return [
            f"{BETTER.gate}: needs exactly one comparison with the champion ({BETTER.gate}, or "
            f"{NON_INFERIOR.gate} after a forced refresh) but the record has {found}"
        ]
    if rows[0].against != champion:
        return [f"{rows[0].line()}: measured against version {rows[0].against}, not {champion}"]
    requirement = BETTER if rows[0].gate == BETTER.gate else NON_INFERIOR
    return list(_shut(rows, (requirement,)))


def _of_its_day(record: Record) -> tuple[Requirement, ...]:
    """Return the gate that only records up to 0.2 have, which must hold there still."""
    return (Requirement(GATE_OF_0_2, "<=", 0.0),) if _is_of_0_2(record) else ()


def _replaced(record: Record, required: Sequence[Requirement]) -> tuple[Requirement, ...]:
    """Return the gate in whose place one came that a record up to 0.2 lacks."""
    has_it = any(row.gate == CHOICE_LOSS.gate for row in record)
    is_asked = CHOICE_LOSS in required and _is_of_0_2(record) and not has_it
    return (OVERFITTING,) if is_asked else ()


def _is_of_0_2(record: Record) -> bool:
    return any(row.gate == GATE_OF_0_2 for row in record)


def _shut(
    record: Record, required: Sequence[Requirement], accepted: Collection[str] = ()
) -> Iterator[str]:
    is_of_0_2 = _is_of_0_2(record)
    for requirement in required:
        rows = [row for row in record if row.gate == requirement.gate]
        if not rows and not (requirement.is_later and is_of_0_2):
            yield f"{requirement.gate}: missing from the record"
        for row in rows:
            if row.gate in accepted and _may_be_accepted(row):
                continue
            if line := _refusal(row, requirement):
                yield line


def _refusal(row: GateRow, requirement: Requirement) -> str | None:
    if not row.applicable:
        if requirement.may_be_inapplicable and row.value is None and row.note:
            return None
        return f"{row.line()}: not applicable, but this lock requires it"
    if row.passed and requirement.comparison is not None:
        floor = requirement.row(row.value)
        if not floor.passed:
            return f"{row.line()}: looser than the platform's limit ({floor.line()})"
    return None if row.passed else row.line()
