import threading

import pytest

from pipelines.jobs import leases, queue
from registry import events
from registry.errors import IdempotencyConflictError, JobNotFoundError

ENGINES = ["engine", pytest.param("postgres_engine", marks=pytest.mark.postgres)]


@pytest.fixture(params=ENGINES, ids=["sqlite", "postgresql"])
def engine(request):
    return request.getfixturevalue(request.param)


def test_a_known_idempotency_key_returns_the_job_that_has_it_even_when_it_has_ended(engine):
    first = queue.enqueue(engine, "main", {"n": 1}, idempotency_key="k")
    held = leases.claim(engine, "a")
    leases.finish(engine, held, {})
    again = queue.enqueue(engine, "main", {"n": 2}, idempotency_key="k")
    assert (again.id, again.payload, again.state) == (first.id, {"n": 1}, "done")
    assert len(queue.list_jobs(engine)) == 1


def test_cancelling_an_ended_job_changes_nothing(engine):
    job = queue.enqueue(engine, "main", {})
    done = leases.finish(engine, leases.claim(engine, "a"), {})
    assert queue.cancel(engine, job.id, actor="ada") == done


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
        queue.cancel(engine, "nope", actor="ada")


def test_list_jobs_filters_and_puts_the_newest_first(engine):
    for entry_point in ("main", "drift", "main"):
        queue.enqueue(engine, entry_point, {}, model_id=entry_point)
    assert [j.entry_point for j in queue.list_jobs(engine, limit=2)] == ["main", "drift"]
    assert len(queue.list_jobs(engine, entry_point="main", model_id="main", state="queued")) == 2
    assert queue.list_jobs(engine, state="done") == []


def test_a_cancelled_job_is_an_event_once(engine):
    job = queue.enqueue(engine, "main", {}, model_id="m")
    for _ in range(2):
        assert queue.cancel(engine, job.id, actor="ada", reason="a typo").state == "cancelled"
    (event,) = events.read(engine)
    assert (event.kind, event.actor, event.reason) == ("job_cancelled", "ada", "a typo")
    assert event.model_id == "m" and event.facts["job_id"] == job.id


def test_callers_that_race_with_one_key_get_one_job(engine):
    start, found = threading.Barrier(4), []

    def ask() -> None:
        start.wait()
        options = {"actor": "ada", "idempotency_key": "k", "request_sha256": "a"}
        found.append(queue.enqueue(engine, "main", {}, **options).id)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(found)) == 1
    assert len(queue.list_jobs(engine)) == len(events.read(engine)) == 1


def test_jobs_of_some_models_leave_out_those_of_none(engine):
    for model in ("a", "b", None):
        queue.enqueue(engine, "main", {}, model_id=model)
    assert [job.model_id for job in queue.list_jobs(engine, model_ids={"a", "c"})] == ["a"]
    assert queue.list_jobs(engine, model_ids=()) == []
    assert len(queue.list_jobs(engine)) == 3
