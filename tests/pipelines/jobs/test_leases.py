"""How jobs are claimed, held and reported on, on both databases."""

import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines.jobs import leases, queue
from pipelines.jobs.job import Told
from registry import events, tables
from registry.errors import StaleLeaseError

LATER = timedelta(minutes=10)
ENGINES = ["engine", pytest.param("postgres_engine", marks=pytest.mark.postgres)]


@pytest.fixture(params=ENGINES, ids=["sqlite", "postgresql"])
def engine(request):
    return request.getfixturevalue(request.param)


def test_a_job_is_claimed_once_and_finished_with_its_result(engine):
    added = queue.enqueue(engine, "main", {"template": "t"}, model_id="m")
    claimed = leases.claim(engine, "a")
    assert claimed is not None and claimed.id == added.id and claimed.payload == {"template": "t"}
    assert leases.claim(engine, "b") is None
    done = leases.finish(engine, claimed, {"run_id": "r"})
    assert (done.state, done.result) == ("done", {"run_id": "r"})
    assert queue.get(engine, added.id) == done


def test_jobs_are_claimed_in_the_order_in_which_they_are_due(engine):
    now = datetime.now(UTC)
    queue.enqueue(engine, "second", {}, due_at=now - timedelta(seconds=5))
    queue.enqueue(engine, "first", {}, due_at=now - timedelta(seconds=9))
    queue.enqueue(engine, "not yet", {}, due_at=now + LATER)
    claimed = [job.entry_point for _ in range(3) if (job := leases.claim(engine, "a"))]
    assert claimed == ["first", "second"]


def test_a_lease_that_ran_out_is_claimed_by_another_and_the_first_report_is_refused(engine):
    queue.enqueue(engine, "main", {})
    slow = leases.claim(engine, "slow", lease_seconds=1)
    heir = leases.claim(engine, "heir", now=datetime.now(UTC) + LATER)
    assert (heir.id, heir.fence) == (slow.id, 2)
    for report in (lambda: leases.finish(engine, slow, {}), lambda: leases.heartbeat(engine, slow)):
        with pytest.raises(StaleLeaseError, match="no longer leased to slow"):
            report()
    assert leases.finish(engine, heir, {"by": "heir"}).result == {"by": "heir"}


def test_the_fence_refuses_a_report_of_the_same_owner_about_an_earlier_claim(engine):
    queue.enqueue(engine, "main", {})
    first = leases.claim(engine, "same", lease_seconds=1)
    leases.claim(engine, "same", now=datetime.now(UTC) + LATER)
    with pytest.raises(StaleLeaseError):
        leases.finish(engine, first, {})


def test_a_heartbeat_keeps_the_lease(engine):
    queue.enqueue(engine, "main", {})
    held = leases.claim(engine, "a", lease_seconds=1)
    leases.heartbeat(engine, held, lease_seconds=3600)
    assert leases.claim(engine, "b", now=datetime.now(UTC) + LATER) is None


def test_a_failed_job_is_tried_again_later_and_fails_at_the_last_attempt(engine):
    queue.enqueue(engine, "main", {}, max_attempts=2)
    again = leases.fail(engine, leases.claim(engine, "a"), "first")
    assert again.state == "queued" and again.error == "first"
    assert leases.claim(engine, "a") is None
    second = leases.claim(engine, "a", now=datetime.now(UTC) + LATER)
    last = leases.fail(engine, second, "second")
    assert (last.state, last.error) == ("failed", "second") and last.ended_at is not None


def test_a_worker_that_dies_on_the_last_attempt_leaves_a_failed_job(engine):
    job = queue.enqueue(engine, "main", {}, max_attempts=1)
    leases.claim(engine, "a", lease_seconds=1)
    assert leases.claim(engine, "b", now=datetime.now(UTC) + LATER) is None
    assert queue.get(engine, job.id).state == "failed"


def test_a_released_job_does_not_lose_an_attempt(engine):
    queue.enqueue(engine, "main", {}, max_attempts=1)
    leases.release(engine, leases.claim(engine, "a"))
    assert leases.fail(engine, leases.claim(engine, "b"), "x").state == "failed"


def test_cancelling_a_leased_job_is_seen_at_the_next_heartbeat(engine):
    job = queue.enqueue(engine, "main", {})
    held = leases.claim(engine, "a")
    assert queue.cancel(engine, job.id, actor="ada").state == "cancelled"
    with pytest.raises(StaleLeaseError):
        leases.heartbeat(engine, held)
    assert leases.claim(engine, "b", now=datetime.now(UTC) + LATER) is None


def test_two_threads_never_claim_the_same_job(engine):
    for _ in range(20):
        queue.enqueue(engine, "main", {})
    taken: list[str] = []

    def take(owner: str) -> None:
        while (job := leases.claim(engine, owner)) is not None:
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
from pipelines.jobs import leases, queue, schedules
engine = sa.create_engine(sys.argv[1])
print(leases.claim(engine, "victim", lease_seconds=1).id, flush=True)
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
    assert leases.claim(engine, "heir") is None  # the lease has not run out yet
    heir = leases.claim(engine, "heir", now=datetime.now(UTC) + timedelta(seconds=2))
    assert (heir.id, heir.fence) == (job.id, 2)
    assert leases.finish(engine, heir, {}).state == "done"


def claimed(engine, **options) -> list[tuple[str, str | None]]:
    """Claim until nothing is left; return entry points and models in their order."""
    found = []
    while (job := leases.claim(engine, "w", **options)) is not None:
        found.append((job.entry_point, job.model_id))
    return found


def test_higher_priority_goes_first_then_what_was_due_before(engine):
    now = datetime.now(UTC)
    for name, priority, age in [("late", 0, 1), ("early", 0, 9), ("urgent", 5, 0)]:
        due = now - timedelta(seconds=age)
        queue.enqueue(engine, "drift", {}, model_id=name, priority=priority, due_at=due)
    assert [model for _, model in claimed(engine)] == ["urgent", "early", "late"]


def test_one_training_of_a_model_runs_at_a_time(engine):
    for entry_point in ("main", "train", "drift"):
        queue.enqueue(engine, entry_point, {}, model_id="m")
    queue.enqueue(engine, "main", {}, model_id="other")
    assert claimed(engine) == [("main", "m"), ("drift", "m"), ("main", "other")]
    assert not leases.is_any_due(engine)
    (held,) = queue.list_jobs(engine, entry_point="main", model_id="m")
    leases.finish(engine, held, {})
    assert leases.is_any_due(engine)
    assert claimed(engine) == [("train", "m")]


def test_trainings_of_no_known_model_do_not_wait_for_each_other(engine):
    for _ in range(2):
        queue.enqueue(engine, "synthesize", {})
    assert len(claimed(engine)) == 2


def test_a_slot_for_short_jobs_takes_no_training(engine):
    queue.enqueue(engine, "main", {}, model_id="m", priority=9)
    assert not leases.is_any_due(engine, takes_training=False)
    queue.enqueue(engine, "drift", {}, model_id="m")
    assert leases.is_any_due(engine, takes_training=False)
    assert claimed(engine, takes_training=False) == [("drift", "m")]


def test_a_training_whose_worker_died_does_not_shut_out_its_model(engine):
    lost = queue.enqueue(engine, "main", {}, model_id="m", max_attempts=1)
    leases.claim(engine, "dead", lease_seconds=1)
    queue.enqueue(engine, "train", {}, model_id="m")
    heir = leases.claim(engine, "heir", now=datetime.now(UTC) + LATER)
    assert heir.entry_point == "train" and queue.get(engine, lost.id).state == "failed"


def test_two_leased_trainings_of_an_older_release_do_not_wait_for_each_other(engine):
    for _ in range(2):
        queue.enqueue(engine, "main", {}, model_id="m")
    old = {"state": "leased", "owner": "old", "fence": 1, "lease_until": datetime.now(UTC)}
    with engine.begin() as connection:
        connection.execute(sa.update(tables.jobs).values(old))
    heir = leases.claim(engine, "heir", lease_seconds=3600, now=datetime.now(UTC) + LATER)
    assert heir.fence == 2
    assert leases.claim(engine, "other", now=datetime.now(UTC) + LATER) is None


def test_a_frozen_worker_that_wakes_up_late_holds_nothing_any_more(engine):
    """Else two trainings of one model would run."""
    queue.enqueue(engine, "main", {}, model_id="m")
    slow = leases.claim(engine, "slow", lease_seconds=1)
    queue.enqueue(engine, "train", {}, model_id="m", priority=1)
    assert leases.claim(engine, "heir", now=datetime.now(UTC) + LATER).entry_point == "train"
    with pytest.raises(StaleLeaseError):
        leases.heartbeat(engine, slow)


def test_many_workers_at_once_hold_one_training_of_a_model(engine):
    for _ in range(8):
        queue.enqueue(engine, "main", {}, model_id="m")
    held, start = [], threading.Barrier(4)

    def take(owner: str) -> None:
        start.wait()
        held.append(leases.claim(engine, owner))

    threads = [threading.Thread(target=take, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([job for job in held if job is not None]) == 1


def test_a_job_that_was_due_stays_due_when_the_clock_is_set_back(engine):
    queue.enqueue(engine, "main", {}, model_id="m")
    queue.enqueue(engine, "drift", {}, due_at=datetime.now(UTC) + timedelta(seconds=1))
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    assert leases.is_any_due(engine, now=an_hour_ago)
    assert leases.claim(engine, "w", now=an_hour_ago).entry_point == "main"
    assert leases.claim(engine, "w", now=an_hour_ago) is None


def test_what_a_run_tells_is_kept_and_begins_anew_with_the_next_attempt(engine):
    job = queue.enqueue(engine, "main", {})
    first = leases.claim(engine, "a", lease_seconds=1)
    leases.heartbeat(engine, first, Told("train: fold 3 of 7", 0.4, "one line"))
    leases.heartbeat(engine, first, lease_seconds=1)  # says nothing new
    known = queue.get(engine, job.id)
    assert (known.stage, known.progress, known.log_tail) == ("train: fold 3 of 7", 0.4, "one line")
    now = datetime.now(UTC) + LATER
    heir = leases.claim(engine, "b", now=now)
    assert (heir.stage, heir.progress, heir.log_tail) == (None, None, None)
    assert first.started_at < heir.started_at == now
    assert leases.finish(engine, heir, {}).progress == 1.0


def test_facts_that_a_run_told_stay_with_its_end(engine):
    queue.enqueue(engine, "tune", {}, max_attempts=1)
    held = leases.claim(engine, "a")
    leases.heartbeat(engine, held, Told("search", 0.4, "", "a" * 32, {"n_ended": 3}))
    assert queue.get(engine, held.id).result["told"] == {"n_ended": 3}
    failed = leases.fail(engine, held, "no", "a" * 32, {"n_ended": 4})
    assert failed.result == {"run_id": "a" * 32, "status": "FAILED", "told": {"n_ended": 4}}


def test_searches_of_one_model_run_side_by_side_and_trainings_do_not(engine):
    for entry_point in ("tune", "tune", "main"):
        queue.enqueue(engine, entry_point, {}, model_id="m")
    claimed = [leases.claim(engine, f"w{n}") for n in range(3)]
    assert [job and job.entry_point for job in claimed] == ["tune", "tune", None]


def test_the_end_of_what_a_person_asked_for_is_an_event(engine):
    queue.enqueue(engine, "main", {}, model_id="m", actor="ada")
    leases.finish(engine, leases.claim(engine, "w"), {"run_id": "a" * 32})
    queue.enqueue(engine, "main", {}, model_id="m", actor="ada", max_attempts=2)
    leases.fail(engine, leases.claim(engine, "w"), "first")  # tried again: no end yet
    leases.fail(engine, leases.claim(engine, "w", now=datetime.now(UTC) + LATER), "second")
    queue.enqueue(engine, "drift", {}, model_id="m")
    leases.finish(engine, leases.claim(engine, "w"), {})
    asked, done, _, failed = events.read(engine)
    assert (asked.kind, done.kind, failed.kind) == ("job_enqueued", "job_done", "job_failed")
    assert (done.actor, done.run_id, done.model_id) == ("w", "a" * 32, "m")
    assert failed.reason == "second"


def test_a_worker_that_dies_on_the_last_attempt_of_what_was_asked_for_is_an_event(engine):
    queue.enqueue(engine, "main", {}, actor="ada", max_attempts=1)
    leases.claim(engine, "dead", lease_seconds=1)
    leases.claim(engine, "b", now=datetime.now(UTC) + LATER)
    kinds = [event.kind for event in events.read(engine)]
    assert kinds == ["job_enqueued", "job_failed"]
