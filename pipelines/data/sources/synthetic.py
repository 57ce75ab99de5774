"""Source `synthetic`: a seeded market for tests, with volatility that clusters and regimes.

Every symbol has its own part and a share in one common factor. Both follow GARCH(1,1) (Bollerslev
1986) whose long-run variance is switched by one two-state Markov chain, calm and stormy, common to
all. Opens gap from the last close; highs and lows are drawn beyond open and close; volume grows
with the size of the move. Nothing in it predicts the sign of a return.

Same query, same bars. The bars depend on the seed and the symbols' places in the list, not on
`start` and `end`: they are cut out of the whole.
"""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.bars import Bars, canonical_interval, check_bars, parse_interval
from pipelines.data.sources import BarQuery

SYMBOLS = ("SYN1", "SYN2", "SYN3", "SYN4", "SYN5")
FIRST_BAR = datetime(2000, 1, 3, tzinfo=UTC)
N_BARS = 3000

ALPHA, BETA = 0.08, 0.90
"""GARCH weights of the last squared return and the last variance."""

REGIME_DEVIATION = (0.008, 0.022)
"""Standard deviation of a daily return in the long run, calm and stormy."""

REGIME_LEAVE = (0.004, 0.02)
"""Probability of leaving a regime at a bar: 250 calm and 50 stormy bars on average."""

FACTOR_SHARE = 0.4
"""Share of a symbol's variance that the common factor makes."""

BURN_IN = 200


class Synthetic:
    """The seeded market."""

    name = "synthetic"

    def read(self, query: BarQuery) -> Bars:
        """Return 3,000 bars of each symbol (default five), weekdays only for daily bars.

        Any symbol name is known here: it is a name for the seeded series at its place.
        """
        interval = canonical_interval(query.interval or "1d")
        times = _times(interval)
        frame = _market(query.symbols or SYMBOLS, times, query.seed)
        checked, repairs = check_bars(
            frame, policy=query.policy, where=self.name, adjustments=query.adjustments
        )
        bars = Bars(
            *(checked, interval, "raw", self.name, "synthetic", repairs), instrument="equity"
        )
        return bars.between(query.start, query.end)


def _times(interval: str) -> NDArray[np.datetime64]:
    step = parse_interval(interval)
    n_steps = 7 * N_BARS // 5 + 7 if step == timedelta(days=1) else N_BARS
    first = np.datetime64(FIRST_BAR.replace(tzinfo=None), "us")
    times = first + np.arange(n_steps) * np.timedelta64(step)
    if step == timedelta(days=1):
        times = times[np.is_busday(times.astype("datetime64[D]"))]
    return np.asarray(times[:N_BARS], dtype="datetime64[us]")


def _market(symbols: tuple[str, ...], times: NDArray[np.datetime64], seed: int) -> pl.DataFrame:
    regime = _regimes(np.random.default_rng([seed, 0]), len(times) + BURN_IN)
    level = np.asarray(REGIME_DEVIATION)[regime] ** 2
    factor = _garch(np.random.default_rng([seed, 1]), level)
    parts = []
    for place, symbol in enumerate(symbols):
        rng = np.random.default_rng([seed, 2 + place])
        own = _garch(rng, level)
        returns = np.sqrt(FACTOR_SHARE) * factor + np.sqrt(1 - FACTOR_SHARE) * own
        parts.append(_bars(rng, symbol, times, returns[BURN_IN:]))
    return pl.concat(parts)


def _regimes(rng: np.random.Generator, n: int) -> NDArray[np.intp]:
    draws = rng.random(n)
    regime = np.zeros(n, dtype=np.intp)
    for t in range(1, n):
        is_leaving = draws[t] < REGIME_LEAVE[regime[t - 1]]
        regime[t] = 1 - regime[t - 1] if is_leaving else regime[t - 1]
    return regime


def _garch(rng: np.random.Generator, level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a GARCH(1,1) path whose long-run variance at each bar is `level`."""
    shocks = rng.standard_normal(len(level))
    returns = np.empty(len(level))
    variance = level[0]
    for t, shock in enumerate(shocks):
        returns[t] = np.sqrt(variance) * shock
        variance = (1 - ALPHA - BETA) * level[t] + ALPHA * returns[t] ** 2 + BETA * variance
    return returns


def _bars(
    rng: np.random.Generator,
    symbol: str,
    times: NDArray[np.datetime64],
    returns: NDArray[np.float64],
) -> pl.DataFrame:
    n = len(returns)
    close = 100 * np.exp(np.cumsum(returns))
    before = np.concatenate([[100.0], close[:-1]])
    opened = before * np.exp(0.3 * returns + 0.001 * rng.standard_normal(n))
    wick = 0.5 * np.abs(returns) + 0.002
    high = np.maximum(opened, close) * np.exp(wick * rng.random(n))
    low = np.minimum(opened, close) * np.exp(-wick * rng.random(n))
    volume = np.round(1e6 * np.exp(20 * np.abs(returns) + 0.3 * rng.standard_normal(n)))
    return pl.DataFrame(
        {
            "symbol": [symbol] * n,
            "timestamp": times,
            "open": opened,
            "high": high,
            "low": low,
            "close": close,
            "volume": volume,
        }
    )


SOURCE = Synthetic()
