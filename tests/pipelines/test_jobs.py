import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines import jobs
from registry.errors import JobNotFoundError, StaleLeaseError

LATER = timedelta(minutes=10)


ENGINES = ["engine", pytest.param("postgres_engine", marks=pytest.mark.postgres)]


@pytest.fixture(params=ENGINES, ids=["sqlite", "postgresql"])
def engine(request):
    return request.getfixturevalue(request.param)


def test_a_job_is_claimed_once_and_finished_with_its_result(engine):
    added = jobs.enqueue(engine, "main", {"template": "t"}, model_id="m")
    claimed = jobs.claim(engine, "a")
    assert claimed is not None and claimed.id == added.id and claimed.payload == {"template": "t"}
    assert jobs.claim(engine, "b") is None
    done = jobs.finish(engine, claimed, {"run_id": "r"})
    assert (done.state, done.result) == ("done", {"run_id": "r"})
    assert jobs.get(engine, added.id) == done


def test_jobs_are_claimed_in_the_order_in_which_they_are_due(engine):
    now = datetime.now(UTC)
    jobs.enqueue(engine, "second", {}, due_at=now - timedelta(seconds=5))
    jobs.enqueue(engine, "first", {}, due_at=now - timedelta(seconds=9))
    jobs.enqueue(engine, "not yet", {}, due_at=now + LATER)
    kinds = [job.kind for _ in range(3) if (job := jobs.claim(engine, "a"))]
    assert kinds == ["first", "second"]


def test_a_known_idempotency_key_returns_the_job_that_has_it_even_when_it_has_ended(engine):
    first = jobs.enqueue(engine, "main", {"n": 1}, idempotency_key="k")
    held = jobs.claim(engine, "a")
    jobs.finish(engine, held, {})
    again = jobs.enqueue(engine, "main", {"n": 2}, idempotency_key="k")
    assert (again.id, again.payload, again.state) == (first.id, {"n": 1}, "done")
    assert len(jobs.list_jobs(engine)) == 1


def test_a_lease_that_ran_out_is_claimed_by_another_and_the_first_report_is_refused(engine):
    jobs.enqueue(engine, "main", {})
    slow = jobs.claim(engine, "slow", lease_seconds=1)
    heir = jobs.claim(engine, "heir", now=datetime.now(UTC) + LATER)
    assert (heir.id, heir.fence) == (slow.id, 2)
    for report in (lambda: jobs.finish(engine, slow, {}), lambda: jobs.heartbeat(engine, slow)):
        with pytest.raises(StaleLeaseError, match="no longer leased to slow"):
            report()
    assert jobs.finish(engine, heir, {"by": "heir"}).result == {"by": "heir"}


def test_the_fence_refuses_a_report_of_the_same_owner_about_an_earlier_claim(engine):
    jobs.enqueue(engine, "main", {})
    first = jobs.claim(engine, "same", lease_seconds=1)
    jobs.claim(engine, "same", now=datetime.now(UTC) + LATER)
    with pytest.raises(StaleLeaseError):
        jobs.finish(engine, first, {})


def test_a_heartbeat_keeps_the_lease(engine):
    jobs.enqueue(engine, "main", {})
    held = jobs.claim(engine, "a", lease_seconds=1)
    jobs.heartbeat(engine, held, lease_seconds=3600)
    assert jobs.claim(engine, "b", now=datetime.now(UTC) + LATER) is None


def test_a_failed_job_is_tried_again_later_and_fails_at_the_last_attempt(engine):
    jobs.enqueue(engine, "main", {}, max_attempts=2)
    again = jobs.fail(engine, jobs.claim(engine, "a"), "first")
    assert again.state == "queued" and again.error == "first"
    assert jobs.claim(engine, "a") is None
    second = jobs.claim(engine, "a", now=datetime.now(UTC) + LATER)
    last = jobs.fail(engine, second, "second")
    assert (last.state, last.error) == ("failed", "second") and last.ended_at is not None


def test_a_worker_that_dies_on_the_last_attempt_leaves_a_failed_job(engine):
    job = jobs.enqueue(engine, "main", {}, max_attempts=1)
    jobs.claim(engine, "a", lease_seconds=1)
    assert jobs.claim(engine, "b", now=datetime.now(UTC) + LATER) is None
    assert jobs.get(engine, job.id).state == "failed"


def test_a_released_job_does_not_lose_an_attempt(engine):
    jobs.enqueue(engine, "main", {}, max_attempts=1)
    jobs.release(engine, jobs.claim(engine, "a"))
    assert jobs.fail(engine, jobs.claim(engine, "b"), "x").state == "failed"


def test_cancelling_a_leased_job_is_seen_at_the_next_heartbeat(engine):
    job = jobs.enqueue(engine, "main", {})
    held = jobs.claim(engine, "a")
    assert jobs.cancel(engine, job.id).state == "cancelled"
    with pytest.raises(StaleLeaseError):
        jobs.heartbeat(engine, held)
    assert jobs.claim(engine, "b", now=datetime.now(UTC) + LATER) is None


def test_cancelling_an_ended_job_changes_nothing(engine):
    job = jobs.enqueue(engine, "main", {})
    done = jobs.finish(engine, jobs.claim(engine, "a"), {})
    assert jobs.cancel(engine, job.id) == done


def test_an_unknown_job_is_named(engine):
    with pytest.raises(JobNotFoundError, match="'nope'"):
        jobs.get(engine, "nope")
    with pytest.raises(JobNotFoundError):
        jobs.cancel(engine, "nope")


def test_list_jobs_filters_and_puts_the_newest_first(engine):
    for kind in ("main", "drift", "main"):
        jobs.enqueue(engine, kind, {}, model_id=kind)
    assert [j.kind for j in jobs.list_jobs(engine, limit=2)] == ["main", "drift"]
    assert len(jobs.list_jobs(engine, kind="main", model_id="main", state="queued")) == 2
    assert jobs.list_jobs(engine, state="done") == []


def test_a_schedule_is_due_after_its_interval_and_one_claim_wins(engine):
    now = datetime.now(UTC)
    jobs.schedule(engine, "drift", 60, now=now)
    jobs.schedule(engine, "drift", 60, now=now + timedelta(seconds=50))  # a restart delays nothing
    assert jobs.claim_schedules(engine, now=now + timedelta(seconds=59)) == []
    late = now + timedelta(seconds=1000)
    assert jobs.claim_schedules(engine, now=late) == ["drift"]
    assert jobs.claim_schedules(engine, now=late + timedelta(seconds=59)) == []
    jobs.schedule(engine, "drift", 0)
    assert jobs.claim_schedules(engine, now=late + LATER) == []


def test_two_threads_never_claim_the_same_job(engine):
    for _ in range(20):
        jobs.enqueue(engine, "main", {})
    taken: list[str] = []

    def take(owner: str) -> None:
        while (job := jobs.claim(engine, owner)) is not None:
            taken.append(job.id)

    threads = [threading.Thread(target=take, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 20


HOLDER = """
import sys, time
import sqlalchemy as sa
from pipelines import jobs
engine = sa.create_engine(sys.argv[1])
print(jobs.claim(engine, "victim", lease_seconds=1).id, flush=True)
time.sleep(60)
"""


def test_a_job_survives_kill_9_of_its_worker(engine):
    job = jobs.enqueue(engine, "main", {})
    url = engine.url.render_as_string(hide_password=False)
    root = Path(__file__).parents[2]
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE, text=True, cwd=root
    )
    with holder:
        assert holder.stdout.readline().strip() == job.id
        holder.send_signal(signal.SIGKILL)
    assert jobs.claim(engine, "heir") is None  # the lease has not run out yet
    heir = jobs.claim(engine, "heir", now=datetime.now(UTC) + timedelta(seconds=2))
    assert (heir.id, heir.fence) == (job.id, 2)
    assert jobs.finish(engine, heir, {}).state == "done"
