"""`mlflow run` on this project: parameters reach the stage through MLflow's own quoting.

One pair of each family of algorithms goes the whole way, in the process that a person would start.
"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from registry.database import open_engine
from registry.versions import Registry

pytestmark = [pytest.mark.integration, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
LOCALLY = ["--env-manager", "local", "--experiment-name", "by_project"]
MARKET = {"source": "synthetic", "symbols": "AAA,BBB", "end": "2002-12-31"}


def mlflow_run(entry_point: str, **given: str) -> subprocess.CompletedProcess[str]:
    line = [part for name, value in given.items() for part in ("-P", f"{name}={value}")]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [sys.executable, "-m", "mlflow", "run", str(ROOT), "-e", entry_point, *line, *LOCALLY],
        env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def contract_of(settings, model: str):
    engine = open_engine(settings)
    contract = Registry(settings, engine).get(model, 1).contract
    engine.dispose()
    return contract


@pytest.fixture
def table(tmp_path) -> Path:
    """120 lines of time, a number, a category and a target that follows the number."""
    path = tmp_path / "table.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time", "size", "colour", "target"])
        for i in range(240):
            day = f"20{20 + i // 336:02}-{i // 28 % 12 + 1:02}-{i % 28 + 1:02}"
            writer.writerow([day, i * 7 % 13, ("red", "blue")[i % 2], i * 7 % 13 + i % 3 + 0.5])
    return path


def test_mlflow_run_registers_a_version_with_the_parameters_given(installation):
    fit = '{"rounds": 5, "nthread": 1}'
    done = mlflow_run("main", **MARKET, parameters=fit, model_name="by_project", seed="3")
    assert done.returncode == 0, done.stderr
    assert "by_project version 1: staging" in done.stdout
    contract = contract_of(installation, "by_project")
    assert (contract.parameters["rounds"], contract.seed) == (5, 3)
    assert contract.symbols == ("AAA", "BBB")
    assert contract.data.end == "2002-12-31T00:00:00+00:00"


@pytest.mark.parametrize(
    ("template", "architecture", "parameters"),
    [
        ("volatility_forecast", "lightgbm", {"rounds": 5, "nthread": 1}),
        ("trading_signals", "lstm", {"epochs": 1, "hidden": 4, "batch_size": 256}),
        ("return_forecast", "ridge", {}),
        ("return_forecast", "random_forest", {"n_estimators": 5}),
        ("market_regime", "hmm", {"n_states": 2}),
        ("market_regime", "kmeans", {"n_states": 2}),
        ("portfolio_risk", "historical", {"window": 250}),
    ],
    ids=["boosting", "network", "linear", "ensemble", "states", "clustering", "scenarios"],
)
def test_a_family_over_bars_goes_the_whole_way(installation, template, architecture, parameters):
    window = {"window": "4"} if architecture == "lstm" else {}
    choice = {"template": template, "architecture": architecture, **window}
    done = mlflow_run("main", **MARKET, **choice, parameters=json.dumps(parameters))
    assert done.returncode == 0, done.stderr
    assert f"{template} version 1: staging" in done.stdout
    assert contract_of(installation, template).architecture == architecture


def test_texts_go_the_whole_way_out_of_the_box(installation):
    done = mlflow_run("main", source="sample", template="sentiment", architecture="lexicon")
    assert done.returncode == 0, done.stderr
    assert "sentiment version 1: staging" in done.stdout


def test_a_table_goes_the_whole_way(installation, table):
    choice = {"template": "tabular", "architecture": "ridge", "options": '{"target": "target"}'}
    done = mlflow_run("main", source="files", path=str(table), **choice)
    assert done.returncode == 0, done.stderr
    assert "tabular version 1: staging" in done.stdout
    assert contract_of(installation, "tabular").label_spec["target"] == "target"


def test_synthetic_bars_are_written_and_marked(installation, tmp_path):
    out = tmp_path / "stress.synthetic.parquet"
    market = MARKET | {"end": "2006-12-31"}
    done = mlflow_run("synthesize", **market, out=str(out), epochs="1")
    assert done.returncode == 0, done.stderr
    assert out.is_file()
    assert f"synthetic bars to {out}" in done.stdout


def test_a_version_made_by_mlflow_run_is_reproduced_by_mlflow_run(installation):
    fit = '{"rounds": 5, "nthread": 1}'
    assert mlflow_run("main", **MARKET, parameters=fit, model_name="again").returncode == 0
    engine = open_engine(installation)
    run_id = Registry(installation, engine).get("again", 1).run_id
    engine.dispose()
    done = mlflow_run("replay", run_id=run_id)
    assert done.returncode == 0, done.stderr
    assert "final fit: 64 rows, every bit the same" in done.stdout
