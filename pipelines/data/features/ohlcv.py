"""Feature set `ohlcv`: `close_only` and what open, high, low and volume add.

Ranges and variances are relative to EWMA(0.94) of close-to-close returns, volumes to their own
recent mean, so all are free of the price's and the volume's scale.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipelines.data.bars import BarSeries
from pipelines.data.features import FEATURE_SETS, RequestAlias
from pipelines.data.features import indicators as ind
from pipelines.data.features.ta_lib import talib
from pipelines.data.features.trail import Trail, means

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

    def stream(self, series: BarSeries) -> "OhlcvRows":
        """Return the state that carries on from the newest bar."""
        return OhlcvRows(series)


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


# One row at a time ---------------------------------------------------------------------------


LONGEST = 66
WINDOWS = means((5, 14, 20, 22, LONGEST), LONGEST).T
CLOSE_ONLY_VARIANCE = CLOSE_ONLY.feature_names.index("log_ewma_variance")


class OhlcvRows:
    """TA-Lib's recursions are carried; the rest is computed from the newest bars."""

    def __init__(self, series: BarSeries) -> None:
        stream = talib.stream
        high, low, close = map(np.ascontiguousarray, (series.high, series.low, series.close))
        prices = (high, low, close)
        self._close_only = CLOSE_ONLY.stream(series)
        self._trend = (
            stream.ATR(*prices, 14),
            stream.ADX(*prices, 14),
            stream.PLUS_DI(*prices, 14),
            stream.MINUS_DI(*prices, 14),
            stream.CCI(*prices, 20),
            stream.WILLR(*prices, 14),
            stream.ULTOSC(*prices, 7, 14, 28),
        )
        self._aroon = stream.AROONOSC(high, low, 25)
        self._chaikin = stream.ADOSC(*prices, np.ascontiguousarray(series.volume), 3, 10)
        self._trail = Trail(8, LONGEST)
        for stop in range(len(series) - LONGEST + 1, len(series) + 1):
            self._trail.push(_marks(series.slice(stop - 2, stop)))

    def update(self, bars: BarSeries) -> ind.Array:
        """Take the newest bar and return its features, (45,)."""
        high, low, close, volume = _newest_values(bars)
        trend = [handle.update(high, low, close) for handle in self._trend]
        aroon, chaikin = (
            self._aroon.update(high, low),
            self._chaikin.update(high, low, close, volume),
        )
        first, trail = self._close_only.update(bars).tolist(), self._trail.push(_marks(bars))
        return np.array(first + _added(first, bars, trail, (*trend, aroon, chaikin)))

    def peek(self, bars: BarSeries) -> ind.Array:
        """Return the same as `update`, but change nothing."""
        high, low, close, volume = _newest_values(bars)
        trend = [handle.peek(high, low, close) for handle in self._trend]
        aroon, chaikin = self._aroon.peek(high, low), self._chaikin.peek(high, low, close, volume)
        first, trail = self._close_only.peek(bars).tolist(), self._trail.beside(_marks(bars))
        return np.array(first + _added(first, bars, trail, (*trend, aroon, chaikin)))


def _newest_values(bars: BarSeries) -> tuple[float, float, float, float]:
    return float(bars.high[-1]), float(bars.low[-1]), float(bars.close[-1]), float(bars.volume[-1])


def _marks(bars: BarSeries) -> tuple[float, ...]:
    """Return the quantities of the newest of at least two bars that the trail keeps.

    Garman-Klass and Parkinson variance, squared overnight return, and volume: all of it, signed by
    the close's direction, weighted by the close's place, and the flow of rising and falling money.
    """
    (h0, high), (l0, low) = bars.high[-2:].tolist(), bars.low[-2:].tolist()
    (c0, close), volume = bars.close[-2:].tolist(), float(bars.volume[-1])
    opened = float(bars.open[-1])
    span = math.log(high / low) ** 2
    body = 0.5 * span - (2 * math.log(2) - 1) * math.log(close / opened) ** 2
    before, typical = (h0 + l0 + c0) / 3, (high + low + close) / 3
    return (
        max(body, 0.0),
        span / (4 * math.log(2)),
        math.log(opened / c0) ** 2,
        volume,
        volume * ((close > c0) - (close < c0)),
        volume * _ratio(2 * close - high - low, high - low, 0.0),
        typical * volume * (typical > before),
        typical * volume * (typical < before),
    )


def _added(
    first: list[float], bars: BarSeries, trail: ind.Array, carried: tuple[float, ...]
) -> list[float]:
    """Return the newest row of what this set adds to the row `first` of `close_only`.

    `trail` is (8, 66); `carried` are TA-Lib's values: seven of the trend, Aroon's, Chaikin's.
    """
    variance = math.exp(first[CLOSE_ONLY_VARIANCE])
    atr, *trend, ultimate, aroon, chaikin = carried
    body, span, gap, volume, signed, located, rising, falling = (trail @ WINDOWS).tolist()
    high, low, price, newest = _newest_values(bars)
    last_gap = math.log(float(bars.open[-1]) / float(bars.close[-2]))
    off = trail[3, -22:] - volume[3]
    spread = math.sqrt(float(off @ off) / 22)
    spread = 0.0 if spread <= 1e-12 * volume[3] else spread
    return [
        atr / price,
        *trend,
        aroon,
        ultimate,
        math.log(body[0] / variance + RATIO_OFFSET),
        math.log(body[3] / variance + RATIO_OFFSET),
        math.log(span[3] / variance + RATIO_OFFSET),
        math.log(float(trail[1, -1]) / variance + RATIO_OFFSET),
        last_gap / math.sqrt(variance),
        _ratio(gap[3], gap[3] + body[3], 0.5),
        _ratio(2 * price - high - low, high - low, 0.0),
        _ratio(newest - volume[3], spread, 0.0),
        math.log(_ratio(volume[0], volume[4], 1.0) + RATIO_OFFSET),
        100 * _ratio(rising[1], rising[1] + falling[1], 0.5),
        _ratio(signed[3], volume[3], 0.0),
        _ratio(located[2], volume[2], 0.0),
        _ratio(chaikin, volume[3], 0.0),
    ]


def _ratio(numerator: float, denominator: float, neutral: float) -> float:
    return neutral if denominator == 0 else numerator / denominator


FEATURE_SET = Ohlcv()
