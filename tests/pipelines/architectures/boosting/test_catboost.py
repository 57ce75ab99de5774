import numpy as np
import pytest
from catboost import CatBoost

from pipelines.architectures import Objective, TrainingRows
from pipelines.architectures.boosting.catboost import CATBOOST, GammaDeviance
from registry.backends import BACKENDS
from registry.errors import FitError, UnsupportedModelError
from registry.flavors import FLAVORS
from registry.flavors.native import NATIVE

ONE = {"nthread": 1, "rounds": 20}


def rows(n=500, categorical=()):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 3)).astype(np.float32)
    X[:, 2] = rng.integers(0, 8, n)
    X[::50, 2] = np.nan
    y = 5.0 + X[:, 0] + 3.0 * np.isin(X[:, 2], [1, 4, 6]) + rng.standard_normal(n)
    return TrainingRows(X, y, np.ones(n), categorical)


def test_derivatives_are_those_of_the_gamma_deviance():
    scores, y, weight = np.array([0.3, -1.0, 2.0]), np.array([1.0, 0.5, 9.0]), np.array([1.0, 2, 3])

    def gain(s):
        return -weight * (s + y * np.exp(-s))

    step = 1e-4
    first = (gain(scores + step) - gain(scores - step)) / (2 * step)
    second = (gain(scores + step) - 2 * gain(scores) + gain(scores - step)) / step**2
    found = GammaDeviance().calc_ders_range(scores, y, weight)
    np.testing.assert_allclose(found, np.column_stack([first, second]), rtol=1e-4)


@pytest.mark.slow  # numba compiles the derivatives
def test_gamma_scores_are_the_log_of_the_mean_and_their_start_is_in_the_file():
    data = rows()
    estimator = CATBOOST.fit(data, Objective("gamma"), ONE | {"rounds": 200}, 0)
    scores = estimator.predict(data.X)[:, 0].astype(float)
    assert np.exp(scores).mean() == pytest.approx(data.y.mean(), rel=0.02)
    again = CatBoost().load_model(blob=estimator.native().payload)
    raw = again.predict(data.X, prediction_type="RawFormulaVal")
    np.testing.assert_allclose(raw, scores, rtol=1e-6)


def test_categories_are_scored_from_the_file_and_onnx_says_why_it_cannot(contract_of):
    data = rows(categorical=(2,))
    estimator = CATBOOST.fit(data, Objective("squared"), ONE, 0)
    plain = CATBOOST.fit(rows(), Objective("squared"), ONE, 0)
    errors = [np.mean((e.predict(data.X)[:, 0] - data.y) ** 2) for e in (estimator, plain)]
    assert errors[0] < errors[1]
    native = estimator.native()
    predictor = BACKENDS.get("cpu").load(
        NATIVE, {"native/model.cbm": native.payload}, contract_of(3)
    )
    unseen = np.float32([[0, 0, 99], [0, 0, np.nan]])
    for some in (data.X, unseen):
        np.testing.assert_array_equal(predictor(some), estimator.predict(some))
    with pytest.raises(UnsupportedModelError, match="statistics behind a hash"):
        FLAVORS.get("onnx").write(native, contract_of(3))


def test_a_class_without_rows_is_refused():
    data = rows()
    y = (data.X[:, 0] > 0).astype(float)
    with pytest.raises(FitError, match="classes 2 have no rows"):
        CATBOOST.fit(TrainingRows(data.X, y, data.weight), Objective("softmax", 3), ONE, 0)


def test_a_number_whose_mean_is_negative_is_fitted_without_a_warning():
    data = rows()
    below = TrainingRows(data.X, data.y - 20.0, data.weight)
    scores = CATBOOST.fit(below, Objective("squared"), ONE, 0).predict(below.X)[:, 0]
    assert scores.mean() == pytest.approx(below.y.mean(), abs=0.5)
