"""`mlflow run` on this project: parameters reach the stages through MLflow's own quoting.

One recipe goes the whole way and is replayed, in the processes that a person would start. In
process every template and every algorithm goes that way (tests/conformance/test_pairs.py).
"""

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


def mlflow_run(entry_point: str, **given: str) -> str:
    """Run an entry point, which must succeed; return what it said."""
    line = [part for name, value in given.items() for part in ("-P", f"{name}={value}")]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", "run", str(ROOT), "-e", entry_point, *line, *LOCALLY],
        env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_version_is_registered_with_the_parameters_given_and_reproduced(installation):
    fit = '{"rounds": 5, "nthread": 1}'
    said = mlflow_run("main", **MARKET, parameters=fit, model_name="by_project", seed="3")
    assert "by_project version 1: staging" in said
    engine = open_engine(installation)
    version = Registry(installation, engine).get("by_project", 1)
    engine.dispose()
    contract = version.contract
    assert (contract.parameters["rounds"], contract.seed) == (5, 3)
    assert contract.symbols == ("AAA", "BBB")
    assert contract.data.end == "2002-12-31T00:00:00+00:00"
    said = mlflow_run("replay", run_id=version.run_id)
    assert "final fit: 64 rows, every bit the same" in said
