"""Thresholds and p-values by hand, binomial intervals against SciPy, alarms in clusters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from pipelines.method.rows import OutOfFold
from pipelines.templates import TEMPLATES
from pipelines.templates.anomaly.quality import binomial_interval, effective_rows
from registry.decoder import Decoder
from registry.errors import ParameterError
from tests.examples import make_labelled_rows

TEMPLATE = TEMPLATES.get("anomaly")
DAY = 86_400_000_000
SPEC = {"kind": "next_return", "horizon_bars": 1, "false_alarm_rate": 0.01}


def market(n_dates=3000, n_symbols=2, seed=0, rate=0.01):
    """Rows whose next move is three times as large after the highest percent of scores."""
    rng = np.random.default_rng(seed)
    n = n_dates * n_symbols
    scores = rng.gamma(2.0, 1.0, n)
    size = np.where(scores > np.quantile(scores, 0.99), 3.0, 1.0)
    context = {"ewma_variance": np.full(n, 1e-4)}
    y = 0.01 * size * rng.standard_normal(n)
    target, fit = TEMPLATE.target(y, context)
    t0 = np.repeat(np.arange(n_dates) * DAY, n_symbols)
    rows = make_labelled_rows(
        n,
        X=rng.standard_normal((n, 3)).astype(np.float32),
        y=y,
        target=target,
        context=context,
        symbol=np.tile(np.arange(n_symbols, dtype=np.int32), n_dates),
        symbols=tuple("AB"[:n_symbols]),
        t0=t0,
        t1=t0 + DAY,
        fit=fit,
        spec=SPEC | {"false_alarm_rate": rate},
    )
    return rows, scores[:, None].astype(np.float32)


def judged(rows, scores):
    fold = np.arange(len(rows)) * 3 // len(rows)
    oof = OutOfFold(rows, scores, fold)
    decoders = {f: TEMPLATE.fit_decoder(oof.take(fold < f), rows) for f in range(3)}
    return TEMPLATE.evaluate(oof, decoders, rows.spec, "1d")


def fitted(scores, rate=0.01):
    rows, _ = market(len(scores), 1, rate=rate)
    values = np.asarray(scores, dtype=np.float32)[:, None]
    oof = OutOfFold(rows, values, np.zeros(len(rows), dtype=np.int64))
    return TEMPLATE.fit_decoder(oof, rows)


def answers(scores, decoder, contract_of, features=None):
    names = ("first", "second", "third")
    values = np.asarray(scores, dtype=np.float32)[:, None]
    X = np.zeros((len(values), 3), dtype=np.float32) if features is None else features
    return TEMPLATE.decode(values, X, {}, decoder, contract_of(TEMPLATE, names, SPEC))


def test_the_threshold_is_the_conformal_quantile_of_earlier_scores(contract_of):
    decoder = fitted(np.arange(1, 200), rate=0.05)
    assert decoder.facts["threshold"] == 190.0  # the ceil(200 * 0.95)-th smallest of 199
    low, high = answers([190.0, 191.0], decoder, contract_of)
    assert (low.is_anomaly, high.is_anomaly) == (False, True)
    assert high.p_value == pytest.approx((1 + 9) / 200)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), rate=st.sampled_from([0.01, 0.05, 0.1, 0.2]))
def test_an_alarm_is_a_p_value_at_or_below_the_rate(seed, rate, contract_of):
    rng = np.random.default_rng(seed)
    decoder = fitted(rng.integers(0, 60, 150), rate)
    for answer in answers(rng.integers(0, 70, 40), decoder, contract_of):
        assert answer.is_anomaly == (answer.p_value <= rate)


def test_too_few_earlier_rows_have_no_threshold(contract_of):
    decoder = fitted(np.arange(98))  # 99 are needed for 1 %
    answer = answers([500.0], decoder, contract_of)[0]
    assert (answer.is_anomaly, answer.threshold, answer.p_value) == (None, None, None)
    assert fitted(np.arange(99)).facts["threshold"] is not None


def test_the_answer_names_the_features_that_are_far_out(contract_of):
    decoder = fitted(np.arange(300))
    X = np.array([[0.0, -40.0, 7.0]], dtype=np.float32)
    named = answers([1.0], decoder, contract_of, X)[0].most_unusual_features
    assert [found.feature for found in named] == ["second", "third", "first"]
    assert named[0].deviations < -20


def test_a_kept_promise_passes_and_alarms_foretell_moves():
    found = judged(*market())
    assert found.gates[0].passed
    assert found.metrics["false_alarm_rate"] == pytest.approx(0.01, abs=0.004)
    assert found.metrics["alarm_move_ratio"] > 2
    assert found.metrics["t_log_score"] < -1.645


@pytest.mark.parametrize("growth", [1.5, 0.3])
def test_scores_that_drift_break_the_promise(growth):
    rows, scores = market()
    later = np.arange(len(rows)) > len(rows) // 3
    found = judged(rows, np.where(later[:, None], growth * scores, scores))
    assert not found.gates[0].passed


def test_without_a_threshold_the_gate_is_not_computed():
    rows, scores = market(60, 1)
    gate = judged(rows, scores).gates[0]
    assert gate.value is None
    assert not gate.passed


def test_scores_that_say_nothing_do_not_beat_one_variance():
    rows, scores = market()
    found = judged(rows, np.random.default_rng(9).permutation(scores))
    assert found.metrics["t_log_score"] > -1.645


@pytest.mark.parametrize(("n", "rate"), [(1, 0.01), (100, 0.05), (5000, 0.01), (116_000, 0.001)])
def test_binomial_intervals_are_those_of_scipy(n, rate):
    expected = binom.ppf([0.025, 0.975], n, rate) / n
    np.testing.assert_allclose(binomial_interval(n, rate), expected)


def test_independent_alarms_are_as_many_as_they_are():
    rng = np.random.default_rng(0)
    t0 = np.repeat(np.arange(2000), 5)
    found = effective_rows(rng.random(10_000) < 0.02, t0, np.full(10_000, np.inf))
    assert found == pytest.approx(10_000, rel=0.35)


def test_alarms_of_all_symbols_on_runs_of_days_count_less():
    rng = np.random.default_rng(0)
    days = np.repeat(rng.random(200) < 0.05, 10)  # ten days in a row, five symbols at once
    found = effective_rows(
        np.repeat(days, 5), np.repeat(np.arange(2000), 5), np.full(10_000, np.inf)
    )
    assert found == pytest.approx(200, rel=0.5)


def test_no_alarms_leave_every_row():
    assert effective_rows(np.zeros(50, dtype=bool), np.arange(50), np.full(50, np.inf)) == 50


def test_a_threshold_of_few_rows_is_uncertain_itself():
    """The rate of a conformal threshold of m rows, on n later rows, varies like this."""
    rng = np.random.default_rng(4)
    earlier, later = rng.random((3000, 199)), rng.random((3000, 400))
    threshold = np.sort(earlier, axis=1)[:, 189]
    spread = (later > threshold[:, None]).mean(axis=1).std()
    rows = effective_rows(np.zeros(400, dtype=bool), np.arange(400), np.full(400, 199.0))
    assert (0.05 * 0.95 / rows) ** 0.5 == pytest.approx(spread, rel=0.08)


def test_wide_intervals_are_cut_at_three_times_the_rate():
    rows, _ = market(400, 1)
    scores = np.where(np.arange(400) < 200, np.arange(400) % 150, 500.0)[:, None]
    gate = judged(rows, scores.astype(np.float32)).gates[0]
    assert gate.limit[1] <= 0.03
    assert not gate.passed


def test_early_decoders_know_one_variance():
    rows, scores = market(100, 1)
    oof = OutOfFold(rows, scores, np.zeros(len(rows), dtype=np.int64))
    early = TEMPLATE.fit_decoder(oof.take(np.zeros(0, dtype=np.intp)), rows)
    assert isinstance(early, Decoder)
    np.testing.assert_allclose(
        TEMPLATE.loss(rows, scores, early), TEMPLATE.baseline_loss(rows, early)
    )


def test_the_horizon_is_one_bar_and_the_rate_is_in_the_spec():
    assert TEMPLATE.label_spec(None, (), {"false_alarm_rate": 0.05})["false_alarm_rate"] == 0.05
    with pytest.raises(ParameterError, match="horizon=5"):
        TEMPLATE.label_spec(5, (), {})
