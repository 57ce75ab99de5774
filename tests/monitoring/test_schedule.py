import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from monitoring.schedule import enqueue_drift, main, newest_prediction
from pipelines.jobs import leases, queue, schedules
from registry import managed_models
from registry.tables import aliases, retraining_cycles

ROOT = Path(__file__).resolve().parents[2]


def serve(engine: sa.Engine, model_id: str) -> None:
    row = {"model_id": model_id, "alias": "production", "number": 1, "generation": 1}
    with engine.begin() as connection:
        connection.execute(aliases.insert().values(row | {"moved_at": datetime.now(UTC)}))


def log_prediction(settings, model_id: str) -> Path:
    folder = settings.predictions_dir / model_id
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "1.parquet"
    path.touch()
    return path


def test_drift_is_enqueued_for_served_models_with_new_predictions_only(engine, settings):
    serve(engine, "watched")
    serve(engine, "silent")
    log_prediction(settings, "watched")
    log_prediction(settings, "not_served")
    enqueue_drift(engine, settings)
    enqueue_drift(engine, settings)  # the first one still waits
    assert [(j.entry_point, j.payload) for j in queue.list_jobs(engine)] == [
        ("drift", {"model_name": "watched"})
    ]


def test_drift_is_not_enqueued_again_until_something_new_is_logged(engine, settings):
    serve(engine, "m")
    path = log_prediction(settings, "m")
    enqueue_drift(engine, settings)
    leases.finish(engine, leases.claim(engine, "w"), {})
    enqueue_drift(engine, settings)
    assert len(queue.list_jobs(engine)) == 1
    later = time.time() + 5
    os.utime(path, (later, later))
    enqueue_drift(engine, settings)
    assert len(queue.list_jobs(engine)) == 2


def test_drift_is_not_enqueued_for_a_model_that_is_not_watched(engine, settings):
    for name in ("watched", "left_alone"):
        serve(engine, name)
        log_prediction(settings, name)
    managed_models.describe(engine, "left_alone", {"watched": False}, actor="ada")
    enqueue_drift(engine, settings)
    assert [job.model_id for job in queue.list_jobs(engine)] == ["watched"]
    managed_models.describe(engine, "left_alone", {"watched": True}, actor="ada")
    enqueue_drift(engine, settings)
    assert {job.model_id for job in queue.list_jobs(engine)} == {"watched", "left_alone"}


def test_advance_is_enqueued_once_while_a_cycle_is_open(engine, settings):
    now = datetime.now(UTC)
    facts = {"state": "TRAINING", "champion": 1, "trigger": "data_drift", "reason": "r"}
    with engine.begin() as connection:
        connection.execute(
            retraining_cycles.insert().values(
                facts | {"model_id": "m", "as_of": now, "evidence": {}, "opened_at": now}
            )
        )
    enqueue_drift(engine, settings)
    enqueue_drift(engine, settings)
    assert [j.entry_point for j in queue.list_jobs(engine)] == ["advance"]


def test_newest_prediction_is_none_without_a_log(settings):
    assert newest_prediction(settings, "m") is None


@pytest.fixture
def due(engine, settings):
    """Both schedules are due, and a model that is served has been asked."""
    earlier = datetime.now(UTC) - timedelta(hours=2)
    for name in ("drift", "refit"):
        schedules.keep(engine, name, 3600, now=earlier)
    serve(engine, "watched")
    log_prediction(settings, "watched")


@pytest.fixture
def start(settings):
    """Start the entry point in a process of its own."""
    environment = os.environ | {"DATA_DIR": str(settings.data_dir)}
    command = [sys.executable, "-m", "monitoring.schedule"]

    def started() -> subprocess.Popen:
        return subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
        )

    return started


@pytest.mark.usefixtures("due")
def test_the_entry_point_claims_what_is_due_enqueues_it_and_says_so(engine, settings, capsys):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATA_DIR", str(settings.data_dir))
        main([])
        main([])
    assert capsys.readouterr().out == "due: drift, refit\ndue: nothing\n"
    assert [job.entry_point for job in queue.list_jobs(engine)] == ["drift"]
    assert not schedules.is_any_due(engine)


@pytest.mark.integration
@pytest.mark.usefixtures("due")
def test_two_processes_at_once_enqueue_once(engine, start):
    both = [start() for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    claimed = [line.removeprefix("due: ").strip() for line in said]
    names = [name for line in claimed if line != "nothing" for name in line.split(", ")]
    assert sorted(names) == ["drift", "refit"]
    assert [job.entry_point for job in queue.list_jobs(engine)] == ["drift"]
    assert not schedules.is_any_due(engine)
