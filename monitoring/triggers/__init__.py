"""Triggers: what may start a retraining run.

Extension point: one file per trigger here, one line in `TRIGGERS`, one line in docs/operations.md;
`tests/conformance/test_triggers.py` then runs on it.

Guarantees of every trigger:
- `judge` is a pure function of what it is given and never raises on real reports;
- without reports it is calm;
- a window without a verdict, or of bad data, never counts for it, and while it is the newest one
  nothing is confirmed;
- its reason is one line that names the numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Protocol

from monitoring.reports import DriftReport
from monitoring.settings import MonitoringSettings
from registry.catalog import Catalog

JUDGED = ("drift", "no_drift")
"""Verdicts of windows that had enough good data to be judged."""


class Level(IntEnum):
    """How strongly a trigger asks for a run; only CONFIRMED may start one."""

    CALM = 0
    SUSPECT = 1
    CONFIRMED = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """A trigger's level and the numbers behind it."""

    level: Level
    reason: str


@dataclass(frozen=True, slots=True)
class VersionReports:
    """One version and its drift reports, oldest first: what a trigger judges.

    `reports` are the newest one and those that count for a trigger (`DriftReport.counts_for`).
    `now` is the time on the clock that RETRAIN_CLOCK names.
    """

    model_id: str
    number: int
    trained_until: datetime
    now: datetime
    reports: Sequence[DriftReport]


class Trigger(Protocol):
    """One reason to retrain."""

    name: str

    def judge(self, version: VersionReports, settings: MonitoringSettings) -> Finding:
        """Return the level of this reason now, with the numbers behind it."""
        ...


TRIGGERS: Catalog[Trigger] = Catalog(
    "trigger",
    {
        "data_drift": "monitoring.triggers.data_drift:TRIGGER",
        "performance": "monitoring.triggers.performance:TRIGGER",
        "schedule": "monitoring.triggers.schedule:TRIGGER",
    },
)


def counted(
    reports: Sequence[DriftReport], trigger: str, settings: MonitoringSettings
) -> list[DriftReport]:
    """Return the newest n reports that count for a trigger, oldest first."""
    return [r for r in reports if r.counts_for(trigger)][-settings.drift_windows_of :]


def count_windows(
    reports: Sequence[DriftReport],
    trigger: str,
    violates: Callable[[DriftReport], bool],
    settings: MonitoringSettings,
) -> Level:
    """Return the level of a trigger's k-of-n rule.

    CONFIRMED: k of the newest n counted windows violate, the newest of them among them. SUSPECT:
    some violate, but the rule is not met, or the newest window of all had no good data.
    """
    violating = [violates(report) for report in counted(reports, trigger, settings)]
    if not any(violating):
        return Level.CALM
    is_met = violating[-1] and sum(violating) >= settings.drift_windows_needed
    is_judged = reports[-1].verdict in JUDGED
    return Level.CONFIRMED if is_met and is_judged else Level.SUSPECT
