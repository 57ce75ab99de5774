import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from pipelines.jobs import queue
from pipelines.jobs.worker import (
    Worker,
    WorkerSettings,
    read_interval,
)
from registry.errors import SettingValueError
from registry.settings import read_settings

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("text", "seconds"), [("900", 900), ("0", 0), ("15m", 900), ("1h", 3600), ("1.5d", 129600)]
)
def test_an_interval_is_read_in_its_unit(text, seconds):
    assert read_interval(text) == seconds


@pytest.mark.parametrize("text", ["soon", "-1", "h", "", "inf"])
def test_an_interval_that_cannot_be_read_names_the_variable(text, monkeypatch):
    monkeypatch.setenv("DRIFT_INTERVAL", text)
    with pytest.raises(SettingValueError, match="DRIFT_INTERVAL"):
        read_settings(WorkerSettings)


@pytest.fixture
def worker(engine, platform, project):
    wanted = WorkerSettings(drift_interval="0", job_lease_seconds=3, mlproject_uri=str(project))
    return Worker(engine, platform, wanted)


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # inside MLflow's own store
def test_a_job_runs_its_entry_point_and_the_result_names_the_run(worker, engine, tmp_path):
    from mlflow import MlflowClient

    job = queue.enqueue(engine, "main", {"text": "hello"}, model_id="tiny_model")
    assert worker.run_once()
    done = queue.get(engine, job.id)
    assert done.state == "done" and done.result["status"] == "FINISHED", done.error
    assert (tmp_path / "main.txt").read_text() == "hello\n"
    run = MlflowClient(os.environ["MLFLOW_TRACKING_URI"]).get_run(done.result["run_id"])
    assert run.info.status == "FINISHED" and run.data.params == {"text": "hello"}
    assert [j.entry_point for j in queue.list_jobs(engine, state="queued")] == ["advance"]


@pytest.mark.integration
def test_a_failing_stage_is_queued_again_with_its_own_line(worker, engine):
    job = queue.enqueue(engine, "failing", {})
    worker.run_once()
    failed = queue.get(engine, job.id)
    assert failed.state == "queued" and failed.error.startswith("the bars are gone (output: ")


@pytest.mark.integration
def test_an_unknown_entry_point_is_a_clear_failure(worker, engine):
    job = queue.enqueue(engine, "nonsense", {}, max_attempts=1)
    worker.run_once()
    failed = queue.get(engine, job.id)
    assert failed.state == "failed" and "nonsense" in failed.error


def test_while_mlflow_is_down_a_job_waits_without_using_up_its_attempts(engine, settings, project):
    platform = settings.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})
    job = queue.enqueue(engine, "main", {}, max_attempts=1)
    worker = Worker(engine, platform, WorkerSettings(mlproject_uri=str(project)))
    with capture_logs() as lines:
        assert [worker.run_once() for _ in range(3)] == [False, False, False]
    assert queue.get(engine, job.id) == job
    (line,) = lines  # said once, not at every look
    assert "http://127.0.0.1:9 does not answer" in line["error"]


def test_an_idle_worker_only_reads_the_queue(engine, settings, project):
    worker = Worker(engine, settings, WorkerSettings(mlproject_uri=str(project)))
    statements: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    assert not worker.run_once()
    assert {statement.split()[0] for statement in statements} - {"BEGIN"} == {"SELECT"}
    assert "BEGIN IMMEDIATE" not in statements  # SQLite's lock for writing


@pytest.mark.integration
def test_cancelling_a_running_job_kills_its_stage(worker, engine, stage_pid, is_alive):
    job = queue.enqueue(engine, "sleeping", {})
    thread = threading.Thread(target=worker.run_once)
    thread.start()
    pid = stage_pid()
    assert is_alive(pid)
    queue.cancel(engine, job.id)
    thread.join(20)
    assert not thread.is_alive() and not is_alive(pid)
    assert queue.get(engine, job.id).state == "cancelled"


@pytest.fixture
def process(platform, project):
    """A worker in a process group of its own, of which nothing is left after the test."""
    environment = os.environ | {
        "DATA_DIR": str(platform.data_dir),
        "MLFLOW_TRACKING_URI": platform.mlflow_tracking_uri,
        "MLPROJECT_URI": str(project),
        "JOB_LEASE_SECONDS": "2",
        "DRIFT_INTERVAL": "0",
    }
    started = subprocess.Popen(
        [sys.executable, "-m", "pipelines.jobs.worker"],
        env=environment,
        cwd=ROOT,
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    with started:
        yield started
        if is_alive_group(started.pid):
            os.killpg(started.pid, signal.SIGKILL)


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_worker_gives_its_job_back_and_leaves_no_stage(
    engine, process, number, stage_pid, is_alive
):
    job = queue.enqueue(engine, "sleeping", {}, max_attempts=1)
    pid = stage_pid()
    process.send_signal(number)
    assert process.wait(15) == 0
    assert not is_alive(pid)
    assert queue.get(engine, job.id).state == "queued"


@pytest.mark.integration
@pytest.mark.parametrize("seconds", [0.0, 0.5])
def test_a_signal_to_the_whole_group_is_a_stop_too_whenever_it_comes(
    engine, process, seconds, wait_for
):
    job = queue.enqueue(engine, "sleeping", {}, max_attempts=1)
    wait_for(lambda: queue.get(engine, job.id).state == "leased")
    time.sleep(seconds)  # the fork server is starting, or importing MLflow
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(15) == 0
    assert "Traceback" not in process.stderr.read()
    assert queue.get(engine, job.id).state == "queued"
    wait_for(lambda: not is_alive_group(process.pid), 2)


def is_alive_group(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.integration
def test_after_kill_9_the_stage_dies_too_and_another_worker_takes_the_job(
    engine, process, stage_pid, is_alive, wait_for
):
    job = queue.enqueue(engine, "sleeping", {})
    pid = stage_pid()
    process.kill()
    process.wait(5)
    wait_for(lambda: not is_alive(pid))
    assert queue.get(engine, job.id).state == "leased"
    heir = queue.claim(engine, "heir", now=datetime.now(UTC) + timedelta(seconds=5))
    assert (heir.id, heir.fence) == (job.id, 2)
