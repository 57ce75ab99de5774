import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from pipelines.jobs import leases, queue, workers
from pipelines.jobs.worker import (
    Worker,
    WorkerSettings,
    read_interval,
)
from registry import tables
from registry.database import reading
from registry.errors import SettingValueError
from registry.model_store import ModelStore
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


def run_once(worker) -> bool:
    """Start a job that is due and wait for its end; return whether there was one."""
    was_there = worker.look()
    worker.join()
    return was_there


@pytest.fixture
def worker(engine, platform, project):
    wanted = WorkerSettings(drift_interval="0", job_lease_seconds=3, mlproject_uri=str(project))
    return Worker(engine, platform, wanted)


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # inside MLflow's own store
def test_a_job_runs_its_entry_point_and_the_result_names_the_run(worker, engine, tmp_path):
    from mlflow import MlflowClient

    job = queue.enqueue(engine, "main", {"text": "hello"}, model_id="tiny_model")
    assert run_once(worker)
    done = queue.get(engine, job.id)
    assert done.state == "done" and done.result["status"] == "FINISHED", done.error
    assert (tmp_path / "main.txt").read_text() == "hello\n"
    run = MlflowClient(os.environ["MLFLOW_TRACKING_URI"]).get_run(done.result["run_id"])
    assert run.info.status == "FINISHED" and run.data.params == {"text": "hello"}
    assert [j.entry_point for j in queue.list_jobs(engine, state="queued")] == ["advance"]


@pytest.mark.integration
def test_a_failing_stage_is_queued_again_with_its_own_line(worker, engine):
    job = queue.enqueue(engine, "failing", {})
    run_once(worker)
    failed = queue.get(engine, job.id)
    assert failed.state == "queued" and failed.error.startswith("the bars are gone (output: ")


@pytest.mark.integration
def test_an_unknown_entry_point_is_a_clear_failure(worker, engine):
    job = queue.enqueue(engine, "nonsense", {}, max_attempts=1)
    run_once(worker)
    failed = queue.get(engine, job.id)
    assert failed.state == "failed" and "nonsense" in failed.error


def test_while_mlflow_is_down_a_job_waits_without_using_up_its_attempts(engine, settings, project):
    platform = settings.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})
    job = queue.enqueue(engine, "main", {}, max_attempts=1)
    worker = Worker(engine, platform, WorkerSettings(mlproject_uri=str(project)))
    with capture_logs() as lines:
        assert [run_once(worker) for _ in range(3)] == [False, False, False]
    assert queue.get(engine, job.id) == job
    (line,) = lines  # said once, not at every look
    assert "http://127.0.0.1:9 does not answer" in line["error"]


def test_a_database_that_is_away_at_the_start_is_waited_for(running, engine, wait_for):
    """PostgreSQL may be starting, or be restarted in just this moment."""
    refusals = iter(["the database system is starting up"] * 3)

    def refuse(connection):
        is_reading = connection.get_execution_options().get("reading", False)
        if not is_reading and (said := next(refusals, None)):
            raise sa.exc.OperationalError("BEGIN", {}, Exception(said))

    sa.event.listen(engine, "begin", refuse, insert=True)
    with capture_logs() as lines:
        running()
        wait_for(lambda: n_workers(engine) == 1)
    said = [line["error"] for line in lines if line["log_level"] == "warning"]
    assert said == ["the database system is starting up"] * 3


def n_workers(engine) -> int:
    with reading(engine) as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(tables.workers))


def test_an_idle_worker_only_reads_the_queue(engine, settings, project):
    worker = Worker(engine, settings, WorkerSettings(mlproject_uri=str(project)))
    statements: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    assert not run_once(worker)
    assert {statement.split()[0] for statement in statements} - {"BEGIN"} == {"SELECT"}
    assert "BEGIN IMMEDIATE" not in statements  # SQLite's lock for writing


@pytest.fixture
def running(engine, platform, project):
    """Factory: start a worker in a thread; it is stopped at the end."""
    started = []

    def start(**settings) -> Worker:
        wanted = WorkerSettings(worker_poll_seconds=0.05, mlproject_uri=str(project), **settings)
        worker = Worker(engine, platform, wanted)
        thread = threading.Thread(target=worker.run)
        thread.start()
        started.append((worker, thread))
        return worker

    yield start
    for worker, thread in started:
        worker.stop()
        thread.join(20)
        assert not thread.is_alive()


@pytest.mark.integration
def test_cancelling_a_running_job_kills_its_whole_process_tree_within_2_s(
    running, engine, stage_pid, is_alive, wait_for
):
    job = queue.enqueue(engine, "nested", {})
    running(job_lease_seconds=30)
    leader = psutil.Process(stage_pid())
    tree = wait_for(lambda: len(below := leader.children(recursive=True)) == 3 and [leader, *below])
    cancelled_at = time.monotonic()
    queue.cancel(engine, job.id, actor="ada")
    wait_for(lambda: not any(is_alive(each.pid) for each in tree), 10)
    assert time.monotonic() - cancelled_at < 2.5  # 0.5 s for a machine that is busy
    assert queue.get(engine, job.id).state == "cancelled"


@pytest.mark.integration
def test_a_short_job_runs_beside_a_training_and_a_second_training_waits(
    running, engine, stage_pid, wait_for
):
    training = queue.enqueue(engine, "sleeping", {}, model_id="a")
    second = queue.enqueue(engine, "sleeping", {}, model_id="b")
    running()
    stage_pid()
    short = queue.enqueue(engine, "drift", {}, model_id="a")
    wait_for(lambda: queue.get(engine, short.id).state == "leased")
    time.sleep(0.3)  # the worker looks every 0.05 s
    assert queue.get(engine, training.id).state == "leased"
    assert queue.get(engine, second.id).state == "queued"
    queue.cancel(engine, training.id, actor="ada")
    wait_for(lambda: queue.get(engine, second.id).state == "leased")
    assert queue.get(engine, short.id).state == "leased"


@pytest.mark.integration
def test_what_a_run_tells_is_in_its_row(running, engine, stage_pid, wait_for, tmp_path):
    from mlflow import MlflowClient

    job = queue.enqueue(engine, "telling", {})
    running()
    stage_pid()
    told = wait_for(lambda: (now := queue.get(engine, job.id)).progress and now)
    assert told.stage.startswith("train: fold 2 of 4")
    assert told.progress == pytest.approx(0.375, abs=0.126)  # at its start, or an epoch later
    assert told.log_tail.split("\n")[-1] == "connects to postgresql://***@db/x"
    assert job.created_at <= told.started_at <= datetime.now(UTC)
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    assert client.get_run(told.result["run_id"]).info.status == "RUNNING"
    (tmp_path / "go on").touch()
    done = wait_for(lambda: (now := queue.get(engine, job.id)).ended_at and now)
    assert (done.state, done.progress) == ("done", 1.0)
    assert done.result == {"run_id": told.result["run_id"], "status": "FINISHED"}
    assert not list((tmp_path / "var/jobs").glob("*.progress"))


def test_a_worker_is_listed_while_it_runs(running, engine, wait_for):
    def listed() -> list:
        with reading(engine) as connection:
            return connection.execute(sa.select(tables.workers)).all()

    worker = running(max_parallel_jobs=3)
    (row,) = wait_for(listed)
    assert (row.owner, row.n_slots) == (worker.owner, 3)
    assert row.started_at <= row.seen_at <= datetime.now(UTC)
    worker.stop()
    wait_for(lambda: not listed(), 5)


def test_a_worker_that_was_killed_long_ago_is_forgotten(engine):
    workers.note_alive(engine, "dead", 2)
    with engine.begin() as connection:
        old = datetime.now(UTC) - timedelta(days=2)
        connection.execute(sa.update(tables.workers).values(seen_at=old))
    for _ in range(2):
        workers.note_alive(engine, "alive", 2)
    with reading(engine) as connection:
        assert connection.execute(sa.select(tables.workers.c.owner)).scalars().all() == ["alive"]


@pytest.mark.integration
def test_a_jump_of_the_clock_does_not_end_what_runs(engine, platform, project, stage_pid, is_alive):
    worker = Worker(engine, platform, WorkerSettings(mlproject_uri=str(project)))
    job = queue.enqueue(engine, "sleeping", {})
    assert worker.look()
    pid = stage_pid()
    (supervision,) = worker._running
    past = datetime.now(UTC) - timedelta(minutes=1)
    with engine.begin() as connection:  # as if the clock had been set forward by an hour
        connection.execute(sa.update(tables.jobs).values(lease_until=past))
    supervision.lease_until = past
    worker.look()
    assert is_alive(pid) and queue.get(engine, job.id).fence == 1
    worker.stop()
    worker.join()


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
    heir = leases.claim(engine, "heir", now=datetime.now(UTC) + timedelta(seconds=5))
    assert (heir.id, heir.fence) == (job.id, 2)


@pytest.mark.integration
def test_no_job_runs_with_an_mlflow_of_another_engine_database(worker, engine, platform):
    ModelStore(platform.mlflow_tracking_uri).set_mark("another")
    queue.enqueue(engine, "main", {"text": "hello"})
    with capture_logs() as said:
        assert not worker.look()
        assert not worker.look()
    (waits,) = [line for line in said if line["event"] == "jobs wait"]
    assert "are no pair" in waits["error"]
    ModelStore(platform.mlflow_tracking_uri).set_mark("", replace=True)
    assert run_once(worker)
