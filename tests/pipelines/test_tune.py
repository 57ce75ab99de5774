"""The command `tune` on real parts: an edge that is found and registered, luck that is not."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import polars as pl
import pytest

from pipelines import progress, tune
from pipelines.stage import exit_with
from pipelines.tuning.studies import KeptStudy, point_of, result_of
from registry import events, trials
from registry.database import open_engine
from registry.errors import (
    AllTrialsFailedError,
    NothingFoundError,
    ParameterError,
    StudyConflictError,
    UntouchedPeriodError,
)
from registry.settings import PlatformSettings
from registry.versions import Registry

PHI = 0.3
"""Autocorrelation of the planted returns: a forecast explains its square of their variance."""
SMALL = json.dumps({"architectures": ["ridge", "lasso"]})


@pytest.fixture(scope="session")
def planted(tmp_path_factory):
    """Three symbols whose next return is 0.3 of the last one and noise; opens are last closes."""
    return written(tmp_path_factory.mktemp("planted") / "bars.csv", phi=PHI)


def written(path, phi, n=1600, other_after=None):
    """Write bars; from bar `other_after` on they are those of another market."""
    parts = []
    for number, symbol in enumerate(("AAA", "BBB", "CCC")):
        shocks = 0.01 * np.random.default_rng([5, number]).standard_normal(n)
        if other_after is not None:
            rng = np.random.default_rng([6, number])
            shocks[other_after:] = 0.03 * rng.standard_normal(n - other_after)
        returns = np.zeros(n)
        for t in range(1, n):
            returns[t] = phi * returns[t - 1] + shocks[t]
        close = 100 * np.exp(np.cumsum(returns))
        opened = np.concatenate(([100.0], close[:-1]))
        start = np.datetime64("2010-01-01") + np.arange(n)
        parts.append(
            pl.DataFrame(
                {
                    "symbol": [symbol] * n,
                    "timestamp": start,
                    "open": opened,
                    "high": np.maximum(opened, close),
                    "low": np.minimum(opened, close),
                    "close": close,
                }
            )
        )
    pl.concat(parts).write_csv(path)
    return str(path)


def run(*line, study="s", trials=6, space=SMALL, **more):
    """Run the command; what it is not told are small defaults."""
    given = {"study": study, "trials": trials, "space": space} | more
    flat = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    tune.main([*line, *flat])


def on(path):
    return (
        *("--source", "files", "--path", path, "--template", "return_forecast"),
        *("--feature_set", "returns", "--horizon", "1"),
    )


def kept(installation, study="s"):
    return KeptStudy(installation.tuning_dir / study, study)


def points(installation, study="s"):
    return [point_of(trial) for trial in kept(installation, study).ended()]


@dataclass(frozen=True)
class Deployed:
    """An installation in which study `s` was searched and deployed, and `t` searched after it."""

    settings: PlatformSettings
    said: str

    @property
    def parent(self):
        return kept(self.settings).facts()["run_id"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory, planted, new_installation, enter):
    place = tmp_path_factory.mktemp("searched")
    settings = new_installation(place / "var")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as said:
        enter(patch, settings)
        patch.chdir(place)
        run(*on(planted), trials=8, deploy=True, flavors="onnx")
        run(study="s", trials=8, space="", deploy=True, flavors="onnx")
        run(*on(planted), study="t", trials=4)
    return Deployed(settings, said.getvalue())


@pytest.fixture
def deployed(searched, enter, monkeypatch):
    enter(monkeypatch, searched.settings)
    return searched


@pytest.fixture
def deployed_engine(deployed):
    engine = open_engine(deployed.settings)
    yield engine
    engine.dispose()


def test_a_planted_edge_is_found_and_its_untouched_gain_is_what_was_planted(deployed):
    assert "study s found: best trial" in deployed.said
    outcome = kept(deployed.settings).outcome()
    untouched = outcome["untouched"]
    assert 0 < untouched["lower"] < PHI**2 < untouched["upper"]
    assert outcome["of_untouched"]["n"] == 1 and abs(outcome["optimism"]) < 0.05


def test_the_winner_is_deployed_with_its_study_as_provenance(deployed, deployed_engine):
    assert re.search(r"study s deployed as return_forecast version 1: staging", deployed.said)
    assert "study s was deployed before, as return_forecast version 1" in deployed.said
    outcome = kept(deployed.settings).outcome()
    version = Registry(deployed.settings, deployed_engine).get("return_forecast", 1)
    wanted = json.loads(outcome["recipe"]["parameters"])
    assert version.contract.parameters["alpha"] == wanted["alpha"]
    assert version.contract.architecture == outcome["recipe"]["architecture"]
    (told,) = events.of_kind(deployed_engine, "deployed_from_study", "return_forecast", 1)
    assert told.facts["study"] == "s" and told.facts["place"] == outcome["place"]
    found = mlflow.MlflowClient().get_model_version("return_forecast", "1")
    assert found.tags["study"] == "s"


def test_every_trial_is_counted_and_the_version_is_one_of_them(deployed, deployed_engine):
    counted = {trial.recipe for trial in trials.known(deployed_engine, "return_forecast")}
    ended = [*kept(deployed.settings).ended(), *kept(deployed.settings, "t").ended()]
    assert {result_of(trial)["recipe"] for trial in ended} == counted
    outcome = kept(deployed.settings, "t").outcome()
    assert outcome["of_search"]["n"] >= len(counted), "the trials of the earlier study count too"


def test_each_trial_has_a_run_below_that_of_its_study(deployed):
    client = mlflow.MlflowClient()
    experiment = client.get_run(deployed.parent).info.experiment_id
    of_study = f"tags.`mlflow.parentRunId` = '{deployed.parent}' and tags.stage = 'trial'"
    below = client.search_runs([experiment], of_study)
    assert sorted(int(found.data.tags["trial"]) for found in below) == list(range(1, 9))
    for found in below:
        ended = kept(deployed.settings).ended()[int(found.data.tags["trial"]) - 1]
        assert found.info.status == "FINISHED"
        assert found.data.metrics.get("score") == result_of(ended).get("score")
        assert found.data.params["architecture"] == point_of(ended)["architecture"]


def test_the_run_of_the_study_has_its_page_its_table_and_its_pictures(deployed):
    logged = {file.path for file in mlflow.MlflowClient().list_artifacts(deployed.parent)}
    assert {"study.html", "leaderboard.csv", "pictures"} <= logged
    page = mlflow.artifacts.load_text(f"runs:/{deployed.parent}/study.html")
    assert "Leaderboard" in page and "found: significant" in page and ">yes</td>" in page
    winner = kept(deployed.settings).outcome()["recipe"]["architecture"]
    assert f"takes 10 complete trials of {winner} that differ" in page
    board = pl.read_csv(
        mlflow.artifacts.load_text(f"runs:/{deployed.parent}/leaderboard.csv").encode()
    )
    assert board["rank"].to_list() == list(range(1, 9)) and board["score"].is_sorted()
    assert board["trial"][0] == kept(deployed.settings).outcome()["place"] + 1


def test_the_next_study_begins_with_what_won_and_its_look_is_the_second(deployed, deployed_engine):
    won = events.of_kind(deployed_engine, "search_won")[0]
    third = points(deployed.settings, "t")[2]
    assert third[f"{won.facts['architecture']}.alpha"] == won.facts["parameters"]["alpha"]
    asked = kept(deployed.settings, "t").outcome()["of_untouched"]
    assert asked["n"] == 2 and "looked at before by s" in asked["note"]
    assert asked["limit"] > kept(deployed.settings).outcome()["of_untouched"]["limit"]


def test_noise_gives_nothing_to_deploy(installation, tmp_path, capsys):
    noise = written(tmp_path / "noise.csv", phi=0.0, n=1200)
    with pytest.raises(NothingFoundError, match=r"'s' has nothing to deploy: .* is below"):
        run(*on(noise), trials=4, deploy=True)
    assert "study s found nothing: best trial" in capsys.readouterr().out
    outcome = kept(installation).outcome()
    assert outcome["untouched"] is None, "a look that could change nothing is not spent"
    engine = open_engine(installation)
    assert not events.of_kind(engine, "untouched_looked") and not events.of_kind(
        engine, "search_won"
    )
    assert Registry(installation, engine).model_ids() == []
    engine.dispose()


def test_the_search_reads_nothing_of_the_untouched_period(installation, tmp_path):
    """Everything that follows the cut is another market: the trials do not change by a bit."""
    first = written(tmp_path / "first.csv", phi=PHI, n=1200)
    second = written(tmp_path / "second.csv", phi=PHI, n=1200, other_after=960)
    run(*on(first), study="a", trials=4)
    run(*on(second), study="b", trials=4)
    a, b = (
        [
            (result_of(t)["score"], result_of(t)["fold_losses"])
            for t in kept(installation, s).ended()
        ]
        for s in ("a", "b")
    )
    assert a[:2] == b[:2]  # the defaults; what won in the first is tried third in the second
    assert (
        kept(installation, "a").outcome()["untouched"]
        != kept(installation, "b").outcome()["untouched"]
    )


def test_a_study_goes_on_where_it_was_and_joins_by_its_name(
    installation, planted, capsys, monkeypatch
):
    said = []
    monkeypatch.setattr(progress, "report", lambda *report: said.append(report[-1]))
    run(*on(planted), trials=3)
    assert said.count("trial 1 of 3") > 3, "after each fold"
    before = points(installation)
    run(study="s", trials=3, space="")
    assert points(installation) == before, "its budget is spent"
    run(study="s", trials=5, space="")
    assert points(installation)[:3] == before and len(points(installation)) == 5
    with pytest.raises(StudyConflictError, match="another seed: 0, not 7"):
        run(study="s", space="", seed=7)
    capsys.readouterr()


@pytest.mark.slow
@pytest.mark.integration
def test_a_worker_that_is_killed_costs_the_trial_that_it_was_running(installation, tmp_path):
    """kill -9 in the middle, then the same command again: the trials of one that was not killed."""
    noise = written(tmp_path / "noise.csv", phi=0.0, n=1200)
    line = [*on(noise), "--study", "killed", "--trials", "8", "--space", SMALL]
    command = [sys.executable, "-W", "ignore", "-m", "pipelines.tune", *line]
    environment = os.environ | {"PYTHONPATH": str(Path(tune.__file__).parents[1])}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as worker:
        said = [worker.stdout.readline() for _ in range(3)]
        worker.kill()
    assert [text.partition(":")[0] for text in said] == ["trial 1", "trial 2", "trial 3"]
    run(study="killed", trials=8, space="")
    run(*on(noise), study="whole", trials=8)
    killed, whole = (
        [(point_of(t), t.value, result_of(t)["fold_losses"]) for t in kept(installation, s).ended()]
        for s in ("killed", "whole")
    )
    assert killed == whole and len(whole) == 8
    # the first worker's run, which it left open, holds the page, the outcome, and has ended
    study = kept(installation, "killed")
    parent = mlflow.MlflowClient().get_run(study.facts()["run_id"])
    assert parent.info.status == "FINISHED" and parent.info.run_name == "tune killed"
    assert parent.data.metrics["search_score"] == study.outcome()["search_score"]
    assert "study killed found" in parent.data.tags["mlflow.note.content"]
    joined = mlflow.search_runs(
        filter_string="tags.stage = 'tune' and tags.study = 'killed'",
        search_all_experiments=True,
        output_format="list",
    )
    assert {run.info.run_name for run in joined} == {"tune killed", "tune killed (joined)"}


def test_a_study_whose_trials_all_fail_says_the_most_frequent_reasons(installation, planted):
    space = json.dumps(
        {
            "architectures": ["lasso"],
            "parameters": {"lasso": {"alpha": [1e-9], "tol": [1e-12], "max_iter": [1, 2]}},
        }
    )
    expected = r"all 2 trials of study 's' failed: 1 times: lasso cannot be fitted: no convergence"
    with pytest.raises(AllTrialsFailedError, match=expected):
        run(*on(planted), trials=2, sampler="grid", space=space)


def test_a_search_that_is_cancelled_in_the_middle_of_a_fold_leaves_nothing_open(
    installation, planted, monkeypatch
):
    """SIGTERM, as a cancelled job sends it: twice, to the shell and to the stage."""

    def fold_scores(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("it went on")

    run(*on(planted), trials=1)
    before = points(installation)
    monkeypatch.setattr("pipelines.tuning.fold_trials.fold_scores", fold_scores)
    began = time.monotonic()
    with pytest.raises(SystemExit) as ended:
        exit_with(lambda: run(study="s", trials=3, space=""))
    assert ended.value.code == 143 and time.monotonic() - began < 5
    cancelled = kept(installation).loaded().trials[1]
    assert cancelled.state.name == "FAIL" and points(installation) == before
    assert not list((installation.tuning_dir / "s" / "workers").iterdir()), "no lease is left"
    found = mlflow.search_runs(search_all_experiments=True, output_format="list")
    told = sorted((run.data.tags["stage"], run.info.status) for run in found)
    assert told == [("trial", "FINISHED"), ("tune", "FAILED"), ("tune", "FINISHED")]


def test_seconds_that_are_too_few_for_one_trial_are_refused(installation, planted, monkeypatch):
    monkeypatch.setattr("pipelines.tuning.search.monotonic", iter(range(0, 10_000, 5)).__next__)
    with pytest.raises(ParameterError, match="seconds=4: expected more: no trial came to its end"):
        run(*on(planted), seconds=4)
    assert points(installation) == []


def test_an_untouched_period_that_is_too_short_is_refused(installation, tmp_path):
    short = written(tmp_path / "short.csv", phi=0.0, n=250)
    with pytest.raises(UntouchedPeriodError, match="at least 128 decision times and at most half"):
        run(*on(short))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            {"metric": "accuracy"},
            "metric='accuracy': expected one of rmse, mae, auc, ic, rank_ic, loss",
        ),
        ({"metric": "qlike"}, "for return_forecast"),
        ({"trials": 0}, "trials=0: expected 1 to 1,000"),
        ({"trials": 1001}, "expected 1 to 1,000"),
        ({"seconds": -1}, "seconds=-1: expected 0 or more"),
        ({"untouched_percent": 0}, "expected 1 to 50"),
        ({"untouched_percent": 51}, "expected 1 to 50"),
        ({"sampler": "bayes"}, "one of tpe, random, grid, cmaes"),
        ({"pruner": "hard"}, "one of wilcoxon, halving, none"),
        ({"metric": "ic", "pruner": "halving"}, "none with metric ic"),
        ({"promote": True}, "deploy=true with it"),
        ({"study": "../s"}, "letters, digits"),
        ({"space": '{"horizons": [1, 5]}', "horizon": 0}, "a metric that every label has"),
        ({"space": '{"feature_sets": ["x"]}', "feature_set": ""}, "some of .*close_only"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_made(
    installation, planted, more, expected
):
    with pytest.raises(ParameterError, match=expected):
        run(*on(planted), **more)
    assert not installation.tuning_dir.exists()


@pytest.mark.integration
def test_a_network_that_is_behind_in_its_first_fold_is_counted_as_pruned(
    installation, tmp_path, monkeypatch
):
    monkeypatch.setattr("pipelines.tuning.epochs.FEWEST", 2)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, 3))
    columns = {f"x{i}": x[:, i] for i in range(3)}
    pl.DataFrame({**columns, "y": x[:, 0] + 0.1 * x[:, 1]}).write_csv(tmp_path / "table.csv")
    searched = {"learning_rate": [1e-2, 5e-3, 2e-2, 1e-6], "epochs": [10]}
    space = {"architectures": ["mlp"], "parameters": {"mlp": searched}}
    asked = ("--source", "files", "--path", str(tmp_path / "table.csv"), "--template", "tabular")
    run(
        *asked,
        options=json.dumps({"target": "y"}),
        space=json.dumps(space),
        sampler="grid",
        seed=9,
    )
    ended = kept(installation).ended()
    behind = [t for t in ended if not result_of(t).get("fold_losses")]
    assert [point_of(t)["mlp.learning_rate"] for t in behind] == [1e-6]
    assert [t.state.name for t in behind] == ["PRUNED"]
    assert len(result_of(behind[0])["epoch_rungs"]) == 1
    engine = open_engine(installation)
    counted = {trial.recipe for trial in trials.known(engine, "tabular")}
    engine.dispose()
    assert {result_of(t)["recipe"] for t in ended} <= counted
    assert kept(installation).outcome()["of_search"]["n"] == 4
