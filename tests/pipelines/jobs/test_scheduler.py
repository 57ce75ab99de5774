"""Schedules start beside the running job, once at a time, and again where they failed."""

import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from pipelines.jobs import queue, scheduler, schedules
from pipelines.jobs.project_run import Launcher
from pipelines.jobs.scheduler import Scheduler
from pipelines.jobs.worker import Worker, WorkerSettings

COUNTED = "echo started >> $OUT/schedule.txt; "
UNTIL_DONE = "while [ ! -e $OUT/done ]; do sleep 0.05; done"


@pytest.fixture
def due(engine):
    """Make a schedule due, now."""

    def make() -> None:
        schedules.keep(engine, "watching", 3600, now=datetime.now(UTC) - timedelta(hours=2))

    return make


@pytest.fixture
def n_started(tmp_path):
    """How often the entry point has started."""

    def count() -> int:
        path = tmp_path / "schedule.txt"
        return len(path.read_text().splitlines()) if path.exists() else 0

    return count


@pytest.fixture
def make_scheduler(engine, platform, make_project):
    """Factory: a scheduler over an entry point with this command; stopped at the end."""
    made = []

    def make(command: str) -> Scheduler:
        made.append(Scheduler(engine, platform, Launcher(), str(make_project(command))))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def look_until(chosen: Scheduler, lines: list, wait_for) -> None:
    """Look until the scheduler has said something: that a run has failed."""
    wait_for(lambda: chosen.look() or lines)


@pytest.mark.integration
def test_a_due_schedule_starts_once_while_a_job_runs(
    engine, platform, make_project, tmp_path, due, n_started, stage_pid, is_alive, wait_for
):
    project = make_project(COUNTED + UNTIL_DONE)
    wanted = WorkerSettings(job_lease_seconds=0.6, mlproject_uri=str(project))
    worker = Worker(engine, platform, wanted)
    job = queue.enqueue(engine, "sleeping", {})
    thread = threading.Thread(target=worker.run)
    thread.start()
    pid = stage_pid()
    due()
    wait_for(n_started)
    time.sleep(0.5)  # the worker looks every 0.1 s
    assert n_started() == 1
    assert is_alive(pid) and queue.get(engine, job.id).state == "leased"
    worker.stop()
    thread.join(20)
    assert not thread.is_alive() and not is_alive(pid)


@pytest.mark.integration
def test_a_failed_run_is_started_again_after_the_pause_and_what_was_due_stays_due(
    engine, make_scheduler, due, n_started, wait_for, monkeypatch
):
    chosen = make_scheduler(COUNTED + "echo 'error: no database' >&2; exit 2")
    due()
    with capture_logs() as lines:
        look_until(chosen, lines, wait_for)
        chosen.look()
    (line,) = lines
    assert line["error"].startswith("no database (output: ")
    assert schedules.is_any_due(engine) and n_started() == 1
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + scheduler.RETRY_SECONDS)
    monkeypatch.setattr(scheduler, "time", later)
    chosen.look()
    wait_for(lambda: n_started() == 2)


@pytest.mark.integration
def test_after_a_run_that_ended_well_what_is_due_starts_at_once(
    make_scheduler, due, n_started, wait_for
):
    chosen = make_scheduler(COUNTED + "true")
    chosen.look()  # nothing is due
    due()
    wait_for(lambda: chosen.look() or n_started() == 2)


@pytest.mark.integration
def test_stop_leaves_no_process(make_scheduler, due, stage_pid, is_alive):
    chosen = make_scheduler("echo $$ > $OUT/pid; sleep 60")
    due()
    chosen.look()
    pid = stage_pid()
    assert is_alive(pid)
    chosen.stop()
    assert not is_alive(pid)


def test_while_mlflow_is_down_nothing_is_started(engine, settings, make_project, due, n_started):
    platform = settings.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})
    worker = Worker(engine, platform, WorkerSettings(mlproject_uri=str(make_project(COUNTED))))
    due()
    assert [worker.look() for _ in range(2)] == [False, False]
    assert n_started() == 0 and not (settings.data_dir / "jobs").exists()
    assert schedules.is_any_due(engine)


@pytest.mark.integration
def test_the_run_of_a_killed_worker_is_ended_by_the_next(
    make_scheduler, due, n_started, wait_for, platform, tracking_uri
):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking_uri)
    left = client.create_run(client.get_experiment_by_name("tests").experiment_id).info.run_id
    log_path = platform.data_dir / "jobs" / "schedule.log"
    log_path.parent.mkdir(parents=True)
    log_path.write_text(f"=== Running command 'x' in run with ID '{left}' === \n")
    due()
    make_scheduler(COUNTED + "true").look()
    assert client.get_run(left).info.status == "KILLED"
    wait_for(n_started)


@pytest.mark.integration
def test_two_workers_start_one_run_between_them(
    make_scheduler, due, n_started, wait_for, engine, platform, tmp_path
):
    first = make_scheduler(COUNTED + UNTIL_DONE)
    second = Scheduler(engine, platform, Launcher(), str(tmp_path / "project"))
    due()
    first.look()
    second.look()
    wait_for(n_started)
    time.sleep(0.5)
    assert n_started() == 1
    first.stop()
    second.look()
    wait_for(lambda: n_started() == 2)
    second.stop()
