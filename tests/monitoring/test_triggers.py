from datetime import UTC, datetime, timedelta

import pytest

from monitoring.reports import DriftReport
from monitoring.settings import MonitoringSettings
from monitoring.triggers import Level, VersionReports, count_windows
from monitoring.triggers.performance import TRIGGER as PERFORMANCE
from monitoring.triggers.schedule import TRIGGER as SCHEDULE

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
    assert count_windows([w == "x" for w in windows], MonitoringSettings()) is level


def see(fell: bool | None, age_days: int = 1) -> VersionReports:
    facts = {"fell": fell}
    windows = [
        DriftReport("m", 1, NOW, NOW + i * DAY, 9, "no_drift", 0.0, {}, {}, facts, None, NOW)
        for i in range(2)
    ]
    return VersionReports("m", 1, NOW - age_days * DAY, NOW, windows)


@pytest.mark.parametrize(("fell", "level"), [(True, CONFIRMED), (False, CALM), (None, CALM)])
def test_performance_counts_only_windows_that_are_known_to_have_fallen(fell, level):
    assert PERFORMANCE.judge(see(fell), MonitoringSettings()).level is level


@pytest.mark.parametrize(
    ("floor", "age", "level"), [(0, 999, CALM), (30, 29, CALM), (30, 30, CONFIRMED)]
)
def test_the_schedule_fires_when_the_training_data_is_old(floor, age, level):
    settings = MonitoringSettings(retrain_floor_days=floor)
    assert SCHEDULE.judge(see(False, age), settings).level is level
