"""Every architecture keeps the promises of `pipelines.architectures`, for every objective."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from pipelines.architectures import ARCHITECTURES, Loss, Objective, TrainingRows
from registry.errors import InvalidInputError, ParameterError, ShapeError, ValueRangeError
from tests.conformance.problems import first, loss_to_beat, mean_loss

pytestmark = pytest.mark.integration

OTHER_STATES = ("dbscan", "autoencoder", "lstm_autoencoder")
"""Their states are other ones than those of `problems.py` (density, the inputs' main directions):
tests/pipelines/architectures/test_clustering.py and test_autoencoder.py have data for them."""
FORECAST = ("gamma", "softmax", "squared")
"""Losses of a forecast of y."""
OUTSIDE = [
    (Objective("gamma"), 0.0),
    (Objective("gamma"), np.inf),
    (Objective("softmax", 3), 3.0),
    (Objective("softmax", 3), 0.5),
    (Objective("squared"), np.nan),
]
"""Targets that an objective does not have."""


def has_other_states(problem):
    return problem.loss == "states" and problem.architecture in OTHER_STATES


def test_learns_what_there_is_to_learn(problem, estimator):
    if has_other_states(problem):
        pytest.skip("its states are tested on data that has them")
    assert mean_loss(problem, estimator.predict(problem.test.X)) < loss_to_beat(problem)


def test_states_come_in_order_of_rising_variance_of_y(problem, estimator):
    if problem.loss != "states":
        pytest.skip("it has no states")
    weight = np.exp(estimator.predict(problem.train.X).astype(np.float64))
    weight /= weight.sum(axis=1, keepdims=True)
    mean = np.average(np.tile(problem.train.y, (weight.shape[1], 1)).T, axis=0, weights=weight)
    variance = np.average((problem.train.y[:, None] - mean) ** 2, axis=0, weights=weight)
    assert len(variance) == 2
    assert variance[0] < variance[1]


def test_the_same_rows_and_seed_give_bitwise_the_same_scores(problem, estimator, refit):
    again, _ = refit
    np.testing.assert_array_equal(again.predict(problem.test.X), estimator.predict(problem.test.X))


def test_scores_are_float32_with_one_column_per_score(problem, estimator):
    scores = estimator.predict(problem.test.X[:5])
    assert scores.dtype == np.float32
    assert scores.shape == (5, estimator.n_scores)
    assert problem.objective.n_scores in (0, estimator.n_scores)


def test_no_rows_give_no_scores(problem, estimator):
    assert estimator.predict(problem.test.X[:0]).shape == (0, estimator.n_scores)


def test_importance_sums_to_one_and_finds_the_only_feature_that_matters(problem, estimator):
    share = estimator.importance(problem.test.X)
    assert share.shape == (problem.test.X.shape[-1],)
    assert share.min() >= 0
    assert share.sum() == pytest.approx(1.0, abs=1e-12)
    if problem.loss == "novelty" or problem.architecture in OTHER_STATES:
        return  # every feature tells what is usual
    assert share.argmax() == 0


def test_fit_and_predict_leave_their_input_alone(problem, refit):
    again, rows = refit
    again.predict(rows.X)
    np.testing.assert_array_equal(rows.X, problem.train.X)


def test_rows_of_negligible_weight_do_not_matter(problem):
    if problem.loss not in FORECAST:
        pytest.skip("what unsupervised fits do with weights is each one's own")
    train, n = problem.train, len(problem.train.y)
    spoiled = np.arange(n) % 2 == 0
    y = np.where(spoiled, np.roll(train.y, 777), train.y)
    weight = np.where(spoiled, 1e-6, 2 - 1e-6)
    losses = [
        mean_loss(problem, problem.fit(TrainingRows(train.X, y, w)).predict(problem.test.X))
        for w in (weight, np.ones(n))
    ]
    assert losses[0] < losses[1]


def test_native_is_in_the_format_that_the_architecture_names_and_repeatable(
    problem, estimator, native
):
    assert native.format == ARCHITECTURES.get(problem.architecture).native_format
    assert estimator.native() == native


def test_defaults_are_accepted_parameters_and_unknown_ones_are_named(learner):
    rows = TrainingRows(np.zeros((0, 2), np.float32), np.zeros(0), np.zeros(0))
    objective = first(learner.name)
    with pytest.raises(ShapeError, match="at least 1 row"):
        learner.fit(rows, objective, learner.parameters(objective), 0)
    with pytest.raises(
        ParameterError, match=r"no_such=1: expected one of the parameters .*nthread"
    ):
        learner.fit(rows, objective, {"no_such": 1}, 0)


def test_a_parameter_of_the_wrong_kind_or_range_is_refused(learner):
    rows = TrainingRows(np.zeros((9, 2), np.float32), np.ones(9), np.ones(9))
    for value in ("2", 2.5, True, 0, None, float("nan")):
        with pytest.raises(ParameterError, match=r"nthread=.*expected an integer in"):
            learner.fit(rows, first(learner.name), {"nthread": value}, 0)


def test_a_target_outside_the_objective_is_refused(learner):
    for objective, bad in OUTSIDE:
        if objective.loss in learner.objectives:
            y = np.ones(200)
            y[17] = bad
            rows = TrainingRows(np.zeros((200, 4, 2), np.float32), y, np.ones(200))
            with pytest.raises(ValueRangeError, match=f"{objective.loss} target"):
                learner.fit(rows, objective, {}, 0)


def test_an_infinite_feature_or_a_weight_of_zero_is_refused(learner):
    X = np.zeros((200, 4, 2), np.float32)
    infinite = X.copy()
    infinite[3] = np.inf
    for rows in (
        TrainingRows(infinite, np.ones(200), np.ones(200)),
        TrainingRows(X, np.ones(200), np.zeros(200)),
        TrainingRows(X, np.ones(199), np.ones(200)),
    ):
        with pytest.raises(InvalidInputError):
            learner.fit(rows, first(learner.name), {}, 0)


def test_an_objective_that_it_does_not_take_is_refused(learner):
    if learner.native_format == "torch-export":
        pytest.skip("networks take any loss that torch can minimise")
    shape = (200, 4, 2) if learner.default_window > 1 else (200, 2)
    rows = TrainingRows(np.zeros(shape, np.float32), np.ones(200), np.ones(200))
    for loss in {*get_args(Loss)} - {*learner.objectives}:
        with pytest.raises(ParameterError, match=f"objective='{loss}': expected one of"):
            learner.fit(rows, Objective(loss), {}, 0)


@pytest.mark.parametrize("name", tuple(ARCHITECTURES))
def test_is_documented_with_every_parameter(name):
    page = (Path(__file__).parents[2] / "docs" / "architectures.md").read_text()
    section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    architecture = ARCHITECTURES.get(name)
    parameters = {
        p for loss in architecture.objectives for p in architecture.parameters(Objective(loss))
    }
    assert [p for p in parameters if f"`{p}`" not in section] == []
