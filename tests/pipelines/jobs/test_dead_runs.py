"""A killed stage or worker leaves no run of MLflow RUNNING."""

import os
import signal
import threading
import time

import pytest
import sqlalchemy as sa

from pipelines.jobs import leases, queue
from pipelines.jobs.dead_runs import end_runs, told_in
from pipelines.jobs.worker import Worker, WorkerSettings
from registry import tables

pytestmark = pytest.mark.integration
UNKNOWN = "0" * 32


@pytest.fixture
def client(tracking_uri):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri)


@pytest.fixture
def tree(client):
    """A run with one below it and one below that, all open, and a finished one; their ids."""
    experiment = client.get_experiment_by_name("tests").experiment_id
    ids = []
    for depth in range(3):
        tags = {"mlflow.parentRunId": ids[-1]} if depth else {}
        ids.append(client.create_run(experiment, tags=tags).info.run_id)
    done = client.create_run(experiment, tags={"mlflow.parentRunId": ids[0]}).info.run_id
    client.set_terminated(done, "FINISHED")
    return [*ids, done]


def statuses(client, run_ids):
    return [client.get_run(run_id).info.status for run_id in run_ids]


def test_open_runs_are_ended_with_those_below_them_and_no_other(client, tree, tracking_uri):
    assert end_runs(tracking_uri, [tree[0], UNKNOWN]) == 3
    assert statuses(client, tree) == ["KILLED", "KILLED", "KILLED", "FINISHED"]
    assert end_runs(tracking_uri, tree) == 0


def test_stages_of_a_run_that_has_ended_are_ended_too(client, tree, tracking_uri):
    client.set_terminated(tree[0], "FAILED")
    assert end_runs(tracking_uri, [tree[0]]) == 2
    assert statuses(client, tree)[:3] == ["FAILED", "KILLED", "KILLED"]


def test_the_output_of_a_job_names_its_runs(tmp_path):
    log = tmp_path / "job.log"
    assert told_in(log) == set()
    log.write_text(f"INFO === Running command 'x' in run with ID '{UNKNOWN}' === \nmore\n")
    assert told_in(log) == {UNKNOWN}


@pytest.fixture
def worker(engine, platform, project):
    wanted = WorkerSettings(drift_interval="0", job_lease_seconds=3, mlproject_uri=str(project))
    return Worker(engine, platform, wanted)


@pytest.mark.parametrize("is_told", [True, False], ids=["by its record", "by its output"])
def test_the_next_worker_ends_the_runs_of_a_dead_one(
    worker, engine, platform, client, tree, is_told
):
    job = queue.enqueue(engine, "main", {"text": "again"}, max_attempts=1)
    claimed = leases.claim(engine, "dead", lease_seconds=0.01)
    assert claimed.id == job.id
    if is_told:
        with engine.begin() as connection:
            result = {"run_id": tree[0], "status": "RUNNING"}
            connection.execute(sa.update(tables.jobs).values(result=result))
    else:
        log = platform.data_dir / "jobs" / f"{job.id}.log"
        log.parent.mkdir(parents=True)
        log.write_text(f"=== Running command 'x' in run with ID '{tree[0]}' ===\n")
    time.sleep(0.05)
    worker.look()
    assert statuses(client, tree) == ["KILLED", "KILLED", "KILLED", "FINISHED"]
    assert queue.get(engine, job.id).state == "failed"


def test_a_stage_that_is_killed_leaves_no_open_run(worker, engine, client, stage_pid):
    job = queue.enqueue(engine, "sleeping", {}, max_attempts=1)
    ended = threading.Thread(target=lambda: (worker.look(), worker.join()))
    ended.start()
    os.kill(stage_pid(), signal.SIGKILL)
    ended.join(60)
    failed = queue.get(engine, job.id)
    assert failed.state == "failed"
    experiment = client.get_experiment_by_name("operations").experiment_id
    assert [run.info.status for run in client.search_runs([experiment])] == ["FAILED"]
