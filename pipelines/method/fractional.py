"""Fractional differentiation: as stationary as needed, with as much memory as can be kept.

Fixed-width window (AFML section 5.5). The weights are the binomial series of (1 - L)^d, cut where
they become small. So every value comes from the same number of bars, and f(x[:t])[t] == f(x)[t].
The smallest d that passes an augmented Dickey-Fuller test is fitted on training bars only and then
applied to all.

No feature set uses it, because a feature set has nothing fitted. It serves research on bars, before
they go to a source of `files` with further columns.
"""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from registry.errors import FitError, ParameterError, TooLittleHistoryError

Array = NDArray[np.float64]

SMALLEST_WEIGHT = 1e-4
SIGNIFICANCE = 0.05
GRID = tuple(round(0.05 * step, 2) for step in range(21))
"""Degrees that are tried, 0 to 1."""
LEAST_VALUES = 100
"""Differentiated training values that a unit-root test needs."""


def weights(d: float, smallest: float = SMALLEST_WEIGHT) -> Array:
    """Return w_0 = 1, w_k = -w_{k-1} (d - k + 1) / k up to the last |w_k| >= smallest.

    Raises:
        ParameterError: d outside [0, 2], or a smallest weight outside (0, 1).
    """
    if not 0 <= d <= 2:
        raise ParameterError("d", d, "a degree in [0, 2]")
    if not 0 < smallest < 1:
        raise ParameterError("smallest", smallest, "a weight in (0, 1)")
    found, k = [1.0], 1
    while abs(following := -found[-1] * (d - k + 1) / k) >= smallest:
        found.append(following)
        k += 1
    return np.asarray(found)


def differentiate(values: Array, d: float, smallest: float = SMALLEST_WEIGHT) -> Array:
    """Return the fractionally differentiated series, NaN until the window is full; (n,)."""
    window = weights(d, smallest)
    out = np.full(len(values), np.nan)
    if len(values) >= len(window):
        out[len(window) - 1 :] = sliding_window_view(values, len(window)) @ window[::-1]
    return out


def smallest_degree(
    training: Array, smallest: float = SMALLEST_WEIGHT, significance: float = SIGNIFICANCE
) -> float:
    """Return the smallest d of 0, 0.05, ..., 1 whose result has no unit root by an ADF test.

    The test has a constant and as many lags as AIC chooses (Dickey and Fuller 1979; arch's).

    Args:
        training: values (log prices) before the first tested bar only, all finite.

    Raises:
        TooLittleHistoryError: fewer than 100 values are left after the window of every degree.
        FitError: not even the first difference passes.
    """
    from arch.unitroot import ADF

    longest = 0
    for d in GRID:
        values = differentiate(training, d, smallest)
        values = values[np.isfinite(values)]
        longest = max(longest, len(values))
        if len(values) < LEAST_VALUES or values.std() == 0:
            continue
        if float(ADF(values, trend="c", method="aic").pvalue) < significance:
            return d
    if longest < LEAST_VALUES:
        needed = LEAST_VALUES + math.ceil(len(weights(GRID[1], smallest)))
        raise TooLittleHistoryError("a fractional degree", needed, len(training))
    raise FitError("fractional", "no degree up to 1 passes the ADF test", "use returns")
