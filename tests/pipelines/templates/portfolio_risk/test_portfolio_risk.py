"""portfolio_risk: specs, losses, the judgement of good and bad forecasts, and the decoder."""

import numpy as np
import polars as pl
import pytest

from pipelines.architectures import ARCHITECTURES, Objective, TrainingRows
from pipelines.architectures.hyperparameters import resolve
from pipelines.method.rows import LabelledRows, OutOfFold
from pipelines.templates import TEMPLATES
from registry.decoder import Decoder
from registry.errors import ParameterError, UnknownSymbolError
from registry.gates import DATED_BARS, GATES
from tests.examples import make_labelled_rows

TEMPLATE = TEMPLATES.get("portfolio_risk")
DAY = 86_400_000_000
N, N_SCENARIOS = 1500, 400


def make_rows(y: np.ndarray, **spec) -> LabelledRows:
    n = len(y)
    facts = {"level": 0.95, "horizon_bars": 1, "weights": [0.5, 0.5], "measures_window": 1000}
    return make_labelled_rows(
        n,
        X=np.repeat(y[:, None], 2, axis=1).astype(np.float32) * [1.0, 0.5],
        y=y,
        context={"historical_var": np.full(n, 0.02), "ewma_normal_var": np.full(n, 0.015)},
        symbols=("portfolio",),
        t0=np.arange(n) * DAY,
        t1=(np.arange(n) + 1) * DAY,
        spec=facts | spec,
    )


@pytest.fixture
def rng():
    return np.random.default_rng(1)


@pytest.fixture
def clustered(rng):
    """Volatility of each date, and what was lost: 0.3 % and 2 % in turns of 50 dates."""
    deviation = np.where(np.arange(N) // 50 % 2, 0.02, 0.003)
    return deviation, deviation * rng.standard_normal(N)


def forecasts(deviation: np.ndarray, rng) -> np.ndarray:
    shape = rng.standard_normal((N, N_SCENARIOS))
    return (deviation[:, None] * shape).astype(np.float32)


def judged(losses: np.ndarray, scores: np.ndarray, **spec):
    rows = make_rows(-losses, **spec)
    oof = OutOfFold(rows, scores, np.zeros(len(rows), dtype=np.int64))
    return TEMPLATE.evaluate(oof, {}, rows.spec, "1d")


def test_forecasts_that_know_the_volatility_pass(clustered, rng) -> None:
    deviation, losses = clustered
    found = judged(losses, forecasts(deviation, rng))
    assert [row.gate for row in found.gates if not row.passed] == []
    assert found.metrics["hit_rate"] == pytest.approx(0.05, abs=0.015)
    assert found.metrics["pinball"] < found.metrics["pinball_historical"]
    assert found.metrics["dm_t_historical"] < -1.645


def test_forecasts_that_are_half_as_wide_are_refused_by_every_gate(clustered, rng) -> None:
    deviation, losses = clustered
    found = judged(losses, forecasts(0.5 * deviation, rng))
    assert not any(row.passed for row in found.gates if row.gate.startswith("quality"))
    assert found.metrics["traffic_light"] == 2.0


def test_hits_in_runs_are_refused_though_their_number_is_right(rng) -> None:
    losses = np.where(np.arange(N) % 100 < 5, 0.03, 0.001)
    scores = np.tile(np.linspace(-0.0345, 0.0205, N_SCENARIOS, dtype=np.float32), (N, 1))
    found = {row.gate: row for row in judged(losses, scores).gates}
    assert found["quality.kupiec"].passed
    assert not found["quality.conditional_coverage"].passed


def test_a_tail_deeper_than_forecast_is_refused_by_z2_alone(rng) -> None:
    losses = 0.01 * rng.standard_normal(N)
    hits = losses > np.quantile(losses, 0.95)
    losses[hits] *= 4
    scores = np.tile(0.01 * rng.standard_normal(20_000)[:N_SCENARIOS], (N, 1))
    scores *= np.quantile(losses[~hits], 0.9999) / np.quantile(scores[0], 0.95)
    found = {r.gate: r for r in judged(losses, scores.astype(np.float32)).gates}
    assert found["quality.kupiec"].passed
    assert not found["quality.z2"].passed


def test_overlapping_horizons_are_judged_on_every_h_th_date(clustered, rng) -> None:
    deviation, losses = clustered
    found = judged(losses, forecasts(deviation, rng), horizon_bars=5)
    assert found.metrics["n_oof_dates"] == N / 5


@pytest.mark.parametrize(("level", "needed"), [(0.95, 290), (0.975, 650), (0.99, 1670)])
def test_hits_on_too_few_dates_open_no_gate_and_name_those_missing(level, needed, rng) -> None:
    losses = 0.01 * rng.standard_normal(needed + 6)
    scores = np.tile(0.01 * rng.standard_normal(N_SCENARIOS), (len(losses), 1)).astype(np.float32)
    enough = {row.gate: row for row in judged(losses, scores, level=level).gates}
    few = {row.gate: row for row in judged(losses[7:], scores[7:], level=level).gates}
    for gate in ("quality.kupiec", "quality.conditional_coverage"):
        assert enough[gate].value is not None
        assert few[gate].value is None and not few[gate].passed
        assert few[gate].note.startswith(f"10 more dates are needed ({needed} in all)")


def test_seven_hits_in_a_year_at_99_percent_no_longer_pass(rng) -> None:
    losses = np.full(250, 0.001)
    losses[::36] = 0.03
    scores = np.tile(np.linspace(-0.02, 0.02, N_SCENARIOS, dtype=np.float32), (250, 1))
    found = {row.gate: row for row in judged(losses, scores, level=0.99).gates}
    assert "7 hits" in found["quality.kupiec"].note
    assert not found["quality.kupiec"].passed
    assert "1420 more dates are needed (1670 in all)" in found["quality.kupiec"].note


def test_tables_count_hits(clustered, rng) -> None:
    deviation, losses = clustered
    tables = judged(losses, forecasts(deviation, rng)).tables
    over_time, per_year = tables["var_over_time"], tables["hits_per_year"]
    expected = over_time.filter(pl.col("loss") > pl.col("var"))
    assert per_year["n_hits"].sum() == len(expected)
    assert per_year["n_dates"].sum() == N


def test_gates_are_those_that_the_lock_requires(clustered, rng) -> None:
    deviation, losses = clustered
    rows = {row.gate for row in judged(losses, forecasts(deviation, rng)).gates}
    of_data = set(DATED_BARS)  # which the bars' own checks measure
    assert rows == {need.gate for need in GATES.get("portfolio_risk").serve if need not in of_data}


def test_knowing_tomorrow_s_loss_is_too_good_to_be_true_and_its_variance_is_not(clustered, rng):
    deviation, losses = clustered
    known = {g.gate: g for g in judged(losses, forecasts(deviation, rng)).gates}
    assert known["plausibility.pinball"].passed
    scores = np.repeat(losses[:, None], 401, axis=1).astype(np.float32)
    told = {g.gate: g for g in judged(losses, scores).gates}["plausibility.pinball"]
    assert (told.value > 0.95, told.passed) == (True, False)


def test_loss_is_the_pinball_loss_of_the_quantile() -> None:
    rows = make_rows(np.array([-0.03, 0.01]))
    scores = np.tile(np.linspace(-0.01, 0.03, 401, dtype=np.float32), (2, 1))
    var = 0.028
    expected = [0.95 * (0.03 - var), 0.05 * (var + 0.01)]
    np.testing.assert_allclose(TEMPLATE.loss(rows, scores, Decoder()), expected, rtol=1e-4)
    baseline = TEMPLATE.baseline_loss(rows)
    np.testing.assert_allclose(baseline, [0.95 * 0.01, 0.05 * 0.03], rtol=1e-6)


def test_specs_hold_weights_and_options(make_series) -> None:
    training = [make_series(300, s) for s in ("AAA", "BBB")]
    options = resolve(TEMPLATE.options, {"market": "BBB", "level": 0.975})
    spec = TEMPLATE.label_spec(3, training, options)
    assert spec["weights"] == [0.5, 0.5]
    assert (spec["market"], spec["level"], spec["horizon_bars"]) == ("BBB", 0.975, 3)
    assert TEMPLATE.objective(spec) == Objective("scenarios", 0, 3)
    with pytest.raises(ParameterError, match="at least one bar"):
        TEMPLATE.label_spec(-1, training, options)
    with pytest.raises(UnknownSymbolError, match="'ZZZ'.*market"):
        TEMPLATE.label_spec(1, training, options | {"market": "ZZZ"})


def test_a_version_s_decoder_holds_the_matrix_that_components_are_read_off(rng) -> None:
    rows = make_rows(0.01 * rng.standard_normal(300))
    nothing = OutOfFold(
        rows.take(np.zeros(0, dtype=np.intp)), np.zeros((0, 1), np.float32), rows.t0[:0]
    )
    decoder = TEMPLATE.fit_decoder(nothing, rows)
    assert decoder.facts["n_returns"] == 300
    assert decoder.facts["bars_per_year"] == pytest.approx(365.25, rel=0.01)
    historical = ARCHITECTURES.get("historical")
    objective = Objective("scenarios", 0)
    parameters = historical.parameters(objective) | {"window": 100}
    training = TrainingRows(rows.X.astype(np.float32), rows.y, np.ones(300))
    fitted = historical.fit(training, objective, parameters, 0)
    complete = TEMPLATE.complete(decoder, fitted)
    np.testing.assert_array_equal(complete.arrays["losses"], -rows.X[-100:].astype(np.float32))
    again = Decoder.from_files(complete.to_files())
    np.testing.assert_array_equal(again.arrays["losses"], complete.arrays["losses"])
