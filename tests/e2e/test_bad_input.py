"""Bad input to the stages: one line that names the value and what to do, and nothing registered.

Every case goes through the stage's own `main` under `exit_with`, as `python -m` runs it; a few go
through a process of their own, where imports and MLflow's own notices could spoil the line.
"""

import logging
import math
import os
import socket
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

from pipelines import convert, main, train, validate
from pipelines.architectures import ARCHITECTURES
from pipelines.stage import exit_with
from pipelines.templates import TEMPLATES
from registry import mlflow_mark
from registry.database import open_engine
from registry.settings import PlatformSettings
from registry.versions import Registry

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
SYNTHETIC = ["--source", "synthetic", "--symbols", "AAA,BBB", "--end", "2002-12-31"]
TENTH = "row 11 (bars, 2020-01-10 00:00)"
FIT = ["--parameters", '{"rounds": 5, "nthread": 1}']
ALGORITHMS = ", ".join(sorted(ARCHITECTURES))
STEADY = [100 * 1.001**i for i in range(900)]
WALK = [100 + 10 * math.sin(i / 9) + (i * 7919 % 101) / 50 for i in range(900)]


@pytest.fixture
def refused(installation, capsys, caplog):
    """Run a stage that must refuse; return its line, without `error: ` and the line's end."""
    caplog.set_level(logging.WARNING, logger="mlflow")  # a process of its own sets it for MLflow

    def run(stage, *line: str) -> str:
        with pytest.raises(SystemExit) as caught:
            exit_with(lambda: stage(list(line)))
        said = capsys.readouterr().err
        assert caught.value.code == 2
        assert said.startswith("error: ")
        assert said.count("\n") == 1
        assert said.endswith("\n")
        assert model_ids(installation) == []
        return said.removeprefix("error: ").removesuffix("\n")

    return run


def model_ids(settings: PlatformSettings) -> list[str]:
    engine = open_engine(settings)
    found = Registry(settings, engine).model_ids()
    engine.dispose()
    return found


def runs_of(experiment: str):
    from mlflow import MlflowClient

    client = MlflowClient()
    found = client.get_experiment_by_name(experiment)
    return client.search_runs([found.experiment_id]) if found else []


def write_csv(folder: Path, *, n: int = 60, header: str = "date,close", edit=None) -> str:
    """Write daily closes to `bars.csv`; `edit` maps a row's number to other text."""
    days = [date(2020, 1, 1) + timedelta(days=i) for i in range(n)]
    rows = [f"{day},{100 + i % 7}.5" for i, day in enumerate(days)]
    for i, text in (edit or {}).items():
        rows[i] = text
    path = folder / "bars.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


# Names and values ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--template", "crystal_ball"], "unknown template 'crystal_ball'; known: anomaly, market"),
        (["--architecture", "oracle"], f"unknown architecture 'oracle'; known: {ALGORITHMS}"),
        (["--source", "bloomberg"], "unknown source 'bloomberg'; known: data, files, sample, stor"),
        (["--feature_set", "alpha1"], "unknown feature set 'alpha1'; known: alpha158"),
        (["--source", "sample", "--symbols", "TSLA"], "symbol 'TSLA' is not in the sample source"),
        (["--parameters", '{"depth": 3}'], "parameters='depth': expected one of alpha, "),
        (
            ["--parameters", '{"rounds": "many"}'],
            "rounds='many': expected an integer in [1, 10000]",
        ),
        (["--parameters", "{rounds: 5}"], "parameters='{rounds: 5}': expected a JSON object"),
        (["--start", "2010-01-01"], "source 'synthetic' needs 1 bars but there are 0; widen start"),
        (["--end", "31.12.2002"], "end='31.12.2002': expected an ISO date or time such as 2006"),
        (["--interval", "daily"], "interval='daily': expected a number and s, m, h, d or w"),
        (["--policy", "guess"], "policy='guess': expected strict or repair"),
        (["--first_test", "1990-01-01"], "first_test='1990-01-01': expected a time between 2000-"),
        (["--horizon", "5000"], "a labelled row of feature set 'close_only' needs 783 bars but"),
        (["--seed", str(2**32)], "seed=4294967296: expected at most 4294967295"),
        (["--recent_bars", "1"], "recent_bars=1: expected 0 for all bar times, or at least 2"),
    ],
)
def test_a_name_or_value_that_no_stage_can_use(refused, line, message):
    said = refused(main.main, *SYNTHETIC, *FIT, *line)
    assert said.startswith(message)
    assert {run.info.status for run in runs_of("volatility_forecast")} <= {"FAILED"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--seed", "one"], "seed='one': expected a whole number"),
        (["--horizon", "-1"], "horizon=-1: expected 0 or more"),
        (["--promote", "maybe"], "promote='maybe': expected true or false"),
        (["--model_name", "my model"], "model_name='my model': expected 1 to 200 letters, digits"),
        (["--model_name", "../x"], "model_name='../x': expected 1 to 200 letters, digits"),
    ],
)
def test_a_value_of_the_wrong_kind_opens_no_run(refused, line, message):
    assert refused(main.main, *SYNTHETIC, *line).startswith(message)
    from mlflow import MlflowClient

    found = MlflowClient().search_experiments()
    assert {e.name for e in found} <= {"Default", "tests", mlflow_mark.NAME}


def test_the_failed_runs_keep_the_line_as_a_tag(refused):
    said = refused(main.main, *SYNTHETIC, *FIT, "--feature_set", "alpha1")
    runs = runs_of("volatility_forecast")
    assert {run.data.tags["stage"] for run in runs} == {"main", "train"}
    assert {run.info.status for run in runs} == {"FAILED"}
    assert {run.data.tags["error"] for run in runs} == {said}


# Data ------------------------------------------------------------------------------------------


def test_features_that_need_columns_which_the_source_lacks(refused):
    said = refused(main.main, "--feature_set", "ohlcv", "--symbols", "AAPL")
    assert said.startswith("feature set 'ohlcv' needs the columns high, low, open, volume; AAPL")
    assert "choose feature_set=close_only or another source" in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"header": "date,price_of_tea"}, "bars.csv needs the columns close; the file has date, "),
        ({"edit": {9: '2020-01-10,"1,104.5"'}}, "bars.csv: row 11: close is '1,104.5', with thou"),
        ({"edit": {9: "10/01/2020,104.5"}}, "bars.csv: row 11: time '10/01/2020' is not written "),
        (
            {"edit": {9: "2020-01-09,104.5"}},
            "bars.csv: row 11 (bars, 2020-01-09 00:00) has the time of",
        ),
        ({"edit": {9: "2020-01-10,nan"}}, f"bars.csv: {TENTH}: close is missing; correct it"),
        ({"edit": {9: "2020-01-10,-104.5"}}, f"bars.csv: {TENTH}: close is -104.5, expected a po"),
        ({"edit": {9: "2020-01-10,0"}}, f"bars.csv: {TENTH}: close is 0.0, expected a positive"),
        ({"edit": {9: "2020-01-10,n.a."}}, "bars.csv: row 11: close is 'n.a.', expected a number"),
        ({}, "a labelled row of feature set 'close_only' needs 525 bars but there are 60; read "),
    ],
)
def test_a_file_that_cannot_be_trained_on(refused, tmp_path, change, message):
    path = write_csv(tmp_path, **change)
    said = refused(main.main, "--source", "files", "--path", path, "--first_test", "2020-02-15")
    assert said.startswith(message)


@pytest.mark.parametrize("text", ["2020-01-10,nan", "2020-01-10,-104.5", "2020-01-09,101.5"])
def test_the_line_about_a_bad_row_says_how_to_go_on(refused, tmp_path, text):
    path = write_csv(tmp_path, edit={9: text})
    said = refused(main.main, "--source", "files", "--path", path)
    assert "policy=repair" in said


# Nothing to learn from -------------------------------------------------------------------------


def write_closes(folder: Path, closes) -> str:
    """Write one daily close after another to `bars.csv`."""
    days = [date(2015, 1, 1) + timedelta(days=i) for i in range(len(closes))]
    lines = [f"{day},{close}" for day, close in zip(days, closes, strict=True)]
    path = folder / "bars.csv"
    path.write_text("\n".join(["date,close", *lines]) + "\n")
    return str(path)


@pytest.mark.parametrize(
    ("template", "closes", "message"),
    [
        # constant labels
        ("return_forecast", [100.0] * 900, "the target of the 192 training rows of fold 0 is alw"),
        ("volatility_forecast", [100.0] * 900, "fold 0 is too small: 0 of its 193 training rows"),
        # one class only
        ("trading_signals", [100.0] * 900, "the 196 training rows of fold 0 are of one class, 1;"),
        ("trading_signals", STEADY, "the 196 training rows of fold 0 are of one class, 2; read "),
        # folds too small
        ("volatility_forecast", WALK[:560], "fold 0 is too small: 23 of its 23 training rows may"),
    ],
    ids=["constant return", "constant price", "never touched", "always up", "short"],
)
def test_rows_from_which_nothing_can_be_learned(refused, tmp_path, template, closes, message):
    path = write_closes(tmp_path, closes)
    line = ["--source", "files", "--path", path, "--template", template]
    said = refused(main.main, *line, "--architecture", "xgboost")
    assert said.startswith(f"{template} cannot be trained: {message}")


def test_a_feature_without_a_value_in_any_bar(refused, monkeypatch):
    from pipelines.data.features import FEATURE_SETS

    chosen = FEATURE_SETS.get("close_only")
    compute = chosen.compute

    def without_the_third(series):
        values = compute(series).copy()
        values[:, 2] = float("nan")
        return values

    monkeypatch.setattr(type(chosen), "compute", lambda _, series: without_the_third(series))
    said = refused(main.main, *SYNTHETIC, *FIT)
    name = chosen.feature_names[2]
    assert said.startswith("volatility_forecast cannot be trained: in feature set 'close_only' no ")
    assert f"no bar has a value of {name};" in said


def test_ranks_need_more_symbols_than_there_are(refused):
    said = refused(main.main, *SYNTHETIC, *FIT, "--feature_set", "cross_section")
    assert "cross_section" in said
    assert "10" in said


def write_table(folder: Path, **columns) -> str:
    """Write a table of a time and these columns, 200 lines."""
    days = [date(2020, 1, 1) + timedelta(days=i) for i in range(200)]
    lines = [
        ",".join([str(day), *map(str, row)])
        for day, *row in zip(days, *columns.values(), strict=True)
    ]
    path = folder / "table.csv"
    path.write_text("\n".join([",".join(["time", *columns]), *lines]) + "\n")
    return str(path)


NUMBERS = [math.sin(i) for i in range(200)]
OTHERS = [math.cos(3 * i) for i in range(200)]
TARGET = ["--options", '{"target": "target"}']


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            {"size": OTHERS, "copy": [x + 1 for x in NUMBERS], "target": NUMBERS},
            ("copy", "target"),
        ),
        ({"size": NUMBERS, "target": [1.5] * 200}, ("target",)),
        ({"size": NUMBERS, "target": ["yes"] * 200}, ("target",)),
        ({"size": [""] * 200, "target": NUMBERS}, ("size",)),
    ],
    ids=["a leak", "a constant", "one class", "an empty column"],
)
def test_a_table_that_cannot_be_trained_on(refused, tmp_path, columns, words):
    path = write_table(tmp_path, **columns)
    choice = ["--template", "tabular", "--architecture", "xgboost", *TARGET]
    said = refused(main.main, "--source", "files", "--path", path, *choice)
    assert [word for word in words if word not in said] == []


def test_a_fit_that_does_not_converge(refused, tmp_path):
    names = ["up" if (i * 7) % 5 > 2 else "down" for i in range(200)]
    path = write_table(tmp_path, size=NUMBERS, target=names)
    choice = ["--template", "tabular", "--architecture", "logistic", *TARGET]
    line = ["--source", "files", "--path", path, *choice]
    said = refused(main.main, *line, "--parameters", '{"max_iter": 1}')
    assert said.startswith("logistic cannot be fitted: ")
    assert "max_iter" in said


def test_a_path_that_is_not_there(refused, tmp_path):
    said = refused(main.main, "--source", "files", "--path", str(tmp_path / "nothing.csv"))
    assert said.endswith("nothing.csv': expected an existing file, or a folder or glob with files")


def test_an_empty_store_says_where_bars_come_from(refused):
    assert refused(main.main, "--source", "store").endswith("post some to /bars")


# Stages after another --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "line", "message"),
    [
        (validate.main, [], "train_run='': expected the id of a finished train run"),
        (validate.main, ["--train_run", "abc"], "run 'abc' has no artifacts of a train run"),
        (convert.main, [], "validate_run='': expected the id of a finished validate run"),
        (convert.main, ["--validate_run", "abc"], "run 'abc' has no record of a validate run"),
        (train.main, ["--template", "x"], "unknown template 'x'; known: "),
    ],
)
def test_a_stage_alone_says_what_it_needs(refused, stage, line, message):
    assert refused(stage, *line).startswith(message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--champion", "7"], "unknown model 'volatility_forecast'; registered: none"),
    ],
)
def test_a_champion_that_does_not_exist(refused, line, message):
    assert refused(main.main, *SYNTHETIC, *FIT, *line).startswith(message)


# MLflow ----------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_another_mlflow_than_the_platforms(refused, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    said = refused(main.main, *SYNTHETIC)
    assert said.startswith(f"MLFLOW_TRACKING_URI is 'sqlite:///{tmp_path}/other.db' but the plat")
    assert "export MLFLOW_TRACKING_URI=" in said
    assert not (tmp_path / "other.db").exists()


def test_a_server_that_is_not_the_one_written_down(refused, installation, monkeypatch):
    (installation.data_dir / "tracking_uri").write_text("http://127.0.0.1:5999\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5998")
    assert refused(main.main).endswith("export MLFLOW_TRACKING_URI=http://127.0.0.1:5999")


def test_an_mlflow_that_does_not_answer(refused, monkeypatch):
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    said = refused(main.main, *SYNTHETIC)
    assert said.startswith(f"MLflow at {address} does not answer (")
    assert said.endswith("start it with `make up`")


# Processes -------------------------------------------------------------------------------------


def run(*line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *line]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    return subprocess.run(
        command,
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_in_a_process_of_its_own_the_line_is_all_there_is(installation):
    done = run(
        *("pipelines.main", *SYNTHETIC, "--template", "crystal_ball"),
        DATA_DIR=str(installation.data_dir),
        MLFLOW_TRACKING_URI=installation.mlflow_tracking_uri,
    )
    assert done.returncode == 2
    known = ", ".join(sorted(TEMPLATES))
    assert done.stderr == f"error: unknown template 'crystal_ball'; known: {known}\n"
    assert model_ids(installation) == []


@pytest.mark.slow
def test_without_an_address_no_database_is_made_where_nobody_looks(installation):
    before = set(ROOT.iterdir())
    done = run("pipelines.main", *SYNTHETIC, DATA_DIR=str(installation.data_dir))
    assert done.returncode == 2
    assert done.stderr.startswith("error: MLFLOW_TRACKING_URI is ")
    assert done.stderr.endswith("export MLFLOW_TRACKING_URI=http://127.0.0.1:5000\n")
    assert {p.name for p in set(ROOT.iterdir()) - before} <= {"__pycache__"}
