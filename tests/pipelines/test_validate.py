"""Stage validate: values that can be computed again from the evidence, and trials that count."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy import stats

from pipelines import validate
from pipelines.data.samples import sampled
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


def test_the_evidence_of_a_validation_lies_in_its_run_as_parquet(made):
    import mlflow

    files = {
        "volatility_forecast": {"out_of_fold"},
        "trading_signals": {"out_of_fold", "returns", "positions", "trades"},
    }
    for model_id, expected in files.items():
        (run,) = mlflow.search_runs(
            experiment_names=[model_id],
            filter_string="tags.stage = 'validate'",
            output_format="list",
        )
        found = mlflow.MlflowClient().list_artifacts(run.info.run_id, "evidence")
        assert {file.path for file in found} == {f"evidence/{n}.parquet" for n in expected}
        page = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/report.html")
        assert page.count(f"&amp;run_id={run.info.run_id}") == len(expected)
        path = mlflow.artifacts.download_artifacts(
            run_id=run.info.run_id, artifact_path="evidence/out_of_fold.parquet"
        )
        assert set(pl.read_parquet(path)["symbol"]) == {"AAA", "BBB"}


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


def counted(engine, candidate):
    return len(trials.known(engine, candidate.recipe.question))


def test_the_same_recipe_counts_once_and_a_changed_one_counts_again(candidate, engine):
    validate.evaluate(candidate, engine)
    alone = validate.evaluate(candidate, engine)
    assert counted(engine, candidate) == 1
    deeper = {**candidate.recipe.parameters, "max_depth": 7}
    changed = replace(candidate, recipe=replace(candidate.recipe, parameters=deeper))
    among = validate.evaluate(changed, engine)
    assert counted(engine, candidate) == 2
    assert (alone.metrics["n_trials"], among.metrics["n_trials"]) == (1, 2)
    of_one, of_two = (gate(found, "quality.dm_ewma") for found in (alone, among))
    assert (of_one.value, of_one.limit) == (of_two.value, -1.645)
    assert of_two.limit == pytest.approx(-(1.645 + maximum_of_normals(2)))
    assert "2 trials of these data ask for 2.16" in of_two.note


def test_a_template_evaluates_once_and_its_trial_counts(loaded, engine, monkeypatch):
    signals = loaded("trading_signals")
    template, calls = type(signals.recipe.template), []
    evaluate = template.evaluate
    monkeypatch.setattr(template, "evaluate", lambda *args: calls.append(args) or evaluate(*args))
    found = validate.evaluate(signals, engine)
    assert len(calls) == 1
    assert found.metrics["n_trials"] == 1


def test_main_and_the_stages_by_hand_were_one_trial(made, made_engine, candidate):
    assert counted(made_engine, candidate) == 1


def maximum_of_normals(n: int) -> float:
    """Bailey and Lopez de Prado 2014, equation 1, for a standard deviation of 1."""
    gamma = np.euler_gamma
    first, second = stats.norm.ppf(1 - 1 / n), stats.norm.ppf(1 - 1 / (n * np.e))
    return float((1 - gamma) * first + gamma * second)


def probabilistic(returns: np.ndarray, hurdle: float) -> float:
    """Bailey and Lopez de Prado 2012, equation 11."""
    sharpe = returns.mean() / returns.std(ddof=1)
    skew = stats.skew(returns, bias=False)
    kurtosis = stats.kurtosis(returns, fisher=False, bias=False)
    deviation = np.sqrt(1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2)
    return float(stats.norm.cdf((sharpe - hurdle) * np.sqrt(len(returns) - 1) / deviation))


def another_trial(engine, candidate, recipe, series=None, **facts):
    """Count another recipe on the candidate's data."""
    data = candidate.dataset.data
    sample = sampled(data.frame, data.interval, data.digest())
    trial = trials.Trial(candidate.recipe.question, recipe, "another", "run", sample, 0)
    key = trials.count(engine, replace(trial, **{"trading_share": 1.0} | facts))
    if series is not None:
        trials.keep_returns(engine, key, series)
    return key


def test_the_deflated_sharpe_ratio_is_deflated_by_every_trial(loaded, engine):
    signals = loaded("trading_signals")
    alone = validate.evaluate(signals, engine)
    returns = alone.returns
    assert gate(alone, "edge.dsr").value == pytest.approx(probabilistic(returns, 0.0), rel=1e-6)
    sharpes = [float(returns.mean() / returns.std(ddof=1)), 0.2, -0.2]
    for i, sharpe in enumerate(sharpes[1:]):
        another_trial(engine, signals, f"other {i}", sharpe_per_period=sharpe)
    among = gate(validate.evaluate(signals, engine), "edge.dsr")
    hurdle = np.std(sharpes, ddof=1) * maximum_of_normals(3)
    assert among.value == pytest.approx(probabilistic(returns, hurdle), rel=1e-6)
    assert "3 trials, 3 of which trade" in among.note


def test_trials_that_do_not_trade_count_and_narrow_no_spread(loaded, engine):
    signals = loaded("trading_signals")
    returns = validate.evaluate(signals, engine).returns
    for i in range(5):
        another_trial(engine, signals, f"{i}", sharpe_per_period=0.0, trading_share=0.04)
    among = validate.evaluate(signals, engine)
    hurdle = maximum_of_normals(6) / len(returns) ** 0.5
    expected = probabilistic(returns, hurdle)
    assert gate(among, "edge.dsr").value == pytest.approx(expected, rel=1e-6)
    choice = gate(among, "edge.choice_loss")
    assert (choice.applicable, choice.value) == (False, None)


def test_the_returns_of_a_trial_are_kept_and_compared_with_the_next(loaded, engine):
    signals = loaded("trading_signals")
    first = validate.evaluate(signals, engine)
    (mine,) = trials.known(engine, "returns")
    kept = trials.known_returns(engine, [mine.id])[mine.id]
    np.testing.assert_array_equal(kept.dates, first.dates)
    charged = sum(first.rates.get(name, 0.0) * kept.amounts[name] for name in kept.amounts)
    np.testing.assert_allclose(kept.returns - charged, first.returns, atol=1e-15)
    assert gate(first, "edge.choice_loss").note.startswith("needs two recipes that trade")
    series = replace(kept, recipe="other", returns=kept.returns[::-1].copy())
    another_trial(engine, signals, "other", series)
    second = validate.evaluate(signals, engine)
    choice = gate(second, "edge.choice_loss")
    assert 0 <= choice.value <= 1
    assert "2 trials have in common; 2 are counted" in choice.note
    assert set(second.tables["trials"]["recipe"]) == {kept.recipe[:12], "other"}
    assert "pbo" not in second.metrics


def test_ten_distinguishable_recipes_have_a_probability_of_overfitting(loaded, engine):
    signals = loaded("trading_signals")
    dates = validate.evaluate(signals, engine).dates
    rng = np.random.default_rng(0)
    for i in range(10):
        noise = 0.01 * rng.standard_normal(len(dates))
        another_trial(engine, signals, f"{i}", trials.TrialReturns(f"{i}", dates, noise))
    found = validate.evaluate(signals, engine)
    assert found.metrics["n_distinguishable_trials"] == 11
    assert 0 < found.metrics["pbo"] < 1
    assert "edge.pbo" not in {row.gate for row in found.gates}
    assert len(found.tables["pbo"]) == len(found.tables["choice_loss"]) == 1000


def test_a_cheaper_trial_is_charged_with_the_costs_of_the_judged_one(loaded, engine):
    signals = loaded("trading_signals")
    alone = validate.evaluate(signals, engine)
    (mine,) = trials.known(engine, "returns")
    kept = trials.known_returns(engine, [mine.id])[mine.id]
    gross = kept.returns / kept.returns.std() * 0.001 + 0.0005
    dear = replace(kept, recipe="dear", returns=gross)
    another_trial(engine, signals, "dear", dear, sharpe_per_period=9.0)
    line = validate.evaluate(signals, engine).tables["trials"].filter(recipe="dear")
    charged = sum(alone.rates.get(name, 0.0) * kept.amounts[name] for name in kept.amounts)
    net = gross - charged
    assert line["sharpe_per_period"][0] == pytest.approx(net.mean() / net.std(ddof=1))


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
        GateRow("edge.choice_loss", None, "<", 0.25, "why"),
        GateRow("quality.bias", 1.0, "between", (0.8, 1.25)),
    )
    stored = json.loads(validate.record_json(rows))
    assert tuple(GateRow.from_json(row) for row in stored) == rows
    assert [row["passed"] for row in stored] == [False, False, True]
