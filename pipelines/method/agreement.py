"""Agreement: how far numbers are from those that they should equal.

This is the one relative difference of the platform. Gates, golden rows, replays and the parity of
artifacts all use it.
"""

import numpy as np
from numpy.typing import NDArray


def difference(expected: NDArray[np.floating], found: NDArray[np.floating]) -> float:
    """Return max |a - b| / max(1, |a|), 0 for no numbers.

    Two NaN agree, and so do two infinities of one sign. Any other pair that is not finite, and
    arrays of two shapes, are infinitely far apart.
    """
    a, b = np.asarray(expected, dtype=np.float64), np.asarray(found, dtype=np.float64)
    if a.shape != b.shape:
        return float("inf")
    differs = (a != b) & ~(np.isnan(a) & np.isnan(b))
    a, b = a[differs], b[differs]
    if not (np.isfinite(a) & np.isfinite(b)).all():
        return float("inf")
    return float((np.abs(a - b) / np.maximum(1.0, np.abs(a))).max(initial=0.0))
