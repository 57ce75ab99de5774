"""Backtests of risk forecasts: whether losses beyond them were as many and as deep as promised.

A hit is a realised loss beyond the value at risk forecast for it. With tail probability p a right
forecast is hit on a share p of dates, independently of the date before. Every test takes one value
per date, in time order, of periods that do not overlap. With overlapping horizons hits repeat
themselves and every p-value is too small. Numpy and the standard library only, because templates
judge themselves with these.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.method.risk_measures import expected_shortfall, value_at_risk

Array = NDArray[np.float64]
Hits = NDArray[np.bool_]
Zone = Literal["green", "yellow", "red"]

YELLOW_FROM, RED_FROM = 0.95, 0.9999
N_SIMULATIONS = 2000
N_SERIES = 4999
SIMULATED_AT_ONCE = 2_000_000
"""Dates drawn in one step, which bounds the memory."""
ROUNDING = 1e-9
LEAST_POWER = 0.8
TEN = 10
MOST_LIKELY = 1 - 1e-9
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class LikelihoodRatio:
    """A likelihood-ratio statistic and the probability of a larger one from a right forecast."""

    statistic: float
    p_value: float


def kupiec(hits: Hits, tail: float) -> LikelihoodRatio:
    """Test the number of hits (Kupiec 1995, proportion of failures); chi-squared with 1 degree.

    Args:
        tail: probability p of a hit, 0 < p < 1.
    """
    n, x = len(hits), int(hits.sum())
    found = _likelihood(x, n, x / n if n else 0.0)
    statistic = max(0.0, 2 * (found - _likelihood(x, n, tail)))
    return LikelihoodRatio(statistic, _chi2_tail(statistic, 1))


def independence(hits: Hits) -> LikelihoodRatio:
    """Test whether a hit makes another on the next date likelier (Christoffersen 1998); 1 degree.

    The alternative is a first-order Markov chain. Without hits the statistic is 0.
    """
    chain, n_after, x_after = _chain(hits)
    one_rate = _likelihood(x_after, n_after, x_after / n_after if n_after else 0.0)
    statistic = max(0.0, 2 * (chain - one_rate))
    return LikelihoodRatio(statistic, _chi2_tail(statistic, 1))


def conditional_coverage(hits: Hits, tail: float) -> LikelihoodRatio:
    """Test number and independence of hits together (Christoffersen 1998); 2 degrees.

    Conditional on the first date, so it is the sum of `independence(hits)` and
    `kupiec(hits[1:], tail)`.
    """
    chain, n_after, x_after = _chain(hits)
    statistic = max(0.0, 2 * (chain - _likelihood(x_after, n_after, tail)))
    return LikelihoodRatio(statistic, _chi2_tail(statistic, 2))


def conditional_coverage_p(hits: Hits, tail: float, seed: int = 0) -> float:
    """Return the simulated p-value of `conditional_coverage`.

    The chi-squared of that statistic is right only for long series: hits in a row are so rare at
    99 % that its distribution has large steps. Here the statistic is compared with that of
    `N_SERIES` series of as many independent dates.

    Returns:
        (1 + series with a statistic at least as large) / (1 + N_SERIES).
    """
    n, rng = len(hits), np.random.default_rng(seed)
    found = conditional_coverage(hits, tail).statistic
    beyond, rows = 0, max(1, SIMULATED_AT_ONCE // max(n, 1))
    for start in range(0, N_SERIES, rows):
        drawn = rng.random((min(rows, N_SERIES - start), n), dtype=np.float32) < tail
        beyond += int((_coverage_statistics(drawn, tail) >= found - ROUNDING).sum())
    return (1 + beyond) / (1 + N_SERIES)


def _coverage_statistics(hits: Hits, tail: float) -> Array:
    """Return the statistic of `conditional_coverage` of each row of hits, (n_series, n_dates)."""
    before, after = hits[:, :-1], hits[:, 1:]
    x1 = (before & after).sum(axis=1)
    n1, x = before.sum(axis=1), after.sum(axis=1)
    n, x0 = after.shape[1], x - x1
    n0 = n - n1
    chain = _fitted_likelihood(x0, n0) + _fitted_likelihood(x1, n1)
    return np.asarray(2 * (chain - x * math.log(tail) - (n - x) * math.log1p(-tail)))


def _fitted_likelihood(x: NDArray[np.int64], n: NDArray[np.int64]) -> Array:
    """Return the log likelihood of x hits in n dates at the rate x / n; 0 * log(0) is 0."""
    rate = x / np.maximum(n, 1)
    hit, miss = np.where(x > 0, rate, 1.0), np.where(n > x, 1 - rate, 1.0)
    return np.asarray(x * np.log(hit) + (n - x) * np.log(miss))


# Power -----------------------------------------------------------------------------------------


def power(n_dates: int, tail: float, significance: float) -> float:
    """Return the exact probability that `kupiec` refuses a forecast hit twice as often as it says.

    Exact: hits are Binomial(n_dates, 2 * tail), and the test refuses where its p-value is at most
    `significance`.
    """
    rate = min(2 * tail, MOST_LIKELY)
    x = np.arange(min(n_dates, math.ceil(3 * n_dates * tail) + 60) + 1)
    own = x * math.log(tail) + (n_dates - x) * math.log1p(-tail)
    found = _fitted_likelihood(x, np.full(len(x), n_dates))
    critical = _NORMAL.inv_cdf(1 - significance / 2) ** 2
    accepted = 2 * (found - own) < critical
    ways = np.concatenate(([0.0], np.cumsum(np.log((n_dates - x[:-1]) / (x[:-1] + 1.0)))))
    mass = np.exp(ways + x * math.log(rate) + (n_dates - x) * math.log1p(-rate))
    return 1.0 - float(mass[accepted].sum())


@lru_cache
def dates_needed(tail: float, significance: float, least: float = LEAST_POWER) -> int:
    """Return the dates, in tens, from which on `power` is at least `least` at every full ten.

    290 at a tail of 5 %, 650 at 2.5 %, 1,670 at 1 %. Counted in tens, because hits are whole
    numbers: the power falls by up to five points wherever one hit more is accepted.
    """
    needed, n = 0, TEN
    while not needed or n < 1.5 * needed:
        enough = power(n, tail, significance) >= least
        needed = (needed or n) if enough else 0
        n += TEN
    return needed


def z2(losses: Array, var: Array, shortfall: Array, tail: float) -> float:
    """Return Acerbi and Szekely's (2014) second statistic, 1 + (1/(n p)) sum r_t I_t / ES_t.

    Its expectation is 0 for a right forecast; below 0 the tail was underestimated (-1: twice the
    expected sum of losses).
    """
    hits = losses > var
    return 1.0 - float((losses[hits] / shortfall[hits]).sum()) / (len(losses) * tail)


def z2_critical(
    scenarios: NDArray[np.floating], tail: float, significance: float, seed: int = 0
) -> float:
    """Return the value that z2 falls below with probability `significance` if forecasts are right.

    Simulated: on each date one of that date's own scenarios becomes the loss, `N_SIMULATIONS`
    times over.

    Args:
        scenarios: forecast losses, (n_dates, n_scenarios).
    """
    n, n_scenarios = scenarios.shape
    var = value_at_risk(scenarios, 1 - tail)
    shortfall = expected_shortfall(scenarios, 1 - tail)
    part = np.where(scenarios > var[:, None], scenarios / shortfall[:, None], 0.0)
    rng, dates = np.random.default_rng(seed), np.arange(n)
    drawn = [
        part[dates, rng.integers(0, n_scenarios, n)].sum(dtype=np.float64)
        for _ in range(N_SIMULATIONS)
    ]
    return float(np.quantile(1.0 - np.asarray(drawn) / (n * tail), significance))


def pinball_loss(losses: Array, var: Array, level: float) -> Array:
    """Return the quantile score of each date, lower is better (Koenker and Bassett 1978).

    level * (L - VaR) above the VaR and (1 - level) * (VaR - L) below: the proper score of a
    `level` quantile, in the losses' unit.
    """
    beyond = losses - var
    return np.asarray(np.maximum(level * beyond, (level - 1) * beyond), dtype=np.float64)


def traffic_light(n_hits: int, n_dates: int, tail: float) -> Zone:
    """Return Basel's zone (1996): yellow from the 95 % and red from the 99.99 % of the binomial.

    For 250 dates at 1 %: green up to 4 hits, yellow 5 to 9, red from 10.
    """
    at_most = sum(math.exp(_log_binomial(k, n_dates, tail)) for k in range(n_hits + 1))
    if at_most >= RED_FROM:
        return "red"
    return "yellow" if at_most >= YELLOW_FROM else "green"


def _chain(hits: Hits) -> tuple[float, int, int]:
    """Return the log likelihood of the Markov chain, its transitions, and how many led to a hit."""
    before, after = hits[:-1], hits[1:]
    parts = [(int(after[before == state].sum()), int((before == state).sum())) for state in (0, 1)]
    fitted = sum(_likelihood(x, n, x / n) for x, n in parts if n)
    return fitted, len(after), int(after.sum())


def _likelihood(x: int, n: int, rate: float) -> float:
    """Return the log likelihood of x hits in n dates; 0 * log(0) is 0."""
    hit = x * math.log(rate) if x else 0.0
    return hit + ((n - x) * math.log1p(-rate) if n > x else 0.0)


def _chi2_tail(statistic: float, degrees: Literal[1, 2]) -> float:
    """Return P(chi-squared > statistic) in closed form."""
    return math.erfc(math.sqrt(statistic / 2)) if degrees == 1 else math.exp(-statistic / 2)


def _log_binomial(k: int, n: int, rate: float) -> float:
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return ways + _likelihood(k, n, rate)
