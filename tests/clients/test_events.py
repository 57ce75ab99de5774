"""Server-sent events: read wherever they are cut, and followed when a stream breaks."""

import json

import httpx
import pytest

from nautilus_ml_client import NotFoundError, UnavailableError, UnexpectedAnswerError
from nautilus_ml_client.calls import jobs
from nautilus_ml_client.events import EventParser, ServerEvent
from pipelines.jobs import leases, queue
from pipelines.jobs.job import Told
from serving import event_streams

TEXT = 'id: 1\nevent: job\ndata: {"a":\ndata: "é"}\n\n: ping\n\nid: 2\r\ndata: x\r\n\r\ndata:y\n\n'
EVENTS = [
    ServerEvent("job", '{"a":\n"é"}', "1"),
    ServerEvent("message", "x", "2"),
    ServerEvent("message", "y", "2"),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_read_wherever_they_are_cut(size):
    content, parser = TEXT.encode(), EventParser()
    pieces = [content[i : i + size] for i in range(0, len(content), size)]
    assert [event for piece in pieces for event in parser.feed(piece)] == EVENTS


def test_half_an_event_is_none():
    parser = EventParser()
    assert list(parser.feed(b"data: x\n")) == []
    assert list(parser.feed(b"\xef\xbb\xbf\n")) == []


def line(state, **changes):
    told = {
        "job_id": "j1",
        "entry_point": "main",
        "model_id": None,
        "state": state,
        "stage": None,
        "progress": None,
        "eta_seconds": None,
        "attempts": 1,
        "max_attempts": 3,
        "priority": 0,
        "is_short": False,
        "actor": None,
        "error": None,
        "run_id": None,
        "run_url": None,
        "created_at": "2026-01-01T00:00:00Z",
        "due_at": "2026-01-01T00:00:00Z",
        "started_at": None,
        "ended_at": None,
    }
    return told | changes


def facts(state, **changes):
    return httpx.Response(200, json=line(state, payload={}, log_tail=[], **changes))


def stream(*states, first=1):
    text = "".join(
        f"id: {i}\nevent: job\ndata: {json.dumps(line(state))}\n\n"
        for i, state in enumerate(states, first)
    )
    return httpx.Response(200, text=text, headers={"Content-Type": "text/event-stream"})


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(jobs, "COME_BACK_SECONDS", 0.0)
    monkeypatch.setattr(jobs, "SHORTEST_LOOK_SECONDS", 0.0)


def test_a_stream_that_ended_early_goes_on_where_it_was(scripted, at_once):
    away = httpx.ConnectError("refused")
    client = scripted(stream("queued", "leased"), away, away, away, away, stream("done", first=3))
    assert [seen.state for seen in client.jobs.events("j1")] == ["queued", "leased", "done"]
    assert "last-event-id" not in client.sent[0].headers
    assert {request.headers["last-event-id"] for request in client.sent[1:]} == {"2"}


def test_a_stream_whose_end_was_seen_ends(scripted, at_once):
    client = scripted(stream("queued"), httpx.Response(204))
    assert [seen.state for seen in client.jobs.events("j1")] == ["queued"]


def test_a_job_that_is_gone_is_an_error(scripted, at_once):
    gone = httpx.Response(404, json={"error": {"code": "job_not_found", "message": "no"}})
    client = scripted(stream("queued"), gone)
    with pytest.raises(NotFoundError, match="404 job_not_found"):
        list(client.jobs.events("j1"))


def test_a_server_that_stays_away_is_an_error(scripted, at_once, monkeypatch):
    monkeypatch.setattr(jobs, "AWAY_SECONDS", -1.0)
    client = scripted(*[httpx.Response(503, json={})] * 9)
    with pytest.raises(UnavailableError):
        list(client.jobs.events("j1"))


def test_an_event_of_something_else_is_an_error(scripted):
    with pytest.raises(UnexpectedAnswerError, match="no JobLine"):
        list(scripted(httpx.Response(200, text="data: {}\n\n")).jobs.events("j1"))


def test_leaving_the_loop_closes_the_stream(scripted, at_once):
    client = scripted(stream("queued", "leased", "done"))
    following = client.jobs.events("j1")
    assert next(following).state == "queued"
    following.close()
    assert list(following) == []


def test_a_job_is_followed_to_its_end(ask, monkeypatch):
    monkeypatch.setattr(event_streams, "LOOK_SECONDS", 0.01)
    database = ask.application.state.service.database
    queue.enqueue(database, "main", {"seed": 1})
    held = leases.claim(database, "host:1")
    leases.heartbeat(database, held, Told("train", 0.5, "", None))
    queue.cancel(database, held.id, actor="test", reason="enough")
    [seen] = ask.items(lambda client: client.jobs.events(held.id))
    assert (seen.state, seen.stage) == ("cancelled", "train")
