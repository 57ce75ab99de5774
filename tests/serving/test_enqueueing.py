"""What a route that enqueues does: one job per Idempotency-Key and caller, 202, Location."""

import pytest
from fastapi import Request
from pydantic import BaseModel, ConfigDict

from pipelines.jobs import queue
from registry import events
from serving.enqueueing import JobAnswer, enqueued
from serving.keys import Rights, make_key
from serving.route_table import Example, Route, Scope, built

BODY = {"template": "tabular", "n": 1}


class Wanted(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    template: str
    n: float = 0
    entry_point: str = "main"


async def ask(body: Wanted, request: Request) -> JobAnswer:
    """Ask for a job."""
    return await enqueued(request, body.entry_point, {"template": body.template}, model_id="m")


ROUTES = tuple(
    Route("POST", path, Scope.PREDICT, ask, examples=(Example("a job", body=BODY),), status=202)
    for path in ("/asked", "/asked-elsewhere")
)


@pytest.fixture
def database(app):
    return app.state.service.database


@pytest.fixture
def post(app, client):
    """Ask for a job; `key` is the Idempotency-Key."""
    app.router.routes.extend(built(ROUTES))

    def send(body=BODY, key=None, path="/asked", **headers):
        sent = headers | ({"Idempotency-Key": key} if key is not None else {})
        return client.post(path, json=body, headers=sent)

    return send


def test_a_job_is_enqueued_for_its_caller_and_has_an_address(post, database):
    answer = post()
    assert answer.status_code == 202
    job = queue.get(database, answer.json()["job_id"])
    assert answer.headers["Location"] == f"/jobs/{job.id}"
    assert answer.json() == {
        "job_id": job.id,
        "state": "queued",
        "entry_point": "main",
        "model_id": "m",
    }
    assert (job.actor, job.payload, job.is_short) == ("local", {"template": "tabular"}, False)
    (event,) = events.read(database)
    assert (event.kind, event.actor, event.model_id) == ("job_enqueued", "local", "m")
    assert event.facts == {"job_id": job.id, "entry_point": "main"}


def test_the_same_key_and_request_get_the_same_job_however_it_is_written(post, client, database):
    first = post(key="one")
    again = client.post(
        "/asked",
        content='{"n": 1,   "template": "tabular"}',
        headers={"Idempotency-Key": "one", "Content-Type": "application/json"},
    )
    assert again.json() == first.json() and again.headers["Location"] == first.headers["Location"]
    assert len(queue.list_jobs(database)) == len(events.read(database)) == 1


def test_a_repeated_request_is_answered_with_the_state_that_its_job_has_now(post, database):
    job_id = post(key="one").json()["job_id"]
    queue.cancel(database, job_id, actor="ada")
    assert post(key="one").json()["state"] == "cancelled"


@pytest.mark.parametrize(
    "other",
    [{"body": BODY | {"n": 2}}, {"path": "/asked-elsewhere"}, {"path": "/asked?x=1"}],
    ids=["body", "path", "query"],
)
def test_the_same_key_with_another_request_is_a_conflict(post, database, other):
    first = post(key="one").json()
    answer = post(key="one", **other)
    assert answer.status_code == 409
    error = answer.json()["error"]
    assert error["code"] == "idempotency_conflict" and first["job_id"] in error["message"]
    assert len(queue.list_jobs(database)) == 1


def test_without_a_key_each_request_is_a_job(post):
    assert post().json()["job_id"] != post().json()["job_id"]


def test_two_callers_may_use_the_same_key_for_different_requests(post, app, database):
    bearers = []
    for _ in range(2):
        _, text = make_key(database, Rights(("predict",)), actor="test")
        bearers.append({"Authorization": f"Bearer {text}"})
    app.state.service.security.keys.load()
    ids = [
        post(BODY | {"n": n}, key="one", **bearer).json()["job_id"]
        for n, bearer in enumerate(bearers)
    ]
    actors = [queue.get(database, job_id).actor for job_id in ids]
    assert ids[0] != ids[1]
    assert actors == [bearer["Authorization"][7:].split(".")[0] for bearer in bearers]


def test_a_key_is_refused_a_job_of_a_model_that_it_does_not_allow(post, app, database):
    _, text = make_key(database, Rights(("predict",), model_ids=("other",)), actor="test")
    app.state.service.security.keys.load()
    assert post(Authorization=f"Bearer {text}").status_code == 403
    assert queue.list_jobs(database) == []


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a\tb", "ä"])
def test_a_key_that_cannot_be_used_is_named_and_not_repeated(post, database, key):
    answer = post(key=key.encode("latin-1"))
    assert answer.status_code == 422
    message = answer.json()["error"]["message"]
    assert "Idempotency-Key" in message and (not key.strip() or key not in message)
    assert queue.list_jobs(database) == []


def test_two_keys_are_not_one(post, client):
    headers = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    assert client.post("/asked", json=BODY, headers=headers).status_code == 422


def test_a_long_key_fits(post):
    assert post(key="~" * 255).status_code == 202


@pytest.mark.parametrize("text", [r"a\u0000b", r"\ud800"], ids=["nul", "half a pair"])
def test_text_that_no_database_holds_is_refused(post, client, database, text):
    content = f'{{"template": "{text}"}}'
    headers = {"Content-Type": "application/json"}
    answer = client.post("/asked", content=content, headers=headers)
    assert answer.status_code == 422
    assert queue.list_jobs(database) == []


def test_openapi_shows_the_key_and_the_address(post, client):
    shown = client.get("/openapi.json").json()["paths"]["/asked"]["post"]
    assert [parameter["name"] for parameter in shown["parameters"]] == ["Idempotency-Key"]
    assert {"202", "409", "422", "503"} <= set(shown["responses"])
    assert "Location" in shown["responses"]["202"]["headers"]
    assert shown["responses"]["202"]["content"]["application/json"]["schema"]
