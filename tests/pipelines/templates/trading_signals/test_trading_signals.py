"""Labels, abstention and prices by hand; worthless strategies must be refused, skill not."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.architectures.hyperparameters import defaults
from pipelines.method import labels
from pipelines.method.calibration import softmax
from pipelines.method.costs import EQUITY
from pipelines.method.rows import OutOfFold
from pipelines.recipes.selection_bias import among_trials
from pipelines.recipes.trial_family import TrialFamily
from pipelines.templates import TEMPLATES
from pipelines.templates.answer_fields import as_json
from pipelines.templates.trading_signals.decoder import adaptive_width
from registry.decoder import Decoder
from registry.errors import ParameterError, TooLittleHistoryError
from registry.gates import PLAUSIBILITY, GateRow, refusals
from registry.trials import TrialReturns
from tests.examples import make_labelled_rows

TEMPLATE = TEMPLATES.get("trading_signals")
DAY = 86_400_000_000
SPEC = {"horizon_bars": 1, "fill": "next_close", "path": "close", "width": 0.4}
FACTS = {"calibrator": "identity", "ece": 0.01, "threshold": 0.2, "beta": 0.0, "conformal": 2.0}
ARRAYS = {
    "prior": np.array([0.3, 0.4, 0.3]),
    "class_return": np.array([-0.02, 0.0, 0.02]),
    "novelty.center": np.zeros(2),
    "novelty.spread": np.ones(2),
    "novelty.limit": np.array([4.0]),
}


# Labels ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("closes_only", [True, False])
@pytest.mark.parametrize("horizon", [1, 5])
def test_width_is_chosen_so_that_hold_is_30_to_40_percent(make_series, closes_only, horizon):
    training = [make_series(1500, "AAA", seed, closes_only) for seed in (1, 2)]
    spec = TEMPLATE.label_spec(horizon, training, {})
    y = np.concatenate([TEMPLATE.label(s, TEMPLATE.context(s), spec).y for s in training])
    assert 0.3 <= (y[np.isfinite(y)] == labels.HOLD).mean() <= 0.4
    expected = ("next_close", "close") if closes_only else ("next_open", "high_low")
    assert (spec["fill"], spec["path"]) == expected


def test_label_spec_refuses_what_it_cannot_fit(make_series):
    with pytest.raises(ParameterError, match="horizon=0"):
        TEMPLATE.label_spec(0, [make_series(100)], {})
    with pytest.raises(TooLittleHistoryError, match="fitting the barrier width"):
        TEMPLATE.label_spec(1, [make_series(10)], {})


def test_closes_only_label_fills_at_the_next_close_and_ends_one_bar_later(make_series):
    series = make_series(300, closes_only=True)
    found = TEMPLATE.label(series, TEMPLATE.context(series), SPEC)
    t = 200
    move = np.log(series.close[t + 2] / series.close[t + 1])
    assert found.t1[t] == series.timestamp[t + 2]
    assert found.outcome["log_return"][t] == pytest.approx(move)
    assert found.outcome["next_return"][t] == pytest.approx(np.expm1(move))


def test_open_fill_earns_from_open_to_open(make_series):
    series = make_series(300)
    spec = SPEC | {"fill": "next_open", "path": "high_low"}
    found = TEMPLATE.label(series, TEMPLATE.context(series), spec)
    expected = series.open[202] / series.open[201] - 1
    assert found.outcome["next_return"][200] == pytest.approx(expected)
    assert found.t1[200] == series.timestamp[201]


def test_context_knows_volume_and_spread_only_where_the_bars_do(make_series):
    with_volume = TEMPLATE.context(make_series(60))
    without = TEMPLATE.context(make_series(60, closes_only=True))
    series = make_series(60)
    expected = (series.volume * series.close)[30:50].mean()
    assert with_volume["dollar_volume"][49] == pytest.approx(expected)
    assert np.isnan(with_volume["dollar_volume"][:19]).all()
    assert np.isnan(without["dollar_volume"]).all()
    assert np.isnan(without["half_spread"]).all()


def test_fixed_horizon_looks_only_at_the_last_close(make_series):
    series = make_series(1200)
    spec = TEMPLATE.label_spec(5, [series], {"label": "fixed_horizon"})
    found = TEMPLATE.label(series, TEMPLATE.context(series), spec)
    assert (spec["kind"], spec["fill"], spec["path"]) == ("fixed_horizon", "next_open", "close")
    assert 0.3 <= spec["hold_share"] <= 0.4
    t = 500
    move = np.log(series.close[t + 5] / series.open[t + 1])
    reach = spec["width"] * TEMPLATE.context(series)["sigma"][t] * np.sqrt(5)
    expected = labels.BUY if move > reach else labels.SELL if move < -reach else labels.HOLD
    assert found.y[t] == expected
    assert found.t1[t] == series.timestamp[t + 5]
    assert found.outcome["log_return"][t] == pytest.approx(move)
    assert np.nanmax(found.outcome["ambiguous"]) == 0
    assert np.isnan(found.y[-5:]).all() and (found.t1[-5:] == -1).all()


def test_default_options_leave_the_label_spec_as_it_was(make_series):
    series = make_series(600)
    options = defaults(TEMPLATE.options)
    assert TEMPLATE.label_spec(1, [series], options) == TEMPLATE.label_spec(1, [series], {})
    assert "decision" not in TEMPLATE.label_spec(1, [series], {})


def test_what_only_the_decision_depends_on_is_listed(make_series):
    series = make_series(600)
    options = defaults(TEMPLATE.options) | {"fee": 0.001, "meta_label": True}
    spec = TEMPLATE.label_spec(1, [series], options)
    assert spec["decision"] == ["costs", "meta_label"]
    assert spec["costs"]["fee"] == 0.001
    assert spec["costs"]["slippage"] == EQUITY.slippage


# Answers ---------------------------------------------------------------------------------------


@pytest.fixture
def decode(contract_of):
    contract = contract_of(TEMPLATE, ("move", "range"), SPEC)

    def decoded(p, features=(0.0, 0.0), refusals=(), context=None, **facts):
        answers = TEMPLATE.decode(
            np.log([p]).astype(np.float32),
            np.array([features], dtype=np.float32),
            context or {},
            Decoder(FACTS | facts, ARRAYS),
            contract,
            refusals,
        )
        return as_json(answers[0])

    return decoded


@pytest.mark.parametrize(
    ("p", "signal", "confidence"), [((0.1, 0.3, 0.6), "BUY", 0.6), ((0.5, 0.4, 0.1), "SELL", 0.5)]
)
def test_an_edge_above_the_threshold_is_a_signal(decode, p, signal, confidence):
    answer = decode(p)
    assert (answer["signal"], answer["abstained"], answer["reason"]) == (signal, None, None)
    assert answer["confidence"] == pytest.approx(confidence, rel=1e-6)


def test_a_buy_need_not_be_the_most_probable_class(decode):
    assert decode((0.1, 0.5, 0.4))["signal"] == "BUY"


def test_an_edge_below_the_threshold_is_hold_with_the_confidence_of_hold(decode):
    answer = decode((0.3, 0.3, 0.4))
    assert (answer["signal"], answer["abstained"]) == ("HOLD", "below_threshold")
    assert answer["confidence"] == pytest.approx(0.3, rel=1e-6)


def test_a_shut_trade_lock_is_hold_and_keeps_the_probabilities(decode):
    line = "edge.dsr: 0.2, needs >= 0.95"
    answer = decode((0.1, 0.1, 0.8), refusals=(line,))
    assert (answer["signal"], answer["abstained"]) == ("HOLD", "no_edge")
    assert answer["failed_gates"] == [line]
    assert answer["probabilities"]["BUY"] == pytest.approx(0.8, rel=1e-6)


def test_an_input_outside_the_training_range_is_hold_and_names_the_feature(decode):
    answer = decode((0.1, 0.1, 0.8), features=(0.5, -9.0))
    assert (answer["signal"], answer["abstained"]) == ("HOLD", "out_of_distribution")
    assert answer["out_of_distribution"] == {"score": 9.0, "limit": 4.0, "feature": "range"}
    assert "range" in answer["reason"]


def test_a_shut_trade_lock_does_not_hide_that_the_input_is_unlike_training(decode):
    answer = decode((0.1, 0.1, 0.8), features=(0.5, -9.0), refusals=("edge.dsr: too low",))
    assert (answer["signal"], answer["abstained"]) == ("HOLD", "no_edge")
    assert "1 gates" in answer["reason"] and "range is 9 spreads" in answer["reason"]


def test_without_a_fitted_threshold_there_is_no_edge(decode):
    answer = decode((0.1, 0.1, 0.8), threshold=None)
    assert (answer["signal"], answer["abstained"]) == ("HOLD", "no_edge")


def test_target_price_and_interval_by_hand(decode):
    context = {"close": np.array([50.0]), "sigma": np.array([0.01])}
    answer = decode((0.2, 0.3, 0.5), context=context)
    target = 50 * np.exp(0.02 * 0.5 - 0.02 * 0.2)
    assert answer["target_price"] == pytest.approx(target, rel=1e-6)
    assert answer["interval"]["lower"] == pytest.approx(target * np.exp(-0.02), rel=1e-6)
    assert answer["interval"]["upper"] == pytest.approx(target * np.exp(0.02), rel=1e-6)
    terms = (answer["fill"], answer["path"], answer["price_basis"])
    assert terms == ("next_close", "close", "adjusted")


def test_the_adaptive_interval_takes_the_quantile_that_alpha_asks_for():
    facts = FACTS | {"adaptive_alpha": 0.25}
    arrays = ARRAYS | {"conformal": np.arange(1.0, 12.0)}
    assert adaptive_width(Decoder(facts, arrays)) == 9.0  # the ceil(12 * 0.75)-th of eleven
    assert adaptive_width(Decoder(facts | {"adaptive_alpha": -0.01}, arrays)) is None
    assert adaptive_width(Decoder(FACTS, ARRAYS)) is None


def test_a_low_or_unknown_meta_confidence_is_hold(contract_of):
    contract = contract_of(TEMPLATE, ("move", "range"), SPEC)
    meta = {"center": np.zeros(6), "scale": np.ones(6), "prior": np.array([0.5])}
    scores, features = np.log([[0.1, 0.1, 0.8]]).astype(np.float32), np.zeros((1, 2), np.float32)

    def answer(weight, context):
        arrays = ARRAYS | {f"meta.{k}": v for k, v in (meta | {"weight": weight}).items()}
        decoder = Decoder(FACTS | {"meta_label": True}, arrays)
        return as_json(TEMPLATE.decode(scores, features, context, decoder, contract)[0])

    known = {"sigma": np.array([0.01])}
    for intercept, expected in ((-2.0, "low_meta_confidence"), (2.0, None)):
        found = answer(np.array([intercept, 0, 0, 0, 0, 0, 0]), known)
        assert found["meta_confidence"] == pytest.approx(1 / (1 + np.exp(-intercept)))
        assert found["abstained"] == expected
    unknown = answer(np.array([2.0, 0, 0, 0, 0, 0, 0]), {})
    assert (unknown["meta_confidence"], unknown["abstained"]) == (None, "low_meta_confidence")
    assert "unknown" in unknown["reason"]


def test_without_a_price_there_is_no_target(decode):
    answer = decode((0.2, 0.3, 0.5))
    assert (answer["target_price"], answer["interval"], answer["sigma"]) == (None, None, None)


# Judgement -------------------------------------------------------------------------------------


def market(n_dates=900, n_symbols=8, drift=0.0006, seed=0):
    """Independent returns with a drift, labelled with a barrier of 0.43 sigma on closes."""
    rng = np.random.default_rng(seed)
    shape = (n_dates, n_symbols)
    common = 0.006 * rng.standard_normal((n_dates, 1))
    moves = drift + common + 0.012 * rng.standard_normal(shape)
    sigma = 0.0134
    y = np.where(moves > 0.43 * sigma, 2.0, np.where(moves < -0.43 * sigma, 0.0, 1.0))
    past = np.concatenate((np.zeros((1, n_symbols)), moves[:-1]))
    n = moves.size
    t0 = np.repeat(np.arange(n_dates) * DAY, n_symbols)
    unknown, flat = np.full(n, np.nan), y.ravel()
    context = {
        "close": np.full(n, 50.0),
        "sigma": np.full(n, sigma),
        "half_spread": unknown,
        "dollar_volume": unknown,
    }
    outcome = {
        "log_return": moves.ravel(),
        "touched": (flat != 1).astype(float),
        "ambiguous": np.zeros(n),
        "next_return": np.expm1(moves).ravel(),
        "left_at": t0 + float(DAY),
    }
    return make_labelled_rows(
        n,
        X=past.ravel()[:, None].astype(np.float32),
        y=flat,
        context=context,
        outcome=outcome,
        symbol=np.tile(np.arange(n_symbols, dtype=np.int32), n_dates),
        symbols=tuple("ABCDEFGH"[:n_symbols]),
        t0=t0,
        t1=t0 + 2 * DAY,
        spec=SPEC,
    )


def judged(rows, scores, family=None):
    fold = np.minimum((rows.t0 // DAY) * 3 // (rows.t0.max() // DAY), 2)
    oof = OutOfFold(rows, scores.astype(np.float32), fold)
    decoders = {f: TEMPLATE.fit_decoder(oof.take(fold < f), rows) for f in range(3)}
    alone = TEMPLATE.evaluate(oof, decoders, rows.spec, "1d")
    return among_trials(alone, family or TrialFamily(1, ()))


def always_buy(rows):
    return np.tile(np.log([0.05, 0.15, 0.8]), (len(rows), 1))


def prior_only(rows):
    return np.tile(np.log(np.bincount(rows.y.astype(int)) / len(rows)), (len(rows), 1))


def momentum(rows):
    z = np.clip(rows.X[:, 0] / 0.0134, -2, 2)
    return np.column_stack((-0.5 * z, np.zeros(len(rows)), 0.5 * z))


def skilled(rows):
    """Logits of a forecaster that sees a quarter of the coming move through noise."""
    noise = np.random.default_rng(9).standard_normal(len(rows))
    z = rows.outcome["log_return"] / 0.0134
    signal = 0.5 * z + 0.9 * noise
    return np.column_stack((-0.63 * signal, np.full(len(rows), 0.18), 0.63 * signal))


@pytest.fixture(scope="module")
def rows():
    return market()


@pytest.fixture(scope="module")
def evaluation(rows):
    """Of the skilled forecaster, alone."""
    return judged(rows, skilled(rows))


@pytest.fixture(scope="module")
def of_momentum(rows):
    return judged(rows, momentum(rows))


def gates(evaluation):
    return {g.gate: g.passed for g in evaluation.gates if not g.gate.startswith(PLAUSIBILITY)}


@pytest.mark.parametrize("strategy", [always_buy, prior_only, momentum])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_strategies_without_skill_are_refused(strategy, seed):
    rows = market(seed=seed)
    found = gates(judged(rows, strategy(rows)))
    assert not found["edge.direction"]
    assert not found["edge.dsr"]


def test_buy_and_hold_has_no_active_return():
    rows = market(drift=0.002)
    evaluation = judged(rows, always_buy(rows))
    assert evaluation.metrics["net_sharpe_1x"] > 1
    assert evaluation.metrics["active_sharpe_per_period"] < 0.05


def family_of(*evaluations):
    """A family in which each evaluation is one trial."""
    series = tuple(TrialReturns(str(i), e.dates, e.returns) for i, e in enumerate(evaluations))
    sharpes = tuple(e.returns.mean() / max(e.returns.std(ddof=1), 1e-12) for e in evaluations)
    return TrialFamily(len(series), sharpes, series)


def test_skill_opens_every_gate(rows, evaluation, of_momentum):
    found = judged(rows, skilled(rows), family_of(evaluation, of_momentum))
    assert {name for name, passed in gates(found).items() if not passed} == set()
    assert found.metrics["break_even_cost"] > 0.0005
    assert found.metrics["choice_loss"] < 0.1


def test_a_first_recipe_with_skill_opens_its_lock_alone(evaluation):
    costs = GateRow("edge.costs", 1.0, "is", 1.0)  # of the data, not of the forecasts
    shut = refusals((*evaluation.gates, costs), "trade", "trading_signals")
    assert [
        line for line in shut if not line.startswith(PLAUSIBILITY)
    ] == []  # planted, so too good
    choice = next(gate for gate in evaluation.gates if gate.gate == "edge.choice_loss")
    assert (choice.value, choice.applicable) == (None, False)
    assert choice.note == "needs two recipes that trade; there is no choice among fewer"


def test_planted_skill_is_too_good_to_be_true_and_says_how_good(evaluation, of_momentum):
    found = {g.gate: g for g in evaluation.gates if g.gate.startswith(PLAUSIBILITY)}
    assert [g.passed for g in found.values()] == [False, False]
    assert found["plausibility.sharpe"].limit == 4.0  # daily bars
    assert "the annualised net Sharpe ratio" in found["plausibility.sharpe"].note
    worthless = {g.gate: g for g in of_momentum.gates if g.gate.startswith(PLAUSIBILITY)}
    assert all(g.passed for g in worthless.values())


def test_meta_labels_tell_right_sides_from_wrong_ones(rows):
    dear = EQUITY.to_json() | {"fee": 0.003}
    rows = replace(rows, spec=SPEC | {"meta_label": True, "costs": dear})
    found = judged(rows, skilled(rows)).metrics
    assert found["meta_log_loss"] < found["meta_log_loss_prior"]
    assert found["meta_precision"] > found["meta_right_share"] + 0.02
    assert 0.05 < found["meta_accepted_share"] < 0.95


def test_intervals_cover_what_they_promise_and_the_naive_band_is_beside_them(rows):
    found = judged(rows, prior_only(rows)).metrics
    assert found["interval_coverage"] == pytest.approx(0.9, abs=0.02)
    assert found["interval_coverage_adaptive"] == pytest.approx(0.9, abs=0.02)
    assert found["interval_score"] < 1.02 * found["interval_score_naive"]


def test_dearer_costs_earn_less(rows, evaluation):
    dear = EQUITY.to_json() | {"fee": 0.002}
    cheap = evaluation.metrics["net_sharpe_1x"]
    costly = replace(rows, spec=SPEC | {"costs": dear})
    assert judged(costly, skilled(rows)).metrics["net_sharpe_1x"] < cheap


def test_more_trials_deflate_the_same_returns(rows, of_momentum):
    alone = of_momentum.metrics["deflated_sharpe"]
    many = TrialFamily(200, tuple(0.05 * np.random.default_rng(1).standard_normal(200)))
    assert judged(rows, momentum(rows), many).metrics["deflated_sharpe"] < alone


def test_returns_do_not_depend_on_the_family():
    rows = market(300)
    many = TrialFamily(50, (0.1, -0.1, 0.05))
    one, other = judged(rows, skilled(rows)), judged(rows, skilled(rows), many)
    np.testing.assert_array_equal(one.returns, other.returns)


def test_calibration_gate_needs_a_thousand_rows_on_fifty_dates(rows):
    def ece(part):
        return next(g for g in judged(part, skilled(part)).gates if g.gate == "edge.ece")

    few = ece(rows.take(np.arange(990)))
    assert (few.value, few.passed) == (None, False)
    assert "990 out-of-fold rows" in few.note and "1000 rows on 50 dates are needed" in few.note
    enough = ece(rows)
    assert enough.passed and "upper one-sided 95 %" in enough.note


def test_overconfident_scores_are_calibrated_by_earlier_folds(rows, evaluation):
    fold = np.repeat([0, 1], len(rows) // 2)
    oof = OutOfFold(rows, (4 * skilled(rows)).astype(np.float32), fold)
    decoder = TEMPLATE.fit_decoder(oof, rows)
    assert decoder.facts["calibrator"] != "identity"
    loss = TEMPLATE.loss(rows, oof.scores, decoder).mean()
    assert loss == pytest.approx(evaluation.metrics["log_loss"], abs=0.03)


def test_without_earlier_predictions_every_signal_is_hold():
    rows = market(60)
    empty = OutOfFold(
        rows.take(np.zeros(0, dtype=np.intp)),
        np.zeros((0, 1), dtype=np.float32),
        np.zeros(0, dtype=np.int64),
    )
    decoder = TEMPLATE.fit_decoder(empty, rows)
    assert decoder.facts["threshold"] is None
    assert decoder.facts["conformal"] is None


def test_baseline_is_the_prior_of_the_training_slice():
    rows = market(100)
    decoder = Decoder(FACTS, ARRAYS)
    expected = -np.log(ARRAYS["prior"][rows.y.astype(int)])
    np.testing.assert_allclose(TEMPLATE.baseline_loss(rows, decoder), expected)
    own = TEMPLATE.baseline_loss(rows).mean()
    assert own <= TEMPLATE.baseline_loss(rows, decoder).mean()


def test_loss_is_the_log_loss_of_the_calibrated_probabilities():
    rows, scores = market(50), skilled(market(50)).astype(np.float32)
    p = softmax(scores.astype(float))[np.arange(len(rows)), rows.y.astype(int)]
    np.testing.assert_allclose(TEMPLATE.loss(rows, scores, Decoder(FACTS, ARRAYS)), -np.log(p))
