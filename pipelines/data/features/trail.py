"""Trail: quantities of the newest bars, and weights that turn them into means over windows.

A feature set that streams derives a few numbers from each bar once and keeps them here; a product
with fixed weights then gives every window's mean. Each window is summed anew, so nothing drifts.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Trail:
    """The newest `keep` values of several quantities, one column per bar, oldest first."""

    def __init__(self, n_quantities: int, keep: int) -> None:
        self._keep, self._end = keep, 0
        self._values = np.zeros((n_quantities, 2 * keep + 1))

    def push(self, values: Sequence[float]) -> Array:
        """Add a bar's values; return (n_quantities, at most keep), valid until the next call."""
        if self._end == 2 * self._keep:
            self._values[:, : self._keep] = self._values[:, self._keep : self._end]
            self._end = self._keep
        found = self.beside(values)
        self._end += 1
        return found

    def beside(self, values: Sequence[float]) -> Array:
        """Return the same as `push`, but add nothing."""
        self._values[:, self._end] = values
        stop = self._end + 1
        return self._values[:, max(0, stop - self._keep) : stop]


def means(windows: Sequence[int], n_bars: int) -> Array:
    """Return weights, (n_windows, n_bars), that turn values, oldest first, into newest means."""
    age = np.arange(n_bars)[::-1]
    return np.array([(age < bars) / bars for bars in windows])


def decays(rates: Sequence[float], n_bars: int) -> Array:
    """Return weights, (n_rates, n_bars), of exponential means: rate^age, normalised."""
    weights = np.array(rates)[:, None] ** np.arange(n_bars)[::-1]
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
