"""Drift reports: which are read back for the k-of-n rule of each trigger."""

from datetime import timedelta

import pytest

from monitoring import reports

MODEL, DAY = "watched", timedelta(days=1)
BOTH = ("data_drift", "performance")


def store(engine, world) -> list:
    """Twelve reports five days apart: each third counts for drift, each sixth for performance."""
    found = []
    for i in range(12):
        named = [name for name, step in (("data_drift", 3), ("performance", 6)) if i % step == 0]
        found.append(world.make_report(5 * i, counts_for=named))
    with engine.begin() as connection:
        assert all(reports.save(connection, report) for report in found)
    return found


def check(engine, world) -> None:
    all_of_them = store(engine, world)
    ends = [report.window_end for report in all_of_them]

    def places(n, **wanted):
        found = reports.counting(engine, MODEL, 1, BOTH, n, **wanted)
        return [ends.index(report.window_end) for report in found]

    assert places(5) == [0, 3, 6, 9, 11]  # the newest counts for none
    assert places(1) == [6, 9, 11]
    assert places(2, until=ends[8]) == [0, 3, 6, 8]
    assert reports.counting(engine, MODEL, 2, BOTH, 5) == []
    assert reports.last_counted(engine, MODEL, 1, "data_drift", ends[9]) == ends[6]
    assert reports.last_counted(engine, MODEL, 1, "performance", ends[11]) == ends[6]
    assert reports.last_counted(engine, MODEL, 1, "data_drift", ends[0]) is None


def test_the_newest_report_and_those_that_count_are_read_back(engine, world):
    check(engine, world)


@pytest.mark.postgres
def test_postgresql_reads_the_same_back(postgres_engine, world):
    check(postgres_engine, world)


def test_reports_of_earlier_releases_count_for_every_trigger(engine, world):
    old = [world.make_report(5 * i) for i in range(3)]
    with engine.begin() as connection:
        assert all(reports.save(connection, report) for report in old)
    assert len(reports.counting(engine, MODEL, 1, BOTH, 5)) == 3
    end = old[2].window_end
    assert reports.last_counted(engine, MODEL, 1, "performance", end) == old[1].window_end
