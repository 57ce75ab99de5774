"""Indicators: functions of one symbol's arrays from which feature sets are put together.

Every function is causal, takes float64 arrays of length n, oldest first, and returns float64 (n,)
with NaN while it warms up. TA-Lib computes what it computes well; what is written here is what it
lacks, or where its running sums lose digits on quiet prices (rolling sums, Bollinger) or its
absolute thresholds make it depend on the unit of price and volume (money flow).

Rule for what has no value on flat prices or zero volume: a ratio whose denominator is zero takes
the neutral value its function names; a variance is never taken below `VARIANCE_FLOOR`.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pipelines.data.features.ta_lib import talib

Array = NDArray[np.float64]

VARIANCE_FLOOR = 1e-12
"""Squared log return per bar: a move of one millionth, far below any tick."""

EWMA_DECAY = 0.94
"""RiskMetrics' decay for daily variance (J.P. Morgan/Reuters 1996, section 5.3.2)."""

EWMA_BARS = 504
"""Weights of an exponential average are cut here, so that its memory is finite."""

STILL_BARS = 252
"""A price that has not moved for this long counts as flat."""


def log_returns(price: Array, bars: int = 1) -> Array:
    """Return log(price_t / price_{t-bars}), a fraction."""
    out = np.full(len(price), np.nan)
    out[bars:] = np.log(price[bars:] / price[:-bars]) if len(price) > bars else []
    return out


def rolling_sum(values: Array, bars: int) -> Array:
    """Return the sum of the newest `bars` values; leading NaN of `values` are skipped.

    Each window is summed by itself: no running sum, so no digits are lost after large values.
    """
    out = np.full(len(values), np.nan)
    first = _first_number(values)
    if len(values) - first >= bars:
        out[first + bars - 1 :] = np.convolve(values[first:], np.ones(bars), mode="valid")
    return out


def rolling_mean(values: Array, bars: int) -> Array:
    """Return the mean of the newest `bars` values; leading NaN are skipped."""
    return rolling_sum(values, bars) / bars


def rolling_std(values: Array, bars: int) -> Array:
    """Return the population standard deviation of the newest `bars` values."""
    out = np.full(len(values), np.nan)
    if len(values) >= bars:
        out[bars - 1 :] = sliding_window_view(values, bars).std(axis=1)
    return out


def ewma(values: Array, decay: float, warm_up: int) -> Array:
    """Return the exponentially weighted mean over the newest `EWMA_BARS` values.

    Weights decay^k, normalised by their sum over the values there are. NaN until `warm_up` values
    are there; leading NaN of `values` are skipped.
    """
    out = np.full(len(values), np.nan)
    first = _first_number(values)
    known = values[first:]
    if len(known) < warm_up:
        return out
    weights = decay ** np.arange(min(EWMA_BARS, len(known)))
    total = np.convolve(known, weights)[: len(known)]
    mass = np.cumsum(weights)[np.minimum(np.arange(len(known)), len(weights) - 1)]
    out[first:] = total / mass
    out[first : first + warm_up - 1] = np.nan
    return out


def ewma_variance(returns: Array, decay: float = EWMA_DECAY, warm_up: int = 22) -> Array:
    """Return the EWMA of squared log returns, per bar, at least `VARIANCE_FLOOR`."""
    return np.maximum(ewma(returns**2, decay, warm_up), VARIANCE_FLOOR)


def ratio(numerator: Array, denominator: Array, neutral: float) -> Array:
    """Return numerator / denominator, `neutral` where the denominator is zero."""
    zero = denominator == 0
    out: Array = np.where(zero, neutral, numerator / np.where(zero, 1.0, denominator))
    return out


def upside_share(returns: Array, bars: int) -> Array:
    """Return positive over total squared returns (realised semivariance, Barndorff-Nielsen et al.

    2010, "Measuring downside risk"), 0 to 1; 0.5 on flat prices.
    """
    squares = returns**2
    upside = rolling_sum(np.where(returns < 0, 0.0, squares), bars)
    return ratio(upside, rolling_sum(squares, bars), neutral=0.5)


def drawdown(price: Array, bars: int) -> Array:
    """Return log(price / highest of the newest `bars` prices), 0 or negative."""
    highest: Array = talib.MAX(price, bars)
    return np.log(price / highest)


def rsi(price: Array, bars: int) -> Array:
    """Return Wilder's relative strength index, 0 to 100; 50 after `STILL_BARS` flat prices."""
    index = talib.RSI(price, bars)
    moves = np.abs(np.diff(price, prepend=price[:1]))
    window = min(STILL_BARS, len(price))
    if window < 2:
        return index
    moved = talib.MAX(moves, window)
    moved[: window - 1] = np.maximum.accumulate(moves[: window - 1])
    return np.where((moved == 0) & np.isfinite(index), 50.0, index)


def macd(price: Array, fast: int, slow: int, signal: int) -> tuple[Array, Array]:
    """Return MACD line and histogram (line minus its signal line), both as a share of the price."""
    line, _, histogram = talib.MACD(price, fast, slow, signal)
    return line / price, histogram / price


def bollinger(price: Array, bars: int, width: float) -> tuple[Array, Array]:
    """Return the position between the Bollinger bands and their distance.

    Position is 0 on the lower and 1 on the upper band, 0.5 on flat prices; the distance is a share
    of the middle band. Bands are mean -+ width * population standard deviation (Bollinger 2001).
    """
    middle = rolling_mean(price, bars)
    deviation = rolling_std(price, bars)
    deviation = np.where(deviation <= 1e-12 * middle, 0.0, deviation)
    position = 0.5 + ratio(price - middle, 2 * width * deviation, neutral=0.0)
    return position, 2 * width * deviation / middle


def log_price_to_mean(price: Array, bars: int) -> Array:
    """Return log(price / mean of the newest `bars` prices)."""
    return np.log(price / rolling_mean(price, bars))


def parkinson_variance(high: Array, low: Array) -> Array:
    """Return each bar's variance from its range: log(high/low)^2 / (4 ln 2) (Parkinson 1980)."""
    variance: Array = np.log(high / low) ** 2 / (4 * np.log(2))
    return variance


def garman_klass_variance(opened: Array, high: Array, low: Array, close: Array) -> Array:
    """Return each bar's intraday variance (Garman and Klass 1980).

    0.5 log(high/low)^2 - (2 ln 2 - 1) log(close/open)^2, not below zero (it can be where the open
    lies outside low..high).
    """
    span, body = np.log(high / low), np.log(close / opened)
    variance: Array = np.maximum(0.5 * span**2 - (2 * np.log(2) - 1) * body**2, 0.0)
    return variance


def close_location(high: Array, low: Array, close: Array) -> Array:
    """Return the place of the close in its bar: -1 at the low, 1 at the high, 0 without range."""
    return ratio(2 * close - high - low, high - low, neutral=0.0)


def money_flow_index(high: Array, low: Array, close: Array, volume: Array, bars: int) -> Array:
    """Return the money flow index, 0 to 100 (Quong and Soudack 1989); 50 without any flow.

    TA-Lib's answers 0 whenever the flow is below one unit of currency; this one has no unit.
    """
    typical = (high + low + close) / 3
    change = np.diff(typical, prepend=np.nan)
    flow = np.where(np.isnan(change), np.nan, typical * volume)
    rising = rolling_sum(np.where(change > 0, flow, 0.0 * flow), bars)
    falling = rolling_sum(np.where(change < 0, flow, 0.0 * flow), bars)
    return 100 * ratio(rising, rising + falling, neutral=0.5)


def signed_volume_share(close: Array, volume: Array, bars: int) -> Array:
    """Return the change of on-balance volume over `bars` as a share of the volume traded.

    -1 (all volume on falling closes) to 1; 0 without volume.
    """
    signed = np.sign(np.diff(close, prepend=np.nan)) * volume
    return ratio(rolling_sum(signed, bars), rolling_sum(volume, bars), neutral=0.0)


def chaikin_money_flow(high: Array, low: Array, close: Array, volume: Array, bars: int) -> Array:
    """Return volume-weighted close location over `bars`, -1 to 1; 0 without volume."""
    weighted = rolling_sum(close_location(high, low, close) * volume, bars)
    return ratio(weighted, rolling_sum(volume, bars), neutral=0.0)


def chaikin_oscillator(high: Array, low: Array, close: Array, volume: Array) -> Array:
    """Return TA-Lib's ADOSC(3, 10) over the mean volume of 22 bars; 0 without volume.

    A missing volume counts as none in the oscillator and makes 22 bars NaN, not all later ones.
    """
    oscillator = talib.ADOSC(high, low, close, np.nan_to_num(volume), 3, 10)
    return ratio(oscillator, rolling_mean(volume, 22), neutral=0.0)


def zscore(values: Array, bars: int) -> Array:
    """Return (value - mean) / population std over `bars`; 0 where they are all equal."""
    mean, std = rolling_mean(values, bars), rolling_std(values, bars)
    std = np.where(std <= 1e-12 * np.abs(mean), 0.0, std)
    return ratio(values - mean, std, neutral=0.0)


def _first_number(values: Array) -> int:
    known = np.flatnonzero(~np.isnan(values))
    return int(known[0]) if len(known) else len(values)
