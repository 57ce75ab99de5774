"""Volatility filters: each symbol's variance of the next return, known at the close before it.

A filter turns returns into standardised residuals and back: scenario architectures
(`pipelines/architectures/scenarios.py`) draw residuals of the past and give them today's variance.
Every symbol has its own recursion; all run side by side. Returns are simple, fractions per bar.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EWMA_START_BARS = 21


@dataclass(frozen=True, slots=True)
class Filtered:
    """Float64 (n, n_symbols) each: `variance[t]` is of the return at t + 1 and knows rows up to t.

    `residuals[t]` is (return at t - mean) / sqrt(variance[t - 1]).
    """

    residuals: Array
    variance: Array


class VolatilityFilter(Protocol):
    """The rule that gives the next variance from the last one and the newest shock."""

    @property
    def mean(self) -> Array:
        """Of the returns, (n_symbols,)."""
        ...

    def start(self, shocks: Array) -> Array:
        """Return the variance of the first row, (n_symbols,)."""
        ...

    def step(self, variance: Array, shock: Array) -> Array:
        """Return the next variance; (..., n_symbols) each."""
        ...


@dataclass(frozen=True, slots=True)
class Flat:
    """No filter: residuals are the returns themselves."""

    mean: Array

    def start(self, shocks: Array) -> Array:
        """Return one."""
        return np.ones(shocks.shape[1])

    def step(self, variance: Array, shock: Array) -> Array:
        """Return the variance unchanged."""
        return variance


@dataclass(frozen=True, slots=True)
class Ewma:
    """v' = decay * v + (1 - decay) * shock^2 (RiskMetrics 1996), decay 0.94 for daily returns."""

    mean: Array
    decay: float

    def start(self, shocks: Array) -> Array:
        """Return the mean square of the first 21 rows."""
        return np.asarray((shocks[:EWMA_START_BARS] ** 2).mean(axis=0))

    def step(self, variance: Array, shock: Array) -> Array:
        """Return the next variance."""
        return np.asarray(self.decay * variance + (1 - self.decay) * shock**2)


@dataclass(frozen=True, slots=True)
class Gjr:
    """v' = omega + (alpha + gamma 1[shock < 0]) shock^2 + beta v.

    Glosten, Jagannathan and Runkle 1993; all (n_symbols,), `omega` and `backcast` in squared
    returns. EWMA is the case omega = gamma = 0, alpha = 1 - beta.
    """

    mean: Array
    omega: Array
    alpha: Array
    gamma: Array
    beta: Array
    backcast: Array

    def start(self, shocks: Array) -> Array:
        """Return the variance after a step from `backcast`, half of whose shock was negative."""
        slope = self.alpha + 0.5 * self.gamma
        return np.asarray(self.omega + (slope + self.beta) * self.backcast)

    def step(self, variance: Array, shock: Array) -> Array:
        """Return the next variance."""
        slope = self.alpha + self.gamma * (shock < 0)
        return np.asarray(self.omega + slope * shock**2 + self.beta * variance)


def run(volatility: VolatilityFilter, returns: Array) -> Filtered:
    """Filter returns in time order, (n, n_symbols).

    An EWMA's start looks at most 21 rows ahead; its weight is gone after a few hundred.
    """
    shocks = returns - volatility.mean
    residuals, variances = np.empty_like(shocks), np.empty_like(shocks)
    variance = volatility.start(shocks)
    for t, shock in enumerate(shocks):
        residuals[t] = shock / np.sqrt(variance)
        variance = variances[t] = volatility.step(variance, shock)
    return Filtered(residuals, variances)
