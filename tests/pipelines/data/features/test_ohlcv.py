"""The set `ohlcv` against independent oracles."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import talib

from pipelines.data.bars import BarSeries
from pipelines.data.features import FEATURE_SETS
from pipelines.data.sources import SOURCES, BarQuery

OHLCV = FEATURE_SETS.get("ohlcv")


@pytest.fixture(scope="module")
def index() -> BarSeries:
    bars = SOURCES.get("sample").read(BarQuery(symbols=("SP500",)))
    return next(bars.series()).slice(0, 1500)


@pytest.fixture(scope="module")
def features(index: BarSeries) -> dict[str, np.ndarray]:
    return dict(zip(OHLCV.feature_names, OHLCV.compute(index).T, strict=True))


def test_it_begins_with_the_features_of_close_only(index):
    close_only = FEATURE_SETS.get("close_only")
    n = len(close_only.feature_names)
    assert OHLCV.feature_names[:n] == close_only.feature_names
    np.testing.assert_array_equal(OHLCV.compute(index)[:, :n], close_only.compute(index))


def test_atr_is_wilders_average_of_true_ranges(index, features):
    before = index.close[:-1]
    ranges = np.maximum(index.high[1:], before) - np.minimum(index.low[1:], before)
    wilder = pd.Series(ranges).ewm(alpha=1 / 14, adjust=False).mean().to_numpy()
    np.testing.assert_allclose(
        features["atr_14"][400:], wilder[399:] / index.close[400:], rtol=1e-9
    )


def test_variances_follow_their_formulas(index, features):
    frame = pd.DataFrame({c: getattr(index, c) for c in ("open", "high", "low", "close")})
    ewma = np.exp(features["log_ewma_variance"])
    span = np.log(frame.high / frame.low) ** 2
    body = (0.5 * span - (2 * np.log(2) - 1) * np.log(frame.close / frame.open) ** 2).clip(lower=0)
    for name, variance in {
        "log_garman_klass_5": body.rolling(5).mean(),
        "log_garman_klass_22": body.rolling(22).mean(),
        "log_parkinson_22": span.rolling(22).mean() / (4 * np.log(2)),
        "log_range_1": span / (4 * np.log(2)),
    }.items():
        expected = np.log(variance / ewma + 0.0025)
        np.testing.assert_allclose(features[name][30:], expected[30:], atol=1e-9)


def test_overnight_features_follow_their_formulas(index, features):
    frame = pd.DataFrame({"open": index.open, "close": index.close})
    gap = np.log(frame.open / frame.close.shift())
    deviation = np.exp(features["log_ewma_variance"] / 2)
    np.testing.assert_allclose(features["overnight_return_1"][30:], (gap / deviation)[30:])
    assert (
        (features["overnight_share_22"][30:] >= 0) & (features["overnight_share_22"][30:] <= 1)
    ).all()


def test_money_flow_index_is_that_of_ta_lib(index, features):
    expected = talib.MFI(index.high, index.low, index.close, index.volume, 14)
    np.testing.assert_allclose(features["money_flow_index_14"][14:], expected[14:], rtol=1e-9)


def test_volume_features_are_those_of_pandas(index, features):
    volume, close = pd.Series(index.volume), pd.Series(index.close)
    zscore = (volume - volume.rolling(22).mean()) / volume.rolling(22).std(ddof=0)
    np.testing.assert_allclose(features["volume_zscore_22"][21:], zscore[21:], atol=1e-6)
    balance = (np.sign(close.diff()).fillna(0) * volume).cumsum()
    share = balance.diff(22) / volume.rolling(22).sum()
    np.testing.assert_allclose(features["signed_volume_share_22"][22:], share[22:], atol=1e-9)
    location = (2 * index.close - index.high - index.low) / (index.high - index.low)
    flow = (location * volume).rolling(20).sum() / volume.rolling(20).sum()
    np.testing.assert_allclose(features["chaikin_money_flow_20"][19:], flow[19:], atol=1e-9)


def test_no_volume_gives_neutral_values(index):
    arrays = {c: getattr(index, c) for c in BarSeries.__slots__}
    silent = BarSeries(**(arrays | {"volume": np.zeros(len(index))}))
    values = dict(zip(OHLCV.feature_names, OHLCV.compute(silent)[-1], strict=True))
    assert values["volume_zscore_22"] == 0
    assert values["money_flow_index_14"] == 50
    assert values["signed_volume_share_22"] == 0
    assert values["chaikin_money_flow_20"] == 0
    assert values["chaikin_oscillator_3_10"] == 0


def test_one_missing_volume_does_not_spoil_later_rows(index):
    volume = index.volume.copy()
    volume[700] = np.nan
    arrays = {c: getattr(index, c) for c in BarSeries.__slots__} | {"volume": volume}
    values = OHLCV.compute(BarSeries(**arrays))
    assert np.isnan(values[700]).any()
    assert np.isfinite(values[800]).all()


def test_volume_has_no_unit(index):
    for unit in (1e-6, 1e4):
        other = OHLCV.compute(replace(index, volume=index.volume * unit))
        np.testing.assert_allclose(other, OHLCV.compute(index), rtol=1e-6, atol=1e-6)
