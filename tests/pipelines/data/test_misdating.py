"""Misdated columns betray themselves; honest bars, real ones too, do not."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from pipelines.data.bars import BarSeries
from pipelines.data.misdating import foresights, near_opens, outside_ranges
from pipelines.data.sources import SOURCES, BarQuery
from pipelines.recipes.plausible_data import dated_bars

REAL = ("SP500", "NASDAQ")
SYNTHETIC = ("SYN1", "SYN2")


@pytest.fixture(scope="module")
def honest():
    """Name -> bars of two real indices and two synthetic symbols."""
    every = SOURCES.get("sample").read(BarQuery(symbols=REAL)).series()
    made = SOURCES.get("synthetic").read(BarQuery(symbols=SYNTHETIC, seed=4)).series()
    return {series.symbol: series for series in (*every, *made)}


def early(series, *columns):
    """The bars with these columns of tomorrow dated today."""
    cut = series.slice(0, len(series) - 1)
    return replace(cut, **{c: getattr(series, c)[1:] for c in columns})


def gates(*every):
    return {row.gate.removeprefix("plausibility."): row for row in dated_bars(every)}


@pytest.mark.parametrize("name", [*REAL, *SYNTHETIC])
def test_honest_bars_are_plausible(honest, name):
    found = gates(honest[name])
    assert {gate: row.passed for gate, row in found.items()} == dict.fromkeys(found, True)
    assert found["opens"].value > 0.69
    assert found["ranges"].value == 0.0


@pytest.mark.parametrize("name", [*REAL, *SYNTHETIC])
def test_tomorrow_s_high_low_and_close_dated_today_are_refused(honest, name):
    found = gates(early(honest[name], "high", "low", "close"))
    assert found["opens"].value < 0.545
    assert not found["opens"].passed and not found["ranges"].passed


@pytest.mark.parametrize(
    ("columns", "caught_by"),
    [
        (("close",), {"opens", "ranges"}),
        (("high", "low"), {"ranges"}),
        (("high",), {"ranges"}),
        (("low",), {"ranges"}),
    ],
)
@pytest.mark.parametrize("name", [*REAL, *SYNTHETIC])
def test_any_price_of_tomorrow_dated_today_is_refused(honest, name, columns, caught_by):
    found = gates(early(honest[name], *columns))
    assert {gate for gate, row in found.items() if not row.passed} == caught_by


def test_one_misdated_symbol_among_honest_ones_is_found_and_named(honest):
    wrong = early(honest["NASDAQ"], "high", "low", "close")
    found = gates(honest["SP500"], wrong, honest["SYN1"])
    assert not found["opens"].passed
    assert "those of NASDAQ, the worst of 3 symbols" in found["opens"].note


def test_many_short_symbols_are_judged_together(honest):
    wrong = early(honest["SP500"], "high", "low", "close")
    parts = [replace(wrong.slice(i, i + 100), symbol=f"S{i}") for i in range(0, 500, 100)]
    found = gates(*parts)
    assert not found["opens"].passed
    assert "those of the shorter symbols together" in found["opens"].note
    assert gates(*parts[:2])["opens"].applicable is False  # 196 bars tell nothing


def test_bars_of_closes_alone_are_not_judged_by_opens_and_ranges():
    (series,) = SOURCES.get("sample").read(BarQuery(symbols=("AAPL",))).series()
    found = gates(series)
    assert [found[gate].applicable for gate in ("opens", "ranges", "columns")] == [0, 0, 1]
    assert found["opens"].note == "there are no 250 bars with opens"


def test_bars_on_which_nothing_moves_say_nothing():
    """A market that trades seldom has the same close twice, and opens there."""
    rng = np.random.default_rng(0)
    move = np.where(rng.random(4000) < 0.4, 0.01 * rng.standard_normal(4000), 0.0)
    close = np.exp(np.cumsum(move))
    unknown = np.full(4000, np.nan)
    opened = np.concatenate(([1.0], close[:-1]))
    times = np.arange(4000, dtype=np.int64)
    bars = BarSeries("A", times, opened, unknown, unknown, close, unknown, unknown, unknown)
    counted = near_opens(bars)
    assert counted.share == 1.0
    assert counted.n_bars < 2000
    assert outside_ranges(bars).n_bars == 0


# Columns beside the prices ---------------------------------------------------------------------


def test_a_volume_that_ranks_the_next_return_is_refused_and_named(honest):
    series, rng = honest["SP500"], np.random.default_rng(1)
    ahead = np.append(np.diff(np.log(series.close)), 0.0)
    flow = np.exp(20 * ahead + 0.5 * rng.standard_normal(len(series)))
    row = gates(replace(series, volume=flow))["columns"]
    assert (row.value, row.passed) == (1.0, False)
    assert row.note.startswith("volume of SP500 ranks the next return by +0.3")


def test_the_correlation_is_spearman_s(honest):
    from scipy.stats import spearmanr

    series = honest["NASDAQ"]
    (found,) = foresights(series)
    mean = pl.Series(series.volume).rolling_mean(20).to_numpy()
    above, ahead = (series.volume - mean)[19:-1], np.diff(np.log(series.close))[19:]
    assert found.correlation == pytest.approx(spearmanr(above, ahead).statistic)
    assert found.limit == 0.15


@pytest.mark.parametrize("seed", range(8))
def test_noise_of_the_fewest_bars_is_no_foresight(seed):
    rng, n = np.random.default_rng(seed), 270
    unknown = np.full(n, np.nan)
    close, volume = np.exp(np.cumsum(0.01 * rng.standard_normal(n))), rng.random(n)
    times = np.arange(n, dtype=np.int64)
    bars = BarSeries("A", times, unknown, unknown, unknown, close, volume, unknown, unknown)
    (found,) = foresights(bars)
    assert found.limit == pytest.approx(4 / 250**0.5)
    assert abs(found.correlation) < found.limit
