"""Ensembles of trees by scikit-learn: random forest and histogram gradient boosting.

Both are read out of the fitted library object as plain trees (`registry.flavors.arrays.forest`),
so no pickle is needed. NaN is a missing value and follows each split's learned direction. Category
codes are taken as numbers; choose xgboost, lightgbm or catboost for features that are categories.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)

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
from pipelines.architectures.spaces import SPACES
from pipelines.architectures.threads import limited_threads
from pipelines.architectures.tree_arrays import Tree, boosted_tree, forest_of, library_tree
from registry.contract import Json
from registry.errors import FitError
from registry.flavors.arrays.forest import IDENTITY, LOG, Forest


class RandomForest(Architecture):
    """Bagged trees (Breiman 2001)."""

    name = "random_forest"
    native_format = "arrays"
    default_window = 1
    objectives: tuple[Loss, ...] = ("softmax", "squared")

    def fit(
        self,
        rows: TrainingRows,
        objective: Objective,
        parameters: Mapping[str, Json],
        seed: int,
        context: FitContext = QUIET,
    ) -> Estimator:
        """Fit on weighted rows. The score of `softmax` is the log of the trees' mean frequency.

        A leaf's frequencies count one further row, spread like the classes of all rows (an
        m-estimate with m = 1), so that no probability is zero.

        Raises:
            ParameterError: an unknown parameter, a value of the wrong kind or range, or an
                objective that this model does not take.
            ShapeError: no rows, or rows with a window.
            ValueRangeError: a target outside the objective's domain, or an infinite feature.
            FitError: scikit-learn refuses the rows.
        """
        chosen = resolve(SPACES[self.name], parameters)
        rows = checked_rows(self, rows, objective)
        settings = {**chosen, "n_jobs": chosen["nthread"], "random_state": seed}
        del settings["nthread"]
        is_classes = objective.loss == "softmax"
        library: Any = RandomForestClassifier if is_classes else RandomForestRegressor
        fitted = _fitted(self.name, library(**settings), rows, chosen["nthread"])
        n_trees = len(fitted.estimators_)
        trees = [library_tree(member.tree_) for member in fitted.estimators_]
        if is_classes:
            prior = _class_shares(rows, objective.n_scores)
            present = fitted.classes_.astype(np.intp)
            trees = [_with_frequencies(tree, present, prior) for tree in trees]
        base = np.zeros(objective.n_scores)
        link = LOG if is_classes else IDENTITY
        model = forest_of(trees, rows.X.shape[1], base, link, share=1.0 / n_trees)
        return ArrayEstimator(model, seed)


class GradientBoosting(Architecture):
    """Histogram gradient boosting, the algorithm of LightGBM in scikit-learn."""

    name = "gradient_boosting"
    native_format = "arrays"
    default_window = 1
    objectives: tuple[Loss, ...] = ("gamma", "softmax", "squared")

    def fit(
        self,
        rows: TrainingRows,
        objective: Objective,
        parameters: Mapping[str, Json],
        seed: int,
        context: FitContext = QUIET,
    ) -> Estimator:
        """Fit `rounds` rounds on weighted rows, without early stopping; scores are margins.

        Raises:
            ParameterError: an unknown parameter, or a value of the wrong kind or range.
            ShapeError: no rows, or rows with a window.
            ValueRangeError: a target outside the objective's domain, or an infinite feature.
            FitError: one class only, or scikit-learn refuses the rows.
        """
        chosen = resolve(SPACES[self.name], parameters)
        rows = checked_rows(self, rows, objective)
        settings = {**chosen, "early_stopping": False, "random_state": seed}
        settings["max_iter"] = settings.pop("rounds")
        del settings["nthread"]
        if objective.loss == "softmax":
            library: Any = HistGradientBoostingClassifier(**settings)
        else:
            loss = "gamma" if objective.loss == "gamma" else "squared_error"
            library = HistGradientBoostingRegressor(loss=loss, **settings)
        fitted = _fitted(self.name, library, rows, chosen["nthread"])
        if objective.loss == "softmax":
            model = _boosted_classes(fitted, rows, objective.n_scores)
        else:
            # scikit-learn offers no public way to its trees; the versions are pinned, and the
            # convert stage compares every artifact with the scores of the fit
            trees = [boosted_tree(found[0].nodes, {0: 1.0}, 1) for found in fitted._predictors]
            base = np.asarray(fitted._baseline_prediction, np.float64).ravel()
            model = forest_of(trees, rows.X.shape[1], base, IDENTITY)
        return ArrayEstimator(model, seed)


def _fitted(name: str, library: Any, rows: TrainingRows, n_threads: Json) -> Any:
    with limited_threads(n_threads):
        try:
            return library.fit(rows.X, rows.y, sample_weight=rows.weight)
        except ValueError as exc:
            problem = str(exc).strip().partition("\n")[0]
            raise FitError(name, problem, "check the rows and the parameters") from exc


def _class_shares(rows: TrainingRows, n_scores: int) -> NDArray[np.float64]:
    """Return the weighted share of each class, one further row spread evenly over them."""
    counts = np.bincount(rows.y.astype(np.intp), rows.weight, minlength=n_scores) + 1.0 / n_scores
    return np.asarray(counts / counts.sum())


def _with_frequencies(tree: Tree, present: NDArray[np.intp], prior: NDArray[np.float64]) -> Tree:
    counts = np.zeros((len(tree.leaf), len(prior)))
    counts[:, present] = tree.leaf * tree.mass[:, None]
    return tree.with_leaf((counts + prior) / (tree.mass[:, None] + 1.0))


def _boosted_classes(fitted: Any, rows: TrainingRows, n_scores: int) -> Forest:
    """Return the forest of logits; a class without rows gets the logit of half a row."""
    present = fitted.classes_.astype(np.intp)
    if len(present) == 1:
        problem = f"every row is of class {present[0]}"
        raise FitError("gradient_boosting", problem, "give rows of at least two classes")
    start = np.asarray(fitted._baseline_prediction, np.float64).ravel()
    trees = []
    for rounds in fitted._predictors:
        for number, found in enumerate(rounds):
            # two classes have one margin, the difference of the two logits
            signs = {0: -0.5, 1: 0.5} if len(present) == 2 else {number: 1.0}
            spread = {int(present[at]): sign for at, sign in signs.items()}
            trees.append(boosted_tree(found.nodes, spread, n_scores))
    if len(present) == 2:
        start = np.array([-start[0], start[0]]) / 2
    base = np.full(n_scores, start.mean() - np.log(2.0 * len(rows.y)))
    base[present] = start
    return forest_of(trees, rows.X.shape[1], base, IDENTITY)


RANDOM_FOREST = RandomForest()
GRADIENT_BOOSTING = GradientBoosting()
