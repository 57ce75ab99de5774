"""Feature set `close_only`: what the closes of one symbol tell; for bars without high and low.

Variances are relative to EWMA(0.94), the forecast that `volatility_forecast` corrects: the set is
the one that carries the skill docs/templates.md describes, plus the classical momentum indicators.
All are free of the price's scale and, but for `log_ewma_variance`, of the bars' interval.
"""

import math
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipelines.data.bars import BarSeries
from pipelines.data.features import RequestAlias
from pipelines.data.features import indicators as ind
from pipelines.data.features.ta_lib import talib
from pipelines.data.features.trail import Trail, decays, means

VARIANCE_BARS = (1, 5, 10, 22, 66, 252)
RETURN_BARS = (1, 5, 22, 66, 252)
MEAN_BARS = (10, 50, 200)

SLOW_DECAY = 0.99

RATIO_OFFSET = 0.0025
"""Added to variance ratios before the logarithm: a return of zero is -6, not minus infinity."""

MIN_HISTORY = 520
"""Bars from which the newest row is that of the full history: the slow variance needs 505 closes
exactly; TA-Lib's recursions have forgotten their start to 1e-12 by then."""

FEATURE_NAMES = (
    *(f"log_variance_{k}" for k in VARIANCE_BARS),
    "log_ewma_variance",
    "log_slow_variance",
    "upside_share_22",
    *(f"scaled_return_{k}" for k in RETURN_BARS),
    "log_absolute_return_5",
    "drawdown_252",
    "rsi_14",
    "macd_12_26_9",
    "macd_histogram_12_26_9",
    "bollinger_position_20",
    "bollinger_width_20",
    *(f"log_close_to_mean_{k}" for k in MEAN_BARS),
)

ALIASES = {name: RequestAlias(name) for name in FEATURE_NAMES} | {
    "rsi": RequestAlias("rsi_14"),
    "macd": RequestAlias("macd_12_26_9", "price"),
    "macd_line": RequestAlias("macd_12_26_9", "price"),
    "macd_histogram": RequestAlias("macd_histogram_12_26_9", "price"),
    "macd_hist": RequestAlias("macd_histogram_12_26_9", "price"),
    "bb_position": RequestAlias("bollinger_position_20"),
    "bb_width": RequestAlias("bollinger_width_20"),
    "drawdown": RequestAlias("drawdown_252"),
}


class CloseOnly:
    """The set; see `docs/features.md` for each feature's formula."""

    name = "close_only"
    feature_names = FEATURE_NAMES
    needs: tuple[str, ...] = ("close",)
    instead = ""
    needs_trades = False
    aliases: Mapping[str, RequestAlias] = ALIASES
    min_history = MIN_HISTORY

    def compute(self, series: BarSeries) -> NDArray[np.float64]:
        """Return the features, shape (n_bars, n_features), NaN while warming up."""
        if not len(series):
            return np.empty((0, len(self.feature_names)))
        close = np.ascontiguousarray(series.close)
        columns = [*_variances(close), *_moves(close), *_momentum(close)]
        return np.column_stack(columns)

    def stream(self, series: BarSeries) -> "CloseOnlyRows":
        """Return the state that carries on from the newest bar."""
        return CloseOnlyRows(series)


def _variances(close: ind.Array) -> list[ind.Array]:
    returns = ind.log_returns(close)
    squares = returns**2
    fast = ind.ewma_variance(returns)
    slow = ind.ewma_variance(returns, SLOW_DECAY, warm_up=252)
    realised = [ind.rolling_mean(squares, k) for k in VARIANCE_BARS]
    return [
        *(np.log(variance / fast + RATIO_OFFSET) for variance in realised),
        np.log(fast),
        np.log(slow / fast + RATIO_OFFSET),
        ind.upside_share(returns, 22),
    ]


def _moves(close: ind.Array) -> list[ind.Array]:
    returns = ind.log_returns(close)
    deviation = np.sqrt(ind.ewma_variance(returns))
    absolute = ind.rolling_mean(np.abs(returns), 5)
    return [
        *(ind.log_returns(close, k) / (deviation * np.sqrt(k)) for k in RETURN_BARS),
        np.log(absolute / deviation + RATIO_OFFSET),
        ind.drawdown(close, 252),
    ]


def _momentum(close: ind.Array) -> list[ind.Array]:
    line, histogram = ind.macd(close, 12, 26, 9)
    position, width = ind.bollinger(close, 20, 2.0)
    return [
        ind.rsi(close, 14),
        line,
        histogram,
        position,
        width,
        *(ind.log_price_to_mean(close, k) for k in MEAN_BARS),
    ]


# One row at a time ---------------------------------------------------------------------------


VARIANCES = np.vstack(
    [means(VARIANCE_BARS, ind.EWMA_BARS), decays((ind.EWMA_DECAY, SLOW_DECAY), ind.EWMA_BARS)]
)
SHORT_MEANS = means((22, 5), 22).T
CLOSE_MEANS = means((20, *MEAN_BARS), 200)
PRICES = np.array([*(-bars - 1 for bars in RETURN_BARS), -1])
RETURN_ROOTS = tuple(math.sqrt(bars) for bars in RETURN_BARS)


class CloseOnlyRows:
    """TA-Lib's recursions are carried; the rest is computed from the newest bars."""

    def __init__(self, series: BarSeries) -> None:
        close = np.ascontiguousarray(series.close)
        self._rsi = talib.stream.RSI(close, 14)
        self._macd = talib.stream.MACD(close, 12, 26, 9)
        self._trail = Trail(3, ind.EWMA_BARS)
        recent = close[-ind.EWMA_BARS - 1 :].tolist()
        for before, price in pairwise(recent):
            self._trail.push(_marks(before, price))

    def update(self, bars: BarSeries) -> ind.Array:
        """Take the newest bar and return its features, (24,)."""
        before, price = bars.close[-2:].tolist()
        trail = self._trail.push(_marks(before, price))
        return _newest_row(bars.close, trail, self._rsi.update(price), self._macd.update(price))

    def peek(self, bars: BarSeries) -> ind.Array:
        """Return the same as `update`, but change nothing."""
        before, price = bars.close[-2:].tolist()
        trail = self._trail.beside(_marks(before, price))
        return _newest_row(bars.close, trail, self._rsi.peek(price), self._macd.peek(price))


def _marks(before: float, price: float) -> tuple[float, float, float]:
    """Return the squared, the squared positive and the absolute log return of the newest bar."""
    move = math.log(price / before)
    square = move * move
    return square, 0.0 if move < 0 else square, abs(move)


def _newest_row(
    close: ind.Array, trail: ind.Array, rsi: float, macd: tuple[float, float, float]
) -> ind.Array:
    """Return the newest row of `compute`; `trail` is (3, 504), RSI and MACD are TA-Lib's."""
    *realised, fast, slow = (VARIANCES @ trail[0]).tolist()
    fast, slow = max(fast, ind.VARIANCE_FLOOR), max(slow, ind.VARIANCE_FLOOR)
    (total, _), (upside, _), (_, absolute) = (trail[:, -22:] @ SHORT_MEANS).tolist()
    *earlier, price = close[PRICES].tolist()
    middle, *averages = (CLOSE_MEANS @ close[-200:]).tolist()
    width = math.sqrt(sum([(old - middle) ** 2 for old in close[-20:].tolist()]) / 20)
    width = 0.0 if width <= 1e-12 * middle else width
    deviation, log = math.sqrt(fast), math.log
    is_flat = price == earlier[0] and bool((close[-ind.STILL_BARS - 1 :] == price).all())
    row = [log(variance / fast + RATIO_OFFSET) for variance in realised]
    row += [log(fast), log(slow / fast + RATIO_OFFSET), upside / total if total else 0.5]
    row += [
        log(price / old) / (deviation * root)
        for old, root in zip(earlier, RETURN_ROOTS, strict=True)
    ]
    row += [log(absolute / deviation + RATIO_OFFSET), log(price / float(close[-252:].max()))]
    row += [50.0 if is_flat else rsi, macd[0] / price, macd[2] / price]
    row += [0.5 + (price - middle) / (4 * width) if width else 0.5, 4 * width / middle]
    row += [log(price / average) for average in averages]
    return np.array(row)


FEATURE_SET = CloseOnly()
