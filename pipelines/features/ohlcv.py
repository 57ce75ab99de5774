"""Feature set `ohlcv`: `close_only` and what open, high, low and volume add.

Ranges and variances are relative to EWMA(0.94) of close-to-close returns, volumes to their own
recent mean, so all are free of the price's and the volume's scale.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipelines.bars import BarSeries
from pipelines.features import FEATURE_SETS, RequestAlias
from pipelines.features import indicators as ind
from pipelines.features.ta_lib import talib

CLOSE_ONLY = FEATURE_SETS.get("close_only")
"""Reached through the catalog, like any set: its features come first here."""

RATIO_OFFSET = 0.0025
"""Added to ratios before the logarithm, as in `close_only`."""

MIN_HISTORY = 520
"""As for `close_only`: what is added here forgets its start sooner."""

ADDED_NAMES = (
    "atr_14",
    "adx_14",
    "plus_di_14",
    "minus_di_14",
    "cci_20",
    "williams_r_14",
    "aroon_oscillator_25",
    "ultimate_oscillator",
    "log_garman_klass_5",
    "log_garman_klass_22",
    "log_parkinson_22",
    "log_range_1",
    "overnight_return_1",
    "overnight_share_22",
    "close_location_1",
    "volume_zscore_22",
    "log_volume_5_to_66",
    "money_flow_index_14",
    "signed_volume_share_22",
    "chaikin_money_flow_20",
    "chaikin_oscillator_3_10",
)

ALIASES = {name: RequestAlias(name) for name in ADDED_NAMES} | {
    "atr": RequestAlias("atr_14", "price"),
    "adx": RequestAlias("adx_14"),
    "plus_di": RequestAlias("plus_di_14"),
    "minus_di": RequestAlias("minus_di_14"),
    "cci": RequestAlias("cci_20"),
    "williams_r": RequestAlias("williams_r_14"),
    "mfi": RequestAlias("money_flow_index_14"),
    "money_flow_index": RequestAlias("money_flow_index_14"),
    "volume_zscore": RequestAlias("volume_zscore_22"),
    "cmf": RequestAlias("chaikin_money_flow_20"),
}


class Ohlcv:
    """The set; see `docs/features.md` for each feature's formula."""

    name = "ohlcv"
    feature_names = (*CLOSE_ONLY.feature_names, *ADDED_NAMES)
    needs: tuple[str, ...] = ("open", "high", "low", "close", "volume")
    instead = "close_only"
    needs_trades = False
    aliases: Mapping[str, RequestAlias] = {**CLOSE_ONLY.aliases, **ALIASES}
    min_history = MIN_HISTORY

    def compute(self, series: BarSeries) -> NDArray[np.float64]:
        """Return the features, shape (n_bars, n_features), NaN while warming up."""
        if not len(series):
            return np.empty((0, len(self.feature_names)))
        added = [*_trend(series), *_ranges(series), *_volumes(series)]
        return np.column_stack([CLOSE_ONLY.compute(series), *added])


def _trend(series: BarSeries) -> list[ind.Array]:
    prices = (series.high, series.low, series.close)
    return [
        talib.ATR(*prices, 14) / series.close,
        talib.ADX(*prices, 14),
        talib.PLUS_DI(*prices, 14),
        talib.MINUS_DI(*prices, 14),
        talib.CCI(*prices, 20),
        talib.WILLR(*prices, 14),
        talib.AROONOSC(series.high, series.low, 25),
        talib.ULTOSC(*prices, 7, 14, 28),
    ]


def _ranges(series: BarSeries) -> list[ind.Array]:
    variance = ind.ewma_variance(ind.log_returns(series.close))
    body = ind.garman_klass_variance(series.open, series.high, series.low, series.close)
    span = ind.parkinson_variance(series.high, series.low)
    gap = np.full(len(series), np.nan)
    gap[1:] = np.log(series.open[1:] / series.close[:-1])
    overnight, inside = ind.rolling_sum(gap**2, 22), ind.rolling_sum(body, 22)
    return [
        np.log(ind.rolling_mean(body, 5) / variance + RATIO_OFFSET),
        np.log(ind.rolling_mean(body, 22) / variance + RATIO_OFFSET),
        np.log(ind.rolling_mean(span, 22) / variance + RATIO_OFFSET),
        np.log(span / variance + RATIO_OFFSET),
        gap / np.sqrt(variance),
        ind.ratio(overnight, overnight + inside, neutral=0.5),
        ind.close_location(series.high, series.low, series.close),
    ]


def _volumes(series: BarSeries) -> list[ind.Array]:
    prices = (series.high, series.low, series.close)
    volume = series.volume
    recent = ind.ratio(ind.rolling_mean(volume, 5), ind.rolling_mean(volume, 66), neutral=1.0)
    return [
        ind.zscore(volume, 22),
        np.log(recent + RATIO_OFFSET),
        ind.money_flow_index(*prices, volume, 14),
        ind.signed_volume_share(series.close, volume, 22),
        ind.chaikin_money_flow(*prices, volume, 20),
        ind.chaikin_oscillator(*prices, volume),
    ]


FEATURE_SET = Ohlcv()
