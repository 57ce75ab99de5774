"""PUT and DELETE /bars: what was wrong is never used again, and never forgotten."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from registry import events
from serving.keys import Rights, make_key

NAME = "volatility_forecast"
LAST = "2005-06-24T00:00:00+00:00"


@pytest.fixture
def headers(client, engine):
    def make(*scopes, **rights):
        _, text = make_key(engine, Rights(scopes, **rights), actor="test")
        client.app.state.service.security.keys.load()
        return {"authorization": f"Bearer {text}"}

    return make


@pytest.fixture
def manage(headers):
    return headers("manage", "predict", "read")


def bar(close, symbol="SPY", timestamp=LAST):
    return {"symbol": symbol, "timestamp": timestamp, "close": close}


def put(client, manage, *bars, **changes):
    body = {"bars": bars, "interval": "1d", "reason": "a wrong tick"} | changes
    return client.put("/bars", json=body, headers=manage)


def predict(client, manage, symbol="SPY"):
    body = {"model": NAME, "symbols": [symbol]}
    return client.post("/predict", json=body, headers=manage).json()


def answer_of(found):
    return found["predictions"]["SPY"]


def test_a_corrected_bar_gives_the_answer_of_a_server_that_never_saw_the_wrong_one(
    client, make, manage
):
    frame = make.bars("SPY")
    assert frame["timestamp"][-1].isoformat() == LAST
    right = make.body(frame)
    wrong = [*right[:-1], right[-1] | {"close": right[-1]["close"] * 1.5}]
    post = {"interval": "1d", "price_basis": "adjusted"}
    for symbol, bars in (("SPY", wrong), ("QQQ", right)):
        named = [each | {"symbol": symbol} for each in bars]
        assert client.post("/bars", json=post | {"bars": named}, headers=manage).is_success
    expected = predict(client, manage, "QQQ")["predictions"]["QQQ"]
    assert answer_of(predict(client, manage)) != expected
    found = put(client, manage, right[-1])
    assert found.status_code == 200, found.text
    assert found.json() | {"processing_time_ms": 0, "request_id": ""} == {
        "correction": found.json()["correction"],
        "replaced": 1,
        "added": 0,
        "removed": 0,
        "processing_time_ms": 0,
        "request_id": "",
    }
    assert answer_of(predict(client, manage)) == expected
    again = put(client, manage, right[-1]).json()
    assert (again["correction"], again["replaced"]) == (None, 0)


def test_the_steps_that_follow_are_computed_from_the_corrected_bars(client, make, manage):
    right = make.body(make.bars("SPY"))
    post = {"interval": "1d", "price_basis": "adjusted"}
    wrong = [*right[:400], right[400] | {"close": right[400]["close"] * 3}, *right[401:-1]]
    client.post("/bars", json=post | {"bars": wrong}, headers=manage)
    predict(client, manage)
    assert put(client, manage, right[400]).json()["replaced"] == 1
    client.post("/bars", json=post | {"bars": right[-1:]}, headers=manage)
    named = [each | {"symbol": "QQQ"} for each in right]
    client.post("/bars", json=post | {"bars": named}, headers=manage)
    expected = predict(client, manage, "QQQ")["predictions"]["QQQ"]
    assert answer_of(predict(client, manage)) == expected


def test_removed_bars_and_symbols_are_used_no_more(client, make, manage, engine):
    right = make.body(make.bars("SPY"))
    post = {"bars": right, "interval": "1d", "price_basis": "adjusted"}
    client.post("/bars", json=post, headers=manage)
    before = predict(client, manage)
    late = bar(100.0, timestamp="2005-06-25T00:00:00Z")
    put(client, manage, late, price_basis="adjusted")
    assert answer_of(predict(client, manage))["as_of"] == "2005-06-25T00:00:00Z"
    query = {"interval": "24h", "symbol": "SPY", "reason": "a holiday", "first": late["timestamp"]}
    found = client.delete("/bars", params=query, headers=manage)
    assert found.json()["removed"] == 1
    assert answer_of(predict(client, manage)) == answer_of(before)
    whole = {"interval": "1d", "symbol": "SPY", "reason": "a typo", "whole_symbol": "true"}
    assert client.delete("/bars", params=whole, headers=manage).json()["removed"] == len(right)
    assert predict(client, manage)["errors"]["SPY"]["code"] == "no_history"
    assert client.delete("/bars", params=whole, headers=manage).json()["correction"] is None
    kinds = [event.kind for event in events.read(engine) if event.kind.startswith("bars_c")]
    kinds += [event.kind for event in events.read(engine) if event.kind.startswith("bars_r")]
    assert kinds == ["bars_corrected", "bars_removed", "bars_removed"]
    assert client.post("/bars", json=post, headers=manage).json()["accepted"] == len(right)
    assert answer_of(predict(client, manage)) == answer_of(before)


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"first": LAST, "whole_symbol": "true"},
        {"first": "1119571200"},
        {"first": "2005-06-24"},
        {"interval": "0d", "first": LAST},
        {"symbol": "../etc", "first": LAST},
        {"reason": "", "first": LAST},
    ],
)
def test_a_removal_that_does_not_say_what_is_refused(client, post_history, manage, query):
    asked = {"interval": "1d", "symbol": "SPY", "reason": "why"} | query
    assert client.delete("/bars", params=asked, headers=manage).status_code == 422


@pytest.mark.parametrize(
    "change",
    [
        {"bars": []},
        {"reason": ""},
        {"bars": [bar(-1.0)]},
        {"bars": [bar(1.0), bar(2.0)]},
        {"bars": [bar(1.0, timestamp="1119571200")]},
        {"price_basis": "raw"},
    ],
)
def test_a_bad_correction_changes_nothing(client, make, manage, change):
    right = make.body(make.bars("SPY"))
    post = {"bars": right, "interval": "1d", "price_basis": "adjusted"}
    client.post("/bars", json=post, headers=manage)
    before = predict(client, manage)
    assert put(client, manage, bar(99.0), **change).status_code in (409, 422)
    assert answer_of(predict(client, manage)) == answer_of(before)


def test_only_a_key_that_manages_every_model_corrects(client, headers):
    query = {"interval": "1d", "symbol": "SPY", "reason": "why", "whole_symbol": "true"}
    for given, status in (
        ({}, 401),
        (headers("predict", "read", "admin"), 403),
        (headers("manage", model_ids=(NAME,)), 403),
    ):
        assert put(client, given, bar(1.0)).status_code == status
        assert client.delete("/bars", params=query, headers=given).status_code == status


def test_what_cannot_be_believed_is_named_and_counted(client, make):
    frame = make.bars("SPY")
    right = make.body(frame)
    ahead = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    bars = [*right, bar(100.0, "QQQ", ahead), bar(100_000.0, timestamp="2005-06-25T00:00:00Z")]
    body = {"bars": bars, "interval": "1d", "price_basis": "adjusted"}
    found = client.post("/bars", json=body).json()
    assert found["accepted"] == len(right)
    assert ["its time has not come" in line for line in found["refused"]] == [True, False]
    assert 'ml_engine_bars_total{outcome="refused"} 2.0' in client.get("/metrics").text


def test_corrections_posts_and_predictions_race(client, make, manage):
    right = make.body(make.bars("SPY"))
    post = {"interval": "1d", "price_basis": "adjusted"}
    client.post("/bars", json=post | {"bars": right[:520]}, headers=manage)

    def correct(i):
        return put(client, manage, right[519] | {"close": 100.0 + i}).status_code

    def send(i):
        body = post | {"bars": [right[520 + i]]}
        return client.post("/bars", json=body, headers=manage).status_code

    def ask(_):
        found = predict(client, manage)
        assert list(found["predictions"]) == ["SPY"], found
        return 200

    with ThreadPoolExecutor(6) as pool:
        done = [pool.submit(work, i) for i in range(8) for work in (correct, send, ask, ask)]
        assert {each.result() for each in done} == {200}
    store = client.app.state.service.history.store
    held = store.held("1d").frames["SPY"]
    assert len(held) == 528
    assert held["close"][520:].to_list() == [each["close"] for each in right[520:528]]
    put(client, manage, right[519])
    named = [each | {"symbol": "QQQ"} for each in right[:528]]
    client.post("/bars", json=post | {"bars": named}, headers=manage)
    expected = predict(client, manage, "QQQ")["predictions"]["QQQ"]
    assert answer_of(predict(client, manage)) == expected
