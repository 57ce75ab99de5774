"""Answers by hand, and which forecasts the quality gates let through."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from pipelines.method import labels
from pipelines.method.metrics import log_score
from pipelines.method.rows import OutOfFold
from pipelines.method.variance_models import best_scale
from pipelines.templates import TEMPLATES
from pipelines.templates.answer_fields import as_json
from registry.decoder import Decoder
from registry.errors import MissingColumnsError, ParameterError
from tests.examples import make_labelled_rows

TEMPLATE = TEMPLATES.get("volatility_forecast")
DAY = 86_400_000_000
FACTS = {
    "level": 0.9,
    "ratio_lower": 0.25,
    "ratio_upper": 4.0,
    "bars_per_year": 252.0,
    "bars_per_day": 1.0,
}


def market(n_dates=600, n_symbols=4, seed=0):
    """Rows whose realised variance is a known variance times chi-square noise of 5 bars."""
    rng = np.random.default_rng(seed)
    true = 1e-4 * np.exp(rng.standard_normal((n_dates, n_symbols)))
    ewma = true * np.exp(0.6 * rng.standard_normal(true.shape))
    realised = true * rng.chisquare(5, true.shape) / 5
    n = true.size
    t0 = np.repeat(np.arange(n_dates) * DAY, n_symbols)
    context = {"ewma_variance": ewma.ravel(), "close": np.full(n, 50.0)}
    target, fit = TEMPLATE.target(realised.ravel(), context)
    outcome = {"baseline_variance": ewma.ravel()}
    outcome |= {f"variance_{k}": ewma.ravel() * rng.chisquare(k, n) / k for k in (1, 5, 22)}
    rows = make_labelled_rows(
        n,
        y=realised.ravel(),
        target=target,
        context=context,
        outcome=outcome,
        symbol=np.tile(np.arange(n_symbols, dtype=np.int32), n_dates),
        symbols=tuple("ABCD"[:n_symbols]),
        t0=t0,
        t1=t0 + 5 * DAY,
        fit=fit,
    )
    return rows, true.ravel()


def beside(rows, gjr_garch):
    """The rows with forecasts of GJR-GARCH."""
    return replace(rows, outcome={**rows.outcome, "rival.gjr_garch": gjr_garch})


def judged(rows, forecast):
    score = np.log(forecast / rows.context["ewma_variance"])[:, None].astype(np.float32)
    fold = np.minimum(np.arange(len(rows)) * 3 // len(rows), 2)
    oof = OutOfFold(rows, score, fold)
    decoders = {f: TEMPLATE.fit_decoder(oof.take(fold < f), rows) for f in range(3)}
    return TEMPLATE.evaluate(oof, decoders, {"horizon_bars": 5}, "1d")


def gate_of(evaluation, rival):
    (row,) = [r for r in evaluation.gates if r.gate == f"quality.not_worse_than_{rival}"]
    return row


def passed(evaluation):
    return {gate.gate: gate.passed for gate in evaluation.gates}


def test_answer_by_hand(contract_of):
    context = {"ewma_variance": np.array([1e-4]), "close": np.array([50.0])}
    answer = TEMPLATE.decode(
        np.array([[math.log(4.0)]], dtype=np.float32),
        np.zeros((1, 1), dtype=np.float32),
        context,
        Decoder(FACTS),
        contract_of(TEMPLATE, ("move",)),
    )[0]
    assert answer.forecast_variance == pytest.approx(4e-4, rel=1e-6)
    assert answer.volatility_daily == pytest.approx(0.02, rel=1e-6)
    assert answer.volatility_annualised == pytest.approx(0.02 * math.sqrt(252), rel=1e-6)
    assert answer.baseline_volatility == pytest.approx(0.01 * math.sqrt(252), rel=1e-6)
    assert answer.interval.lower == pytest.approx(0.01 * math.sqrt(252), rel=1e-6)
    assert answer.interval.upper == pytest.approx(0.04 * math.sqrt(252), rel=1e-6)
    assert answer.interval.level == 0.9


def test_a_feature_row_alone_is_enough_when_it_holds_the_ewma(contract_of):
    contract = contract_of(TEMPLATE, ("move", "log_ewma_variance"))
    features = np.array([[0.0, math.log(1e-4)]], dtype=np.float32)
    scores, nothing = np.array([[0.3]], dtype=np.float32), np.array([np.nan])
    unknown = {"ewma_variance": nothing, "close": nothing}
    known = {"ewma_variance": np.array([1e-4]), "close": nothing}
    by_row = TEMPLATE.decode(scores, features, unknown, Decoder(FACTS), contract)[0]
    by_bars = TEMPLATE.decode(scores, features, known, Decoder(FACTS), contract)[0]
    assert by_row.volatility_daily == pytest.approx(by_bars.volatility_daily, rel=1e-5)
    assert TEMPLATE.decode(scores, features, {}, Decoder(FACTS), contract)[0] == by_row


def test_without_any_ewma_the_fields_that_need_it_are_none(contract_of):
    answer = TEMPLATE.decode(
        np.zeros((1, 1), dtype=np.float32),
        np.zeros((1, 1), dtype=np.float32),
        {},
        Decoder(FACTS),
        contract_of(TEMPLATE, ("move",)),
    )[0]
    assert set(as_json(answer).values()) == {None}


def test_interval_covers_its_level_on_later_rows():
    rows, true = market(1500)
    metrics = judged(rows, true).metrics
    assert metrics["interval_coverage"] == pytest.approx(0.9, abs=0.02)


def test_without_earlier_predictions_there_is_no_interval():
    rows, _ = market(50)
    empty = OutOfFold(
        rows.take(np.zeros(0, dtype=np.intp)),
        np.zeros((0, 1), dtype=np.float32),
        np.zeros(0, dtype=np.int64),
    )
    facts = TEMPLATE.fit_decoder(empty, rows).facts
    assert (facts["ratio_lower"], facts["ratio_upper"]) == (None, None)


def test_the_true_variance_passes_every_quality_gate():
    rows, true = market()
    assert set(passed(judged(beside(rows, 1.01 * true), true)).values()) == {True}


def noisy(true, deviation):
    drawn = np.random.default_rng(9).standard_normal(len(true))
    return true * np.exp(deviation * drawn - deviation**2 / 2)


@pytest.mark.parametrize(("rival", "others"), [("gjr_garch", "har"), ("har", "gjr_garch")])
def test_a_model_that_beats_ewma_and_is_worse_than_a_classical_rival_is_refused(rival, others):
    rows, true = market()
    worse = noisy(true, 0.35)  # about 0.35^2 / 2 worse than the truth, by ln f + rv/f
    if rival == "har":  # the truth is the mean of the newest 22 bars
        known = {f"variance_{k}": true for k in (1, 5, 22)}
        rows = replace(rows, outcome={**rows.outcome, **known})
        rows = beside(rows, worse)
    else:
        rows = beside(rows, true)
    found = judged(rows, worse)
    assert gate_of(found, rival).value > 0.04
    assert {gate for gate, is_open in passed(found).items() if not is_open} == {
        f"quality.not_worse_than_{rival}"
    }
    assert gate_of(found, others).passed


def test_a_model_as_good_as_its_rivals_passes():
    rows, true = market()
    row = gate_of(judged(beside(rows, true), noisy(true, 0.05)), "gjr_garch")
    assert row.passed
    assert 0 < row.value < 0.01
    assert row.note.startswith("upper 95 % bound of the mean difference of ln f + rv/f from GJR")


def test_a_model_that_is_the_rival_itself_is_not_worse():
    rows, true = market()
    exact = np.exp(np.log(true / rows.context["ewma_variance"]).astype(np.float32))
    same = exact.astype(np.float64) * rows.context["ewma_variance"]
    row = gate_of(judged(beside(rows, same), true), "gjr_garch")
    assert row.value == pytest.approx(0.0, abs=1e-6)
    assert row.passed


@pytest.mark.parametrize(("share", "is_computed"), [(0.45, False), (0.55, True)])
def test_a_rival_must_have_converged_on_half_of_the_rows(share, is_computed):
    rows, true = market()
    known = np.arange(len(rows)) < share * len(rows)
    row = gate_of(judged(beside(rows, np.where(known, 1.05 * true, np.nan)), true), "gjr_garch")
    assert (row.value is not None, row.passed) == (is_computed, is_computed)
    if not is_computed:
        assert row.note.startswith("1080 of 2400 rows have a forecast of GJR-GARCH, half of them")


def test_without_rivals_from_outside_the_gate_is_not_computed():
    rows, true = market()
    row = gate_of(judged(rows, true), "gjr_garch")
    assert (row.value, row.applicable) == (None, True)
    assert row.note.startswith("0 of 2400 rows")


def test_rivals_are_brought_to_the_level_that_suits_them_best():
    rows, _ = market()
    realised = rows.y
    forecast = 3.7 * rows.outcome["variance_22"]
    scale = best_scale(realised, forecast)
    loss = [np.mean(log_score(c * scale * forecast, realised)) for c in (0.97, 1.0, 1.03)]
    assert loss[1] == min(loss)
    assert best_scale(realised, 2 * forecast) == pytest.approx(scale / 2)
    assert np.isnan(best_scale(realised, np.full(len(realised), np.nan)))


def test_ewma_itself_beats_nothing():
    rows, _ = market()
    found = passed(judged(rows, rows.context["ewma_variance"]))
    assert not found["quality.qlike_vs_ewma"]
    assert not found["quality.dm_ewma"]


def test_a_rescaled_ewma_does_not_pass_for_skill():
    rows, _ = market()
    found = passed(judged(rows, rows.target.mean() * rows.context["ewma_variance"]))
    assert not found["quality.dm_scaled_ewma"]


@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_a_biased_forecast_is_refused(factor):
    rows, true = market()
    assert not passed(judged(rows, factor * true))["quality.bias"]


def test_loss_differences_are_those_of_qlike():
    rows, true = market(100)
    score = np.log(true / rows.context["ewma_variance"])[:, None].astype(np.float32)
    found = TEMPLATE.loss(rows, score, Decoder())
    np.testing.assert_allclose(found, np.log(true) + rows.y / true, rtol=1e-5)
    ewma = rows.context["ewma_variance"]
    np.testing.assert_allclose(TEMPLATE.baseline_loss(rows), np.log(ewma) + rows.y / ewma)


def test_target_is_cut_and_degenerate_ratios_are_not_fitted():
    y, context = np.array([0.0, 1e-4, 1.0]), {"ewma_variance": np.full(3, 1e-4)}
    target, fit = TEMPLATE.target(y, context)
    assert target.tolist() == [0.0, 1.0, 50.0]
    assert fit.tolist() == [False, True, True]


def test_tables_have_the_columns_that_pictures_draw():
    rows, true = market()
    tables = judged(rows, true).tables
    assert tables["qlike_per_year"].columns == ["year", "model", "qlike"]
    rivals = {"forecast", "ewma", "scaled_ewma", "har"}
    assert set(tables["qlike_per_year"]["model"]) == rivals
    assert tables["rivals"]["forecast"][0] == "model"
    assert tables["rivals"].filter(pl.col("forecast") == "har")["dm_t"][0] < 0
    assert tables["forecast_vs_realised"].columns == ["timestamp", "realised", "forecast", "ewma"]
    assert tables["per_symbol"]["better"].all()
    assert tables["coverage"]["coverage"].null_count() == 1


def test_rivals_from_outside_are_judged_where_they_have_a_forecast():
    rows, true = market()
    half = np.where(np.arange(len(rows)) % 2 == 0, true, np.nan)
    with_garch = replace(rows, outcome={**rows.outcome, "rival.garch": half})
    found = judged(with_garch, rows.context["ewma_variance"])
    assert found.metrics["qlike_garch"] < found.metrics["qlike"]
    assert found.metrics["dm_t_garch"] > 1.645
    line = found.tables["rivals"].filter(pl.col("forecast") == "garch")
    assert line["n_rows"][0] == len(rows) // 2


def test_har_is_fitted_on_the_training_rows():
    rows, _ = market()
    known = rows.outcome["variance_22"]
    learned = replace(rows, y=0.3 * rows.outcome["variance_5"] + 0.5 * known)
    nothing = OutOfFold(
        rows.take(np.zeros(0, dtype=np.intp)),
        np.zeros((0, 1), dtype=np.float32),
        np.zeros(0, dtype=np.int64),
    )
    found = TEMPLATE.fit_decoder(nothing, learned).facts["har"]
    np.testing.assert_allclose(found, [0.0, 0.0, 0.3, 0.5], atol=1e-9)


def test_one_proxy_is_label_and_baseline_alike(make_series):
    series = make_series(200)
    context = TEMPLATE.context(series)
    variance = labels.garman_klass(series.open, series.high, series.low, series.close)
    spec = TEMPLATE.label_spec(3, [series], {"proxy": "garman_klass"})
    found = TEMPLATE.label(series, context, spec)
    assert found.y[100] == pytest.approx(variance[101:104].mean())
    assert found.outcome["variance_5"][100] == pytest.approx(variance[96:101].mean())
    np.testing.assert_allclose(found.outcome["baseline_variance"], labels.ewma_mean(variance))
    plain = TEMPLATE.label_spec(3, [series], {"proxy": "close_to_close"})
    closes = TEMPLATE.label(series, context, plain)
    np.testing.assert_allclose(closes.outcome["baseline_variance"], context["ewma_variance"])


def test_the_range_proxy_needs_ranges(make_series):
    series = make_series(100, closes_only=True)
    with pytest.raises(MissingColumnsError, match="proxy garman_klass"):
        TEMPLATE.label_spec(5, [series], {"proxy": "garman_klass"})


def test_horizon_is_given_or_the_default_and_at_least_one_bar():
    assert TEMPLATE.label_spec(None, (), {})["horizon_bars"] == 5
    assert TEMPLATE.label_spec(10, (), {})["horizon_bars"] == 10
    with pytest.raises(ParameterError, match="horizon=0"):
        TEMPLATE.label_spec(0, (), {})
