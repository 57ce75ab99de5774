"""Agreement: how far numbers are from those that they should equal.

The one relative difference of the platform: gates, golden rows, replays and parity of artifacts
all ask here, so that they mean the same by it.
"""

import numpy as np
from numpy.typing import NDArray

CAUSALITY_LIMIT = 1e-9
FEATURE_PARITY_LIMIT = 1e-6


def difference(expected: NDArray[np.floating], found: NDArray[np.floating]) -> float:
    """Return max |a - b| / max(1, |a|); two NaN agree, one NaN is infinitely far."""
    a, b = np.asarray(expected, dtype=np.float64), np.asarray(found, dtype=np.float64)
    if (np.isnan(a) != np.isnan(b)).any():
        return float("inf")
    gap = np.abs(a - b) / np.maximum(1.0, np.abs(a))
    return float(gap[~np.isnan(a)].max(initial=0.0))
