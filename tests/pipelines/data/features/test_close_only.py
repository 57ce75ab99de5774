"""The set `close_only` against independent oracles."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import talib

from pipelines.data.bars import BarSeries
from pipelines.data.features import FEATURE_SETS
from pipelines.data.sources import SOURCES, BarQuery

CLOSE_ONLY = FEATURE_SETS.get("close_only")


@pytest.fixture(scope="module")
def apple() -> BarSeries:
    bars = SOURCES.get("sample").read(BarQuery(symbols=("AAPL",)))
    return next(bars.series()).slice(3000, 4500)


@pytest.fixture(scope="module")
def features(apple: BarSeries) -> dict[str, np.ndarray]:
    values = CLOSE_ONLY.compute(apple)
    return dict(zip(CLOSE_ONLY.feature_names, values.T, strict=True))


@pytest.mark.integration
def test_computing_features_does_not_import_pandas():
    code = (
        "import sys; from pipelines.data.features import FEATURE_SETS; FEATURE_SETS.get('ohlcv'); "
        "assert 'pandas' not in sys.modules; import pandas, talib, numpy; "
        "talib.SMA(numpy.ones(9), 3); pandas.Series([1.0])"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_ewma_variance_is_that_of_pandas(apple, features):
    returns = pd.Series(np.log(apple.close)).diff()
    expected = np.log((returns**2).ewm(alpha=0.06).mean())
    np.testing.assert_allclose(features["log_ewma_variance"][22:], expected[22:], atol=1e-9)


def test_realised_variances_are_relative_to_the_ewma(apple, features):
    squares = pd.Series(np.log(apple.close)).diff() ** 2
    ewma = squares.ewm(alpha=0.06).mean()
    for bars in (1, 5, 10, 22, 66, 252):
        expected = np.log(squares.rolling(bars).mean() / ewma + 0.0025)
        np.testing.assert_allclose(
            features[f"log_variance_{bars}"][260:], expected[260:], atol=1e-8
        )


def test_slow_variance_is_the_ewma_cut_after_504_bars(apple, features):
    squares = (pd.Series(np.log(apple.close)).diff() ** 2).to_numpy()
    weights = 0.99 ** np.arange(504)
    slow = squares[-504:][::-1] @ weights / weights.sum()
    fast = np.exp(features["log_ewma_variance"][-1])
    assert features["log_slow_variance"][-1] == pytest.approx(
        np.log(slow / fast + 0.0025), abs=1e-9
    )


def test_upside_share_and_drawdown_are_those_of_pandas(apple, features):
    returns = pd.Series(np.log(apple.close)).diff()
    upside = (returns.clip(lower=0) ** 2).rolling(22).sum() / (returns**2).rolling(22).sum()
    np.testing.assert_allclose(features["upside_share_22"][22:], upside[22:], atol=1e-9)
    price = pd.Series(apple.close)
    fall = np.log(price / price.rolling(252).max())
    np.testing.assert_allclose(features["drawdown_252"][251:], fall[251:], atol=1e-12)


def test_scaled_returns_are_returns_over_ewma_deviation(apple, features):
    deviation = np.exp(features["log_ewma_variance"] / 2)
    for bars in (1, 5, 22, 66, 252):
        expected = np.log(apple.close[bars:] / apple.close[:-bars]) / (
            deviation[bars:] * np.sqrt(bars)
        )
        np.testing.assert_allclose(features[f"scaled_return_{bars}"][bars:], expected, atol=1e-12)


def test_momentum_is_that_of_ta_lib(apple, features):
    line, _, histogram = talib.MACD(apple.close, 12, 26, 9)
    upper, middle, lower = talib.BBANDS(apple.close, 20, 2.0, 2.0)
    np.testing.assert_allclose(features["rsi_14"], talib.RSI(apple.close, 14))
    np.testing.assert_allclose(features["macd_12_26_9"], line / apple.close)
    np.testing.assert_allclose(features["macd_histogram_12_26_9"], histogram / apple.close)
    np.testing.assert_allclose(
        features["bollinger_position_20"], (apple.close - lower) / (upper - lower), atol=1e-8
    )
    np.testing.assert_allclose(features["bollinger_width_20"], (upper - lower) / middle, atol=1e-8)
    for bars in (10, 50, 200):
        np.testing.assert_allclose(
            features[f"log_close_to_mean_{bars}"],
            np.log(apple.close / talib.SMA(apple.close, bars)),
            atol=1e-10,
        )


def test_flat_prices_give_neutral_values():
    n = 600
    flat = np.full(n, 123.456)
    none = np.full(n, np.nan)
    series = BarSeries("FLAT", np.arange(n) * 10**6, *(flat,) * 4, none, none, none)
    values = dict(zip(CLOSE_ONLY.feature_names, CLOSE_ONLY.compute(series)[-1], strict=True))
    assert np.isfinite(list(values.values())).all()
    assert values["rsi_14"] == 50
    assert values["upside_share_22"] == 0.5
    assert values["bollinger_position_20"] == 0.5
    assert values["scaled_return_22"] == 0
    assert values["log_ewma_variance"] == pytest.approx(np.log(1e-12))


def test_request_aliases_name_units():
    assert CLOSE_ONLY.aliases["rsi"].feature == "rsi_14"
    assert CLOSE_ONLY.aliases["macd"].unit == "price"
    assert CLOSE_ONLY.aliases["macd_12_26_9"].unit == "feature"
