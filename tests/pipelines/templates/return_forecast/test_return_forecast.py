"""Fills, answers by hand, and which forecasts pass the gates against the random walk."""

import math
from dataclasses import replace

import numpy as np
import pytest

from pipelines.method.rows import OutOfFold
from pipelines.templates import TEMPLATES
from pipelines.templates.return_forecast.quality import pesaran_timmermann
from registry.decoder import Decoder
from registry.errors import ParameterError
from tests.examples import make_labelled_rows

TEMPLATE = TEMPLATES.get("return_forecast")
DAY = 86_400_000_000
OPTIONS = {"interval": "split"}
SPEC = {"horizon_bars": 1, "fill": "next_close", "interval": "split"}


def market(n_dates=900, n_symbols=6, signal=0.3, seed=0):
    """Rows of next-day returns of which a share `signal` of each sigma was knowable."""
    rng = np.random.default_rng(seed)
    shape = (n_dates, n_symbols)
    sigma = 0.01 * np.exp(0.3 * rng.standard_normal(shape))
    known = rng.standard_normal(shape)
    y = (sigma * (signal * known + rng.standard_normal(shape))).ravel()
    n, t0 = y.size, np.repeat(np.arange(n_dates) * DAY, n_symbols)
    context = {"close": np.full(n, 50.0), "sigma": sigma.ravel()}
    target, fit = TEMPLATE.target(y, context)
    rows = make_labelled_rows(
        n,
        X=known.reshape(-1, 1).astype(np.float32),
        y=y,
        target=target,
        context=context,
        outcome={"next_return": np.expm1(y)},
        symbol=np.tile(np.arange(n_symbols, dtype=np.int32), n_dates),
        symbols=tuple("ABCDEF"[:n_symbols]),
        t0=t0,
        t1=t0 + 2 * DAY,
        fit=fit,
        spec=SPEC,
    )
    return rows, signal * known.reshape(-1, 1).astype(np.float32)


def judged(rows, scores, spec=SPEC):
    fold = np.arange(len(rows)) * 3 // len(rows)
    oof = OutOfFold(replace(rows, spec=spec), scores, fold)
    decoders = {f: TEMPLATE.fit_decoder(oof.take(fold < f), oof.rows) for f in range(3)}
    return TEMPLATE.evaluate(oof, decoders, spec, "1d")


def passed(evaluation):
    return {gate.gate: gate.passed for gate in evaluation.gates}


def test_the_label_starts_at_the_fill_and_holds_for_the_horizon(make_series):
    series = make_series(60)
    spec = TEMPLATE.label_spec(3, [series], OPTIONS)
    found = TEMPLATE.label(series, TEMPLATE.context(series), spec)
    assert spec["fill"] == "next_open"
    assert found.y[10] == pytest.approx(math.log(series.close[13] / series.open[11]))
    assert found.t1[10] == series.timestamp[13]
    assert found.outcome["next_return"][10] == pytest.approx(series.open[12] / series.open[11] - 1)


def test_without_opens_the_fill_is_the_next_close(make_series):
    series = make_series(60, closes_only=True)
    spec = TEMPLATE.label_spec(3, [series], OPTIONS)
    found = TEMPLATE.label(series, TEMPLATE.context(series), spec)
    assert spec["fill"] == "next_close"
    assert found.y[10] == pytest.approx(math.log(series.close[14] / series.close[11]))
    assert found.t1[10] == series.timestamp[14]


def test_horizon_is_at_least_one_bar():
    with pytest.raises(ParameterError, match="horizon=0"):
        TEMPLATE.label_spec(0, (), OPTIONS)


def test_answer_by_hand(contract_of):
    facts = {"level": 0.9, "adapted_level": 0.5, "interval": "split"}
    decoder = Decoder(facts, {"conformal": np.arange(1.0, 20.0)})
    context = {"close": np.array([100.0]), "sigma": np.array([0.01])}
    contract = contract_of(TEMPLATE, ("move",), SPEC)
    scores, features = np.array([[2.0]], dtype=np.float32), np.zeros((1, 1), dtype=np.float32)
    answer = TEMPLATE.decode(scores, features, context, decoder, contract)[0]
    assert answer.expected_log_return == pytest.approx(0.02)
    assert answer.target_price == pytest.approx(100 * math.exp(0.02))
    assert answer.direction == "up"
    assert answer.interval.lower == pytest.approx(0.02 - 18 * 0.01)
    assert answer.price_interval.upper == pytest.approx(100 * math.exp(0.02 + 18 * 0.01))
    adaptive = Decoder(facts | {"interval": "adaptive"}, decoder.arrays)
    answer = TEMPLATE.decode(scores, features, context, adaptive, contract)[0]
    assert answer.interval.upper == pytest.approx(0.02 + 10 * 0.01)
    assert answer.interval.kind == "adaptive"


def test_a_real_signal_passes_and_its_interval_covers():
    found = judged(*market())
    shut = {gate for gate, opened in passed(found).items() if not opened}
    assert shut == {"plausibility.r2", "plausibility.direction"}  # an R2 of 8 % a day is too good
    assert found.metrics["mase"] < found.metrics["mase_random_walk"]
    assert found.metrics["r2_out_of_fold"] == pytest.approx(0.09 / 1.09, abs=0.03)
    assert found.metrics["ic"] > 0.2
    assert found.metrics["pesaran_timmermann"] > 1.645
    assert found.metrics["t_direction"] > 1.645


@pytest.mark.parametrize("kind", ["split", "adaptive"])
def test_coverage_is_near_its_level(kind):
    found = judged(*market(), spec=SPEC | {"interval": kind})
    assert passed(found)["quality.coverage"]
    suffix = "" if kind == "split" else "_adaptive"
    assert found.metrics[f"interval_coverage{suffix}"] == pytest.approx(0.9, abs=0.02)
    per_fold = found.tables["coverage"]
    assert per_fold["coverage"].null_count() == 1
    mean = np.average(per_fold["coverage"][1:], weights=per_fold["n_rows"][1:])
    assert mean == pytest.approx(found.metrics["interval_coverage_answered"])
    assert mean == pytest.approx(0.9, abs=0.02)


def test_noise_does_not_beat_the_random_walk():
    rows, scores = market(signal=0.0)
    noise = 0.1 * np.random.default_rng(3).standard_normal(scores.shape).astype(np.float32)
    found = judged(rows, noise)
    assert not passed(found)["quality.dm_random_walk"]
    assert abs(found.metrics["ic"]) < 0.05


def test_the_random_walk_itself_is_refused():
    rows, scores = market()
    found = judged(rows, np.zeros_like(scores))
    assert found.metrics["mase"] == found.metrics["mase_random_walk"]
    assert not passed(found)["quality.dm_random_walk"]


def test_intervals_that_do_not_cover_are_refused():
    rows, scores = market()
    wild = np.where(np.arange(len(rows)) > len(rows) // 3, 2.0, 1.0)
    found = judged(replace(rows, y=rows.y * wild), scores)
    assert not passed(found)["quality.coverage"]


def test_pesaran_timmermann_is_standard_normal_when_signs_are_unrelated():
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((2, 400, 500)) + 0.3
    found = [pesaran_timmermann(drawn[0, i], drawn[1, i]) for i in range(400)]
    assert np.mean(found) == pytest.approx(0.0, abs=0.15)
    assert np.std(found) == pytest.approx(1.0, abs=0.1)
    assert pesaran_timmermann(np.ones(10), drawn[0, 0, :10]) is None


def test_pesaran_timmermann_is_the_pearson_test_of_two_signs():
    """n * phi^2 of the 2 x 2 table is its square to the first order (Pesaran, Timmermann 1992)."""
    rng = np.random.default_rng(1)
    forecast = rng.standard_normal(20_000)
    realised = forecast * 0.05 + rng.standard_normal(20_000)
    phi = np.corrcoef(forecast > 0, realised > 0)[0, 1]
    expected = phi * 20_000**0.5
    assert pesaran_timmermann(forecast, realised) == pytest.approx(expected, rel=0.02)
