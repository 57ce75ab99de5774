import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.jobs import queue
from registry import events
from registry.errors import IdempotencyConflictError, JobNotFoundError, StaleLeaseError

LATER = timedelta(minutes=10)


ENGINES = ["engine", pytest.param("postgres_engine", marks=pytest.mark.postgres)]


@pytest.fixture(params=ENGINES, ids=["sqlite", "postgresql"])
def engine(request):
    return request.getfixturevalue(request.param)


def test_a_job_is_claimed_once_and_finished_with_its_result(engine):
    added = queue.enqueue(engine, "main", {"template": "t"}, model_id="m")
    claimed = queue.claim(engine, "a")
    assert claimed is not None and claimed.id == added.id and claimed.payload == {"template": "t"}
    assert queue.claim(engine, "b") is None
    done = queue.finish(engine, claimed, {"run_id": "r"})
    assert (done.state, done.result) == ("done", {"run_id": "r"})
    assert queue.get(engine, added.id) == done


def test_jobs_are_claimed_in_the_order_in_which_they_are_due(engine):
    now = datetime.now(UTC)
    queue.enqueue(engine, "second", {}, due_at=now - timedelta(seconds=5))
    queue.enqueue(engine, "first", {}, due_at=now - timedelta(seconds=9))
    queue.enqueue(engine, "not yet", {}, due_at=now + LATER)
    claimed = [job.entry_point for _ in range(3) if (job := queue.claim(engine, "a"))]
    assert claimed == ["first", "second"]


def test_a_known_idempotency_key_returns_the_job_that_has_it_even_when_it_has_ended(engine):
    first = queue.enqueue(engine, "main", {"n": 1}, idempotency_key="k")
    held = queue.claim(engine, "a")
    queue.finish(engine, held, {})
    again = queue.enqueue(engine, "main", {"n": 2}, idempotency_key="k")
    assert (again.id, again.payload, again.state) == (first.id, {"n": 1}, "done")
    assert len(queue.list_jobs(engine)) == 1


def test_a_lease_that_ran_out_is_claimed_by_another_and_the_first_report_is_refused(engine):
    queue.enqueue(engine, "main", {})
    slow = queue.claim(engine, "slow", lease_seconds=1)
    heir = queue.claim(engine, "heir", now=datetime.now(UTC) + LATER)
    assert (heir.id, heir.fence) == (slow.id, 2)
    for report in (lambda: queue.finish(engine, slow, {}), lambda: queue.heartbeat(engine, slow)):
        with pytest.raises(StaleLeaseError, match="no longer leased to slow"):
            report()
    assert queue.finish(engine, heir, {"by": "heir"}).result == {"by": "heir"}


def test_the_fence_refuses_a_report_of_the_same_owner_about_an_earlier_claim(engine):
    queue.enqueue(engine, "main", {})
    first = queue.claim(engine, "same", lease_seconds=1)
    queue.claim(engine, "same", now=datetime.now(UTC) + LATER)
    with pytest.raises(StaleLeaseError):
        queue.finish(engine, first, {})


def test_a_heartbeat_keeps_the_lease(engine):
    queue.enqueue(engine, "main", {})
    held = queue.claim(engine, "a", lease_seconds=1)
    queue.heartbeat(engine, held, lease_seconds=3600)
    assert queue.claim(engine, "b", now=datetime.now(UTC) + LATER) is None


def test_a_failed_job_is_tried_again_later_and_fails_at_the_last_attempt(engine):
    queue.enqueue(engine, "main", {}, max_attempts=2)
    again = queue.fail(engine, queue.claim(engine, "a"), "first")
    assert again.state == "queued" and again.error == "first"
    assert queue.claim(engine, "a") is None
    second = queue.claim(engine, "a", now=datetime.now(UTC) + LATER)
    last = queue.fail(engine, second, "second")
    assert (last.state, last.error) == ("failed", "second") and last.ended_at is not None


def test_a_worker_that_dies_on_the_last_attempt_leaves_a_failed_job(engine):
    job = queue.enqueue(engine, "main", {}, max_attempts=1)
    queue.claim(engine, "a", lease_seconds=1)
    assert queue.claim(engine, "b", now=datetime.now(UTC) + LATER) is None
    assert queue.get(engine, job.id).state == "failed"


def test_a_released_job_does_not_lose_an_attempt(engine):
    queue.enqueue(engine, "main", {}, max_attempts=1)
    queue.release(engine, queue.claim(engine, "a"))
    assert queue.fail(engine, queue.claim(engine, "b"), "x").state == "failed"


def test_cancelling_a_leased_job_is_seen_at_the_next_heartbeat(engine):
    job = queue.enqueue(engine, "main", {})
    held = queue.claim(engine, "a")
    assert queue.cancel(engine, job.id).state == "cancelled"
    with pytest.raises(StaleLeaseError):
        queue.heartbeat(engine, held)
    assert queue.claim(engine, "b", now=datetime.now(UTC) + LATER) is None


def test_cancelling_an_ended_job_changes_nothing(engine):
    job = queue.enqueue(engine, "main", {})
    done = queue.finish(engine, queue.claim(engine, "a"), {})
    assert queue.cancel(engine, job.id) == done


def test_a_key_that_stands_for_another_request_is_a_conflict(engine):
    first = queue.enqueue(engine, "main", {}, idempotency_key="k", request_sha256="a")
    same = queue.enqueue(engine, "main", {}, idempotency_key="k", request_sha256="a")
    assert same == first
    with pytest.raises(IdempotencyConflictError, match=first.id):
        queue.enqueue(engine, "main", {}, idempotency_key="k", request_sha256="b")


def test_what_a_person_asks_for_is_an_event_once_and_the_rest_is_none(engine):
    queue.enqueue(engine, "drift", {})
    for _ in range(2):
        job = queue.enqueue(engine, "main", {}, model_id="m", actor="ada", idempotency_key="k")
    (event,) = events.read(engine)
    assert (event.kind, event.actor, event.model_id) == ("job_enqueued", "ada", "m")
    assert event.facts == {"job_id": job.id, "entry_point": "main"}


@pytest.mark.parametrize(
    ("entry_point", "said", "is_short"),
    [("main", None, False), ("drift", None, True), ("validate", None, True), ("main", True, True)],
)
def test_a_job_is_short_as_its_entry_point_is_unless_said(engine, entry_point, said, is_short):
    assert queue.enqueue(engine, entry_point, {}, is_short=said).is_short is is_short


def test_an_unknown_job_is_named(engine):
    with pytest.raises(JobNotFoundError, match="'nope'"):
        queue.get(engine, "nope")
    with pytest.raises(JobNotFoundError):
        queue.cancel(engine, "nope")


def test_list_jobs_filters_and_puts_the_newest_first(engine):
    for entry_point in ("main", "drift", "main"):
        queue.enqueue(engine, entry_point, {}, model_id=entry_point)
    assert [j.entry_point for j in queue.list_jobs(engine, limit=2)] == ["main", "drift"]
    assert len(queue.list_jobs(engine, entry_point="main", model_id="main", state="queued")) == 2
    assert queue.list_jobs(engine, state="done") == []


def test_a_schedule_is_due_after_its_interval_and_one_claim_wins(engine):
    now = datetime.now(UTC)
    queue.schedule(engine, "drift", 60, now=now)
    queue.schedule(engine, "drift", 60, now=now + timedelta(seconds=50))  # a restart delays nothing
    assert queue.claim_schedules(engine, now=now + timedelta(seconds=59)) == []
    late = now + timedelta(seconds=1000)
    assert queue.claim_schedules(engine, now=late) == ["drift"]
    assert queue.claim_schedules(engine, now=late + timedelta(seconds=59)) == []
    queue.schedule(engine, "drift", 0)
    assert queue.claim_schedules(engine, now=late + LATER) == []


def test_two_threads_never_claim_the_same_job(engine):
    for _ in range(20):
        queue.enqueue(engine, "main", {})
    taken: list[str] = []

    def take(owner: str) -> None:
        while (job := queue.claim(engine, owner)) is not None:
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
from pipelines.jobs import queue
engine = sa.create_engine(sys.argv[1])
print(queue.claim(engine, "victim", lease_seconds=1).id, flush=True)
time.sleep(60)
"""


@pytest.mark.integration
def test_a_job_survives_kill_9_of_its_worker(engine):
    job = queue.enqueue(engine, "main", {})
    url = engine.url.render_as_string(hide_password=False)
    root = Path(__file__).parents[3]
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE, text=True, cwd=root
    )
    with holder:
        assert holder.stdout.readline().strip() == job.id
        holder.send_signal(signal.SIGKILL)
    assert queue.claim(engine, "heir") is None  # the lease has not run out yet
    heir = queue.claim(engine, "heir", now=datetime.now(UTC) + timedelta(seconds=2))
    assert (heir.id, heir.fence) == (job.id, 2)
    assert queue.finish(engine, heir, {}).state == "done"
