"""Wall-clock times in an hour that clocks repeat: exact where the rows show it, never too early."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipelines.data.sources.times import to_utc

CHANGES = {  # the last instant of daylight time
    "America/New_York": datetime(2024, 11, 3, 6, tzinfo=UTC),
    "Europe/Berlin": datetime(2024, 10, 27, 1, tzinfo=UTC),
    "Australia/Lord_Howe": datetime(2024, 4, 6, 15, tzinfo=UTC),
    "Europe/Moscow": datetime(2014, 10, 25, 22, tzinfo=UTC),
}


def written(times: list[datetime], zone: str, **columns) -> pl.DataFrame:
    naive = [t.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for t in times]
    return pl.DataFrame(
        {
            "row": range(1, len(times) + 1),
            "symbol": ["A"] * len(times),
            "timestamp": pl.Series(naive, dtype=pl.Datetime("us")),
            "close": [float(i) for i in range(len(times))],
            **columns,
        }
    )


def around(zone: str, step: timedelta) -> list[datetime]:
    first, n = CHANGES[zone] - timedelta(hours=4), timedelta(hours=8) // step
    return [first + i * step for i in range(n)]


@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize("minutes", [1, 5, 15, 30])
@pytest.mark.parametrize("way", [1, -1])
def test_whole_hours_are_read_exactly_in_either_order(zone, minutes, way):
    times = around(zone, timedelta(minutes=minutes))[::way]
    utc, skipped, n_repeated = to_utc(written(times, zone), zone)
    assert utc["timestamp"].to_list() == times
    assert len(skipped) == 0
    assert n_repeated >= (60 if zone == "Australia/Lord_Howe" else 120) // minutes


@given(
    zone=st.sampled_from(sorted(CHANGES)),
    minutes=st.sampled_from([10, 15, 30, 60]),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_no_time_is_read_too_early_whatever_is_missing_or_twice(zone, minutes, data):
    times = around(zone, timedelta(minutes=minutes))
    kept = data.draw(st.lists(st.sampled_from(times), min_size=1, unique=True))
    kept.sort(reverse=data.draw(st.booleans()))
    values = [float(t.timestamp()) for t in kept]
    twice = data.draw(st.booleans())
    rows = [*kept, kept[-1]] if twice else kept
    frame = written(rows, zone).with_columns(close=pl.Series([*values, *values[-1:]][: len(rows)]))
    assume(frame["timestamp"].dt.time().n_unique() > 1)  # midnights alone are dates
    utc, _, _ = to_utc(frame, zone)
    read = dict(zip(utc["row"].to_list(), utc["timestamp"].to_list(), strict=True))
    for row, true in enumerate(rows, start=1):
        assert read[row] >= true
        assert read[row] - true in (timedelta(), timedelta(minutes=30), timedelta(hours=1))


def test_a_missing_first_hour_is_the_second_hour():
    zone = "America/New_York"
    times = [CHANGES[zone] + timedelta(hours=h) for h in (-2, 0, 1)]  # 05:00 is missing
    utc, _, n_repeated = to_utc(written(times, zone), zone)
    assert utc["timestamp"].to_list() == times
    assert n_repeated == 1


def test_rows_of_a_table_may_share_a_time():
    zone = "America/New_York"
    last = CHANGES[zone] + timedelta(minutes=10)
    times = [last, last, last]
    utc, _, _ = to_utc(written(times, zone), zone, is_unique=False)
    assert utc["timestamp"].to_list() == times


def test_rows_out_of_order_show_nothing():
    zone = "America/New_York"
    hours = (-3, 1, -2, 0, -1)
    times = [CHANGES[zone] + timedelta(hours=h) for h in hours]
    utc, _, _ = to_utc(written(times, zone), zone)
    assert utc["timestamp"].to_list() == [
        max(t, CHANGES[zone]) if h == -1 else t for h, t in zip(hours, times, strict=True)
    ]
