"""Stage validate: values that can be computed again from the evidence, and trials that count."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pipelines import validate
from pipelines.data.sources import synthetic as market
from pipelines.parameters import JudgementParameters
from pipelines.stage import exit_with
from registry import trials
from registry.gates import GateRow
from registry.version_files import RECORD_FILE
from registry.versions import Registry

pytestmark = pytest.mark.integration


def gate(evaluation, name: str) -> GateRow:
    (row,) = [row for row in evaluation.gates if row.gate == name]
    return row


def test_the_record_in_the_run_is_the_first_part_of_the_versions(made, made_engine):
    import mlflow

    run_id = made.run_of("validate")
    stored = json.loads(mlflow.artifacts.load_text(f"runs:/{run_id}/{RECORD_FILE}"))
    record = [GateRow.from_json(row) for row in stored]
    version = Registry(made.settings, made_engine).get("by_hand", 1)
    assert tuple(record) == version.record[: len(record)]
    added = [row.gate for row in version.record[len(record) :]]
    assert added[-1] == "golden_answers"
    assert all(gate.startswith("parity.") for gate in added[:-1])


def test_the_gain_over_ewma_is_what_the_stored_predictions_say(made, made_engine, candidate):
    oof, ewma = candidate.oof, candidate.oof.rows.context["ewma_variance"]
    forecast = np.exp(oof.scores[:, 0].astype(np.float64)) * ewma
    gain = np.log(forecast / ewma) + oof.rows.y * (1 / forecast - 1 / ewma)
    per_date = [gain[oof.rows.t0 == t].mean() for t in np.unique(oof.rows.t0)]
    version = Registry(made.settings, made_engine).get("volatility_forecast", 1)
    values = {row.gate: row.value for row in version.record}
    assert values["quality.qlike_vs_ewma"] == pytest.approx(np.mean(per_date), rel=1e-9)
    bias = oof.rows.y.mean() / forecast.mean()
    assert values["quality.bias"] == pytest.approx(bias, rel=1e-9)


def test_labels_are_the_mean_squared_returns_that_follow(candidate):
    rows = candidate.dataset.rows
    for series in candidate.dataset.data.series():
        mine = rows.take(rows.symbol == rows.symbols.index(series.symbol))
        squares = np.diff(np.log(series.close)) ** 2
        at = np.searchsorted(series.timestamp, mine.t0)
        expected = [squares[i : i + 5].mean() for i in at]
        np.testing.assert_allclose(mine.y, expected, rtol=1e-9)
        np.testing.assert_array_equal(mine.t1, series.timestamp[at + 5])


def test_the_same_recipe_counts_once_and_a_changed_one_counts_again(candidate, engine):
    family = candidate.recipe.family(candidate.dataset.label_spec, candidate.dataset.data.symbols)
    validate.evaluate(candidate, engine)
    validate.evaluate(candidate, engine)
    assert trials.known(engine, family)[0] == 1
    deeper = {**candidate.recipe.parameters, "max_depth": 7}
    changed = replace(candidate, recipe=replace(candidate.recipe, parameters=deeper))
    validate.evaluate(changed, engine)
    assert trials.known(engine, family)[0] == 2


def test_a_template_evaluates_once_and_its_trial_counts(loaded, engine, monkeypatch):
    signals = loaded("trading_signals")
    template, calls = type(signals.recipe.template), []
    evaluate = template.evaluate
    monkeypatch.setattr(template, "evaluate", lambda *args: calls.append(args) or evaluate(*args))
    found = validate.evaluate(signals, engine)
    assert len(calls) == 1
    assert found.metrics["n_trials"] == 1


def test_main_and_the_stages_by_hand_were_one_trial(made, made_engine, candidate):
    family = candidate.recipe.family(candidate.dataset.label_spec, candidate.dataset.data.symbols)
    assert trials.known(made_engine, family)[0] == 1


def expected_maximum(sharpes: list[float]) -> float:
    """Bailey and Lopez de Prado 2014, equation 1."""
    n, gamma = len(sharpes), np.euler_gamma
    first, second = stats.norm.ppf(1 - 1 / n), stats.norm.ppf(1 - 1 / (n * np.e))
    return float(np.std(sharpes, ddof=1) * ((1 - gamma) * first + gamma * second))


def probabilistic(returns: np.ndarray, hurdle: float) -> float:
    """Bailey and Lopez de Prado 2012, equation 11."""
    sharpe = returns.mean() / returns.std(ddof=1)
    skew = stats.skew(returns, bias=False)
    kurtosis = stats.kurtosis(returns, fisher=False, bias=False)
    deviation = np.sqrt(1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2)
    return float(stats.norm.cdf((sharpe - hurdle) * np.sqrt(len(returns) - 1) / deviation))


def test_the_deflated_sharpe_ratio_is_deflated_by_every_trial(loaded, engine):
    signals = loaded("trading_signals")
    alone = validate.evaluate(signals, engine)
    returns = alone.returns
    assert gate(alone, "edge.dsr").value == pytest.approx(probabilistic(returns, 0.0), rel=1e-6)
    family = signals.recipe.family(signals.dataset.label_spec, signals.dataset.data.symbols)
    sharpes = [float(returns.mean() / returns.std(ddof=1)), 0.08, -0.05]
    for i, sharpe in enumerate(sharpes[1:]):
        trials.count(engine, family, f"another {i}", "trading_signals", "run", sharpe)
    among = gate(validate.evaluate(signals, engine), "edge.dsr")
    assert among.value == pytest.approx(probabilistic(returns, expected_maximum(sharpes)), rel=1e-6)
    assert "3 trials" in among.note


def test_the_returns_of_a_trial_are_kept_and_compared_with_the_next(loaded, engine):
    signals = loaded("trading_signals")
    first = validate.evaluate(signals, engine)
    family = signals.recipe.family(signals.dataset.label_spec, signals.dataset.data.symbols)
    (kept,) = trials.known_returns(engine, family)
    np.testing.assert_array_equal(kept.dates, first.dates)
    np.testing.assert_array_equal(kept.returns, first.returns)
    assert "validate another recipe" in gate(first, "edge.pbo").note
    trials.count(engine, family, "other", "trading_signals", "run", 0.01)
    other = trials.TrialReturns("other", kept.dates, kept.returns[::-1].copy())
    trials.keep_returns(engine, family, other)
    second = validate.evaluate(signals, engine)
    assert 0 <= gate(second, "edge.pbo").value <= 1
    assert "2 trials" in gate(second, "edge.pbo").note
    assert set(second.tables["trials"]["recipe"]) == {kept.recipe[:12], "other"}


def test_what_a_strategy_earns_does_not_depend_on_the_trials(loaded, engine):
    signals = loaded("trading_signals")
    first = validate.evaluate(signals, engine)
    family = signals.recipe.family(signals.dataset.label_spec, signals.dataset.data.symbols)
    trials.count(engine, family, "another", "trading_signals", "run", 0.1)
    np.testing.assert_array_equal(validate.evaluate(signals, engine).returns, first.returns)


def test_validate_refuses_bars_that_are_not_those_of_the_train_run(made, monkeypatch, capsys):
    monkeypatch.setattr(market, "FACTOR_SHARE", 0.5)
    with pytest.raises(SystemExit) as caught:
        exit_with(lambda: validate.main(["--train_run", made.run_of("train")]))
    said = capsys.readouterr().err
    assert caught.value.code == 2
    assert said.count("\n") == 1
    assert said.startswith("error: synthetic: the data have digest ")
    assert said.endswith("; train again\n")


def test_a_champion_of_the_same_years_makes_a_comparison_that_refuses(made, made_engine, candidate):
    from mlflow import MlflowClient

    wanted = JudgementParameters(champion=1)
    judged = validate.validate(candidate, wanted, made.settings, made_engine)
    (row,) = [row for row in judged.record if row.gate.startswith("champion.")]
    assert (row.gate, row.value, row.passed) == ("champion.better", None, False)
    assert "inside the window" in row.note
    pictures = MlflowClient().list_artifacts(judged.run_id, "pictures")
    assert "pictures/challenge.png" in {f.path for f in pictures}


def test_values_that_json_cannot_hold_are_kept_in_the_record():
    rows = (
        GateRow("causality", float("inf"), "<=", 1e-9),
        GateRow("edge.pbo", None, "<", 0.5, "why"),
        GateRow("quality.bias", 1.0, "between", (0.8, 1.25)),
    )
    stored = json.loads(validate.record_json(rows))
    assert tuple(GateRow.from_json(row) for row in stored) == rows
    assert [row["passed"] for row in stored] == [False, False, True]
