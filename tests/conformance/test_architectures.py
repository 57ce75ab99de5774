"""Every architecture keeps the promises of `pipelines.architectures`, for every objective."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from pipelines.architectures import ARCHITECTURES, Loss, Objective, TrainingRows
from registry.errors import InvalidInputError, ParameterError, ShapeError, ValueRangeError


def some_objective(name):
    loss = ARCHITECTURES.get(name).objectives[0]
    return Objective(loss, {"softmax": 3, "states": 0, "scenarios": 0}.get(loss, 1))


FITTING = [
    n for n in ARCHITECTURES if "nthread" in ARCHITECTURES.get(n).parameters(some_objective(n))
]
"""Those that learn from rows; what is only loaded has no parameters of a fit."""
OTHER_STATES = ("dbscan", "autoencoder", "lstm_autoencoder")
"""Their states are other ones than those of `conftest` (density, the inputs' main directions):
tests/pipelines/architectures/test_clustering.py and test_autoencoder.py have data for them."""


def test_learns_a_real_signal_better_than_the_constant_forecast(
    problem, estimator, loss_of, constant_of
):
    if problem.objective.loss == "states" and problem.architecture in OTHER_STATES:
        pytest.skip("its states are tested on data that has them")
    fresh, objective = problem.test, problem.objective
    constant = np.repeat(constant_of(problem), len(fresh.y), axis=0)
    found = loss_of(objective, estimator.predict(fresh.X), problem.truth)
    assert found < loss_of(objective, constant, problem.truth) - 0.05


def test_the_same_rows_and_seed_give_bitwise_the_same_scores(problem, estimator):
    again = problem.fit().predict(problem.test.X)
    np.testing.assert_array_equal(again, estimator.predict(problem.test.X))


def test_scores_are_float32_with_one_column_per_score(problem, estimator):
    scores = estimator.predict(problem.test.X[:5])
    assert scores.dtype == np.float32
    assert scores.shape == (5, problem.n_scores) == (5, estimator.n_scores)


def test_no_rows_give_no_scores(problem, estimator):
    assert estimator.predict(problem.test.X[:0]).shape == (0, problem.n_scores)


def test_importance_sums_to_one_and_finds_the_only_feature_that_matters(problem, estimator):
    share = estimator.importance(problem.test.X)
    assert share.shape == (problem.test.X.shape[-1],)
    assert share.min() >= 0
    assert share.sum() == pytest.approx(1.0, abs=1e-12)
    if problem.objective.loss == "novelty" or problem.architecture in OTHER_STATES:
        return  # every feature tells what is usual
    assert share.argmax() == 0


def test_fit_and_predict_leave_their_input_alone(problem, estimator):
    X = problem.train.X.copy()
    X.flags.writeable = False
    rows = TrainingRows(X, problem.train.y, problem.train.weight)
    problem.fit_to(rows).predict(X)
    np.testing.assert_array_equal(X, problem.train.X)


def test_rows_of_negligible_weight_do_not_matter(problem, loss_of):
    if problem.objective.loss not in ("gamma", "softmax", "squared"):
        pytest.skip("what unsupervised fits do with weights is each one's own")
    train, n = problem.train, len(problem.train.y)
    spoiled = np.arange(n) % 2 == 0
    y = np.where(spoiled, np.roll(train.y, 777), train.y)
    weight = np.where(spoiled, 1e-6, 2 - 1e-6)
    losses = [
        loss_of(
            problem.objective,
            problem.fit_to(TrainingRows(train.X, y, w)).predict(problem.test.X),
            problem.test.y,
        )
        for w in (weight, np.ones(n))
    ]
    assert losses[0] < losses[1]


def test_native_is_in_the_format_that_the_architecture_names_and_repeatable(
    problem, estimator, native
):
    assert native.format == ARCHITECTURES.get(problem.architecture).native_format
    assert estimator.native() == native


@pytest.mark.parametrize("name", FITTING)
def test_defaults_are_accepted_parameters_and_unknown_ones_are_named(name):
    architecture = ARCHITECTURES.get(name)
    rows = TrainingRows(np.zeros((0, 2), np.float32), np.zeros(0), np.zeros(0))
    known = architecture.parameters(some_objective(name))
    with pytest.raises(ShapeError, match="at least 1 row"):
        architecture.fit(rows, some_objective(name), known, 0)
    with pytest.raises(
        ParameterError, match=r"no_such=1: expected one of the parameters .*nthread"
    ):
        architecture.fit(rows, some_objective(name), {"no_such": 1}, 0)


@pytest.mark.parametrize("name", FITTING)
@pytest.mark.parametrize("value", ["2", 2.5, True, 0, None, float("nan")])
def test_a_parameter_of_the_wrong_kind_or_range_is_refused(name, value):
    rows = TrainingRows(np.zeros((9, 2), np.float32), np.ones(9), np.ones(9))
    with pytest.raises(ParameterError, match=r"nthread=.*expected an integer in"):
        ARCHITECTURES.get(name).fit(rows, some_objective(name), {"nthread": value}, 0)


@pytest.mark.parametrize("name", FITTING)
@pytest.mark.parametrize(
    ("objective", "bad"),
    [
        (Objective("gamma"), 0.0),
        (Objective("gamma"), np.inf),
        (Objective("softmax", 3), 3.0),
        (Objective("softmax", 3), 0.5),
        (Objective("squared"), np.nan),
    ],
)
def test_a_target_outside_the_objective_is_refused(name, objective, bad):
    if objective.loss not in ARCHITECTURES.get(name).objectives:
        pytest.skip("not an objective of this architecture")
    y = np.ones(200)
    y[17] = bad
    rows = TrainingRows(np.zeros((200, 4, 2), np.float32), y, np.ones(200))
    with pytest.raises(ValueRangeError, match=f"{objective.loss} target"):
        ARCHITECTURES.get(name).fit(rows, objective, {}, 0)


@pytest.mark.parametrize("name", FITTING)
def test_an_infinite_feature_or_a_weight_of_zero_is_refused(name):
    X = np.zeros((200, 4, 2), np.float32)
    infinite = X.copy()
    infinite[3] = np.inf
    for rows in (
        TrainingRows(infinite, np.ones(200), np.ones(200)),
        TrainingRows(X, np.ones(200), np.zeros(200)),
        TrainingRows(X, np.ones(199), np.ones(200)),
    ):
        with pytest.raises(InvalidInputError):
            ARCHITECTURES.get(name).fit(rows, some_objective(name), {}, 0)


@pytest.mark.parametrize("name", FITTING)
@pytest.mark.parametrize("loss", get_args(Loss))
def test_an_objective_that_it_does_not_take_is_refused(name, loss):
    if loss in ARCHITECTURES.get(name).objectives:
        pytest.skip("it takes this one")
    if ARCHITECTURES.get(name).native_format == "torch-export":
        pytest.skip("networks take any loss that torch can minimise")
    shape = (200, 4, 2) if ARCHITECTURES.get(name).default_window > 1 else (200, 2)
    rows = TrainingRows(np.zeros(shape, np.float32), np.ones(200), np.ones(200))
    with pytest.raises(ParameterError, match=f"objective='{loss}': expected one of"):
        ARCHITECTURES.get(name).fit(rows, Objective(loss), {}, 0)


@pytest.mark.parametrize("name", tuple(ARCHITECTURES))
def test_is_documented_with_every_parameter(name):
    page = (Path(__file__).parents[2] / "docs" / "architectures.md").read_text()
    section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    architecture = ARCHITECTURES.get(name)
    parameters = {
        p for loss in architecture.objectives for p in architecture.parameters(Objective(loss))
    }
    assert [p for p in parameters if f"`{p}`" not in section] == []
