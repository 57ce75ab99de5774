"""Deployed, rolled back, withdrawn, archived by HTTP alone, on an MLflow with versions."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from registry import events
from tests.examples import failing_record, passing_record
from tests.waiting import wait_for

MODEL = "volatility_forecast"
pytestmark = pytest.mark.integration


@pytest.fixture
def opened(installation, running):
    """A client with a key for everything, on an installation whose version 1 may serve.

    The follower looks once a minute: what a route changes is seen because it is woken.
    """
    installation.register(is_first=True)
    app = installation.app(alias_poll_interval=60)
    headers = installation.key(app, "read", "manage", "predict")
    with running(app) as client:

        def send(method, path, body=None):
            sent = {"json": body} if body is not None else {}
            return client.request(method, f"/models/{MODEL}{path}", headers=headers, **sent)

        send.app, send.client, send.headers = app, client, headers
        yield send


def serving(opened):
    return opened("GET", "/status").json()["serving_version"]


def deploy(opened, **body):
    return opened("POST", "/deploy", {"reason": "reviewed"} | body)


def now():
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def predict(opened, **more):
    body = {"model": MODEL, "rows": [{}]} | more
    return opened.client.post("/predict", json=body, headers=opened.headers)


def test_the_life_of_a_model_by_http_alone(installation, opened):
    before = now()
    first = deploy(opened, version=1)
    assert first.json() == {
        "model_id": MODEL,
        "alias": "production",
        "version": 1,
        "generation": 1,
    }
    wait_for(lambda: serving(opened) == 1)

    installation.register(seed=2)
    installation.registry.set_alias_staging(MODEL, 2)
    between = now()
    second = deploy(opened, alias="staging", expected_generation=1)
    assert (second.status_code, second.json()["version"]) == (200, 2)
    wait_for(lambda: serving(opened) == 2)

    back = opened("POST", "/rollback", {"reason": "errors"})
    assert (back.json()["version"], back.json()["generation"]) == (1, 3)
    wait_for(lambda: serving(opened) == 1)

    in_use = opened("DELETE", "?reason=obsolete")
    assert in_use.status_code == 409
    assert "withdraw it first" in in_use.json()["error"]["message"]
    named = opened("DELETE", "/versions/1?reason=obsolete")
    assert (named.status_code, named.json()["error"]["code"]) == (409, "version_in_use")

    gone = opened("POST", "/withdraw", {"reason": "obsolete", "expected_generation": 3})
    assert (gone.status_code, gone.json()["version"], gone.json()["generation"]) == (200, None, 4)
    wait_for(lambda: serving(opened) is None)
    archived = opened("DELETE", "?reason=obsolete")
    assert archived.status_code == 200
    wait_for(lambda: "it is archived" in predict(opened).text)
    assert predict(opened, version=1).status_code == 503
    refused = deploy(opened, version=1)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "model_archived")

    assert opened("PUT", "", {"archived": False}).json()["archived_at"] is None
    assert deploy(opened, version=1).status_code == 200
    wait_for(lambda: serving(opened) == 1)

    def at(time):
        return opened("GET", f"/production?at={time}").json()

    assert (at(before)["version"], at(before)["until"] is None) == (None, False)
    then = at(between)
    assert (then["version"], then["began"]["reason"], then["ended"]["event"]) == (
        1,
        "reviewed",
        "promoted",
    )
    assert (opened("GET", "/production").json()["version"], at(now())["until"]) == (1, None)
    key_id = opened.headers["authorization"][7:].partition(".")[0]
    moved = [e for e in events.read(installation.engine, MODEL) if e.kind == "withdrawn"]
    assert [(e.actor, e.reason) for e in moved] == [(key_id, "obsolete")]
    assert then["began"]["actor"] == key_id


def test_a_version_whose_gates_are_shut_is_not_deployed_and_each_gate_is_named(
    installation, opened
):
    deploy(opened, version=1)
    installation.register(failing_record("better"), seed=2)
    refused = deploy(opened, version=2)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "gate_refused")
    assert refused.json()["error"]["details"]["refusals"] == [
        "quality.dm_ewma: -1.2, needs < -1.645"
    ]
    installation.register(passing_record(), seed=3)
    lacking = deploy(opened, version=3)
    assert "needs exactly one comparison" in lacking.json()["error"]["message"]
    opened("POST", "/withdraw", {"reason": "a way around?"})
    still = deploy(opened, version=3)
    assert (still.status_code, still.json()["error"]["code"]) == (409, "gate_refused")
    assert installation.kinds().count("promotion_refused") == 3


def test_of_two_deploys_at_once_one_wins_and_the_other_is_told(installation, opened):
    deploy(opened, version=1)
    installation.register(seed=2)
    installation.register(seed=3)
    barrier = threading.Barrier(2)

    def race(number):
        barrier.wait()
        return deploy(opened, version=number, expected_generation=1)

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(race, (2, 3)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200, 409]
    (loser,) = [answer for answer in answers if answer.status_code == 409]
    assert loser.json()["error"]["code"] == "promotion_conflict"
    (winner,) = [answer for answer in answers if answer.status_code == 200]
    assert installation.registry.aliases(MODEL)["production"] == winner.json()["version"]


def test_what_does_not_exist_is_not_deployed(opened):
    assert deploy(opened, version=9).status_code == 404
    assert deploy(opened, alias="nightly").status_code == 404
    assert opened("POST", "/rollback", {"reason": "x"}).status_code == 409
    nothing = opened("POST", "/withdraw", {"reason": "x"})
    assert (nothing.status_code, nothing.json()["error"]["code"]) == (409, "nothing_to_withdraw")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reason": "x"},
        {"version": 1},
        {"version": 1, "alias": "staging", "reason": "x"},
        {"version": 1, "reason": ""},
        {"version": 1, "reason": "a\0b"},
        {"version": 0, "reason": "x"},
        {"version": "1", "reason": "x"},
        {"version": True, "reason": "x"},
        {"version": 10**400, "reason": "x"},
        {"alias": "../x", "reason": "x"},
        {"alias": "a" * 51, "reason": "x"},
        {"version": 1, "reason": "x", "expected_generation": -1},
        {"version": 1, "reason": "x", "force": True},
    ],
    ids=lambda body: str(body)[:60],
)
def test_a_body_that_does_not_say_what_and_why_is_refused(opened, body):
    assert opened("POST", "/deploy", body).status_code == 422


def test_a_version_is_deleted_when_nothing_names_it(installation, opened):
    installation.register(seed=2)
    assert opened("DELETE", "/versions/2").status_code == 422  # without a reason
    gone = opened("DELETE", "/versions/2?reason=obsolete")
    assert (gone.status_code, gone.json()) == (200, {"model_id": MODEL, "version": 2})
    assert opened("GET", "/versions/2").status_code == 404
    event = events.read(installation.engine, MODEL)[-1]
    assert (event.kind, event.reason) == ("deleted", "obsolete")
