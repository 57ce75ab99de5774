"""Classical forecasts of the variance of the next h bars: HAR and GARCH. Numpy only.

They are the rivals of `volatility_forecast`. HAR is fitted here, by least squares on rows of many
symbols. `arch` fits the parameters of GARCH and GJR-GARCH (`pipelines/recipes/rivals.py`), and the
recursion here carries them over later bars. Variances are mean squared log returns per bar unless
said otherwise.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

HAR_BARS = (1, 5, 22)
"""A day, a week, a month of daily bars (Corsi 2009)."""
LARGEST_RATIO = 50.0
"""Realised over forecast variance is cut at this before it is averaged, so that one crash does not
decide."""
LEAST_OF_SCALE = 0.05
"""A least-squares line may fall below zero where it was not fitted: never below this share of the
EWMA variance."""


def best_scale(realised: Array, forecast: Array) -> float:
    """Return the constant c by which c * forecast has the least mean of ln f + rv/f.

    It is the mean of rv / forecast. NaN where nothing is known of both.
    """
    ratio = realised / forecast
    known = ratio[np.isfinite(ratio)]
    return float(np.minimum(known, LARGEST_RATIO).mean()) if len(known) else float("nan")


# HAR -------------------------------------------------------------------------------------------


def fit_har(realised: Array, means: Array, scale: Array) -> Array:
    """Fit the heterogeneous autoregression of realised variance (Corsi 2009), (4,).

    Weighted least squares with weights 1 / scale^2, because the error of a variance grows with
    its level (Patton and Sheppard 2015, section 3); without them days of crisis decide alone.

    Args:
        realised: (n,) variance realised over the horizon.
        means: (n, 3) mean variance of the newest 1, 5 and 22 bars.
        scale: (n,) EWMA variance.

    Returns:
        Constant and the three coefficients. Rows that are not finite are left out; of none,
        the forecast is the mean of the newest 22 bars.
    """
    design = np.column_stack((np.ones(len(realised)), means)) / scale[:, None]
    known = np.isfinite(design).all(axis=1) & np.isfinite(realised)
    if not known.any():
        return np.array([0.0, 0.0, 0.0, 1.0])
    return np.asarray(np.linalg.lstsq(design[known], (realised / scale)[known], rcond=None)[0])


def har_forecast(coefficients: Array, means: Array, scale: Array) -> Array:
    """Return the HAR forecast of each row, at least `LEAST_OF_SCALE` of its EWMA variance."""
    line = coefficients[0] + means @ coefficients[1:]
    return np.asarray(np.maximum(line, LEAST_OF_SCALE * scale), dtype=np.float64)


# GARCH -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Garch:
    """s2_{t+1} = omega + (alpha + gamma * [r_t < 0]) * r_t^2 + beta * s2_t, with mean zero.

    GARCH(1,1) where `gamma` is 0 (Bollerslev 1986), GJR-GARCH otherwise (Glosten, Jagannathan and
    Runkle 1993). Returns and `omega` are in the same unit: `omega` in squared returns.
    `start` is the variance that the recursion begins with (`arch` calls it the backcast).
    """

    omega: float
    alpha: float
    gamma: float
    beta: float
    start: float

    @property
    def persistence(self) -> float:
        """The share of a shock to the expected variance that is left one bar later."""
        return self.alpha + self.gamma / 2 + self.beta

    def variances(self, returns: Array) -> Array:
        """Return the variance of each bar's return given the returns before it, (n + 1,).

        The last entry is that of the bar after the newest return.
        """
        out = np.empty(len(returns) + 1)
        variance = self.omega + (self.alpha + self.gamma / 2 + self.beta) * self.start
        shock = self.alpha + self.gamma * (returns < 0)
        news = self.omega + shock * returns**2
        out[0] = variance
        for i, step in enumerate(news.tolist()):
            variance = step + self.beta * variance
            out[i + 1] = variance
        return out

    def forecast(self, next_variance: Array, horizon: int) -> Array:
        """Return the mean expected variance over the next `horizon` bars.

        E s2_{t+k} = s2_{t+1} * p^(k-1) + omega * (1 + p + ... + p^(k-2)), p the persistence,
        which needs no finite long-run variance.

        Args:
            next_variance: variance of bar t+1 as known at t, any shape.
        """
        powers = self.persistence ** np.arange(horizon)
        sums = np.concatenate(([0.0], np.cumsum(powers)[:-1]))
        return np.asarray(next_variance * powers.mean() + self.omega * sums.mean())
