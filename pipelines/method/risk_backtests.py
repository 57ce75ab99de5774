"""Backtests of risk forecasts: whether losses beyond them were as many and as deep as promised.

A hit is a realised loss beyond the value at risk forecast for it. With tail probability p a right
forecast is hit on a share p of dates, independently of the date before. Every test takes one value
per date, in time order, of periods that do not overlap. With overlapping horizons hits repeat
themselves and every p-value is too small. Numpy and the standard library only, because templates
judge themselves with these.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.method.risk_measures import expected_shortfall, value_at_risk

Array = NDArray[np.float64]
Hits = NDArray[np.bool_]
Zone = Literal["green", "yellow", "red"]

YELLOW_FROM, RED_FROM = 0.95, 0.9999
N_SIMULATIONS = 2000


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
