"""Boosted trees: XGBoost through its Booster API.

`fit` trains a Booster with the histogram method and hands it over as UBJSON, the library's own
safe format; the scikit-learn wrapper is not used (it pickles). Scores are margins, the intercept
(`base_score`, which XGBoost estimates from the rows) included. A NaN feature follows each split's
learned default direction; a categorical feature is split by sets of its codes.
"""

from collections.abc import Mapping

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from pipelines.architectures import (
    QUIET,
    Architecture,
    Estimator,
    FitContext,
    Loss,
    Objective,
    TrainingRows,
)
from pipelines.architectures.boosting import first_line, shap_importance
from pipelines.architectures.boosting.devices import fit_on_best
from pipelines.architectures.hyperparameters import resolve
from pipelines.architectures.rows import checked_rows
from pipelines.architectures.spaces import SPACES
from registry.contract import Json
from registry.errors import FitError
from registry.flavors import NativeModel

_OBJECTIVES = {"gamma": "reg:gamma", "softmax": "multi:softprob", "squared": "reg:squarederror"}


class XGBoostEstimator(Estimator):
    """A fitted Booster; `predict` takes (n, n_features) and gives margins (n, n_scores)."""

    def __init__(
        self, booster: xgb.Booster, n_scores: int, categorical: tuple[int, ...] = ()
    ) -> None:
        self.n_scores = n_scores
        self._booster, self._categorical = booster, categorical

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return margins, float32 (n, n_scores)."""
        if len(X) == 0:
            return np.empty((0, self.n_scores), np.float32)
        scores = self._booster.predict(self._matrix(X), output_margin=True, strict_shape=True)
        return np.asarray(scores, np.float32)

    def importance(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return mean absolute SHAP values, summing to 1 (`shap_importance`)."""
        return shap_importance(self._contributions, X)

    def native(self) -> NativeModel:
        """Return the Booster as UBJSON."""
        return NativeModel("xgboost-ubj", bytes(self._booster.save_raw("ubj")))

    def _matrix(self, X: NDArray[np.float32]) -> xgb.DMatrix:
        return _matrix(X, self._categorical)

    def _contributions(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        found = self._booster.predict(self._matrix(X), pred_contribs=True, strict_shape=True)
        return np.asarray(found)[:, :, :-1]


class XGBoost(Architecture):
    """Gradient-boosted trees (Chen & Guestrin 2016), one row of features per decision."""

    name = "xgboost"
    native_format = "xgboost-ubj"
    default_window = 1
    objectives: tuple[Loss, ...] = ("gamma", "softmax", "squared")
    takes_missing = True

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
        chosen = resolve(SPACES[self.name], parameters)
        rows = checked_rows(self, rows, objective)
        n_rounds = chosen.pop("rounds")
        settings = chosen | _objective(objective) | {"seed": seed, "verbosity": 0}
        data = _matrix(rows.X, rows.categorical, label=rows.y, weight=rows.weight)
        lacking = None if xgb.build_info().get("USE_CUDA") else "this build has no CUDA"

        def train(on_gpu: bool) -> xgb.Booster:
            device = {"device": "cuda"} if on_gpu else {}
            return xgb.train(settings | device, data, int(n_rounds))  # type: ignore[arg-type]

        try:
            booster = fit_on_best(context, self.name, lacking, train, xgb.core.XGBoostError)
        except xgb.core.XGBoostError as exc:
            raise FitError("xgboost", first_line(exc), "check the rows and the parameters") from exc
        return XGBoostEstimator(booster, objective.n_scores, rows.categorical)


def _matrix(
    X: NDArray[np.float32], categorical: tuple[int, ...], **columns: NDArray[np.float64]
) -> xgb.DMatrix:
    if not categorical:
        return xgb.DMatrix(X, **columns)
    types = ["c" if column in categorical else "q" for column in range(X.shape[1])]
    return xgb.DMatrix(X, feature_types=types, enable_categorical=True, **columns)


def _objective(objective: Objective) -> dict[str, Json]:
    chosen: dict[str, Json] = {"objective": _OBJECTIVES[objective.loss]}
    if objective.loss == "softmax":
        chosen["num_class"] = objective.n_scores
    return chosen


XGBOOST = XGBoost()
