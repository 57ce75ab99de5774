"""POST /outcomes over HTTP: who may say what, and what comes back."""

import json
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from registry import events
from registry.tables import outcomes, versions
from serving import examples
from serving.keys import Rights, make_key
from serving.route_table import Scope
from serving.routes.outcomes import MOST_OUTCOMES, OutcomesRequest
from tests.examples import make_contract

MODEL = "volatility_forecast"
NAMED = {"model_id": MODEL, "symbol": "AAPL", "as_of": "2007-01-03T00:00:00Z"}


@pytest.fixture
def database(app):
    return app.state.service.database


@pytest.fixture
def insert(database):
    """Record a version in the engine database alone."""

    def insert(model_id):
        row = {
            "model_id": model_id,
            "number": 1,
            "run_id": "r" * 32,
            "contract": json.loads(make_contract(model_id=model_id).to_json()),
            "digests": {},
            "record": [],
            "may_trade": False,
            "created_at": datetime.now(UTC),
        }
        with database.begin() as connection:
            connection.execute(versions.insert().values(row))

    return insert


@pytest.fixture
def post(client, insert):
    """Post outcomes of registered models."""
    insert(MODEL)
    insert("other")

    def post(*told, headers=None):
        return client.post("/outcomes", json={"outcomes": list(told)}, headers=headers)

    return post


@pytest.fixture
def key_of(app, database):
    """Make a key; return its id and headers."""

    def make(*scopes, **rights):
        key, text = make_key(database, Rights(scopes, **rights), actor="test")
        app.state.service.security.keys.load()
        return key.id, {"authorization": f"Bearer {text}"}

    return make


def held(database):
    with database.connect() as connection:
        return connection.execute(sa.select(outcomes)).all()


def test_the_outcome_of_an_answer_is_kept_by_its_request_id(client, post, post_history, database):
    post_history("AAPL")
    body = {"model": MODEL, "symbols": ["AAPL"]}
    said = client.post("/predict", json=body, headers={"x-request-id": "mine-1"}).json()
    answer = post({"request_id": "mine-1", "value": 0.0002})
    assert answer.status_code == 200
    found = answer.json()
    assert (found["accepted"], found["duplicates"], found["late"]) == (1, 0, 0)
    assert (found["conflicts"], found["unknown"], found["invalid"]) == ([], [], [])
    [row] = held(database)
    assert (row.model_id, row.symbol, row.number, row.value) == (MODEL, "AAPL", 1, 0.0002)
    assert row.as_of == datetime.fromisoformat(said["predictions"]["AAPL"]["as_of"])
    assert row.actor == "local"
    again = post({"request_id": "mine-1", "symbol": "AAPL", "value": 0.0002}).json()
    assert (again["accepted"], again["duplicates"]) == (0, 1)
    text = client.get("/metrics").text
    assert 'ml_engine_outcomes_total{outcome="accepted"} 1.0' in text
    assert 'ml_engine_outcomes_total{outcome="duplicate"} 1.0' in text


def test_a_conflict_names_what_is_held(post):
    post(NAMED | {"value": 0.5})
    [conflict] = post(NAMED | {"value": "up"}).json()["conflicts"]
    assert conflict == {"index": 0, **NAMED, "held": 0.5}


def test_unknown_and_invalid_ones_are_named_and_do_not_stop_the_others(post, database):
    found = post(
        {"request_id": "gone", "value": 1},
        {"value": 1},
        NAMED | {"model_id": "no_such", "value": 1},
        NAMED | {"value": 1},
    ).json()
    assert [(each["index"], each["is_kept"]) for each in found["unknown"]] == [
        (0, False),
        (3, True),
    ]
    assert [each["index"] for each in found["invalid"]] == [1, 2]
    assert found["accepted"] == len(held(database)) == 1


def test_the_example_is_a_request(post):
    OutcomesRequest.model_validate(examples.OUTCOMES)
    found = post(*examples.OUTCOMES["outcomes"]).json()
    assert found["accepted"] == 1
    assert [each["is_kept"] for each in found["unknown"]] == [True, False]


@pytest.mark.parametrize(
    "told",
    [
        NAMED | {"value": None},
        NAMED | {"value": True},
        NAMED | {"value": [1]},
        NAMED | {"value": "a\x00b"},
        NAMED | {"value": ""},
        NAMED | {"value": 1e39},
        NAMED | {"value": 1, "symbol": "s" * 201},
        NAMED | {"value": 1, "symbol": "a\x00"},
        NAMED | {"value": 1, "model_id": "../m"},
        NAMED | {"value": 1, "as_of": "2007-01-03"},
        NAMED | {"value": 1, "as_of": 1_200_000_000},
        NAMED | {"value": 1, "known_at": "9999-12-31T00:00:00Z"},
        {"request_id": "a b", "value": 1},
        {"request_id": "x", "value": 1, "verdict": "good"},
        {"request_id": "x"},
    ],
)
def test_what_is_no_outcome_is_refused_as_a_whole(post, database, told):
    answer = post(NAMED | {"value": 0.5}, told)
    assert answer.status_code == 422
    assert "outcomes" in answer.json()["error"]["message"]
    assert held(database) == []


@pytest.mark.parametrize("told", [[], [NAMED | {"value": 1}] * (MOST_OUTCOMES + 1)])
def test_a_list_has_an_end(post, told):
    assert post(*told).status_code == 422


def test_a_key_speaks_of_its_models_only(post, key_of, database):
    key_id, mine = key_of(Scope.PREDICT, model_ids=(MODEL,))
    other = NAMED | {"model_id": "other", "value": 1}
    assert post(NAMED | {"value": 1}, other, headers=mine).status_code == 403
    assert held(database) == []
    assert post(NAMED | {"value": 1}, headers=mine).json()["accepted"] == 1
    [event] = [e for e in events.read(database) if e.kind == "outcomes_reported"]
    assert (event.model_id, event.actor) == (MODEL, key_id)
    assert event.facts == {"accepted": 1, "late": 0, "unknown": 1, "conflicts": 0}


def test_a_request_of_another_model_is_unknown_to_a_key(client, post, post_history, key_of):
    post_history("AAPL")
    _, everything = key_of(Scope.PREDICT)
    _, other = key_of(Scope.PREDICT, model_ids=("other",))
    body = {"model": MODEL, "symbols": ["AAPL"]}
    headers = everything | {"x-request-id": "theirs"}
    assert client.post("/predict", json=body, headers=headers).status_code == 200
    told = {"request_id": "theirs", "value": 1}
    assert [each["index"] for each in post(told, headers=other).json()["unknown"]] == [0]
    assert post(told, headers=everything).json()["accepted"] == 1


def test_reading_is_not_enough(post, key_of):
    _, reader = key_of(Scope.READ)
    assert post(NAMED | {"value": 1}, headers=reader).status_code == 403


def test_a_database_that_is_away_is_503(post, monkeypatch, app):
    def refuse(*_):
        raise sa.exc.OperationalError("select", {}, Exception("away"))

    monkeypatch.setattr(app.state.service.registry, "model_ids", refuse)
    answer = post(NAMED | {"value": 1})
    assert answer.status_code == 503
    assert "select" not in answer.text
