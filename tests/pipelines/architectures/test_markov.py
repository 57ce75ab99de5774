"""The filtered hidden Markov model: against hmmlearn where the two must agree, and causal."""

import numpy as np
import pytest
from hmmlearn.hmm import GaussianHMM

from pipelines.architectures import Objective, TrainingRows
from pipelines.architectures.markov import HMM, sequences, stationary
from pipelines.architectures.scaling import fit_preprocessing
from registry.errors import FitError

STATES = Objective("states", 0)
WINDOW = 8
GIVEN = {"n_states": 2, "restarts": 2, "nthread": 1}


def series(n=700, seed=0, gap=1.0):
    """Returns whose deviation is 1 % or 1 % + gap * 3 %, in states of 50 days; features, states."""
    rng = np.random.default_rng(seed)
    state = np.cumsum(rng.random(n) < 0.02) % 2
    y = rng.standard_normal(n) * (0.01 + 0.03 * gap * state)
    steps = np.column_stack([np.log(np.abs(y) + 1e-4), rng.standard_normal(n)])
    return steps.astype(np.float32), y, state


def windows(steps, y):
    X = np.lib.stride_tricks.sliding_window_view(steps, WINDOW, axis=0).transpose(0, 2, 1)
    return TrainingRows(np.ascontiguousarray(X), y[WINDOW - 1 :], np.ones(len(X)))


@pytest.fixture(scope="module")
def fitted():
    steps, y, state = series()
    data = windows(steps, y)
    return HMM.fit(data, STATES, GIVEN, 3), data, state[WINDOW - 1 :]


@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_the_newest_steps_probabilities_are_those_of_hmmlearns_forward_pass(covariance):
    steps, y, _ = series()
    data = windows(steps, y)
    model = HMM.fit(data, STATES, GIVEN | {"covariance": covariance}, 3).model
    library = GaussianHMM(2, "full")
    library.startprob_ = np.exp(model.start.astype(float)) / np.exp(model.start.astype(float)).sum()
    transition = np.exp(model.transition.astype(float))
    library.transmat_ = transition / transition.sum(axis=1, keepdims=True)
    factors = np.split(model.whiten.astype(float), 2, axis=1)
    library.covars_ = np.stack([np.linalg.inv(f @ f.T) for f in factors])
    library.means_ = np.stack(
        [np.linalg.solve(f.T, c) for f, c in zip(factors, model.centre.astype(float), strict=True)]
    )
    for row in range(0, len(data.X), 97):
        z = model.preprocessing(data.X[row]).astype(float)
        expected = library.predict_proba(z)[-1]  # at the newest step nothing is smoothed
        np.testing.assert_allclose(np.exp(model(data.X[row : row + 1])[0]), expected, atol=1e-5)


def test_hidden_states_are_found_and_the_calm_one_is_first(fitted):
    estimator, data, state = fitted
    found = estimator.predict(data.X).argmax(axis=1)
    assert (found == state).mean() > 0.85
    assert data.y[found == 0].var() < data.y[found == 1].var()


def test_a_row_is_told_the_same_whatever_follows_it(fitted):
    estimator, data, _ = fitted
    whole = estimator.predict(data.X)
    np.testing.assert_array_equal(estimator.predict(data.X[:300]), whole[:300])


def test_scores_are_log_probabilities(fitted):
    estimator, data, _ = fitted
    np.testing.assert_allclose(np.exp(estimator.predict(data.X)).sum(axis=1), 1, rtol=1e-5)


def test_windows_are_joined_to_the_series_that_they_were_cut_from():
    steps, y, _ = series(60)
    data = windows(steps, y)
    preprocessing = fit_preprocessing(data.X[:, -1], data.weight, "none")
    found = sequences(preprocessing, data.X)
    np.testing.assert_array_equal(found.steps, steps)
    assert found.lengths.tolist() == [60]


def test_symbols_that_take_turns_and_gaps_make_sequences_of_their_own():
    one, two = (windows(*series(40, seed)[:2]) for seed in (1, 2))
    both = np.stack([one.X, two.X], axis=1).reshape(-1, WINDOW, 2)
    with_gap = np.delete(both, np.s_[20:24], axis=0)
    found = sequences(fit_preprocessing(both[:, -1], np.ones(len(both)), "none"), with_gap)
    assert sorted(found.lengths.tolist()) == [17, 17, 28, 28]


def test_the_number_of_states_is_chosen_once_and_recorded():
    steps, y, _ = series(900)
    data = windows(np.column_stack([100 * y, steps[:, 1]]).astype(np.float32), y)
    chosen = HMM.choose(data, STATES, GIVEN | {"n_states": 0, "restarts": 1}, 3)
    assert chosen["n_states"] == 2
    assert HMM.choose(data, STATES, {"n_states": 3}, 3)["n_states"] == 3


def test_rows_older_than_the_newest_that_are_asked_for_change_nothing():
    steps, y, _ = series()
    data, given = windows(steps, y), GIVEN | {"newest_rows": 300}
    recent = TrainingRows(data.X[-300:], data.y[-300:], data.weight[-300:])
    found = HMM.fit(data, STATES, given, 3).predict(data.X)
    np.testing.assert_array_equal(found, HMM.fit(recent, STATES, given, 3).predict(data.X))


def test_what_does_not_converge_is_an_error_that_says_what_to_do():
    steps, y, _ = series()
    with pytest.raises(FitError, match="none of 2 starts converged within 2 steps; raise tol"):
        HMM.fit(windows(steps, y), STATES, GIVEN | {"max_iter": 2, "tol": 1e-12}, 3)


def test_too_few_steps_are_refused():
    steps, y, _ = series(15)
    with pytest.raises(FitError, match="15 steps for 2 states"):
        HMM.fit(windows(steps, y), STATES, GIVEN, 3)


def test_the_stationary_distribution_stays_as_it_is():
    transition = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.0, 0.5, 0.5]])
    found = stationary(transition)
    np.testing.assert_allclose(found @ transition, found, atol=1e-12)
