"""/jobs: who sees what, how far a job is, its events until it ends, and how it is cancelled."""

import asyncio
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import get_args

import httpx
import pytest
import sqlalchemy as sa

from pipelines.jobs import leases, queue
from pipelines.jobs.job import STATES, Told
from registry import events, tables
from serving import event_streams
from serving.app import Server, listen, server_config
from serving.event_streams import EventStreams
from serving.keys import Rights, make_key, revoke_key
from serving.routes.jobs import State

RUN = "a" * 32
TOLD = Told("train: fold 3 of 7", 0.25, "one\ntwo", RUN)


@pytest.fixture
def database(app):
    return app.state.service.database


@pytest.fixture
def key_of(app, database):
    """Make a key with these rights; return its headers and its id."""

    def make(*scopes, **rights):
        key, text = make_key(database, Rights(scopes, **rights), actor="test")
        app.state.service.security.keys.load()
        return {"authorization": f"Bearer {text}"}, key.id

    return make


@pytest.fixture
def quick(monkeypatch):
    """Streams look often."""
    monkeypatch.setattr(event_streams, "LOOK_SECONDS", 0.01)


def running_job(database, told=TOLD, **options):
    job = queue.enqueue(database, "main", {"seed": 1}, **options)
    held = leases.claim(database, "host:1")
    assert held.id == job.id
    leases.heartbeat(database, held, told)
    return held


def events_of(text: str) -> list[dict]:
    """Return what each event of a stream holds, its id added."""
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        if "data" in fields:
            assert fields["event"] == "job"
            found.append(json.loads(fields["data"]) | {"id": fields["id"]})
    return found


# The list and one job ----------------------------------------------------------------------------


def test_the_states_of_the_wire_are_those_of_the_queue():
    assert get_args(State) == STATES


def test_a_job_says_how_far_it_is_and_when_it_may_end(client, database):
    held = running_job(database, model_id="m", actor="ada", priority=3)
    a_minute_ago = datetime.now(UTC) - timedelta(seconds=60)
    with database.begin() as connection:
        connection.execute(sa.update(tables.jobs).values(started_at=a_minute_ago))
    found = client.get(f"/jobs/{held.id}").json()
    assert found.pop("eta_seconds") == pytest.approx(180, abs=10)  # 60 s for a quarter
    assert datetime.fromisoformat(found["started_at"]) == a_minute_ago
    times = ("created_at", "due_at", "started_at", "ended_at")
    assert {k: v for k, v in found.items() if k not in times} == {
        "job_id": held.id,
        "entry_point": "main",
        "model_id": "m",
        "state": "leased",
        "stage": "train: fold 3 of 7",
        "progress": 0.25,
        "attempts": 1,
        "max_attempts": 3,
        "priority": 3,
        "is_short": False,
        "actor": "ada",
        "error": None,
        "run_id": RUN,
        "run_url": f"http://127.0.0.1:9/#/runs/{RUN}",
        "payload": {"seed": 1},
        "log_tail": ["one", "two"],
    }


def test_a_job_that_has_said_nothing_yet_has_no_progress(client, database):
    job = queue.enqueue(database, "main", {})
    found = client.get(f"/jobs/{job.id}").json()
    nothing = ("progress", "stage", "eta_seconds", "run_id", "run_url", "started_at", "ended_at")
    assert [found[name] for name in nothing] == [None] * 7
    assert (found["state"], found["log_tail"], found["attempts"]) == ("queued", [], 0)


def test_a_job_that_has_ended_is_whole_and_names_its_run(client, database):
    leases.finish(database, running_job(database), {"run_id": RUN, "status": "FINISHED"})
    (found,) = client.get("/jobs").json()["jobs"]
    assert (found["state"], found["progress"], found["eta_seconds"]) == ("done", 1.0, None)
    assert found["run_id"] == RUN and found["ended_at"]


def test_neither_secrets_nor_folders_are_shown(client, database):
    options = {"path": "postgresql://ada:pass/w@rd@db/x"}
    queue.enqueue(database, "main", {"source": "files", **options}, max_attempts=1)
    error = "no bars at http://u:hunter2@x/y (output: /home/ada/var/jobs/1.log)"
    leases.fail(database, leases.claim(database, "w"), error)
    (line,) = client.get("/jobs").json()["jobs"]
    found = client.get(f"/jobs/{line['job_id']}").json()
    assert found["error"] == "no bars at http://***@x/y (output: DATA_DIR/jobs/1.log)"
    assert found["payload"]["path"] == "postgresql://***@db/x"


def test_the_list_is_filtered_newest_first_and_cut(client, database):
    for entry_point, model in [("main", "a"), ("drift", "a"), ("main", "b")]:
        queue.enqueue(database, entry_point, {}, model_id=model)
    ask = lambda **query: [  # noqa: E731
        (job["entry_point"], job["model_id"])
        for job in client.get("/jobs", params=query).json()["jobs"]
    ]
    assert ask() == [("main", "b"), ("drift", "a"), ("main", "a")]
    assert ask(limit=1) == [("main", "b")]
    assert ask(entry_point="main", model_id="a") == [("main", "a")]
    assert ask(state="done") == []


@pytest.mark.parametrize(
    "query",
    ["state=running", "limit=0", "limit=1001", "limit=x", "model_id=..%2Fx", "entry_point=%00"],
)
def test_a_filter_that_cannot_be_is_named(client, query):
    answer = client.get(f"/jobs?{query}")
    assert answer.status_code == 422
    assert query.partition("=")[0] in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/jobs/{}", "/jobs/{}/events"])
@pytest.mark.parametrize(("job_id", "status"), [("nope", 404), ("%00", 422), ("a%2F..%2Fb", 404)])
def test_an_unknown_job_is_404(client, path, job_id, status):
    assert client.get(path.format(job_id)).status_code == status


def test_a_key_sees_and_cancels_jobs_of_its_models_only(client, database, key_of):
    headers, _ = key_of("read", "manage", model_ids=("mine",))
    mine, other, nobodys = (
        queue.enqueue(database, "main", {}, model_id=model).id for model in ("mine", "other", None)
    )
    listed = client.get("/jobs", headers=headers).json()["jobs"]
    assert [job["job_id"] for job in listed] == [mine]
    assert client.get("/jobs?model_id=other", headers=headers).status_code == 403
    for job_id in (other, nobodys):
        assert client.get(f"/jobs/{job_id}", headers=headers).status_code == 403
        assert client.get(f"/jobs/{job_id}/events", headers=headers).status_code == 403
        assert client.post(f"/jobs/{job_id}/cancel", headers=headers).status_code == 403
        assert queue.get(database, job_id).state == "queued"
    assert client.get(f"/jobs/{mine}", headers=headers).status_code == 200
    assert client.post(f"/jobs/{mine}/cancel", headers=headers).json()["state"] == "cancelled"


# Cancel ------------------------------------------------------------------------------------------


def test_cancelling_is_an_event_with_actor_and_reason_once(client, database, key_of):
    headers, actor = key_of("manage")
    job = queue.enqueue(database, "main", {}, model_id="m")
    for reason in ("a typo", "again"):
        answer = client.post(f"/jobs/{job.id}/cancel", headers=headers, json={"reason": reason})
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    (event,) = [e for e in events.read(database) if e.kind == "job_cancelled"]
    assert (event.actor, event.reason, event.model_id) == (actor, "a typo", "m")
    assert event.facts["job_id"] == job.id


def test_a_job_that_has_ended_stays_as_it_is(client, database, key_of):
    headers, _ = key_of("manage")
    done = leases.finish(database, running_job(database), {})
    answer = client.post(f"/jobs/{done.id}/cancel", headers=headers)
    assert (answer.status_code, answer.json()["state"]) == (200, "done")
    assert [e.kind for e in events.read(database)] == ["key_made"]


@pytest.mark.parametrize("body", [{"reason": 1}, {"why": "x"}, [], {"reason": "x" * 201}])
def test_a_reason_that_is_none_cancels_nothing(client, database, key_of, body):
    headers, _ = key_of("manage")
    job = queue.enqueue(database, "main", {})
    assert client.post(f"/jobs/{job.id}/cancel", headers=headers, json=body).status_code == 422
    assert queue.get(database, job.id).state == "queued"


# Events ------------------------------------------------------------------------------------------


def test_events_tell_each_change_until_the_job_ends(client, database, quick):
    job = queue.enqueue(database, "main", {}, model_id="m")

    def work() -> None:
        time.sleep(0.2)
        held = leases.claim(database, "w")
        time.sleep(0.1)
        for progress in (0.25, 0.25, 0.5):
            leases.heartbeat(database, held, Told("train", progress, "line"))
            time.sleep(0.1)
        leases.finish(database, held, {"run_id": RUN})

    thread = threading.Thread(target=work)
    thread.start()
    answer = client.get(f"/jobs/{job.id}/events")
    thread.join()
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    found = events_of(answer.text)
    assert [(event["state"], event["progress"]) for event in found] == [
        ("queued", None),
        ("leased", None),
        ("leased", 0.25),
        ("leased", 0.5),
        ("done", 1.0),
    ]
    assert len({event["id"] for event in found}) == 5
    assert found[-1]["ended_at"] and found[-1]["run_id"] == RUN


def test_a_client_that_has_seen_the_end_need_not_come_back(client, database):
    done = leases.finish(database, running_job(database), {})
    path = f"/jobs/{done.id}/events"
    (last,) = events_of(client.get(path).text)
    again = client.get(path, headers={"last-event-id": last["id"]})
    assert (again.status_code, again.content) == (204, b"")
    (other,) = events_of(client.get(path, headers={"last-event-id": "nonsense"}).text)
    assert other["state"] == "done"


def test_a_silent_stream_is_kept_open_by_comments(client, database, quick, monkeypatch):
    monkeypatch.setattr(event_streams, "PING_SECONDS", 0.02)
    job = queue.enqueue(database, "main", {})
    timer = threading.Timer(0.3, lambda: queue.cancel(database, job.id, actor="ada"))
    timer.start()
    text = client.get(f"/jobs/{job.id}/events").text
    timer.join()
    assert text.count(": ping\n\n") >= 2
    assert [event["state"] for event in events_of(text)] == ["queued", "cancelled"]


def test_streams_end_when_the_service_closes(client, app, database, quick):
    job = queue.enqueue(database, "main", {})
    timer = threading.Timer(0.2, app.state.service.streams.close)
    timer.start()
    found = events_of(client.get(f"/jobs/{job.id}/events").text)
    timer.join()
    assert [event["state"] for event in found] == ["queued"]
    assert app.state.service.streams.n_open == 0


def test_a_stream_of_a_revoked_key_ends(client, app, database, key_of, quick):
    headers, key_id = key_of("read")
    job = queue.enqueue(database, "main", {})

    def revoke() -> None:
        revoke_key(database, key_id, actor="ada", reason="left")
        app.state.service.security.keys.load()

    timer = threading.Timer(0.2, revoke)
    timer.start()
    found = events_of(client.get(f"/jobs/{job.id}/events", headers=headers).text)
    timer.join()
    assert [event["state"] for event in found] == ["queued"]


def test_a_job_that_vanishes_ends_its_stream(client, database, quick):
    job = queue.enqueue(database, "main", {})

    def delete() -> None:
        with database.begin() as connection:
            connection.execute(sa.delete(tables.jobs))

    timer = threading.Timer(0.2, delete)
    timer.start()
    assert len(events_of(client.get(f"/jobs/{job.id}/events").text)) == 1
    timer.join()


def test_the_number_of_streams_is_bounded(client, app, database, quick):
    streams = app.state.service.streams
    job = queue.enqueue(database, "main", {})
    streams._n_open = streams._limit
    answer = client.get(f"/jobs/{job.id}/events")
    assert answer.status_code == 503 and answer.headers["retry-after"]
    assert answer.json()["error"]["code"] == "too_many_streams"
    streams._n_open = 0


def test_a_place_is_free_again_however_a_stream_ends(monkeypatch):
    monkeypatch.setattr(event_streams, "LOOK_SECONDS", 0.0)

    async def look():
        return event_streams.Seen("1", "job", "{}", is_last=False)

    async def leave() -> tuple[int, int, list[bytes]]:
        streams = EventStreams(limit=1)
        stream = streams.follow(look)
        await anext(stream)
        n_open = streams.n_open
        refused = [chunk async for chunk in streams.follow(look)]
        task = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        task.cancel()  # as when the client hangs up
        with pytest.raises(asyncio.CancelledError):
            await task
        return n_open, streams.n_open, refused

    assert asyncio.run(leave()) == (1, 0, [])


@pytest.fixture
def served(app, serving_settings):
    """The application behind a real server: the server, its thread, and its address."""
    config = server_config(app, serving_settings.model_copy(update={"log_level": "ERROR"}))
    server = Server(config, app.state.service.streams)
    server.install_signal_handlers = lambda: None
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        yield server, thread, f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.mark.integration
def test_an_open_stream_does_not_hold_the_server_up(served, database):
    server, thread, address = served
    job = queue.enqueue(database, "main", {})
    with httpx.stream("GET", f"{address}/jobs/{job.id}/events") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "event: job"
        server.should_exit, asked_at = True, time.monotonic()
        assert [line for line in lines if line.startswith("event")] == []
    thread.join()
    assert time.monotonic() - asked_at < 5  # DRAIN_SECONDS is 10


@pytest.mark.integration
def test_a_client_that_hangs_up_frees_its_place(served, app, database):
    _, _, address = served
    streams = app.state.service.streams
    job = queue.enqueue(database, "main", {})
    with httpx.stream("GET", f"{address}/jobs/{job.id}/events") as answer:
        lines = answer.iter_lines()  # one that is dropped would hang up
        assert next(lines) == "event: job"
        assert streams.n_open == 1
    deadline = time.monotonic() + 3
    while streams.n_open and time.monotonic() < deadline:
        time.sleep(0.05)
    assert streams.n_open == 0
