import lightgbm as lgb
import numpy as np
import pytest

from pipelines.architectures import Objective, TrainingRows
from pipelines.architectures.boosting.lightgbm import LIGHTGBM
from registry.errors import FitError, ShapeError

ONE = {"nthread": 1, "rounds": 20}
GAMMA = Objective("gamma")


def rows(n=600, categorical=()):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 4)).astype(np.float32)
    X[:, 3] = rng.permutation(np.arange(n) % 12)
    signal = X[:, 0] + 2.0 * np.isin(X[:, 3], [1, 4, 6, 9])
    y = rng.gamma(3.0, 1.0, n) * np.exp(signal)
    return TrainingRows(X, y, rng.uniform(0.5, 1.5, n), categorical)


def opened(estimator):
    return lgb.Booster(model_str=estimator.native().payload.decode())


def test_gamma_scores_are_logs_of_what_lightgbm_forecasts():
    data = rows()
    estimator = LIGHTGBM.fit(data, GAMMA, ONE, 3)
    forecast = opened(estimator).predict(data.X)
    np.testing.assert_allclose(np.exp(estimator.predict(data.X)[:, 0]), forecast, rtol=1e-5)


def test_categories_are_split_as_sets():
    data, given = rows(categorical=(3,)), ONE | {"rounds": 5}
    with_sets = LIGHTGBM.fit(data, GAMMA, given, 3)
    as_numbers = LIGHTGBM.fit(rows(), GAMMA, given, 3)
    loss = [
        float((s + data.y * np.exp(-s)).mean())
        for s in (e.predict(data.X)[:, 0].astype(float) for e in (with_sets, as_numbers))
    ]
    assert loss[0] < loss[1]
    assert "num_cat=0" not in with_sets.native().payload.decode().partition("Tree=1")[0]


def test_importance_is_the_mean_absolute_shap_value():
    data = rows()
    estimator = LIGHTGBM.fit(data, GAMMA, ONE, 0)
    shap = np.abs(opened(estimator).predict(data.X, pred_contrib=True)[:, :-1]).mean(axis=0)
    np.testing.assert_allclose(estimator.importance(data.X), shap / shap.sum(), rtol=1e-5)


def test_rows_with_a_window_are_refused():
    windowed = TrainingRows(np.zeros((9, 3, 2), np.float32), np.ones(9), np.ones(9))
    with pytest.raises(ShapeError, match=r"window=1 but got \(9, 3, 2\)"):
        LIGHTGBM.fit(windowed, Objective("squared"), {}, 0)


def test_what_the_library_refuses_is_one_clear_line():
    empty = TrainingRows(np.empty((50, 0), np.float32), np.ones(50), np.ones(50))
    with pytest.raises(FitError, match="lightgbm cannot be fitted") as caught:
        LIGHTGBM.fit(empty, Objective("squared"), ONE, 0)
    assert "\n" not in str(caught.value)
