"""Parity: how far a converted artifact is from the native model, and how far it may be.

Measured on raw scores as |a - b| / max(1, |native|), so that margins near
zero are compared absolutely and large ones relatively. Computes nothing but that number; the
convert stage runs the predictors and writes the gate rows.
"""

import numpy as np
from numpy.typing import NDArray

from registry.errors import ParityError, ShapeError

LIMITS = {"native": 0.0, "onnx": 1e-4}
"""Largest allowed difference per flavor. Trees differ by the order of a float32 sum and networks
by the order of float32 matrix products: a few 1e-6, `tests/conformance/test_flavors.py` measures
it. One leaf taken wrongly or a forgotten intercept is far above 1e-4."""


def difference(native: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return max |native - other| / max(1, |native|); infinite where only one is a number.

    Args:
        native, other: scores of the same rows, (n, n_scores).

    Raises:
        ShapeError: the scores differ in shape or there are none.
    """
    if native.shape != other.shape or native.size == 0:
        raise ShapeError("scores", f"{native.shape} and at least one", str(other.shape))
    expected, found = native.astype(np.float64), other.astype(np.float64)
    if not np.array_equal(np.isfinite(expected), np.isfinite(found)):
        return float("inf")
    finite = np.isfinite(expected)
    if not finite.any():
        return float("inf")
    gap = np.abs(expected - found)[finite] / np.maximum(1.0, np.abs(expected[finite]))
    return float(gap.max())


def check(flavor: str, native: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the difference.

    Raises:
        ParityError: it is beyond the flavor's limit.
        ShapeError: the scores differ in shape or there are none.
    """
    found, limit = difference(native, other), LIMITS[flavor]
    if not found <= limit:
        raise ParityError(flavor, found, limit)
    return found
