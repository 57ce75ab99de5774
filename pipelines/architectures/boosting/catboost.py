"""Boosted trees: CatBoost, handed over as its binary model file.

Trees are oblivious (one question per level). CatBoost has no gamma loss; here it minimises the
gamma deviance itself through the library's interface for own losses, with the first and second
derivative of s + y exp(-s), starting from the best constant. Categorical features become ordered
target statistics, CatBoost's own way (Prokhorenkova et al. 2018).
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from catboost import CatBoost, CatBoostError, Pool
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
from registry.flavors.trees.catboost import catboost_features

_LOSSES = {"softmax": "MultiClass", "squared": "RMSE"}
_FIXED: dict[str, Json] = {
    "bootstrap_type": "Bernoulli",
    "leaf_estimation_method": "Newton",
    "leaf_estimation_iterations": 1,
    "allow_writing_files": False,
    "allow_const_label": True,
    "logging_level": "Silent",
}


class GammaDeviance:
    """Derivatives of -(s + y exp(-s)), which CatBoost climbs; it compiles them with numba."""

    def calc_ders_range(
        self,
        approxes: NDArray[np.float64],
        targets: NDArray[np.float64],
        weights: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return first and second derivative per row, (n, 2), times the row's weight."""
        derivatives = np.empty((len(targets), 2))
        for row in range(len(targets)):
            ratio = targets[row] * np.exp(-approxes[row])
            derivatives[row, 0] = ratio - 1.0
            derivatives[row, 1] = -ratio
        if len(weights) > 0:
            for row in range(len(targets)):
                derivatives[row] *= weights[row]
        return derivatives


class CatBoostEstimator(Estimator):
    """A fitted model; `predict` takes (n, n_features) and gives margins (n, n_scores)."""

    def __init__(self, model: CatBoost, n_scores: int, n_threads: int) -> None:
        self.n_scores = n_scores
        self._model, self._n_threads = model, n_threads
        self._categorical = [int(column) for column in model.get_cat_feature_indices()]

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return margins, float32 (n, n_scores)."""
        if len(X) == 0:
            return np.empty((0, self.n_scores), np.float32)
        scores = self._model.predict(
            catboost_features(X, self._categorical),
            prediction_type="RawFormulaVal",
            thread_count=self._n_threads,
        )
        return np.asarray(scores, np.float32).reshape(len(X), self.n_scores)

    def importance(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return mean absolute SHAP values, summing to 1 (`shap_importance`)."""
        return shap_importance(self._contributions, X)

    def native(self) -> NativeModel:
        """Return the model as CatBoost's binary file."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / "model.cbm"
            self._model.save_model(str(path))
            return NativeModel("catboost-cbm", path.read_bytes())

    def _contributions(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        pool = Pool(catboost_features(X, self._categorical), cat_features=self._categorical)
        found = self._model.get_feature_importance(
            pool, type="ShapValues", thread_count=self._n_threads
        )
        return np.asarray(found).reshape(len(X), self.n_scores, -1)[:, :, :-1]


class CatBoostTrees(Architecture):
    """Gradient-boosted oblivious trees, one row of features per decision."""

    name = "catboost"
    native_format = "catboost-cbm"
    default_window = 1
    objectives: tuple[Loss, ...] = ("gamma", "softmax", "squared")
    takes_missing = True
    # not categories: its own treatment of them is a hash that no other format carries

    def fit(
        self,
        rows: TrainingRows,
        objective: Objective,
        parameters: Mapping[str, Json],
        seed: int,
        context: FitContext = QUIET,
    ) -> Estimator:
        """Fit `rounds` oblivious trees on weighted rows.

        Bitwise reproducible for the same rows, parameters (`nthread` among them) and seed.

        Raises:
            ParameterError: an unknown parameter, or a value of the wrong kind or range.
            ShapeError: no rows, or rows with a window.
            ValueRangeError: a target outside the objective's domain, or an infinite feature.
            FitError: a class without rows, or CatBoost refuses the rows.
        """
        chosen = resolve(SPACES[self.name], parameters)
        rows = checked_rows(self, rows, objective)
        _check_classes(rows, objective)
        n_threads = int(str(chosen.pop("nthread")))
        settings = _FIXED | _objective(objective) | chosen
        settings |= {"iterations": settings.pop("rounds")}
        settings |= {"random_seed": seed, "thread_count": n_threads}
        start = _log_mean(rows) if objective.loss == "gamma" else None
        pool = _pool(rows, start)

        def train(on_gpu: bool) -> CatBoost:
            return _trained(settings | ({"task_type": "GPU"} if on_gpu else {}), pool)

        try:
            model = fit_on_best(context, self.name, _needs_cpu(settings), train, CatBoostError)
        except CatBoostError as exc:
            raise FitError("catboost", first_line(exc), "check the rows and parameters") from exc
        if start is not None:
            model.set_scale_and_bias(1.0, start)
        return CatBoostEstimator(model, objective.n_scores, n_threads)


def _log_mean(rows: TrainingRows) -> float:
    return float(np.log(np.average(rows.y, weights=rows.weight)))


def _check_classes(rows: TrainingRows, objective: Objective) -> None:
    if objective.loss != "softmax":
        return
    if empty := sorted(set(range(objective.n_scores)) - set(rows.y.astype(int).tolist())):
        problem = f"classes {', '.join(map(str, empty))} have no rows"
        hint = "give more rows, or use xgboost or lightgbm, which never forecast such a class"
        raise FitError("catboost", problem, hint)


def _objective(objective: Objective) -> dict[str, object]:
    if objective.loss == "gamma":
        # the metric is never shown; CatBoost demands one beside a loss of one's own
        own = {"loss_function": GammaDeviance(), "eval_metric": "RMSE", "metric_period": 10_000}
        return own | {"boost_from_average": False}
    chosen: dict[str, object] = {"loss_function": _LOSSES[objective.loss]}
    if objective.loss == "softmax":
        chosen["classes_count"] = objective.n_scores
    return chosen


def _needs_cpu(settings: Mapping[str, object]) -> str | None:
    """Return the reason why CatBoost cannot fit this on a GPU; None when it can."""
    if isinstance(settings["loss_function"], GammaDeviance):
        return "this loss is computed in Python, on the CPU only"
    return None if settings["rsm"] == 1 else "rsm below 1 works on the CPU only"


def _pool(rows: TrainingRows, start: float | None) -> Pool:
    columns = list(rows.categorical)
    return Pool(
        catboost_features(rows.X, columns),
        label=rows.y,
        weight=rows.weight,
        cat_features=columns,
        baseline=None if start is None else np.full(len(rows.y), start),
    )


def _trained(settings: Mapping[str, object], pool: Pool) -> CatBoost:
    model = CatBoost(dict(settings))
    with warnings.catch_warnings():
        # numba is told to compile a method of a class and says that this will change one day
        warnings.filterwarnings("ignore", module="numba")
        model.fit(pool)
    return model


CATBOOST = CatBoostTrees()
