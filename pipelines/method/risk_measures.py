"""Risk measures: what a distribution of losses, or a path of returns, says about a portfolio.

Numpy only, because the template of risk decodes with these and serving imports templates. A loss is
the negative of a simple return, a fraction of the portfolio's value. Value at risk and expected
shortfall are positive when money can be lost. `level` is the confidence, 0.99, and p = 1 - level
the tail probability.

VaR = quantile_level(L) with linear interpolation, and ES = mean(L | L >= VaR). These are the
definitions of empyrical's `value_at_risk` and `conditional_value_at_risk` with the sign turned.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def value_at_risk(losses: NDArray[np.floating], level: float) -> Array:
    """Return the quantile of the losses along the last axis: (n_scenarios,) or (n, n_scenarios)."""
    return np.asarray(np.quantile(losses.astype(np.float64), level, axis=-1), dtype=np.float64)


def expected_shortfall(losses: NDArray[np.floating], level: float) -> Array:
    """Return the mean of the losses at or beyond the value at risk, along the last axis."""
    wide = losses.astype(np.float64)
    tail = wide >= value_at_risk(wide, level)[..., None]
    return np.asarray(np.where(tail, wide, 0.0).sum(axis=-1) / tail.sum(axis=-1))


@dataclass(frozen=True, slots=True)
class Breakdown:
    """A portfolio's risk by position, float64 (n_symbols,) each.

    `component_var` sums to the value at risk and is `weights * marginal_var`; `component_es` sums
    to the expected shortfall.
    """

    component_var: Array
    marginal_var: Array
    component_es: Array


def breakdown(scenarios: NDArray[np.floating], weights: Array, level: float) -> Breakdown:
    """Return the risk of each position.

    Components of VaR are delta-normal: w_i (Sigma w)_i / (w' Sigma w) * VaR with the covariance of
    the scenarios (a single scenario at the quantile would be all noise). Components of ES are
    Euler's: mean(w_i L_i | L >= VaR) (Tasche 1999).

    Args:
        scenarios: losses per unit of weight, (n_scenarios, n_symbols).
        weights: (n_symbols,).
    """
    matrix = scenarios.astype(np.float64)
    losses = matrix @ weights
    var = float(value_at_risk(losses, level))
    pull = np.atleast_2d(np.cov(matrix, rowvar=False)) @ weights
    variance = float(weights @ pull)
    marginal = pull / variance * var if variance > 0 else np.zeros_like(weights)
    tail = losses >= var
    return Breakdown(weights * marginal, marginal, weights * matrix[tail].mean(axis=0))


def max_drawdown(returns: Array) -> float:
    """Return the largest fall of a path of simple returns from its highest point, 0.3 for 30 %.

    The path starts at 1, so a first bar that loses is a drawdown. The sign apart this is
    empyrical's `max_drawdown`.
    """
    wealth = np.concatenate(([1.0], np.cumprod(1.0 + returns)))
    return float((1.0 - wealth / np.maximum.accumulate(wealth)).max())


def annual_sharpe(returns: Array, bars_per_year: float) -> float | None:
    """Return mean / std (ddof 1) * sqrt(bars per year), cash at zero; None without variation."""
    deviation = float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
    if deviation <= 1e-12:
        return None
    return float(returns.mean()) / deviation * math.sqrt(bars_per_year)


def beta(covariance: Array, weights: Array, market: Array) -> float | None:
    """Return cov(r, m) / var(m) of two portfolios of the same symbols; None without var(m).

    Args:
        covariance: of the symbols' returns, (n_symbols, n_symbols).
        market: weights of the market portfolio, (n_symbols,).
    """
    variance = float(market @ covariance @ market)
    return float(weights @ covariance @ market) / variance if variance > 0 else None


def ledoit_wolf(returns: Array) -> tuple[Array, float]:
    """Return the covariance shrunk towards a multiple of the identity, and the shrinkage in [0, 1].

    Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices":
    (1 - s) S + s mu I with mu = trace(S) / N and s that minimises the expected squared error.

    Args:
        returns: (n_dates, n_symbols); S is their covariance with ddof 0, as in the paper.
    """
    centred = returns - returns.mean(axis=0)
    n, n_symbols = centred.shape
    sample = centred.T @ centred / n
    mu = float(np.trace(sample)) / n_symbols
    distance = float(((sample - mu * np.eye(n_symbols)) ** 2).sum())
    if distance <= 0:
        return sample, 0.0
    fourth = float(((centred**2).sum(axis=1) ** 2).sum()) / n
    error = (fourth - float((sample**2).sum())) / n
    share = min(max(error, 0.0), distance) / distance
    return (1 - share) * sample + share * mu * np.eye(n_symbols), share
