"""The isolation forest (Liu, Ting & Zhou 2008) by scikit-learn, kept as plain trees.

Unusual rows are cut off by few random splits. The score is 2^-(mean path / expected path) in
(0, 1): near 0.5 for a usual row, towards 1 for an unusual one. A missing value counts as the
training mean.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from pipelines.architectures import (
    QUIET,
    Architecture,
    Estimator,
    FitContext,
    Loss,
    Objective,
    TrainingRows,
)
from pipelines.architectures.array_estimator import ArrayEstimator
from pipelines.architectures.hyperparameters import resolve
from pipelines.architectures.rows import checked_rows
from pipelines.architectures.scaling import weighted_moments
from pipelines.architectures.spaces import SPACES
from pipelines.architectures.tree_arrays import Tree, forest_of
from registry.contract import Json
from registry.errors import FitError
from registry.flavors.arrays.forest import ISOLATION


class Isolation(Architecture):
    """Random trees that isolate rows."""

    name = "isolation_forest"
    native_format = "arrays"
    default_window = 1
    objectives: tuple[Loss, ...] = ("novelty",)

    def fit(
        self,
        rows: TrainingRows,
        objective: Objective,
        parameters: Mapping[str, Json],
        seed: int,
        context: FitContext = QUIET,
    ) -> Estimator:
        """Fit; where weights differ, rows are first drawn in proportion to them.

        Raises:
            ParameterError: an unknown parameter, a value of the wrong kind or range, or an
                objective other than novelty.
            ShapeError: no rows, or rows with a window.
            ValueRangeError: an infinite feature, a weight that is not above 0.
            FitError: a single row.
        """
        chosen = resolve(SPACES[self.name], parameters)
        rows = checked_rows(self, rows, objective)
        if len(rows.X) < 2:
            raise FitError(self.name, "1 row", "give at least 2 rows")
        fill = weighted_moments(rows.X, rows.weight)[0].astype(np.float32)
        known = np.where(np.isnan(rows.X), fill, rows.X)[_drawn(rows.weight, seed)]
        library = IsolationForest(
            n_estimators=int(str(chosen["n_estimators"])),
            max_samples=min(int(str(chosen["max_samples"])), len(known)),
            n_jobs=int(str(chosen["nthread"])),
            random_state=seed,
        ).fit(known)
        expected = average_path(np.array([library.max_samples_]))[0]
        trees = [_path_tree(member.tree_, fill) for member in library.estimators_]
        share = 1.0 / (len(trees) * expected)
        model = forest_of(trees, rows.X.shape[1], np.zeros(1), ISOLATION, share=share)
        return ArrayEstimator(model, seed)


def average_path(n: NDArray[Any]) -> NDArray[np.float64]:
    """Return the mean path of an unsuccessful search among n rows (equation 1 of the paper)."""
    rows = np.maximum(np.asarray(n, np.float64), 2.0)
    many = 2.0 * (np.log(rows - 1) + np.euler_gamma) - 2.0 * (rows - 1) / rows
    return np.where(n > 2, many, np.where(n == 2, 1.0, 0.0))


def _drawn(weight: NDArray[np.float64], seed: int) -> NDArray[np.intp]:
    if np.ptp(weight) == 0:
        return np.arange(len(weight))
    rng = np.random.default_rng(seed)
    return rng.choice(len(weight), len(weight), p=weight / weight.sum())


def _path_tree(found: Any, fill: NDArray[np.float32]) -> Tree:
    """Return a tree whose leaves hold their depth and the expected path below them."""
    left, right = found.children_left.astype(np.int64), found.children_right.astype(np.int64)
    depth = np.zeros(len(left))
    for node in np.flatnonzero(left >= 0):  # parents come before their children
        depth[[left[node], right[node]]] = depth[node] + 1
    feature = np.maximum(found.feature, 0).astype(np.int64)
    is_leaf = left < 0
    path = np.where(is_leaf, depth + average_path(found.n_node_samples), 0.0)
    return Tree(
        feature=feature,
        threshold=found.threshold.astype(np.float64),
        left=left,
        right=right,
        nan_left=~is_leaf & (fill[feature] <= found.threshold),
        leaf=path[:, None],
        mass=found.weighted_n_node_samples.astype(np.float64),
    )


ISOLATION_FOREST = Isolation()
