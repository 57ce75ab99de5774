"""Jumps: splits, other companies and other units are found; crashes, crypto and pennies are not."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.data.jumps import find_jumps
from pipelines.data.sources import SOURCES, BarQuery

START = datetime(2010, 1, 4, tzinfo=UTC)


def bars_of(close, opened=None, volume=None, step=timedelta(days=1)) -> pl.DataFrame:
    n = len(close)
    none = pl.lit(None, dtype=pl.Float64)
    return pl.DataFrame({"close": close}).select(
        row=pl.int_range(1, n + 1),
        symbol=pl.lit("ABC"),
        timestamp=pl.Series([START + i * step for i in range(n)], dtype=pl.Datetime("us", "UTC")),
        open=none if opened is None else pl.Series(opened),
        close="close",
        volume=none if volume is None else pl.Series(volume),
    )


def walk(seed: int, deviation: float, n: int = 300):
    rng = np.random.default_rng(seed)
    return 100 * np.exp(np.cumsum(rng.normal(0, deviation, n)))


def sample(*symbols: str) -> pl.DataFrame:
    return SOURCES.get("sample").read(BarQuery(symbols=symbols)).frame.with_row_index("row", 1)


@pytest.mark.parametrize("ratio", ["3/2", "2", "3", "4", "7", "10", "20", "1/10", "1/2", "1/15"])
def test_a_split_is_found_at_its_bar_with_its_ratio(ratio):
    rng, n_found = np.random.default_rng(7), 0
    for seed in range(100):
        at = int(rng.integers(60, 270))
        close = walk(seed, rng.uniform(0.004, 0.02))
        close[at:] /= float(Fraction(ratio))
        for jump in find_jumps(bars_of(close)):
            assert (jump.symbol, jump.row, jump.time) == ("ABC", at + 1, START + timedelta(days=at))
            known = jump.ratio or Fraction(0)
            n_found += abs(float(known / Fraction(ratio)) - 1) < 0.11  # 15:1 may be told as 14:1
    assert n_found >= 90, n_found


@pytest.mark.parametrize(
    ("ratio", "written"), [(2, "2:1"), (1.5, "3:2"), (0.1, "1:10"), (1.25, "5:4")]
)
def test_a_ratio_is_written_as_new_to_old_and_small_ones_need_an_open(ratio, written):
    close = walk(1, 0.01)
    close[200:] /= ratio
    opened = np.append(close[0], close[:-1])
    opened[200] /= ratio
    (jump,) = find_jumps(bars_of(close, opened))
    assert jump.written == written
    assert len(find_jumps(bars_of(close))) == (ratio != 1.25)


def test_a_fall_within_the_day_is_no_split():
    close = walk(2, 0.01)
    close[200:] /= 2
    assert len(find_jumps(bars_of(close))) == 1
    assert find_jumps(bars_of(close, np.append(close[0], close[:-1]))) == []


def test_a_day_of_heavy_trade_is_no_split():
    close = walk(3, 0.01)
    close[200:] /= 2
    volume = np.full(300, 1e6)
    volume[200:] *= 2
    assert len(find_jumps(bars_of(close, volume=volume))) == 1
    volume[200] *= 8
    assert find_jumps(bars_of(close, volume=volume)) == []


def test_a_ticker_of_another_company_is_beyond_any_return():
    close = walk(4, 0.015)
    close[200:] *= 37.3
    (jump,) = find_jumps(bars_of(close))
    assert jump.is_beyond
    later = bars_of(close).with_columns(
        pl.when(pl.col("row") > 200)
        .then(pl.col("timestamp") + timedelta(days=1200))
        .otherwise("timestamp")
        .alias("timestamp")
    )
    assert [j.row for j in find_jumps(later)] == [201]


@pytest.mark.parametrize("factor", [10, 100, 10_000, 0.01])
def test_a_power_of_ten_may_be_another_unit(factor):
    close = walk(5, 0.02)
    close[150:] *= factor
    (jump,) = find_jumps(bars_of(close))
    assert jump.is_power_of_ten


def test_one_wrong_bar_is_found_there_and_back():
    close = walk(6, 0.01)
    close[150] *= 10
    there, back = find_jumps(bars_of(close))
    assert (there.written, back.written) == ("1:10", "10:1")
    assert back.undoes(there)


@pytest.mark.parametrize("step", [timedelta(minutes=5), timedelta(hours=1)])
def test_a_split_between_intraday_bars_is_judged_by_days(step):
    close = walk(7, 0.001, 12_000)
    close[7_000:] /= 4
    (jump,) = find_jumps(bars_of(close, step=step))
    assert (jump.row, jump.written) == (7_001, "4:1")


def test_real_bars_have_no_jump():
    assert find_jumps(sample()) == []  # 166,260 bars of 20 stocks: 1990, 2000, 2008, 2020
    assert find_jumps(sample("SP500", "NASDAQ")) == []


@pytest.mark.parametrize("leverage", [2, 3, -1, -2, -3])
def test_leveraged_funds_have_none(leverage):
    frame = sample("SP500", "NASDAQ")
    returns = (pl.col("close") / pl.col("close").shift()).fill_null(1.0).over("symbol") - 1
    made = (1 + leverage * returns).log().cum_sum().over("symbol").exp()
    none = pl.lit(None, dtype=pl.Float64)
    assert find_jumps(frame.with_columns(close=made, open=none, volume=none)) == []


def crash(before: float, day: float, after: float) -> np.ndarray:
    """Closes of a quiet market, its worst day, and the wild weeks behind it."""
    rng = np.random.default_rng(8)
    steps = np.concatenate(
        (rng.normal(0, before, 200), [np.log(1 + day)], rng.normal(0, after, 60))
    )
    return 100 * np.exp(np.cumsum(steps))


@pytest.mark.parametrize(
    ("before", "day", "after"),
    [(0.011, -0.205, 0.04), (0.025, -0.37, 0.06), (0.04, -0.52, 0.06), (0.08, 0.9, 0.15)],
    ids=["stocks in October 1987", "bitcoin in March 2020", "Apple in September 2000", "penny"],
)
def test_crashes_are_no_splits(before, day, after):
    assert find_jumps(bars_of(crash(before, day, after))) == []


def test_prices_of_a_few_ticks_have_none():
    rng = np.random.default_rng(9)
    close = rng.choice([0.01, 0.02, 0.03], 2_000, p=[0.9, 0.09, 0.01])
    assert find_jumps(bars_of(close)) == []


@given(seed=st.integers(0, 10_000), deviation=st.floats(0.002, 0.1))
@settings(max_examples=50, deadline=None)
def test_a_random_walk_has_none(seed, deviation):
    assert find_jumps(bars_of(walk(seed, deviation))) == []


def test_too_few_bars_are_not_judged():
    assert find_jumps(bars_of([1.0, 2.0, 3.0])) == []
    assert find_jumps(bars_of([100.0])) == []
    assert find_jumps(bars_of(pl.Series([], dtype=pl.Float64))) == []
