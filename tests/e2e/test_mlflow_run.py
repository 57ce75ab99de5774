"""`mlflow run` on this project: parameters reach the stage through MLflow's own quoting."""

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


def test_mlflow_run_registers_a_version_with_the_parameters_given(installation):
    given = {
        "source": "synthetic",
        "symbols": "AAA,BBB",
        "end": "2002-12-31",
        "parameters": '{"rounds": 5, "nthread": 1}',
        "model_name": "by_project",
        "seed": "3",
    }
    line = [part for name, value in given.items() for part in ("-P", f"{name}={value}")]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", "run", str(ROOT), "-e", "main", *line, *LOCALLY],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "by_project version 1: staging" in done.stdout
    engine = open_engine(installation)
    contract = Registry(installation, engine).get("by_project", 1).contract
    engine.dispose()
    assert (contract.parameters["rounds"], contract.seed) == (5, 3)
    assert contract.symbols == ("AAA", "BBB")
    assert contract.data.end == "2002-12-31T00:00:00+00:00"
