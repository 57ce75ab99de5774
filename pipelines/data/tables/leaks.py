"""Leaks: features that are the target under another name. Numpy and polars only.

A feature that equals the target, or is a one-to-one function of it, was written down when the
target was known. A model on it looks perfect and is useless. `refuse_leaks` names such a feature.
It does not find weaker leaks, such as a feature that was known a day too late; only the author of
the file can.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from registry.errors import TableError

PERFECT = 1 - 1e-9
FEWEST = 20
"""Fewer rows may agree by chance, so they are not tested."""


def refuse_leaks(
    values: NDArray[np.float64], names: Sequence[str], y: NDArray[np.float64], target: str
) -> None:
    """Refuse features that give the target away.

    Args:
        values: (n, n_columns) encoded columns, NaN where missing.
        y: (n,) class numbers or values.

    Raises:
        TableError: a column equals the target, is a linear or monotonic function of it, or has one
            value for each of the target's values and the other way round.
    """
    for name, column in zip(names, values.T, strict=True):
        if how := leak(column, y):
            problem = f"column {name!r} {how} the target {target!r}"
            hint = f"a feature must be known before the target: options drop={name}"
            raise TableError(problem, "", hint)


def leak(column: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """Describe how a column gives the target away; empty when it does not."""
    known = np.isfinite(column)
    x, z = column[known], y[known]
    if len(x) < FEWEST or np.ptp(x) == 0 or np.ptp(z) == 0:
        return ""
    if np.array_equal(x, z):
        return "equals"
    n_values = len(np.unique(z))
    if n_values <= len(z) / 2:
        pairs = len(np.unique(np.column_stack((x, z)), axis=0))
        return "is a one-to-one function of" if pairs == n_values == len(np.unique(x)) else ""
    if abs(float(np.corrcoef(x, z)[0, 1])) > PERFECT:
        return "is a linear function of"
    first, second = (pl.Series(v).rank("average").to_numpy() for v in (x, z))
    agree = abs(float(np.corrcoef(first, second)[0, 1])) > PERFECT
    return "is a monotonic function of" if agree else ""
