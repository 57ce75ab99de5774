"""Linear models: ridge, lasso, elastic net and logistic regression, by scikit-learn.

A missing value becomes the training mean, inside the model. The penalty is written per row and
for a target of deviation 1, so that one `alpha` means the same for returns and for prices:
mean((y - Xw)^2) / (2 var(y)) + alpha * penalty(w), and for logistic regression
mean(log loss) + alpha |w|^2 / 2. Intercepts are not penalised.
"""

import warnings
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet, Lasso, LogisticRegression, Ridge

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
from pipelines.architectures.scaling import Scaling, fit_preprocessing
from pipelines.architectures.spaces import SPACES
from pipelines.architectures.threads import limited_threads
from registry.contract import Json
from registry.errors import FitError
from registry.flavors.arrays.linear import SHORTEST, Linear


class LinearArchitecture(Architecture):
    """One of the four linear models, by its name."""

    native_format = "arrays"
    default_window = 1

    def __init__(self, name: str, objectives: tuple[Loss, ...]) -> None:
        self.name = name
        self.objectives = objectives

    def fit(
        self,
        rows: TrainingRows,
        objective: Objective,
        parameters: Mapping[str, Json],
        seed: int,
        context: FitContext = QUIET,
    ) -> Estimator:
        """Fit on weighted rows; nothing is drawn at random.

        Raises:
            ParameterError: an unknown parameter, a value of the wrong kind or range, or an
                objective that this model does not take.
            ShapeError: no rows, or rows with a window.
            ValueRangeError: a target outside the objective's domain, or an infinite feature.
            FitError: one class only, or no convergence within `max_iter` steps.
        """
        chosen = resolve(SPACES[self.name], parameters)
        rows = checked_rows(self, rows, objective)
        scaling = cast(Scaling, chosen["scaling"])
        preprocessing = fit_preprocessing(rows.X, rows.weight, scaling)
        z = preprocessing(rows.X).astype(np.float64)
        if scaling == "idf":
            z /= np.maximum(np.linalg.norm(z, axis=1, keepdims=True), SHORTEST)
        solve = _solve_classes if objective.loss == "softmax" else _solve_squared
        with limited_threads(chosen["nthread"]):
            weight, bias = solve(self.name, z, rows, chosen, objective.n_scores)
        model = Linear(
            preprocessing, weight.astype(np.float32), bias.astype(np.float32), scaling == "idf"
        )
        return ArrayEstimator(model, seed)


_Solution = tuple[NDArray[np.float64], NDArray[np.float64]]


def _solve_squared(
    name: str,
    z: NDArray[np.float64],
    rows: TrainingRows,
    chosen: Mapping[str, Any],
    _: int,
) -> _Solution:
    """Return weight (n_features, 1) and bias (1,), fitted to a target of deviation 1."""
    mean = np.average(rows.y, weights=rows.weight)
    scale = np.sqrt(np.average((rows.y - mean) ** 2, weights=rows.weight))
    if scale <= 1e-12 * max(1.0, abs(mean)):  # a constant target: its own best forecast
        return np.zeros((z.shape[1], 1)), np.array([mean])
    steps = {"max_iter": chosen["max_iter"], "tol": chosen["tol"]}
    if name == "ridge":
        solver: Any = Ridge(chosen["alpha"] * rows.weight.sum(), **steps)
    elif name == "lasso":
        solver = Lasso(chosen["alpha"], **steps)
    else:
        solver = ElasticNet(chosen["alpha"], l1_ratio=chosen["l1_ratio"], **steps)
    _converge(name, solver, z, (rows.y - mean) / scale, rows.weight)
    return solver.coef_[:, None] * scale, np.array([mean + scale * solver.intercept_])


def _solve_classes(
    name: str,
    z: NDArray[np.float64],
    rows: TrainingRows,
    chosen: Mapping[str, Any],
    n_classes: int,
) -> _Solution:
    """Return weight (n_features, n_classes) and bias (n_classes,).

    A class without rows gets the logit of half a row among them, whatever the features.
    """
    present = np.unique(rows.y).astype(np.intp)
    if len(present) == 1:
        problem = f"every row is of class {present[0]}"
        raise FitError(name, problem, "give rows of at least two classes")
    strength = 1.0 / (chosen["alpha"] * rows.weight.sum())
    solver = LogisticRegression(C=strength, max_iter=chosen["max_iter"], tol=chosen["tol"])
    _converge(name, solver, z, rows.y, rows.weight)
    coefficients, intercept = solver.coef_, solver.intercept_
    if len(present) == 2:  # scikit-learn keeps the difference of the two logits
        coefficients = np.vstack([-coefficients, coefficients]) / 2
        intercept = np.array([-intercept[0], intercept[0]]) / 2
    weight = np.zeros((z.shape[1], n_classes))
    bias = np.full(n_classes, intercept.mean() - np.log(2.0 * len(rows.y)))
    weight[:, present], bias[present] = coefficients.T, intercept
    return weight, bias


def _converge(
    name: str, solver: Any, z: NDArray[np.float64], y: NDArray[Any], weight: NDArray[np.float64]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            solver.fit(z, y, sample_weight=weight)
        except ConvergenceWarning as exc:
            problem = f"no convergence within {solver.max_iter} steps"
            raise FitError(name, problem, "raise alpha, tol or max_iter") from exc


RIDGE = LinearArchitecture("ridge", ("squared",))
LASSO = LinearArchitecture("lasso", ("squared",))
ELASTIC_NET = LinearArchitecture("elastic_net", ("squared",))
LOGISTIC = LinearArchitecture("logistic", ("softmax",))
