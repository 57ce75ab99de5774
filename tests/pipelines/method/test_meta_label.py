"""Meta-labels by hand; the secondary model against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pipelines.method.costs import CostSpec
from pipelines.method.meta_label import (
    RIDGE,
    fit_meta,
    meta_confidence,
    meta_inputs,
    meta_labels,
    round_trip_cost,
)
from tests.examples import make_labelled_rows

YEAR = int(365.25 * 86_400e6)
COSTS = CostSpec(0.001, 0.0005, 0.0005, 0.0, 1e6, 0.04)


def rows_of(log_return, half_spread=None):
    moves = np.asarray(log_return, dtype=float)
    n = len(moves)
    spread = np.full(n, np.nan) if half_spread is None else np.asarray(half_spread)
    found = {"context": {"half_spread": spread}, "outcome": {"log_return": moves}}
    return make_labelled_rows(n, t1=np.arange(n) + YEAR // 4, **found)


def test_a_round_trip_pays_twice_and_a_short_one_borrows():
    rows = rows_of([0.0, 0.0, 0.0], [np.nan, 0.003, -0.001])
    found = round_trip_cost(rows, np.array([1.0, 1.0, -1.0]), COSTS)
    np.testing.assert_allclose(found, [0.004, 0.008, 0.004 + 0.01])


def test_right_means_more_than_it_cost():
    rows = rows_of(np.log([1.005, 1.003, 0.98, 1.0]))
    found = meta_labels(rows, np.array([1.0, 1.0, -1.0, 0.0]), COSTS)
    assert found[:3].tolist() == [1.0, 0.0, 1.0]
    assert np.isnan(found[3])


def test_inputs_by_hand():
    found = meta_inputs(np.array([[0.2, 0.3, 0.5]]), np.array([0.01]), np.array([1.0]))
    expected = [0.3, 0.3, np.log(2.5), np.log(0.01), np.log(2.0), 1.0]
    np.testing.assert_allclose(found, [expected])


def problem(n=3000, seed=0):
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((n, 4)) * [1.0, 5.0, 0.1, 2.0] + [0.0, 3.0, 0.0, -1.0]
    truth = 0.8 * inputs[:, 0] - 0.3 * (inputs[:, 1] - 3.0) / 5.0 - 0.4
    return inputs, (rng.random(n) < 1 / (1 + np.exp(-truth))).astype(float)


def test_confidence_equals_scikit_learn():
    inputs, right = problem()
    arrays = fit_meta(inputs, right)
    standard = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    oracle = LogisticRegression(C=1 / RIDGE, tol=1e-10, max_iter=500).fit(standard, right)
    expected = oracle.predict_proba(standard)[:, 1]
    np.testing.assert_allclose(meta_confidence(inputs, arrays), expected, atol=1e-6)
    assert arrays["prior"][0] == right.mean()


def test_a_separable_problem_converges():
    inputs, _ = problem(1000)
    right = (inputs[:, 0] > 0).astype(float)
    confidence = meta_confidence(inputs, fit_meta(inputs, right))
    assert np.isfinite(confidence).all()
    assert ((confidence > 0.5) == (right == 1)).mean() > 0.98


@pytest.mark.parametrize("n_right", [0, 400])
def test_one_class_or_few_rows_make_no_model(n_right):
    inputs, right = problem(1000)
    few = np.where(np.arange(1000) < n_right, right, np.nan)
    one = np.ones(1000)
    arrays = fit_meta(inputs, few if n_right else one)
    assert arrays == {}
    assert np.isnan(meta_confidence(inputs, arrays)).all()


def test_rows_with_an_unknown_input_are_left_out_and_have_no_confidence():
    inputs, right = problem()
    inputs[::3, 2] = np.nan
    arrays = fit_meta(inputs, right)
    kept = np.arange(len(right)) % 3 != 0
    only = fit_meta(inputs[kept], right[kept])
    np.testing.assert_array_equal(arrays["weight"], only["weight"])
    assert np.isnan(meta_confidence(inputs, arrays)[::3]).all()
