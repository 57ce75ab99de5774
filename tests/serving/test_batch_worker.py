"""A batch job whose worker is killed: another one goes on, no row is answered or logged twice."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import psutil
import pytest

from monitoring.prediction_files import BATCHES, ModelFolder, read_folder
from pipelines.data.results import ResultFolder
from pipelines.jobs import queue

ROOT = Path(__file__).parents[2]
PARQUET = "application/vnd.apache.parquet"
MODEL = "volatility_forecast"
N, PART = 2000, 100
PAUSE_SECONDS = 0.15
MLPROJECT = """
name: slow
entry_points:
  score:
    parameters:
      model_name: {type: string, default: ""}
      version: {type: float, default: 0}
      keep: {type: string, default: ""}
      results: {type: string, default: ""}
    command: >-
      python score.py --model_name {model_name} --version {version} --keep {keep}
      --results {results}
"""
SCORE = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from monitoring import score
from pipelines import score as stage
from pipelines.data.result_files import ResultFile
from pipelines.stage import exit_with
stage.SLICE_ROWS = stage.PART_ROWS = {PART}
add = ResultFile.add_part
def slowly(self, first_row, answers):
    time.sleep({PAUSE_SECONDS})  # its rows are logged; most kills come here
    add(self, first_row, answers)
ResultFile.add_part = slowly
exit_with(score.main)
"""


@pytest.fixture
def tracking_uri(tracking_uri, settings, monkeypatch):
    """The same MLflow below DATA_DIR, where stages accept it."""
    database = settings.data_dir / "mlflow.db"
    database.parent.mkdir(exist_ok=True)
    shutil.copy(tracking_uri.removeprefix("sqlite:///"), database)
    uri = f"sqlite:///{database}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


@pytest.fixture
def start_worker(installation, tmp_path):
    """Start a worker in a process group of its own, of which nothing is left after the test."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "MLproject").write_text(MLPROJECT)
    (project / "score.py").write_text(SCORE)
    platform = installation.platform
    environment = os.environ | {
        "DATA_DIR": str(platform.data_dir),
        "MLFLOW_TRACKING_URI": platform.mlflow_tracking_uri,
        "MLPROJECT_URI": str(project),
        "JOB_LEASE_SECONDS": "2",
        "DRIFT_INTERVAL": "0",
    }
    started = []

    def start():
        command = [sys.executable, "-m", "pipelines.jobs.worker"]
        started.append(subprocess.Popen(command, env=environment, cwd=ROOT, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        for each in (*descendants(process.pid), process.pid):
            try:
                os.kill(each, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait()


def descendants(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


@pytest.mark.integration
@pytest.mark.slow
def test_a_job_whose_worker_is_killed_goes_on_and_no_row_is_there_twice(
    installation, running, start_worker
):
    installation.promote(installation.register(is_first=True))
    rng = np.random.default_rng(0)
    with running(installation.app()) as client:
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        asked = {"model": MODEL, "version": 1, "rows": [[0.0] * 24]}
        wait_for(lambda: client.post("/predict", json=asked).status_code == 200)
        names = client.get(f"/models/{MODEL}/versions/1").json()["contract"]["feature_names"]
        frame = pl.DataFrame({name: rng.standard_normal(N) for name in names})
        service = client.app.state.service
        changed = service.settings.model_copy(update={"batch_inline_rows": 10})
        object.__setattr__(service, "settings", changed)
        body = io.BytesIO()
        frame.with_row_index("id").write_parquet(body)
        headers = {"content-type": PARQUET}
        url = f"/predict/batch?model={MODEL}&version=1&keep=id"
        made = client.post(url, content=body.getvalue(), headers=headers)
        assert made.status_code == 202, made.text
        job_id = made.json()["job_id"]
        job = queue.get(installation.engine, job_id)
        folder = ResultFolder(installation.platform.results_dir, str(job.payload["results"]))
        worker = start_worker()
        wait_for(lambda: folder.result.n_done() >= 3 * PART)
        below = descendants(worker.pid)
        worker.kill()
        worker.wait(5)
        wait_for(lambda: not any(map(psutil.pid_exists, below)), 10)
        assert not folder.result.is_whole
        assert queue.get(installation.engine, job_id).state == "leased"
        start_worker()
        wait_for(lambda: queue.get(installation.engine, job_id).state == "done")
        assert queue.get(installation.engine, job_id).fence == 2
        found = client.get(made.json()["results"], headers={"accept": PARQUET})
        answers = pl.read_parquet(io.BytesIO(found.content))
        assert answers["row"].to_list() == answers["id"].to_list() == list(range(N))
        assert answers["error"].null_count() == N
    log = ModelFolder(installation.platform.predictions_dir / MODEL / BATCHES)
    logged = read_folder(log).rows
    assert logged["job_id"].unique().to_list() == [job_id]
    assert sorted(logged["row"].to_list()) == list(range(N))
    assert logged["version"].unique().to_list() == [1]
