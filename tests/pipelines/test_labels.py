"""Labels against pandas and against a slow triple barrier written bar by bar."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import labels
from pipelines.features import FEATURE_SETS


@pytest.fixture
def close():
    return 100 * np.exp(np.cumsum(0.01 * np.random.default_rng(0).standard_normal(700)))


def test_ewma_variance_equals_pandas(close):
    returns = pd.Series(np.log(close)).diff()
    expected = (returns**2).ewm(alpha=0.06, adjust=True, min_periods=22).mean()
    np.testing.assert_allclose(labels.ewma_variance(close), expected, rtol=1e-12)


def test_ewma_deviation_equals_pandas(close):
    expected = pd.Series(np.log(close)).diff().ewm(span=100, min_periods=22).std()
    np.testing.assert_allclose(labels.ewma_deviation(close), expected, rtol=1e-10)


def test_ewma_variance_is_the_feature_that_stands_in_for_it(make_series):
    series = make_series(600)
    feature_set = FEATURE_SETS.get("close_only")
    column = feature_set.feature_names.index("log_ewma_variance")
    feature = feature_set.compute(series)[:, column]
    np.testing.assert_allclose(np.log(labels.ewma_variance(series.close)), feature, rtol=1e-9)


def test_realised_variance_is_the_mean_over_the_bars_after_the_decision(close):
    squares = pd.Series(np.log(close)).diff() ** 2
    expected = squares.rolling(5).mean().shift(-5)
    np.testing.assert_allclose(labels.realised_variance(close, 5), expected, rtol=1e-9)


def test_flat_prices_and_short_series_are_finite_or_unknown():
    assert labels.ewma_variance(np.full(50, 7.0))[-1] == labels.VARIANCE_FLOOR
    assert np.isnan(labels.realised_variance(np.array([1.0, 2.0]), 5)).all()
    assert labels.end_times(np.array([10, 20, 30]), 2).tolist() == [30, -1, -1]
    assert labels.ewma_variance(np.array([1.0])).shape == (1,)


def walked(path, width, horizon, t):
    """One decision, bar by bar, as the definition reads."""
    upper, lower = path.fill[t] * math.exp(width[t]), path.fill[t] * math.exp(-width[t])
    for step in range(path.first, path.first + horizon):
        u = t + step
        if u >= len(path.close) or math.isnan(upper):
            return math.nan, -1, math.nan
        if path.open is not None and step > path.first:
            if path.open[u] >= upper:
                return labels.BUY, step, path.open[u]
            if path.open[u] <= lower:
                return labels.SELL, step, path.open[u]
        if path.low[u] <= lower:
            return labels.SELL, step, min(lower, path.high[u])
        if path.high[u] >= upper:
            return labels.BUY, step, max(upper, path.low[u])
    return labels.HOLD, path.first + horizon - 1, path.close[t + path.first + horizon - 1]


def path_of(series, fill, ranged):
    at_open = fill == "next_open"
    return labels.Path(
        labels.later(series.open if at_open else series.close, 1),
        1 if at_open else 2,
        series.open if at_open and ranged else None,
        series.high if ranged else series.close,
        series.low if ranged else series.close,
        series.close,
    )


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    horizon=st.integers(1, 7),
    scale=st.floats(0.001, 0.05),
    fill=st.sampled_from(["next_open", "next_close"]),
    ranged=st.booleans(),
)
def test_triple_barrier_equals_a_walk_bar_by_bar(make_series, seed, horizon, scale, fill, ranged):
    path = path_of(make_series(60, seed=seed), fill, ranged)
    width = np.full(60, scale)
    found = labels.triple_barrier(path, width, horizon)
    y, bars, price = zip(*(walked(path, width, horizon, t) for t in range(60)), strict=True)
    np.testing.assert_array_equal(found.y, y)
    np.testing.assert_array_equal(found.bars, bars)
    np.testing.assert_allclose(found.log_return, np.log(np.array(price) / path.fill), atol=1e-12)


def one_decision(opened, high, low, close, horizon=2):
    """Decision at bar 0, filled at the open of bar 1; barriers 10 % away."""
    arrays = [np.array(a, dtype=float) for a in (opened, high, low, close)]
    path = labels.Path(labels.later(arrays[0], 1), 1, arrays[0], arrays[1], arrays[2], arrays[3])
    touches = labels.triple_barrier(path, np.full(len(close), math.log(1.1)), horizon)
    return touches.y[0], touches.bars[0], math.exp(touches.log_return[0]) * 100, touches


def test_a_bar_that_touches_both_barriers_counts_as_the_adverse_one():
    y, bars, price, touches = one_decision([99, 100, 100], [99, 115, 100], [99, 85, 100], [99] * 3)
    assert (y, bars) == (labels.SELL, 1)
    assert price == pytest.approx(100 / 1.1)
    assert touches.ambiguous[0] == 1


def test_an_open_that_gaps_through_a_barrier_exits_at_the_open():
    y, bars, price, touches = one_decision([99, 100, 120], [99, 101, 121], [99, 99, 80], [99] * 3)
    assert (y, bars) == (labels.BUY, 2)
    assert price == pytest.approx(120)
    assert touches.ambiguous[0] == 0


def test_an_untouched_path_exits_at_the_close_h_bars_after_the_fill():
    y, bars, price, _ = one_decision(
        [99, 100, 100], [99, 101, 101], [99, 99, 99], [99, 99.5, 100.5]
    )
    assert (y, bars) == (labels.HOLD, 2)
    assert price == pytest.approx(100.5)


def test_a_touch_is_known_before_the_vertical_barrier_is():
    y, bars, _, _ = one_decision([99, 100], [99, 115], [99, 99], [99, 112], horizon=5)
    assert (y, bars) == (labels.BUY, 1)


def test_an_incomplete_path_has_no_label():
    y, bars, _, _ = one_decision([99, 100], [99, 101], [99, 99], [99, 100], horizon=5)
    assert math.isnan(y)
    assert bars == -1
