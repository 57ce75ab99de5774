"""Boosted trees: XGBoost through its Booster API.

`fit` trains a Booster with the histogram method and hands it over as UBJSON, the library's own
safe format; the scikit-learn wrapper is not used (it pickles). Scores are margins, the intercept
(`base_score`, which XGBoost estimates from the rows) included: log of the forecast for `gamma`,
logits for `softmax`, the forecast for `squared`. A NaN feature is a missing value and follows
each split's learned default direction. Links (exp, softmax) are the template's business.
"""

from collections.abc import Mapping

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from pipelines.architectures import (
    QUIET,
    Estimator,
    FitContext,
    Loss,
    Objective,
    TrainingRows,
    check_rows,
)
from pipelines.hyperparameters import Choice, Number, Space, defaults, resolve
from registry.contract import Json
from registry.errors import FitError, ShapeError
from registry.flavors import NativeModel

IMPORTANCE_ROWS = 2000

SPACE: Space = {
    "rounds": Number(200, 1, 10_000, is_integer=True),
    "max_depth": Number(4, 1, 16, is_integer=True),
    "eta": Number(0.05, 1e-4, 1.0),
    "subsample": Number(0.5, 0.01, 1.0),
    "colsample_bytree": Number(0.7, 0.01, 1.0),
    "min_child_weight": Number(50.0, 0.0),
    "lambda": Number(1.0, 0.0),
    "alpha": Number(0.0, 0.0),
    "gamma": Number(0.0, 0.0),
    "max_bin": Number(256, 2, 4096, is_integer=True),
    "tree_method": Choice("hist", ("hist",)),
    "nthread": Number(2, 1, 64, is_integer=True),
}

_OBJECTIVES = {"gamma": "reg:gamma", "softmax": "multi:softprob", "squared": "reg:squarederror"}


class XGBoostEstimator:
    """A fitted Booster; `predict` takes (n, n_features) and gives margins (n, n_scores)."""

    def __init__(self, booster: xgb.Booster, n_scores: int) -> None:
        self.n_scores = n_scores
        self._booster = booster

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return margins, float32 (n, n_scores)."""
        if len(X) == 0:
            return np.empty((0, self.n_scores), np.float32)
        scores = self._booster.predict(xgb.DMatrix(X), output_margin=True, strict_shape=True)
        return np.asarray(scores, np.float32)

    def importance(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return mean absolute SHAP values over evenly spaced rows, summing to 1.

        Exact TreeSHAP (Lundberg et al. 2020) as XGBoost computes it, added over the scores. Trees
        without any split attribute nothing to anything: then every feature gets the same share.
        """
        rows = np.unique(np.linspace(0, len(X) - 1, min(len(X), IMPORTANCE_ROWS)).astype(np.intp))
        shap = self._booster.predict(xgb.DMatrix(X[rows]), pred_contribs=True, strict_shape=True)
        share = np.abs(shap[:, :, :-1]).mean(axis=0, dtype=np.float64).sum(axis=0)
        total = share.sum()
        return share / total if total > 0 else np.full(len(share), 1.0 / len(share))

    def native(self) -> NativeModel:
        """Return the Booster as UBJSON."""
        return NativeModel("xgboost-ubj", bytes(self._booster.save_raw("ubj")))


class XGBoost:
    """Gradient-boosted trees (Chen & Guestrin 2016), one row of features per decision."""

    name = "xgboost"
    native_format = "xgboost-ubj"
    default_window = 1
    objectives: tuple[Loss, ...] = ("gamma", "softmax", "squared")

    def parameters(self, objective: Objective) -> dict[str, Json]:
        """Return the defaults, which are the same for every objective."""
        return defaults(SPACE)

    def fit(
        self,
        rows: TrainingRows,
        objective: Objective,
        parameters: Mapping[str, Json],
        seed: int,
        context: FitContext = QUIET,
    ) -> Estimator:
        """Fit `rounds` rounds of trees (one tree per score and round) on weighted rows.

        Bitwise reproducible for the same rows, parameters (`nthread` among them) and seed.

        Raises:
            ParameterError: an unknown parameter or a value of the wrong kind or range.
            ShapeError: no rows, or rows with a window.
            ValueRangeError: a target outside the objective's domain, or an infinite feature.
            FitError: XGBoost refuses the rows.
        """
        chosen = resolve(SPACE, parameters)
        check_rows(rows, objective)
        if rows.X.ndim != 2:
            raise ShapeError("xgboost rows", "(n, n_features), so window=1", str(rows.X.shape))
        n_rounds = chosen.pop("rounds")
        settings = chosen | _objective(objective) | {"seed": seed, "verbosity": 0}
        try:
            data = xgb.DMatrix(rows.X, label=rows.y, weight=rows.weight)
            booster = xgb.train(settings, data, int(n_rounds))  # type: ignore[arg-type]
        except xgb.core.XGBoostError as exc:
            raise FitError("xgboost", _reason(exc), "check the rows and the parameters") from exc
        return XGBoostEstimator(booster, objective.n_scores)


def _objective(objective: Objective) -> dict[str, Json]:
    chosen: dict[str, Json] = {"objective": _OBJECTIVES[objective.loss]}
    if objective.loss == "softmax":
        chosen["num_class"] = objective.n_scores
    return chosen


def _reason(error: Exception) -> str:
    """Return what XGBoost complains about: the first line, without its time and source file."""
    first = str(error).strip().partition("\n")[0]
    return first.rpartition(": ")[2] or type(error).__name__


XGBOOST = XGBoost()
