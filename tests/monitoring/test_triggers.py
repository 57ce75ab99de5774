from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from monitoring.reports import DriftReport
from monitoring.settings import MonitoringSettings
from monitoring.triggers import Level, VersionReports
from monitoring.triggers.data_drift import TRIGGER as DATA_DRIFT
from monitoring.triggers.performance import TRIGGER as PERFORMANCE
from monitoring.triggers.schedule import TRIGGER as SCHEDULE
from monitoring.windows import is_apart

NOW = datetime(2008, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
CALM, SUSPECT, CONFIRMED = Level.CALM, Level.SUSPECT, Level.CONFIRMED


@pytest.mark.parametrize(
    ("windows", "level"),
    [
        ("", CALM),
        (".....", CALM),
        ("x", SUSPECT),
        (".x", SUSPECT),
        ("xx", CONFIRMED),
        ("x...x", CONFIRMED),
        ("x....x", SUSPECT),  # the first is no longer among the newest five
        ("xxxx.", SUSPECT),  # the newest does not violate
        ("xx.....", CALM),
    ],
)
def test_two_of_five_and_the_newest(windows, level):
    assert DATA_DRIFT.judge(drifted(windows), MonitoringSettings()).level is level


@pytest.mark.parametrize(
    ("windows", "level"),
    [
        ("x.xx", CONFIRMED),  # lower case counts
        ("xXX.", SUSPECT),
        ("x.XXx", CONFIRMED),
        ("xXX", SUSPECT),  # one window seen three times
        ("XXX", CALM),
        ("x.x?", SUSPECT),  # the newest has no verdict
    ],
)
def test_windows_between_those_that_count_are_not_counted(windows, level):
    assert DATA_DRIFT.judge(drifted(windows), MonitoringSettings()).level is level


def test_windows_that_an_earlier_release_judged_count():
    reports = [report(i, "drift", {}) for i in range(2)]
    seen = VersionReports("m", 1, NOW - DAY, NOW, reports)
    assert DATA_DRIFT.judge(seen, MonitoringSettings()).level is CONFIRMED


def report(day: int, verdict: str, facts: dict) -> DriftReport:
    return DriftReport("m", 1, NOW, NOW + day * DAY, 9, verdict, 0.0, {}, {}, facts, None, NOW)


def drifted(windows: str) -> VersionReports:
    """Reports of windows: x drifted, `.` not, ? no verdict; X drifted but does not count."""
    verdicts = {"x": "drift", ".": "no_drift", "?": "no_verdict", "X": "drift"}
    found = [
        report(i, verdicts[w], {"counts_for": ["data_drift"] if w in "x." else []})
        for i, w in enumerate(windows)
    ]
    return VersionReports("m", 1, NOW - DAY, NOW, found)


def see(fell: bool | None, age_days: int = 1) -> VersionReports:
    windows = [report(i, "no_drift", {"fell": fell}) for i in range(2)]
    return VersionReports("m", 1, NOW - age_days * DAY, NOW, windows)


# False confirmations, by simulation ------------------------------------------------------------

WINDOW, BARS_PER_YEAR, YEARS = 21, 252, 500


def confirmations_per_year(step: int, square: bool) -> float:
    """Return how often the rule begins to be met, where each window violates with p = 0.05."""
    bars = np.random.default_rng(step).standard_normal(BARS_PER_YEAR * YEARS)
    total = np.cumsum(np.append(0.0, bars**2 if square else bars))
    size = (total[WINDOW:] - total[:-WINDOW])[::step]
    violates = size > np.quantile(size, 0.95)
    times = range(BARS_PER_YEAR * YEARS)
    ends = np.arange(WINDOW - 1, BARS_PER_YEAR * YEARS, step).tolist()
    counting, last = [], -WINDOW
    for place, end in enumerate(ends):
        if is_apart(times, WINDOW, last, end):
            counting, last = [*counting, place], end
    seen = violates[counting]
    met = np.zeros(len(seen), dtype=bool)
    for i in np.flatnonzero(seen):
        met[i] = seen[max(0, i - 4) : i + 1].sum() >= MonitoringSettings().drift_windows_needed
    return (met[1:] & ~met[:-1]).sum() / YEARS


@pytest.mark.parametrize("square", [False, True], ids=["means", "variances"])
def test_chance_confirms_at_most_three_times_in_ten_years(square):
    assert MonitoringSettings().drift_step_bars == 5
    assert confirmations_per_year(5, square) < 0.25


@pytest.mark.parametrize("step", [1, 3, 11, 21])
def test_no_step_between_windows_confirms_more_often(step):
    assert confirmations_per_year(step, square=False) < 0.32


@pytest.mark.parametrize(("fell", "level"), [(True, CONFIRMED), (False, CALM), (None, CALM)])
def test_performance_counts_only_windows_that_are_known_to_have_fallen(fell, level):
    assert PERFORMANCE.judge(see(fell), MonitoringSettings()).level is level


@pytest.mark.parametrize(
    ("floor", "age", "level"), [(0, 999, CALM), (30, 29, CALM), (30, 30, CONFIRMED)]
)
def test_the_schedule_fires_when_the_training_data_is_old(floor, age, level):
    settings = MonitoringSettings(retrain_floor_days=floor)
    assert SCHEDULE.judge(see(False, age), settings).level is level
