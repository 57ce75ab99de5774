"""Scaling: how array models bring features to one scale, fitted on the training rows.

`standard`: a feature's weighted mean becomes 0 and its deviation 1. `none`: as it is. `idf`: counts
of words are multiplied by their inverse document frequency, and the model then brings each row to
unit length. In each of them a missing value becomes the weighted mean.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from registry.flavors.arrays.preprocessing import Preprocessing

Scaling = Literal["standard", "idf", "none"]
BOUND = 100.0
"""Features are clipped at this many deviations from the mean (`none` and `idf`: this many times the
largest training value), so that a wild bar moves a score far, but not to infinity."""


def fit_preprocessing(
    X: NDArray[np.float32], weight: NDArray[np.float64], scaling: Scaling
) -> Preprocessing:
    """Fit what a model does to its features before its formula.

    Args:
        X: (n, n_features), NaN for missing; a feature without any value counts as zero.
        weight: (n,), positive.
    """
    mean, deviation = weighted_moments(X, weight)
    zero = np.zeros_like(mean)
    if scaling == "standard":
        varies = deviation > 1e-6 * np.abs(mean)
        wide = np.where(varies, deviation, np.maximum(np.abs(mean), 1.0))
        scale = np.divide(1.0, deviation, out=np.ones_like(mean), where=varies)
        return _preprocessing(mean, mean - BOUND * wide, mean + BOUND * wide, mean, scale)
    largest = np.where(np.isnan(X), 0, np.abs(X)).max(axis=0).astype(np.float64)
    bound = BOUND * np.where(largest > 0, largest, 1.0)
    scale = np.ones_like(mean)
    if scaling == "idf":  # Salton & Buckley 1988, smoothed by one document with every word
        documents = (np.nan_to_num(X) != 0).sum(axis=0)
        scale = np.log((1 + len(X)) / (1 + documents)) + 1
    return _preprocessing(mean, -bound, bound, zero, scale)


def weighted_moments(
    X: NDArray[np.float32], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weighted mean and deviation of every feature, missing values left out."""
    known = ~np.isnan(X)
    mass = known * weight[:, None]
    total = np.maximum(mass.sum(axis=0), np.finfo(np.float64).tiny)
    values = np.where(known, X, 0).astype(np.float64)
    mean = (values * mass).sum(axis=0) / total
    variance = ((values - mean) ** 2 * mass).sum(axis=0) / total
    return mean, np.sqrt(variance)


def _preprocessing(*columns: NDArray[np.float64]) -> Preprocessing:
    return Preprocessing(*(column.astype(np.float32) for column in columns))
