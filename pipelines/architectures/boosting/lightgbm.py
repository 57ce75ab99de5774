"""Boosted trees: LightGBM through its Booster API, handed over as its model text.

Trees grow leaf by leaf. The intercept is part of the first trees. `deterministic` and column-wise
histograms make a fit repeatable; categorical features are split by sets of their codes.
"""

from collections.abc import Mapping

import lightgbm as lgb
import numpy as np
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

_OBJECTIVES = {"gamma": "gamma", "softmax": "multiclass", "squared": "regression"}
_FIXED: dict[str, Json] = {
    "deterministic": True,
    "force_col_wise": True,
    "bagging_freq": 1,
    "feature_pre_filter": False,
    "verbosity": -1,
}


class LightGBMEstimator(Estimator):
    """A fitted Booster; `predict` takes (n, n_features) and gives margins (n, n_scores)."""

    def __init__(self, booster: lgb.Booster, n_scores: int, n_threads: int) -> None:
        self.n_scores = n_scores
        self._booster, self._n_threads = booster, n_threads

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return margins, float32 (n, n_scores)."""
        if len(X) == 0:
            return np.empty((0, self.n_scores), np.float32)
        scores = self._booster.predict(X, raw_score=True, num_threads=self._n_threads)
        return np.asarray(scores, np.float32).reshape(len(X), self.n_scores)

    def importance(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return mean absolute SHAP values, summing to 1 (`shap_importance`)."""
        return shap_importance(self._contributions, X)

    def native(self) -> NativeModel:
        """Return the Booster as LightGBM's model text."""
        return NativeModel("lightgbm-txt", self._booster.model_to_string().encode())

    def _contributions(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        found = self._booster.predict(X, pred_contrib=True, num_threads=self._n_threads)
        return np.asarray(found).reshape(len(X), self.n_scores, -1)[:, :, :-1]


class LightGBM(Architecture):
    """Gradient-boosted trees (Ke et al. 2017), one row of features per decision."""

    name = "lightgbm"
    native_format = "lightgbm-txt"
    default_window = 1
    objectives: tuple[Loss, ...] = ("gamma", "softmax", "squared")
    takes_missing = True
    takes_categories = True

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
            ParameterError: an unknown parameter, or a value of the wrong kind or range.
            ShapeError: no rows, or rows with a window.
            ValueRangeError: a target outside the objective's domain, or an infinite feature.
            FitError: LightGBM refuses the rows.
        """
        chosen = resolve(SPACES[self.name], parameters)
        rows = checked_rows(self, rows, objective)
        n_rounds = int(str(chosen.pop("rounds")))
        n_threads = int(str(chosen.pop("nthread")))
        settings = _FIXED | chosen | _objective(objective)
        settings |= {"seed": seed, "num_threads": n_threads}

        def train(on_gpu: bool) -> lgb.Booster:
            device = {"device_type": "cuda"} if on_gpu else {}
            return lgb.train(settings | device, _dataset(rows, settings), n_rounds)

        try:
            booster = fit_on_best(context, self.name, None, train, lgb.basic.LightGBMError)
        except (lgb.basic.LightGBMError, ValueError) as exc:
            hint = "check the rows and the parameters"
            raise FitError("lightgbm", first_line(exc), hint) from exc
        return LightGBMEstimator(booster, objective.n_scores, n_threads)


def _dataset(rows: TrainingRows, settings: Mapping[str, Json]) -> lgb.Dataset:
    return lgb.Dataset(
        rows.X,
        label=rows.y,
        weight=rows.weight,
        categorical_feature=list(rows.categorical),
        params=dict(settings),
        free_raw_data=False,
    )


def _objective(objective: Objective) -> dict[str, Json]:
    chosen: dict[str, Json] = {"objective": _OBJECTIVES[objective.loss]}
    if objective.loss == "softmax":
        chosen["num_class"] = objective.n_scores
    return chosen


LIGHTGBM = LightGBM()
