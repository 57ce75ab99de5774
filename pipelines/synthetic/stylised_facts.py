"""Stylised facts of returns (Cont 2001), as numbers: what a synthetic series must look like.

Every function takes log returns (n,), in time order, and gives one number; `FACTS` names them.
`compare` sets those of synthetic series against the range that real history itself shows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Returns = NDArray[np.float64]

TAIL_SHARE = 0.05
"""Share of the largest |r| that the Hill index uses."""

LAGS = range(1, 21)
LEVERAGE_LAGS = range(1, 11)
AGGREGATES = (5, 20)
N_PIECES = 4
"""Consecutive pieces that history is cut into to see how far a fact varies by itself."""


def excess_kurtosis(returns: Returns) -> float:
    """Return the fourth standardised moment less 3; 0 for a normal distribution."""
    z = (returns - returns.mean()) / returns.std()
    return float((z**4).mean() - 3)


def hill_index(returns: Returns) -> float:
    """Return the tail index of |r| (Hill 1975) over the largest 5 %; 2 to 5 is usual."""
    ordered = np.sort(np.abs(returns))[::-1]
    k = max(2, int(TAIL_SHARE * len(ordered)))
    return float(1 / np.mean(np.log(ordered[: k - 1] / ordered[k - 1])))


def linear_autocorrelation(returns: Returns) -> float:
    """Return the mean |autocorrelation| of returns over 20 lags; about 0.8/sqrt(n) if none."""
    return float(np.mean([abs(correlation(returns[:-k], returns[k:])) for k in LAGS]))


def absolute_autocorrelation(returns: Returns) -> float:
    """Return the mean autocorrelation of |r| over 20 lags: volatility clusters if above 0."""
    size = np.abs(returns)
    return float(np.mean([correlation(size[:-k], size[k:]) for k in LAGS]))


def squared_autocorrelation(returns: Returns) -> float:
    """Return the mean autocorrelation of r^2 over 20 lags."""
    size = returns**2
    return float(np.mean([correlation(size[:-k], size[k:]) for k in LAGS]))


def leverage(returns: Returns) -> float:
    """Return the mean correlation of r_t with |r_{t+k}|, k = 1 to 10; falls stir if below 0."""
    size = np.abs(returns)
    return float(np.mean([correlation(returns[:-k], size[k:]) for k in LEVERAGE_LAGS]))


def aggregated_kurtosis(returns: Returns, n_bars: int) -> float:
    """Return the excess kurtosis of sums over `n_bars`: tails thin out with the horizon."""
    whole = len(returns) // n_bars * n_bars
    return excess_kurtosis(returns[:whole].reshape(-1, n_bars).sum(axis=1))


FACTS: Mapping[str, Callable[[Returns], float]] = {
    "excess_kurtosis": excess_kurtosis,
    "hill_index": hill_index,
    "linear_autocorrelation": linear_autocorrelation,
    "absolute_autocorrelation": absolute_autocorrelation,
    "squared_autocorrelation": squared_autocorrelation,
    "leverage": leverage,
    "excess_kurtosis_5": lambda returns: aggregated_kurtosis(returns, 5),
    "excess_kurtosis_20": lambda returns: aggregated_kurtosis(returns, 20),
}

LEAST_PIECE = 20 * max(AGGREGATES)
"""Returns that every fact can be measured on: 20 sums of 20 bars."""

LEAST_RETURNS = N_PIECES * LEAST_PIECE
"""Returns of a real series, of which every piece is measured."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One fact: real and synthetic, each the mean over pieces, and the range of real pieces.

    `low` and `high` lie two standard deviations between real pieces around their mean.
    """

    fact: str
    real: float
    low: float
    high: float
    synthetic: float

    @property
    def is_met(self) -> bool:
        """Whether the synthetic value is one that real history takes."""
        return self.low <= self.synthetic <= self.high


def compare(real: Sequence[Returns], synthetic: Sequence[Returns]) -> list[Comparison]:
    """Return every fact; synthetic series are measured on pieces as long as the real ones.

    Kurtosis and autocorrelations depend on the length of a series, so both sides are measured on
    pieces of equal length: a quarter of the shortest real series, or the shortest synthetic one.
    """
    length = min(*(len(r) // N_PIECES for r in real), *(len(s) for s in synthetic))
    pieces = {side: _pieces(series, length) for side, series in (("r", real), ("s", synthetic))}
    rows = []
    for name, measure in FACTS.items():
        ours, theirs = ([measure(p) for p in pieces[side]] for side in ("r", "s"))
        real_mean, synthetic_mean = float(np.mean(ours)), float(np.mean(theirs))
        reach = 2 * float(np.std(ours, ddof=1))
        low, high = real_mean - reach, real_mean + reach
        rows.append(Comparison(name, real_mean, low, high, synthetic_mean))
    return rows


def autocorrelations(values: NDArray[np.float64], n_lags: int) -> NDArray[np.float64]:
    """Return the autocorrelations at lags 1 to n_lags."""
    return np.array([correlation(values[:-k], values[k:]) for k in range(1, n_lags + 1)])


def correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the correlation of two series; 0 where one of them is constant."""
    a, b = first - first.mean(), second - second.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else 0.0


def _pieces(series: Sequence[Returns], length: int) -> list[Returns]:
    return [s[i : i + length] for s in series for i in range(0, len(s) - length + 1, length)]
