"""What is believed of a feed."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from pipelines.data.sources.arrivals import ArrivalLimits, believed
from pipelines.data.sources.store import BarStore

NOW = datetime(2024, 6, 3, 15, 30, tzinfo=UTC)
START = datetime(2024, 5, 20, tzinfo=UTC)


def bars(closes, first=0, symbol="ABC", start=START, step=timedelta(days=1)):
    times = [start + step * (first + i) for i in range(len(closes))]
    return pl.DataFrame({"symbol": [symbol] * len(closes), "timestamp": times, "close": closes})


@pytest.fixture
def store(tmp_path):
    store = BarStore(tmp_path)
    store.append(bars([100.0, 101.0]), "1d", "raw")
    return store


def arrive(store, frame, interval="1d", **limits):
    return store.append(frame, interval, "raw", ArrivalLimits(**limits))


def test_one_wrong_bar_keeps_no_other_out(store):
    frame = pl.concat([bars([99.0], 2), bars([5000.0], 3), bars([50.0, 51.0], 2, "XYZ")])
    report = arrive(store, frame)
    assert (report.accepted, report.conflicts) == (3, ())
    assert report.refused == (
        "ABC 2024-05-23 00:00: its close is 10 times off the bars beside it or more (LARGEST_MOVE)",
    )
    assert store.tail("1d", "ABC", 1)["close"].to_list() == [99.0]


@pytest.mark.parametrize(
    ("closes", "first", "refused"),
    [
        ([9.9], 2, [2]),
        ([10.2], 2, []),
        ([1011.0], 2, [2]),
        ([1009.0], 2, []),
        ([1.0, 100.0], 2, [2]),  # a wrong bar among right ones
        ([5.0, 5.1], 2, []),  # a split: the next bar confirms it
        ([5.0, 5.1, 0.01], 2, [4]),
        ([1e-9], -1, []),  # before the first: nothing to compare with
        ([9.9], 60, []),  # two months later anything may have happened
    ],
)
def test_a_close_far_off_the_bars_beside_it_is_left_out(store, closes, first, refused):
    report = arrive(store, bars(closes, first))
    assert report.accepted == len(closes) - len(refused)
    assert [line[4:14] for line in report.refused] == [
        f"{START + timedelta(days=day):%Y-%m-%d}" for day in refused
    ]


def test_a_late_bar_is_compared_with_both_sides(store):
    store.append(bars([102.0], 5), "1d", "raw")
    assert arrive(store, bars([1020.0], 3)).accepted == 1  # 10.1 and 10.0 times
    assert len(arrive(store, bars([1040.0], 2)).refused) == 0  # beside 1020
    assert len(arrive(store, bars([0.5], 4)).refused) == 1


def test_any_move_and_only_known_symbols_are_settings(store):
    assert arrive(store, bars([1e9], 2), largest_move=0.0).accepted == 1
    report = arrive(store, bars([1.0, 2.0], 2, "APPL"), takes_new_symbols=False)
    assert report.accepted == 0
    told = "no bar of this symbol is held (NEW_SYMBOLS)"
    assert report.refused == (
        f"APPL 2024-05-22 00:00: {told}",
        f"APPL 2024-05-23 00:00: {told}",
    )
    assert store.symbols("1d") == ("ABC",)


@pytest.mark.parametrize(
    ("interval", "at", "is_believed"),
    [
        ("1h", NOW, True),
        ("1h", NOW + timedelta(seconds=60), True),
        ("1h", NOW + timedelta(seconds=61), False),
        ("1d", datetime(2024, 6, 4, tzinfo=UTC), True),  # labelled by its end
        ("1d", datetime(2024, 6, 5, tzinfo=UTC), False),
        ("1w", datetime(2024, 6, 10, tzinfo=UTC), True),
        ("1w", datetime(2024, 6, 11, tzinfo=UTC), False),
    ],
)
def test_a_bar_of_the_future_is_left_out(store, interval, at, is_believed):
    frame = pl.DataFrame({"symbol": ["ABC"], "timestamp": [at], "close": [100.0]})
    held = store.held("1d")
    kept, refused = believed(frame, held, interval, ArrivalLimits(), NOW)
    assert (len(kept), len(refused)) == ((1, 0) if is_believed else (0, 1))
