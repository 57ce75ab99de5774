"""Labels against pandas and against a slow triple barrier written bar by bar."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.data.features import FEATURE_SETS
from pipelines.method import labels


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


def test_a_bar_without_variance_is_left_out_of_the_mean():
    variance = np.concatenate(([np.nan], np.random.default_rng(1).random(99)))
    variance[50] = np.nan
    found = labels.ewma_mean(variance)
    expected = pd.Series(variance).ewm(alpha=0.06, min_periods=22).mean()
    expected[50] = np.nan
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_garman_klass_is_unbiased_and_less_noisy_than_a_squared_return():
    rng = np.random.default_rng(3)
    steps = 0.01 / 20 * rng.standard_normal((4000, 400))  # a day of 400 steps, sd 1 %
    path = np.cumsum(steps, axis=1)
    opened = 0.004 * rng.standard_normal(4000) + np.cumsum(np.r_[0.0, path[:-1, -1]])
    prices = 100 * np.exp(opened[:, None] + np.column_stack((np.zeros(4000), path)))
    open_, close = prices[:, 0], prices[:, -1]
    found = labels.garman_klass(open_, prices.max(axis=1), prices.min(axis=1), close)[1:]
    overnight = np.log(open_[1:] / close[:-1]) ** 2
    inside = found - overnight
    assert inside.mean() == pytest.approx(1e-4, rel=0.12)  # 400 steps miss the extremes a little
    assert np.log(close / open_).var() / inside.var() ** 0.5 > 1.6  # sd of r^2 is sqrt(2) of it
    assert np.isnan(labels.garman_klass(open_, open_, open_, open_)[0])


def test_means_ahead_and_back_equal_pandas(close):
    values = np.abs(labels.log_returns(close))
    ahead = pd.Series(values).rolling(5).mean().shift(-5)
    np.testing.assert_allclose(labels.mean_ahead(values, 5), ahead, rtol=1e-9)
    back = pd.Series(values).rolling(22).mean()
    np.testing.assert_allclose(labels.mean_back(values, 22), back, rtol=1e-9)


def test_a_return_ahead_is_what_a_decision_at_the_close_can_still_earn():
    opened, close = np.array([1.0, 2.0, 4.0, 8.0]), np.array([1.5, 3.0, 6.0, 12.0])
    at_open = labels.return_ahead(opened, close, 2, at_open=True)
    np.testing.assert_allclose(at_open[:2], np.log([6.0 / 2.0, 12.0 / 4.0]))
    at_close = labels.return_ahead(opened, close, 2, at_open=False)
    np.testing.assert_allclose(at_close[:1], np.log([12.0 / 3.0]))
    assert np.isnan(at_open[2:]).all() and np.isnan(at_close[1:]).all()


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


def test_ewma_of_whole_and_of_broken_variances_is_one_recursion(close):
    whole = labels.log_returns(close) ** 2
    broken = whole.copy()
    broken[-1] = np.nan  # takes the other way, and tells the same of every bar before
    assert np.array_equal(
        labels.ewma_mean(whole)[:-1], labels.ewma_mean(broken)[:-1], equal_nan=True
    )
