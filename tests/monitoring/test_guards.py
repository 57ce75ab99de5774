from datetime import UTC, datetime, timedelta

import pytest

from monitoring.cycles import Cycle, State
from monitoring.guards import blocked, clock, cooldown, held, rejects_in_a_row
from monitoring.reports import DriftReport
from monitoring.settings import MonitoringSettings

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
AS_OF = datetime(2008, 2, 6, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def report(new_bars: int = 500) -> DriftReport:
    facts = {"new_labelled_bars": new_bars}
    return DriftReport("m", 1, AS_OF - 20 * DAY, AS_OF, 9, "drift", 1.0, {}, {}, facts, None, NOW)


def cycle(outcome=None, *, run=NOW, opened=NOW, as_of=AS_OF, **evidence) -> Cycle:
    facts = {"outcome": outcome, "run_at": run and run.isoformat()} | evidence
    return Cycle(
        1, "m", State.OBSERVE, 1, None, "data_drift", as_of, "j", "", facts, opened, None, NOW
    )


@pytest.mark.parametrize(
    ("settings", "past", "found"),
    [
        ({}, [], ""),
        ({"retrain_enabled": False}, [], "RETRAIN_ENABLED is false"),
        ({"retrain_min_new_bars": 501}, [], "500 newly labelled bar times, 501 needed"),
        ({}, [cycle(run=NOW - HOUR)], "1 runs in the last day, the budget is 1"),
        ({}, [cycle(run=NOW - HOUR, opened=NOW - 90 * DAY)], "1 runs in the last day"),
        ({}, [cycle(run=None)], ""),
        ({}, [cycle(run=NOW - n * DAY) for n in (2, 3, 4)], "3 runs in the last week"),
        ({}, [cycle(run=NOW - n * DAY) for n in (2, 3, 8)], ""),
        ({"retrain_clock": "as_of"}, [cycle(as_of=NOW - 9 * DAY)], ""),
    ],
)
def test_each_guard_blocks_and_says_why(settings, past, found):
    reason = blocked(past, report(), NOW, MonitoringSettings(**settings))
    assert reason.startswith(found) and bool(reason) == bool(found)


def test_the_clock_is_real_time_unless_the_windows_are_asked_for():
    assert clock(MonitoringSettings(retrain_clock="as_of"), report()) == AS_OF
    assert clock(MonitoringSettings(), report()) > NOW - 400 * DAY
    assert clock(MonitoringSettings(retrain_clock="as_of"), None) > AS_OF


@pytest.mark.parametrize(
    ("past", "count"),
    [
        ([], 0),
        ([cycle("rejected"), cycle(), cycle("rejected"), cycle("promoted")], 2),
        ([cycle("promoted"), cycle("rejected")], 0),
        ([cycle("rejected"), cycle("rejected", resumed=True), cycle("rejected")], 1),
    ],
)
def test_rejects_are_counted_back_to_a_promotion_or_a_resume(past, count):
    assert rejects_in_a_row(past) == count


@pytest.mark.parametrize(
    ("past", "found"),
    [
        ([cycle("promoted")] * 2, ""),
        ([cycle("promoted")] * 3, "3 new champions in a week, 2 allowed"),
        ([cycle("promoted")] * 2 + [cycle("promoted", run=NOW - 8 * DAY)], ""),
        ([cycle("promoted")] * 2 + [cycle("promoted", resumed=True)] * 2, ""),
        ([cycle("rejected")] * 2 + [cycle("promoted")], ""),
        ([cycle("rejected")] * 3, "3 rejects in a row"),
    ],
)
def test_the_loop_stops_after_rejects_in_a_row_and_when_champions_change_too_often(past, found):
    reason = held(past, NOW, MonitoringSettings())
    assert reason.startswith(found) and bool(reason) == bool(found)


def test_the_cooldown_doubles_with_each_reject():
    settings = MonitoringSettings(retrain_cooldown_days=3)
    assert [cooldown(NOW, n, settings) - NOW for n in range(3)] == [3 * DAY, 6 * DAY, 12 * DAY]
