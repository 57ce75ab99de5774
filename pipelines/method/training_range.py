"""Training range: how far an input lies outside what a model was trained on. Numpy only.

The score of a row is its largest robust z over the features, |x - median| / spread, with the
spread from the quartiles; the limit is a high quantile of the training rows' own scores. Simple
on purpose: the answer can name the feature that is out of range.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LIMIT_QUANTILE = 0.999
NORMAL_QUARTILES = 1.3489795003921634
"""Distance of the quartiles of a standard normal distribution."""


@dataclass(frozen=True, slots=True)
class Distance:
    """`score` (n,), `feature` (n,) the number of the most extreme feature."""

    score: Array
    feature: NDArray[np.intp]


def fit_range(features: NDArray[np.float32]) -> dict[str, Array]:
    """Return the arrays `center`, `spread` (n_features,) and `limit` (1,) of training rows.

    A feature whose quartiles coincide takes its standard deviation, a constant one infinity
    (it cannot tell anything).
    """
    values = features.astype(np.float64)
    low, center, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
    spread = (high - low) / NORMAL_QUARTILES
    spread = np.where(spread > 0, spread, values.std(axis=0))
    arrays = {"center": center, "spread": np.where(spread > 0, spread, np.inf)}
    limit = np.quantile(distance(features, arrays).score, LIMIT_QUANTILE)
    return arrays | {"limit": np.array([limit])}


def distance(features: NDArray[np.float32], arrays: Mapping[str, Array]) -> Distance:
    """Return score and most extreme feature of each row (n, n_features)."""
    z = np.abs(deviations(features, arrays))
    return Distance(z.max(axis=1), z.argmax(axis=1))


def deviations(features: NDArray[np.float32], arrays: Mapping[str, Array]) -> Array:
    """Return the signed robust z of each row and feature, (n, n_features)."""
    z = (features.astype(np.float64) - arrays["center"]) / arrays["spread"]
    return np.asarray(z, dtype=np.float64)
