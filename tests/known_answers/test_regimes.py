"""S&P 500, 1999-2018: a smoothed path of states earns what the filtered one cannot.

Two Gaussian states fitted on the first 2,500 days; long in the calmer one, one day later, else
flat. Viterbi reads the whole series, so it knows how each turn ended.
"""

import numpy as np
import pytest
from scipy.special import logsumexp

from pipelines.data.sources import SOURCES, BarQuery
from pipelines.method.labels import log_returns
from pipelines.method.metrics import bars_per_year
from pipelines.method.statistics import sharpe_ratio

FITTED = 2500
"""Days that the model is fitted on; what is earned is counted after them."""
EVERY = 10
"""Days between two histories that are cut for the causality test."""


@pytest.fixture(scope="module")
def series():
    return next(SOURCES.get("sample").read(BarQuery(symbols=("SP500",))).series())


@pytest.fixture(scope="module")
def returns(series):
    return log_returns(series.close)[1:]


@pytest.fixture(scope="module")
def model(returns):
    from hmmlearn.hmm import GaussianHMM

    model = GaussianHMM(2, covariance_type="full", n_iter=100, random_state=0)
    return model.fit(100 * returns[:FITTED, None])


def filtered(model, returns):
    """p(s_t | r_1..t) by Hamilton's recursion, the more probable state of each day."""
    deviation = np.sqrt(model.covars_[:, 0, 0])
    z = (100 * returns[:, None] - model.means_[:, 0]) / deviation
    density = -0.5 * z**2 - np.log(deviation)
    state = np.log(np.maximum(model.startprob_, 1e-300))
    states = []
    for row in density:
        state = state + row
        states.append(int(state.argmax()))
        probability = np.exp(state - logsumexp(state))
        state = np.log(probability @ model.transmat_)
    return np.array(states)


def smoothed(model, returns):
    return model.predict(100 * returns[:, None])


def sharpe_after_the_fit(series, returns, model, states):
    is_calm = states == model.covars_[:, 0, 0].argmin()
    earned = returns[FITTED:] * is_calm[FITTED - 1 : -1]
    stamps = series.timestamp
    per_year = bars_per_year(stamps, np.zeros(len(stamps), dtype=np.int32))
    return sharpe_ratio(earned) * per_year**0.5


@pytest.mark.slow
def test_smoothed_states_lagged_one_day_look_better_than_filtered_ones(series, returns, model):
    viterbi = sharpe_after_the_fit(series, returns, model, smoothed(model, returns))
    honest = sharpe_after_the_fit(series, returns, model, filtered(model, returns))
    assert viterbi == pytest.approx(1.20, abs=0.1)
    assert honest == pytest.approx(0.54, abs=0.1)


@pytest.mark.slow
def test_smoothed_states_change_when_later_days_come_and_filtered_ones_never(returns, model):
    cuts = range(FITTED, len(returns), EVERY)
    whole, honest = smoothed(model, returns), filtered(model, returns)
    changed = [smoothed(model, returns[: t + 1])[-1] != whole[t] for t in cuts]
    assert np.mean(changed) > 0.01
    sparse = list(cuts)[::10]
    assert not any(filtered(model, returns[: t + 1])[-1] != honest[t] for t in sparse)
