"""States by hand, the predictive density against SciPy, and which regimes pass the gate."""

import numpy as np
import pytest
from scipy.stats import norm

from pipelines.method.labels import ewma_mean
from pipelines.method.rows import OutOfFold
from pipelines.templates import TEMPLATES
from pipelines.templates.market_regime.quality import regime_names, state_paths
from registry.decoder import Decoder
from registry.errors import ParameterError
from tests.examples import make_labelled_rows

TEMPLATE = TEMPLATES.get("market_regime")
DAY = 86_400_000_000
SPEC = {"kind": "next_return", "horizon_bars": 1}


def market(n_dates=1500, seed=0, n_symbols=2):
    """Rows of two symbols in a chain of a calm and a turbulent state, and that chain."""
    rng = np.random.default_rng(seed)
    state, states = 0, []
    for move in rng.random(n_dates):
        state = 1 - state if move < 0.02 else state
        states.append(state)
    chain = np.repeat(states, n_symbols)
    deviation = np.where(chain == 1, 0.03, 0.008)
    y = deviation * rng.standard_normal(len(chain))
    past = np.vstack([np.zeros(n_symbols), y.reshape(n_dates, n_symbols)[:-1]]) ** 2
    filtered = np.column_stack([ewma_mean(np.append(np.nan, column))[1:] for column in past.T])
    outcome = {"filtered_variance": np.where(np.isfinite(filtered), filtered, 1e-4).ravel()}
    context = {"log_return": y}
    target, fit = TEMPLATE.target(y, context)
    t0 = np.repeat(np.arange(n_dates) * DAY, n_symbols)
    rows = make_labelled_rows(
        len(y),
        y=y,
        target=target,
        context=context,
        outcome=outcome,
        symbol=np.tile(np.arange(n_symbols, dtype=np.int32), n_dates),
        symbols=("A", "B")[:n_symbols],
        t0=t0,
        t1=t0 + DAY,
        fit=fit,
        spec=SPEC,
    )
    return rows, chain


def log_weights(state, sure=0.9):
    p = np.where(np.eye(2)[state] == 1, sure, 1 - sure)
    return np.log(p).astype(np.float32)


def judged(rows, scores):
    fold = np.arange(len(rows)) * 3 // len(rows)
    oof = OutOfFold(rows, scores, fold)
    decoders = {f: TEMPLATE.fit_decoder(oof.take(fold < f), rows.take(fold <= f)) for f in range(3)}
    return TEMPLATE.evaluate(oof, decoders, SPEC, "1d")


def test_states_get_the_moments_of_the_next_return_and_how_they_follow_each_other():
    rows, chain = market()
    oof = OutOfFold(rows, log_weights(chain, 0.999), np.zeros(len(rows), dtype=np.int64))
    decoder = TEMPLATE.fit_decoder(oof, rows)
    deviation = np.sqrt(decoder.arrays["variance"])
    assert deviation[0] == pytest.approx(0.008, rel=0.1)
    assert deviation[1] == pytest.approx(0.03, rel=0.1)
    np.testing.assert_allclose(decoder.arrays["transition"].sum(axis=1), 1.0)
    assert decoder.arrays["transition"][0, 1] == pytest.approx(0.02, abs=0.01)
    assert 25 < decoder.arrays["duration"][0] < 100


def test_loss_is_minus_the_log_of_the_mixture_density():
    rows, _ = market(20)
    mean, variance = np.array([0.001, -0.002]), np.array([1e-4, 9e-4])
    decoder = Decoder({"n_states": 2}, {"mean": mean, "variance": variance})
    scores = np.random.default_rng(1).standard_normal((len(rows), 2)).astype(np.float32)
    p = np.exp(scores.astype(float)) / np.exp(scores.astype(float)).sum(axis=1, keepdims=True)
    density = (p * norm.pdf(rows.y[:, None], mean, np.sqrt(variance))).sum(axis=1)
    np.testing.assert_allclose(TEMPLATE.loss(rows, scores, decoder), -np.log(density), rtol=1e-9)


def test_the_baseline_is_a_gaussian_with_the_scaled_ewma_variance():
    rows, chain = market()
    decoder = TEMPLATE.fit_decoder(
        OutOfFold(rows, log_weights(chain), np.zeros(len(rows), dtype=np.int64)), rows
    )
    of_b, filtered = rows.symbol == 1, rows.outcome["filtered_variance"]
    scale = decoder.facts["filter_scale"]
    centred = rows.y - np.where(of_b, rows.y[of_b].mean(), rows.y[~of_b].mean())
    assert scale == pytest.approx(np.minimum(centred**2 / filtered, 50).mean())
    expected = -norm.logpdf(centred, 0, np.sqrt(scale * filtered))
    np.testing.assert_allclose(TEMPLATE.baseline_loss(rows, decoder), expected, rtol=1e-9)
    np.testing.assert_allclose(TEMPLATE.baseline_loss(rows), expected, rtol=1e-9)


def test_a_version_judged_by_one_gaussian_per_symbol_keeps_that_baseline():
    rows, chain = market()
    decoder = TEMPLATE.fit_decoder(
        OutOfFold(rows, log_weights(chain), np.zeros(len(rows), dtype=np.int64)), rows
    )
    facts = {name: fact for name, fact in decoder.facts.items() if name != "filter_scale"}
    of_b = rows.symbol == 1
    expected = -norm.logpdf(rows.y[of_b], rows.y[of_b].mean(), rows.y[of_b].std())
    found = TEMPLATE.baseline_loss(rows, Decoder(facts, decoder.arrays))[of_b]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_without_earlier_rows_the_density_is_the_baseline_and_a_state_means_nothing(contract_of):
    rows, chain = market(300)
    nothing = OutOfFold(rows, log_weights(chain), np.zeros(len(rows), dtype=np.int64)).take(
        np.zeros(0, dtype=np.intp)
    )
    decoder = TEMPLATE.fit_decoder(nothing, rows)
    scores = log_weights(chain)
    loss, baseline = TEMPLATE.loss(rows, scores, decoder), TEMPLATE.baseline_loss(rows, decoder)
    np.testing.assert_array_equal(loss, baseline)
    contract = contract_of(TEMPLATE, ("move",), SPEC)
    answer = TEMPLATE.decode(scores[:1], rows.X[:1], {}, decoder, contract)[0]
    assert answer.probabilities["calm"] == pytest.approx(0.9)
    assert answer.expected_duration_bars is None


def test_answer_by_hand(contract_of):
    arrays = {
        "mean": np.zeros(2),
        "variance": np.array([1e-4, 9e-4]),
        "duration": np.array([50.0, 10.0]),
        "transition": np.array([[0.98, 0.02], [0.1, 0.9]]),
    }
    decoder = Decoder({"n_states": 2, "bars_per_year": 252.0}, arrays)
    scores = np.log([[0.25, 0.75]]).astype(np.float32)
    contract = contract_of(TEMPLATE, ("move",), SPEC)
    answer = TEMPLATE.decode(scores, np.zeros((1, 1), np.float32), {}, decoder, contract)[0]
    assert answer.regime == "turbulent"
    assert answer.state == 1
    assert answer.volatility_annualised == pytest.approx(0.03 * 252**0.5)
    mixed = (0.25 * 1e-4 + 0.75 * 9e-4) ** 0.5
    assert answer.expected_volatility_annualised == pytest.approx(mixed * 252**0.5, rel=1e-6)
    assert answer.expected_duration_bars == 10.0
    assert answer.transition_probabilities == {"calm": 0.1, "turbulent": 0.9}
    assert (answer.same_day_action, answer.acts_from) == (False, "next_bar")


def test_states_that_tell_the_variance_pass():
    rows, chain = market()
    found = judged(rows, log_weights(chain))
    assert found.gates[0].passed
    assert found.metrics["t_predictive_likelihood"] > 4
    assert found.metrics["volatility_ratio"] == pytest.approx(0.03 / 0.008, rel=0.15)


def test_states_that_tell_no_more_than_recent_volatility_are_refused():
    """They beat one Gaussian per symbol by far, as anything does that knows recent volatility."""
    rows, _ = market()
    filtered = rows.outcome["filtered_variance"]
    found = judged(rows, log_weights((filtered > np.median(filtered)).astype(int), 0.8))
    assert not found.gates[0].passed
    density = -norm.logpdf(rows.y, rows.y.mean(), rows.y.std()).mean()
    assert -found.metrics["log_likelihood"] < density - 0.05


def test_the_filter_knows_nothing_of_the_bar_that_it_is_judged_on(make_series):
    series = make_series(120)
    cut = series.slice(0, 80)
    whole, past = (
        TEMPLATE.label(s, TEMPLATE.context(s), SPEC).outcome["filtered_variance"]
        for s in (series, cut)
    )
    np.testing.assert_array_equal(whole[:80], past)
    labels = TEMPLATE.label(series, TEMPLATE.context(series), SPEC)
    assert (np.isfinite(labels.y) == (labels.t1 >= 0)).all()
    assert np.isfinite(labels.outcome["filtered_variance"][np.isfinite(labels.y)]).all()


def test_states_that_tell_nothing_are_refused():
    rows, chain = market()
    found = judged(rows, log_weights(np.random.default_rng(5).permutation(chain)))
    assert not found.gates[0].passed


def test_one_fold_alone_has_nothing_to_learn_from_and_is_refused():
    rows, chain = market(200)
    oof = OutOfFold(rows, log_weights(chain), np.zeros(len(rows), dtype=np.int64))
    early = TEMPLATE.fit_decoder(oof.take(np.zeros(0, dtype=np.intp)), rows)
    found = TEMPLATE.evaluate(oof, {0: early}, SPEC, "1d")
    assert found.gates[0].value is None
    assert not found.gates[0].passed


def test_paths_end_where_the_symbol_or_the_fit_changes():
    rows, _ = market(4)
    paths = list(state_paths(rows, np.arange(8), np.array([0, 0, 0, 0, 1, 1, 1, 1])))
    assert [path.tolist() for path in paths] == [[0, 2], [4, 6], [1, 3], [5, 7]]


def test_names_run_from_calm_to_turbulent():
    assert regime_names(1) == ("calm",)
    assert regime_names(2) == ("calm", "turbulent")
    assert regime_names(3) == ("calm", "normal", "turbulent")
    for k in range(1, 12):
        assert len(set(regime_names(k))) == k


def test_the_horizon_is_the_next_bar():
    assert TEMPLATE.label_spec(None, (), {})["horizon_bars"] == 1
    with pytest.raises(ParameterError, match="horizon=5"):
        TEMPLATE.label_spec(5, (), {})
