"""Indicators where TA-Lib's own are not used, and their rules for degenerate bars."""

import numpy as np
import pandas as pd
import pytest
import talib

from pipelines.data.features import indicators as ind


@pytest.fixture
def price() -> np.ndarray:
    rng = np.random.default_rng(7)
    return 100 * np.exp(np.cumsum(0.01 * rng.standard_normal(800)))


def test_rolling_sums_skip_leading_nan_and_lose_no_digits():
    values = np.concatenate([[np.nan, 1e12], np.full(50, 1e-6)])
    sums = ind.rolling_sum(values, 5)
    assert np.isnan(sums[:5]).all()
    assert sums[-1] == pytest.approx(5e-6, rel=1e-12)


def test_ewma_is_that_of_pandas_until_it_is_cut(price):
    expected = pd.Series(price).ewm(alpha=0.06).mean()
    np.testing.assert_allclose(ind.ewma(price, 0.94, 1), expected, rtol=1e-9)


def test_ewma_forgets_what_is_older_than_its_length():
    values = np.zeros(600)
    values[0] = 1.0
    result = ind.ewma(values, 0.99, 1)
    assert result[ind.EWMA_BARS - 1] > 0
    assert result[ind.EWMA_BARS] == 0


def test_rsi_is_that_of_ta_lib_and_neutral_after_a_year_without_a_move(price):
    np.testing.assert_array_equal(ind.rsi(price, 14), talib.RSI(price, 14))
    assert ind.rsi(np.append(price, np.full(300, price[-1])), 14)[-1] == 50
    falling = np.linspace(100, 50, 60)
    assert ind.rsi(falling, 14)[-1] == 0


def test_bollinger_keeps_its_digits_on_quiet_prices():
    rng = np.random.default_rng(3)
    quiet = 60_000 + 1e-4 * rng.standard_normal(100)
    position, width = ind.bollinger(quiet, 20, 2.0)
    window = quiet[-20:]
    assert width[-1] == pytest.approx(4 * window.std() / window.mean(), rel=1e-6)
    assert position[-1] == pytest.approx(
        0.5 + (window[-1] - window.mean()) / (4 * window.std()), rel=1e-3
    )


def test_a_range_estimator_of_a_driftless_walk_finds_its_variance():
    rng = np.random.default_rng(5)
    steps = rng.standard_normal((2000, 1000)) * 0.01 / np.sqrt(1000)
    path = np.exp(np.cumsum(np.column_stack([np.zeros(2000), steps]), axis=1))
    opened, close = path[:, 0], path[:, -1]
    high, low = path.max(axis=1), path.min(axis=1)
    assert ind.parkinson_variance(high, low).mean() == pytest.approx(1e-4, rel=0.08)
    garman_klass = ind.garman_klass_variance(opened, high, low, close)
    assert garman_klass.mean() == pytest.approx(1e-4, rel=0.08)


def test_garman_klass_is_never_negative():
    one = np.ones(1)
    assert ind.garman_klass_variance(one, 1.2 * one, 1.1 * one, 1.5 * one)[0] == 0


def test_neutral_values_without_range_or_volume():
    flat, none = np.full(50, 5.0), np.zeros(50)
    assert ind.close_location(flat, flat, flat)[-1] == 0
    assert ind.money_flow_index(flat, flat, flat, none, 14)[-1] == 50
    assert ind.signed_volume_share(flat, none, 22)[-1] == 0
    assert ind.zscore(flat, 22)[-1] == 0
