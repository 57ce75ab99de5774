"""Labels: what followed each bar (realised variance, returns, the touch of a triple barrier).

Also the two causal volatilities that labels are measured in. Numpy and polars only. Arrays have one
entry per bar of one symbol; NaN means not known.
"""

from dataclasses import dataclass
from functools import cache
from itertools import chain, repeat

import numpy as np
import polars as pl
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float64]
Times = NDArray[np.int64]

EWMA_DECAY = 0.94
"""RiskMetrics' decay of daily variance (J.P. Morgan/Reuters 1996, section 5.3.2)."""

VARIANCE_FLOOR = 1e-12
"""Squared log return per bar below any tick; keeps ratios finite on flat prices."""

WARM_UP_BARS = 22
SIGMA_SPAN = 100

BUY, HOLD, SELL = 2.0, 1.0, 0.0


def log_returns(close: Array) -> Array:
    """Return log(close_t / close_{t-1}), NaN at the first bar."""
    logs = np.log(close)
    return _after_first(logs[1:] - logs[:-1], len(close))


def ewma_variance(close: Array) -> Array:
    """Return the EWMA(0.94) of squared log returns, NaN for the first 22 bars, floored.

    Weights 0.94^k normalised by their sum; the same number as the feature `log_ewma_variance`.
    """
    return ewma_mean(log_returns(close) ** 2)


def ewma_mean(variance: Array) -> Array:
    """Return the EWMA(0.94) of variances per bar, the first of which is NaN; floored.

    A later NaN is left out of the mean and NaN in the result.
    """
    known = variance[1:]
    if not np.isnan(known).any():
        return _after_first(np.maximum(_whole_ewma(known), VARIANCE_FLOOR), len(variance))
    found, mean, weight, n_known = [], 0.0, 0.0, 0
    for value in known.tolist():
        weight *= EWMA_DECAY
        if is_known := value == value:
            mean = (weight * mean + value) / (weight + 1)
            weight, n_known = weight + 1, n_known + 1
        found.append(mean if is_known and n_known >= WARM_UP_BARS else np.nan)
    return _after_first(np.maximum(found, VARIANCE_FLOOR), len(variance))


def _whole_ewma(known: Array) -> Array:
    """Return the same mean where no value is NaN: the weights are those of every such array."""
    mean, values = 0.0, known.tolist()  # polars takes longer to be asked for a few hundred bars
    weights = _weights()
    every = chain(weights, repeat(weights[-1]))
    means = [
        mean := (before * mean + value) / after
        for value, (before, after) in zip(values, every, strict=False)
    ]
    found = np.array(means, dtype=np.float64)
    found[: WARM_UP_BARS - 1] = np.nan
    return found


@cache
def _weights() -> tuple[tuple[float, float], ...]:
    """Return the weight of the mean before each value and with it, until neither changes."""
    found = [(0.0, 1.0)]
    while True:
        before = found[-1][1] * EWMA_DECAY
        if before == found[-1][0]:
            return tuple(found)
        found.append((before, before + 1))


def garman_klass(opened: Array, high: Array, low: Array, close: Array) -> Array:
    """Return each bar's variance from its prices: overnight^2 + Garman-Klass; NaN at the first.

    log(open_t / close_{t-1})^2 + 0.5 log(high/low)^2 - (2 ln 2 - 1) log(close/open)^2, the part
    within the bar not below zero (Garman and Klass 1980, eq. 19). About seven times less noisy
    than a squared return.
    """
    inside = 0.5 * np.log(high / low) ** 2 - (2 * np.log(2) - 1) * np.log(close / opened) ** 2
    overnight = np.full(len(close), np.nan)
    overnight[1:] = np.log(opened[1:] / close[:-1]) ** 2
    return np.asarray(overnight + np.maximum(inside, 0.0), dtype=np.float64)


def ewma_deviation(close: Array) -> Array:
    """Return the EWMA (span 100) standard deviation of log returns (AFML snippet 3.1)."""
    returns = pl.Series(log_returns(close)[1:])
    deviation = returns.ewm_std(span=SIGMA_SPAN, adjust=True, min_samples=WARM_UP_BARS)
    return _after_first(np.maximum(deviation.to_numpy(), VARIANCE_FLOOR**0.5), len(close))


def _after_first(values: Array, n: int) -> Array:
    out = np.full(n, np.nan)
    out[1:] = values
    return out


def realised_variance(close: Array, horizon: int) -> Array:
    """Return at bar t the mean squared log return over t+1 .. t+horizon; NaN where incomplete."""
    return mean_ahead(log_returns(close) ** 2, horizon)


def mean_ahead(values: Array, horizon: int) -> Array:
    """Return at bar t the mean of the values at t+1 .. t+horizon; NaN where incomplete."""
    out = np.full(len(values), np.nan)
    if len(values) > horizon:
        out[:-horizon] = sliding_window_view(values[1:], horizon).mean(axis=1)
    return out


def mean_back(values: Array, bars: int) -> Array:
    """Return at bar t the mean of the newest `bars` values; NaN where there are not as many."""
    out = np.full(len(values), np.nan)
    if len(values) >= bars:
        out[bars - 1 :] = sliding_window_view(values, bars).mean(axis=1)
    return out


def end_times(timestamp: Times, bars: int) -> Times:
    """Return the time `bars` later, -1 where the series has ended by then."""
    out = np.full(len(timestamp), -1, dtype=np.int64)
    if len(timestamp) > bars:
        out[: len(timestamp) - bars] = timestamp[bars:]
    return out


def return_ahead(opened: Array, close: Array, horizon: int, *, at_open: bool) -> Array:
    """Return at bar t the log return of a decision at its close held for `horizon` bars.

    Filled at the open of t+1 and left at the close of t+horizon where `at_open`, else filled at
    the close of t+1 and left at the close of t+1+horizon; NaN where that has not happened yet.
    """
    if at_open:
        return np.asarray(np.log(later(close, horizon) / later(opened, 1)), dtype=np.float64)
    return np.asarray(np.log(later(close, horizon + 1) / later(close, 1)), dtype=np.float64)


# Triple barrier --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Path:
    """Prices of one symbol that a position lives through; all float64 (n,).

    `fill` at bar t is the price at which a decision at the close of t is executed. `first` is how
    many bars after t the first bar of the path lies: 1 after a fill at the next open, 2 after one
    at the next close. Where paths are made of closes, `high` and `low` are the closes and `open`
    is None.
    """

    fill: Array
    first: int
    open: Array | None
    high: Array
    low: Array
    close: Array


@dataclass(frozen=True, slots=True)
class Touches:
    """The end of each decision's path.

    `y`: BUY, HOLD or SELL as a class number, NaN where unknown. `bars`: bars from the decision to
    the exit, -1 where unknown. `log_return`: fill to exit. `ambiguous`: 1 where one bar touched
    both barriers, else 0.
    """

    y: Array
    bars: NDArray[np.int64]
    log_return: Array
    ambiguous: Array


def later(values: Array, bars: int) -> Array:
    """Return the value `bars` later, NaN where the series has ended by then."""
    out = np.full(len(values), np.nan)
    if len(values) > bars:
        out[: len(values) - bars] = values[bars:]
    return out


def triple_barrier(path: Path, width: Array, horizon: int) -> Touches:
    """Label each decision by the barrier that its path touches first (AFML ch. 3).

    Args:
        width: log distance of both barriers from the fill, (n,).
        horizon: bars of the path; the vertical barrier is the close of the last.

    A touch exits at the barrier, or at the nearest price the bar traded at when all of it lies
    beyond (with closes: at that close); an open beyond a barrier exits at that open. When one bar
    touches both, the adverse barrier of the long position that is being labelled counts, the
    lower. A label is known as soon as a barrier is touched; the vertical barrier is the close of
    the last bar, `horizon` bars after the fill.
    """
    n = len(width)
    upper, lower = path.fill * np.exp(width), path.fill * np.exp(-width)
    y, bars = np.full(n, np.nan), np.full(n, -1, dtype=np.int64)
    exit_price, ambiguous = np.full(n, np.nan), np.zeros(n)
    for step in range(path.first, path.first + horizon):
        waiting = np.isnan(y)
        high, low = later(path.high, step), later(path.low, step)
        up, down = high >= upper, low <= lower
        price = np.where(down, np.minimum(lower, high), np.maximum(upper, low))
        if path.open is not None and step > path.first:
            opened = later(path.open, step)
            gap_up, gap_down = opened >= upper, opened <= lower
            up, down = np.where(gap_up | gap_down, gap_up, up), gap_down | (down & ~gap_up)
            price = np.where(gap_up | gap_down, opened, price)
        touched = waiting & (up | down)
        y[touched] = np.where(down, SELL, BUY)[touched]
        bars[touched], exit_price[touched] = step, price[touched]
        ambiguous[touched] = (up & down)[touched]
    last = path.first + horizon - 1
    expired = np.isnan(y) & np.isfinite(later(path.close, last) * upper)
    y[expired], bars[expired] = HOLD, last
    exit_price[expired] = later(path.close, last)[expired]
    return Touches(y, bars, np.log(exit_price / path.fill), ambiguous)


def bars_held(touches: Touches, horizon: int) -> NDArray[np.int64]:
    """Return for how many fills a decision is part of a position, -1 where not known.

    A touch in bar t + k is known at the close of that bar. The next fill is that of the decision at
    this close, k fills after the decision's own: nobody is out inside the bar. The end of the path
    is known beforehand, so the vertical barrier is left after `horizon` fills: at its close where
    fills are closes, at the open after it where they are opens.
    """
    return np.minimum(touches.bars, horizon)


def fixed_horizon(path: Path, width: Array, horizon: int) -> Touches:
    """Label each decision by the end of its path, `horizon` bars after the fill.

    BUY where the log return from fill to that close is above `width`, SELL where it is below minus
    `width`, else HOLD. Every label is known at that close (AFML section 3.2, with a width that
    follows volatility).
    """
    n, last = len(width), path.first + horizon - 1
    exit_price = later(path.close, last)
    log_return = np.log(exit_price / path.fill)
    known = np.isfinite(log_return) & np.isfinite(width)
    y = np.where(log_return > width, BUY, np.where(log_return < -width, SELL, HOLD))
    return Touches(np.where(known, y, np.nan), np.where(known, last, -1), log_return, np.zeros(n))
