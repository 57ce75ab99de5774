"""Significance: whether a Sharpe ratio is more than luck.

Numpy and the standard library only, because templates judge themselves with these and serving
imports templates. Whether a mean differs from zero is asked in `pipelines/method/mean_tests.py`.
Bootstraps that need `arch` are in `pipelines/method/bootstrap.py`. Everything is per period: a
Sharpe ratio is never annualised inside these formulas.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

EULER_GAMMA = 0.5772156649015329
CONSTANT = 1e-12
"""Returns that deviate by no more than this do not vary; the rest is rounding."""
ALONE = 1.645
"""The normal quantile of a one-sided 5 % test: what a single trial must reach."""
_NORMAL = NormalDist()


def mean_per_date(values: NDArray[np.float64], t0: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean over rows of equal t0, in time order; non-finite values are left out."""
    keep = np.isfinite(values)
    dates, index = np.unique(t0[keep], return_inverse=True)
    total = np.bincount(index, values[keep], len(dates))
    return np.asarray(total / np.bincount(index, minlength=len(dates)), dtype=np.float64)


def newey_west(centred: NDArray[np.float64], lags: int) -> float:
    """Return the long-run variance of a series of mean zero (Newey and West 1987).

    Args:
        lags: autocovariances used, with Bartlett's weights; at most len - 1 are.
    """
    n = len(centred)
    variance = float(centred @ centred) / n
    for lag in range(1, min(lags, n - 1) + 1):
        weight = 1 - lag / (lags + 1)
        variance += 2 * weight * float(centred[lag:] @ centred[:-lag]) / n
    return variance


def sharpe_ratio(returns: NDArray[np.float64]) -> float:
    """Return mean / std (ddof 1) per period; 0 when the returns do not vary beyond rounding."""
    if len(returns) < 2:
        return 0.0
    deviation = float(returns.std(ddof=1))
    if deviation <= CONSTANT:
        return 0.0
    return float(returns.mean()) / deviation


def skewness(values: NDArray[np.float64]) -> float:
    """Return the bias-corrected sample skewness (pandas `skew`); 0 below three values."""
    n = len(values)
    centred = values - values.mean()
    second = float((centred**2).mean())
    if n < 3 or second == 0:
        return 0.0
    return math.sqrt(n * (n - 1)) / (n - 2) * float((centred**3).mean()) / math.pow(second, 1.5)


def kurtosis(values: NDArray[np.float64]) -> float:
    """Return the bias-corrected non-excess kurtosis (pandas `kurt` + 3); 3 below four values."""
    n = len(values)
    centred = values - values.mean()
    second = float((centred**2).mean())
    if n < 4 or second == 0:
        return 3.0
    ratio = float((centred**4).mean()) / second**2
    return 3 + (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * ratio - 3 * (n - 1))


def _sharpe_variance(sharpe: float, skew: float, kurt: float) -> float:
    """Return 1 - g3*SR + (g4-1)/4*SR^2, floored where sample moments make it non-positive."""
    return max(1 - skew * sharpe + (kurt - 1) / 4 * sharpe**2, 1e-12)


def probabilistic_sharpe(
    sharpe: float, n: int, skew: float = 0.0, kurt: float = 3.0, benchmark: float = 0.0
) -> float:
    """Return PSR(SR0) = P(true Sharpe > benchmark) (Bailey and Lopez de Prado 2012).

    Args:
        sharpe: estimated from `n` periods.
        kurt: non-excess.
    """
    z = (sharpe - benchmark) * math.sqrt(n - 1)
    return _NORMAL.cdf(z / math.sqrt(_sharpe_variance(sharpe, skew, kurt)))


def expected_max_sharpe(n_trials: int, deviation: float) -> float:
    """Return E[max SR] of `n_trials` worthless trials (Bailey and Lopez de Prado 2014, eq. 1).

    Args:
        deviation: standard deviation of the trials' Sharpe ratios (ddof 1, all trials).
    """
    if n_trials <= 1:
        return 0.0
    first = _NORMAL.inv_cdf(1 - 1 / n_trials)
    second = _NORMAL.inv_cdf(1 - 1 / (n_trials * math.e))
    return deviation * ((1 - EULER_GAMMA) * first + EULER_GAMMA * second)


def significance_limit(n_trials: int) -> float:
    """Return the z that a test of skill must reach as one of `n_trials`: 1.645 + E[max N].

    E[max N] is the largest of N independent standard normal values on average, 0 at N = 1. So the
    limit is 3.2 at 10 trials, 4.2 at 100, 4.9 at 1,000.
    """
    return ALONE + expected_max_sharpe(n_trials, 1.0)


@dataclass(frozen=True, slots=True)
class DeflatedSharpe:
    """`sharpe` per period, the `hurdle` that N worthless trials reach, P(true Sharpe > hurdle)."""

    sharpe: float
    hurdle: float
    probability: float


def deflation_hurdle(n_returns: int, n_trials: int, trial_sharpes: Sequence[float]) -> float:
    """Return the Sharpe ratio that the best of N worthless trials reaches, per period.

    The standard deviation in it is that of the trials' Sharpe ratios, and never below that of a
    worthless trial of this length, 1 / sqrt(T): trials that do not trade, or that copy each other,
    lower the first but not the second.

    Args:
        trial_sharpes: of the trials that trade, per period.
    """
    known = np.asarray([s for s in trial_sharpes if math.isfinite(s)])
    spread = float(known.std(ddof=1)) if len(known) > 1 else 0.0
    return expected_max_sharpe(n_trials, max(spread, 1 / math.sqrt(n_returns)))


def deflated_sharpe(
    returns: NDArray[np.float64], n_trials: int, trial_sharpes: Sequence[float]
) -> DeflatedSharpe | None:
    """Return the deflated Sharpe ratio (Bailey and Lopez de Prado 2014), over `deflation_hurdle`.

    Args:
        n_trials: N counts every trial; it is not reduced for correlation between trials.
        trial_sharpes: of the trials that trade, per period.

    Returns:
        None for fewer than four returns.
    """
    if len(returns) < 4:
        return None
    hurdle = deflation_hurdle(len(returns), n_trials, trial_sharpes)
    sharpe = sharpe_ratio(returns)
    moments = skewness(returns), kurtosis(returns)
    return DeflatedSharpe(
        sharpe, hurdle, probabilistic_sharpe(sharpe, len(returns), *moments, hurdle)
    )


def minimum_track_record(
    sharpe: float,
    skew: float = 0.0,
    kurt: float = 3.0,
    benchmark: float = 0.0,
    alpha: float = 0.05,
) -> float:
    """Return the periods needed to say SR > benchmark at 1 - alpha; infinite when it is not above.

    MinTRL = 1 + (1 - g3*SR + (g4-1)/4*SR^2) * (z_{1-a} / (SR - SR*))^2.
    """
    if sharpe <= benchmark:
        return math.inf
    quantile = _NORMAL.inv_cdf(1 - alpha)
    return 1.0 + _sharpe_variance(sharpe, skew, kurt) * (quantile / (sharpe - benchmark)) ** 2


def conformal_quantile(scores: NDArray[np.float64], level: float) -> float | None:
    """Return the ceil((n+1)*level)-th smallest score, the split-conformal quantile.

    Returns:
        None when n is too small for the level (the honest bound is infinite).
    """
    rank = math.ceil(round((len(scores) + 1) * level, 9))
    if rank > len(scores) or rank < 1:
        return None
    return float(np.partition(scores, rank - 1)[rank - 1])
