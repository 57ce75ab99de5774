"""What every feature set guarantees (`pipelines.data.features`), for all names of the catalog."""

from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.data.bars import BarSeries
from pipelines.data.features import (
    FEATURE_SETS,
    FeatureSet,
    check_columns,
    compute_all,
    fingerprint,
    is_panel,
    windows,
)
from pipelines.data.features.streaming import FeatureStream, bar_at
from pipelines.data.sources import SOURCES, BarQuery
from registry.errors import BarsError, MissingColumnsError

pytestmark = pytest.mark.usefixtures("compiled_kernels")

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "features.md"
N_BARS = 700


@pytest.fixture(params=list(FEATURE_SETS), scope="module")
def feature_set(request) -> FeatureSet:
    return FEATURE_SETS.get(request.param)


@pytest.fixture(params=[name for name in FEATURE_SETS if name != "cross_section"], scope="module")
def single_set(request) -> FeatureSet:
    """A set of single symbols; tests/pipelines/data/features/test_universe.py has the panel set."""
    return FEATURE_SETS.get(request.param)


def compute(feature_set: FeatureSet, series: BarSeries) -> np.ndarray:
    """Return the features of a series, for a panel set as the first of a universe."""
    return compute_all(feature_set, universe(feature_set, series))[0]


def universe(feature_set: FeatureSet, series: BarSeries) -> list[BarSeries]:
    """Return the series, and for a panel set companions that move with it and by themselves.

    A companion's bar is a function of the series' bar: cutting one cuts all.
    """
    n_others = feature_set.min_symbols - 1 if is_panel(feature_set) else 0
    day = series.timestamp / 86_400_000_000
    factors = [np.exp(0.03 * np.sin((i + 1.7) * day)) for i in range(n_others)]
    others = [
        replace(series, symbol=f"O{i}", close=series.close * f) for i, f in enumerate(factors)
    ]
    return [series, *others]


def random_series(seed: int, n: int = N_BARS) -> BarSeries:
    """Bars with fat tails, stretches of flat prices, bars without range and without volume."""
    rng = np.random.default_rng(seed)
    returns = 0.01 * rng.standard_t(3, n) * (rng.random(n) > 0.1)
    returns[200:230] = 0
    close = 50 * np.exp(np.cumsum(returns))
    opened = close * np.exp(0.004 * rng.standard_normal(n) * (rng.random(n) > 0.2))
    wick = 0.01 * rng.random((2, n)) * (rng.random(n) > 0.2)
    high = np.maximum(opened, close) * (1 + wick[0])
    low = np.minimum(opened, close) * (1 - wick[1])
    volume = np.round(1e5 * rng.random(n)) * (rng.random(n) > 0.1)
    time = np.arange(n, dtype=np.int64) * 86_400_000_000
    vwap, none = 0.5 * (high + low), np.full(n, np.nan)
    return BarSeries("TEST", time, opened, high, low, close, volume, vwap, none)


def flat_series(volume: float) -> BarSeries:
    flat, none = np.full(N_BARS, 7.5), np.full(N_BARS, np.nan)
    time = np.arange(N_BARS, dtype=np.int64)
    return BarSeries("FLAT", time, flat, flat, flat, flat, np.full(N_BARS, volume), flat, none)


@cache
def real_and_synthetic_series() -> list[BarSeries]:
    sample = SOURCES.get("sample").read(BarQuery(symbols=("SP500", "NASDAQ")))
    synthetic = SOURCES.get("synthetic").read(BarQuery(symbols=("S1", "S2"), seed=1))
    series = [*sample.series(), *synthetic.series()]
    return [replace(s, vwap=(s.high + s.low + s.close) / 3) for s in series]


def scaled(series: BarSeries, price: float) -> BarSeries:
    columns = ("open", "high", "low", "close", "vwap")
    return replace(series, **{c: getattr(series, c) * price for c in columns})


def largest_tail_error(
    feature_set: FeatureSet, histories: list[tuple[BarSeries, np.ndarray]], n_bars: int
) -> float:
    """Return how far the newest row over n bars is from its full-history value, at worst."""
    worst = 0.0
    for series, full in histories:
        for end in range(800, len(series) + 1, 550):
            newest = compute(feature_set, series.slice(end - n_bars, end))[-1]
            error = np.abs(newest - full[end - 1]) / np.maximum(1, np.abs(full[end - 1]))
            worst = max(worst, float(np.nan_to_num(error, nan=np.inf).max()))
    return worst


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), t=st.integers(1, N_BARS - 1))
def test_no_feature_looks_ahead(feature_set, seed, t):
    series = random_series(seed)
    past, all_of_it = compute(feature_set, series.slice(0, t + 1)), compute(feature_set, series)
    np.testing.assert_allclose(past[t], all_of_it[t], rtol=1e-9, atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_scale_of_price_changes_nothing(feature_set, seed):
    series = random_series(seed)
    values = compute(feature_set, series)
    for price in (1000.0, 1e-4):
        other = compute(feature_set, scaled(series, price))
        np.testing.assert_allclose(other, values, rtol=1e-6, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_values_are_finite_once_warm(feature_set, seed):
    values = compute(feature_set, random_series(seed))
    assert not np.isinf(values).any()
    assert np.isfinite(values[feature_set.min_history - 1 :]).all()


def test_flat_prices_give_finite_values(feature_set):
    flat = flat_series(volume=3.0)
    assert np.isfinite(compute(feature_set, flat)[feature_set.min_history - 1 :]).all()


def test_bars_without_volume_give_finite_values_or_are_refused(feature_set):
    silent = flat_series(volume=0.0)
    expected = (
        pytest.raises(BarsError, match="FLAT: every volume is zero")
        if feature_set.needs_trades
        else nullcontext()
    )
    with expected:
        check_columns(feature_set, silent)
        assert np.isfinite(compute(feature_set, silent)[feature_set.min_history - 1 :]).all()


def test_min_history_is_enough_and_half_of_it_is_not(feature_set):
    histories = [(s, compute(feature_set, s)) for s in real_and_synthetic_series()]
    assert largest_tail_error(feature_set, histories, feature_set.min_history) < 1e-6
    assert largest_tail_error(feature_set, histories, feature_set.min_history // 2) > 1e-6


@pytest.mark.parametrize("start", [500, 560])
def test_a_streamed_row_is_the_row_of_the_batch(single_set, start):
    series = random_series(8)
    stream = FeatureStream(single_set, series.slice(0, start), "1d")
    rows = [stream.update(bar_at(series, at)) for at in range(start, len(series))]
    expected = compute(single_set, series)[start:]
    np.testing.assert_allclose(rows, expected, rtol=1e-10, atol=1e-12)


def test_a_forming_bar_changes_no_state(single_set):
    series, other = random_series(8), random_series(9)
    stream = FeatureStream(single_set, series.slice(0, 600), "1d")
    for at in range(600, 640):
        forming = replace(bar_at(other, at), timestamp=int(series.timestamp[at]))
        stream.peek(forming)
        peeked = stream.peek(bar_at(series, at))
        np.testing.assert_array_equal(peeked, stream.update(bar_at(series, at)))
    undisturbed = FeatureStream(single_set, series.slice(0, 600), "1d")
    np.testing.assert_array_equal(undisturbed.follow(series.slice(0, 640)), stream.newest)


def test_a_restart_from_persisted_history_is_no_restart(single_set):
    series = random_series(8)
    running = FeatureStream(single_set, series.slice(0, 560), "1d", window=3)
    running.follow(series.slice(0, 650))
    restarted = FeatureStream(single_set, series.slice(0, 650), "1d", window=3)
    short = FeatureStream(single_set, series.slice(650 - single_set.min_history, 650), "1d")
    np.testing.assert_allclose(running.newest, restarted.newest, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(running.newest[-1:], short.newest, rtol=1e-6, atol=1e-6)
    for at in range(650, N_BARS):
        row = running.update(bar_at(series, at))
        np.testing.assert_allclose(restarted.update(bar_at(series, at)), row, rtol=1e-10)
        np.testing.assert_allclose(short.update(bar_at(series, at)), row, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n", [0, 1, 2, 30])
def test_few_bars_give_rows_of_nan(feature_set, n):
    values = compute(feature_set, random_series(1, N_BARS).slice(0, n))
    assert values.shape == (n, len(feature_set.feature_names))
    assert np.isnan(values).any(axis=1).all()


def test_names_are_unique_and_aliases_lead_to_them(feature_set):
    assert len(set(feature_set.feature_names)) == len(feature_set.feature_names)
    assert set(feature_set.feature_names) <= set(feature_set.aliases)
    assert {a.feature for a in feature_set.aliases.values()} == set(feature_set.feature_names)


def test_absent_columns_are_refused(feature_set):
    series = random_series(1)
    check_columns(feature_set, series)
    for column in feature_set.needs:
        arrays = {c: getattr(series, c) for c in BarSeries.__slots__}
        arrays[column] = np.full(len(series), np.nan)
        with pytest.raises(MissingColumnsError, match=f"needs the columns {column}"):
            check_columns(feature_set, BarSeries(**arrays))


def test_fingerprint_tells_definitions_apart(feature_set):
    assert fingerprint(feature_set) == fingerprint(feature_set)
    prints = {fingerprint(FEATURE_SETS.get(name)) for name in FEATURE_SETS}
    assert len(prints) == len(list(FEATURE_SETS))


def test_windows_end_at_their_row(feature_set):
    values = compute(feature_set, random_series(2))
    inputs = windows(values, [600, 601], window=3)
    assert inputs.shape == (2, 3, len(feature_set.feature_names))
    np.testing.assert_array_equal(inputs[0, -1], values[600].astype(np.float32))


def test_every_feature_and_alias_is_documented(feature_set):
    text = DOCUMENTATION.read_text()
    assert f"`{feature_set.name}`" in text
    assert [n for n in feature_set.aliases if f"`{n}`" not in text] == []
