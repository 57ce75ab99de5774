"""Estimators whose model is arrays: scores by numpy, importance by permutation.

The fitted model is the very object that the native file is written from and read into
(`registry.flavors.arrays`), so what a backend computes is what was fitted.
"""

import numpy as np
from numpy.typing import NDArray

from pipelines.architectures import Estimator
from registry.flavors import NativeModel
from registry.flavors.arrays import ArrayModel, save_arrays

IMPORTANCE_ROWS, IMPORTANCE_VALUES = 1000, 400_000
"""Most rows, and most numbers in them; with thousands of features (words) fewer rows are used."""


class ArrayEstimator(Estimator):
    """A fitted model of arrays; `seed` draws the permutations of `importance`."""

    def __init__(self, model: ArrayModel, seed: int) -> None:
        self.model = model
        self.n_scores = model.n_scores
        self._seed = seed

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return raw scores, float32 (n, n_scores)."""
        return self.model(X)

    def importance(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the importance of each feature by permutation, summing to 1.

        It is the mean absolute change of the scores when one feature's values change rows, over at
        most 1,000 evenly spaced rows; a window moves as a whole. A feature with one value in all of
        them has no importance. When no feature moves the scores, every feature gets the same share.
        """
        n_rows = min(len(X), IMPORTANCE_ROWS, max(2, IMPORTANCE_VALUES // max(1, X[0].size)))
        rows = np.unique(np.linspace(0, len(X) - 1, n_rows).astype(np.intp))
        sample, rng = X[rows], np.random.default_rng(self._seed)
        before = self.predict(sample).astype(np.float64)
        share = np.zeros(X.shape[-1])
        flat = sample.reshape(-1, X.shape[-1])
        for feature in np.flatnonzero((flat != flat[0]).any(axis=0)):
            changed = sample.copy()
            changed[..., feature] = sample[rng.permutation(len(sample))][..., feature]
            share[feature] = np.abs(self.predict(changed) - before).mean()
        total = share.sum()
        return share / total if total > 0 else np.full(len(share), 1.0 / len(share))

    def native(self) -> NativeModel:
        """Return the model as safetensors."""
        return save_arrays(self.model)
