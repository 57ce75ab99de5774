import numpy as np
import pytest
import xgboost as xgb
from scipy.special import logsumexp

from pipelines.architectures import Objective, TrainingRows
from pipelines.architectures.boosting.xgboost import XGBOOST
from registry.errors import FitError, ShapeError

ONE = {"nthread": 1}


def rows(n=800, seed=0, weight=None):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 4)).astype(np.float32)
    y = rng.gamma(3.0, 1.0, n) * np.exp(X[:, 0])
    return TrainingRows(X, y, np.ones(n) if weight is None else weight)


def test_gamma_scores_are_logs_of_what_xgboost_forecasts():
    data = rows()
    estimator = XGBOOST.fit(data, Objective("gamma"), ONE, 3)
    booster = xgb.Booster(model_file=bytearray(estimator.native().payload))
    forecast = booster.predict(xgb.DMatrix(data.X))
    np.testing.assert_allclose(np.exp(estimator.predict(data.X)[:, 0]), forecast, rtol=1e-5)


def test_softmax_scores_are_logits_of_what_xgboost_forecasts():
    data = rows()
    y = np.digitize(data.X[:, 0], [-0.4, 0.4]).astype(float)
    estimator = XGBOOST.fit(TrainingRows(data.X, y, data.weight), Objective("softmax", 3), ONE, 3)
    booster = xgb.Booster(model_file=bytearray(estimator.native().payload))
    scores = estimator.predict(data.X).astype(np.float64)
    shares = np.exp(scores - logsumexp(scores, axis=1, keepdims=True))
    np.testing.assert_allclose(shares, booster.predict(xgb.DMatrix(data.X)), atol=1e-6)


def test_fit_is_what_the_library_gives_for_the_recorded_parameters():
    data = rows()
    parameters = XGBOOST.parameters(Objective("gamma"))
    settings = {k: v for k, v in parameters.items() if k != "rounds"}
    settings |= {"objective": "reg:gamma", "seed": 11, "verbosity": 0}
    library = xgb.train(settings, xgb.DMatrix(data.X, label=data.y), parameters["rounds"])
    expected = library.predict(xgb.DMatrix(data.X), output_margin=True)
    found = XGBOOST.fit(data, Objective("gamma"), parameters, 11).predict(data.X)[:, 0]
    np.testing.assert_array_equal(found, expected)


def test_importance_is_the_mean_absolute_shap_value():
    data = rows(300)
    estimator = XGBOOST.fit(data, Objective("gamma"), {"rounds": 20}, 0)
    booster = xgb.Booster(model_file=bytearray(estimator.native().payload))
    shap = np.abs(booster.predict(xgb.DMatrix(data.X), pred_contribs=True)[:, :-1]).mean(axis=0)
    np.testing.assert_allclose(estimator.importance(data.X), shap / shap.sum(), rtol=1e-5)


def test_trees_without_a_split_share_importance_equally():
    estimator = XGBOOST.fit(rows(), Objective("gamma"), {"rounds": 2, "gamma": 1e9}, 0)
    np.testing.assert_array_equal(estimator.importance(rows().X), np.full(4, 0.25))


def test_a_missing_value_is_scored():
    X = np.full((2, 4), np.nan, np.float32)
    assert np.isfinite(XGBOOST.fit(rows(), Objective("gamma"), ONE, 0).predict(X)).all()


def test_rows_with_a_window_are_refused():
    windowed = TrainingRows(np.zeros((9, 3, 2), np.float32), np.ones(9), np.ones(9))
    with pytest.raises(ShapeError, match=r"window=1 but got \(9, 3, 2\)"):
        XGBOOST.fit(windowed, Objective("squared"), {}, 0)


def test_what_the_library_refuses_is_one_clear_line():
    data = rows(50)
    empty = TrainingRows(np.empty((50, 0), np.float32), data.y, data.weight)
    with pytest.raises(FitError, match="xgboost cannot be fitted") as caught:
        XGBOOST.fit(empty, Objective("gamma"), ONE, 0)
    assert "\n" not in str(caught.value)
