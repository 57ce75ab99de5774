"""What the wire takes: times with a zone, names once, symbols and intervals by one rule."""

import pytest

BAD_TIMES = (
    *("1700000000", "1700000000000", "17000000", 1700000000, 1700000000.0, True, "1e9", "1,5"),
    *("2024-01-01", "2024-01-01T00:00:00", "2024-1-1T00:00:00Z", "20240101T000000Z"),
    *(
        " 2024-01-01T00:00:00Z",
        "2024-01-01T00:00:00Z\n",
        "\u0662\u0660\u0662\u0664-01-01T00:00:00Z",
    ),
    *("2024-01-01T24:30:00Z", "2024-02-30T00:00:00Z", "1234-567", "2024-01-01T00:00:00 CET"),
    *("P1D", "", [], {}),
)
NAME = "volatility_forecast"


def with_time(place, time):
    bar = {"timestamp": time, "close": 1.0}
    predict = {"model": NAME, "symbols": ["SPY"]}
    outcome = {"model_id": NAME, "symbol": "SPY", "value": 1.0}
    as_of = "2024-01-01T00:00:00Z"
    return {
        "bars": ("/bars", {"bars": [bar | {"symbol": "SPY"}], "interval": "1d"}),
        "predict": ("/predict", predict | {"timestamp": time, "features": {"price_data": [1.0]}}),
        "history": ("/predict", {"model": NAME, "bars": {"SPY": [bar]}}),
        "as_of": ("/outcomes", {"outcomes": [outcome | {"as_of": time}]}),
        "known_at": ("/outcomes", {"outcomes": [outcome | {"as_of": as_of, "known_at": time}]}),
    }[place]


@pytest.mark.parametrize("place", ["bars", "predict", "history", "as_of", "known_at"])
def test_only_iso_times_with_a_zone_are_taken(client, place):
    for time in BAD_TIMES:
        url, body = with_time(place, time)
        answer = client.post(url, json=body)
        assert answer.status_code == 422, (time, answer.text)
        assert answer.json()["error"]["code"] == "invalid_request"
    for time in (
        "2024-01-01T00:00:00Z",
        "2024-01-01T01:00:00.123456+01:00",
        "2024-01-01 00:00-05:00",
    ):
        url, body = with_time(place, time)
        answer = client.post(url, json=body).json()
        assert answer.get("error", {}).get("code") != "invalid_request", answer


@pytest.mark.parametrize("time", [t for t in BAD_TIMES if isinstance(t, str)])
def test_a_query_takes_only_iso_times_with_a_zone(client, time):
    answer = client.get(f"/models/{NAME}/production", params={"at": time})
    assert answer.status_code == 422
    assert answer.json()["error"]["message"].startswith("query.at: ")


@pytest.mark.parametrize(
    "url", ["/bars", "/predict", "/predict/batch", "/outcomes", "/models", "/keys"]
)
def test_an_object_with_a_name_twice_is_refused(client, installation_key, url):
    for body in ('{"a": 1, "a": 2}', '{"b": [{"c": {"a": 1, "a": 1}}]}'):
        answer = client.post(
            url, content=body, headers={"content-type": "application/json"} | installation_key
        )
        assert answer.status_code == 400, answer.text
        assert "name twice" in answer.json()["error"]["message"]


@pytest.fixture
def installation_key(client, engine):
    from serving.keys import Rights, make_key

    _, text = make_key(engine, Rights(("manage", "admin", "predict", "read")), actor="test")
    client.app.state.service.security.keys.load()
    return {"authorization": f"Bearer {text}"}


def test_bars_of_one_length_are_one_interval(client):
    bar = {"symbol": "M&M.NS", "timestamp": "2024-01-01T00:00:00Z", "close": 1.0}
    for interval, accepted in (("24h", 1), ("1d", 0), ("1440m", 0), ("86400s", 0)):
        answer = client.post("/bars", json={"bars": [bar], "interval": interval}).json()
        assert (answer["accepted"], answer["duplicates"]) == (accepted, 1 - accepted)
    assert client.app.state.service.history.intervals() == ("1d",)
    for interval in ("0d", "1D", "d", "1M", "9999999d", "99999w", "1.5h", "\u0661d", " 1d"):
        answer = client.post("/bars", json={"bars": [bar], "interval": interval})
        assert answer.status_code == 422, interval


def test_a_horizon_is_the_versions_in_any_unit(client, post_history):
    post_history("SPY")
    body = {"model": NAME, "symbols": ["SPY"], "prediction_horizon": "120h"}
    assert client.post("/predict", json=body).json()["predictions"]
    body["prediction_horizon"] = "121h"
    assert client.post("/predict", json=body).json()["errors"]["SPY"]["code"] == "horizon"


@pytest.mark.parametrize("symbol", ["M&M.NS", "$SPX", "ES 12-24", "BTC/USDT", "EURUSD=X", "币安"])
def test_symbols_of_exchanges_are_answered(client, post_history, symbol):
    post_history(symbol)
    answer = client.post("/predict", json={"model": NAME, "symbols": [symbol]}).json()
    assert list(answer["predictions"]) == [symbol]
