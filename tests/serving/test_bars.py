import pytest

JSON = {"content-type": "application/json"}


def bar(symbol="AAPL", timestamp="2007-01-03T00:00:00Z", close=10.0, **more):
    return {"symbol": symbol, "timestamp": timestamp, "close": close} | more


def post(client, *bars, **more):
    return client.post("/bars", json={"bars": list(bars), "interval": "1d"} | more)


def test_bars_are_counted_and_sending_them_again_changes_nothing(client):
    bars = [bar(), bar("MSFT", open=9.0, high=11.0, low=8.5, volume=100)]
    first = post(client, *bars).json()
    assert (first["accepted"], first["duplicates"], first["conflicts"]) == (2, 0, [])
    again = post(client, *bars).json()
    assert (again["accepted"], again["duplicates"], again["conflicts"]) == (0, 2, [])


def test_another_value_for_a_held_bar_is_a_conflict_and_the_held_bar_stands(client):
    post(client, bar())
    answer = post(client, bar(close=11.0), bar(timestamp="2007-01-04T00:00:00Z"))
    assert answer.status_code == 200
    body = answer.json()
    assert (body["accepted"], body["duplicates"]) == (1, 0)
    assert "AAPL 2007-01-03" in body["conflicts"][0]


def test_times_of_any_zone_are_the_same_bar(client):
    post(client, bar())
    assert post(client, bar(timestamp="2007-01-02T19:00:00-05:00")).json()["duplicates"] == 1


@pytest.mark.parametrize(
    ("bars", "text"),
    [
        ([bar(close=-1.0)], "row 1"),
        ([bar(), bar("MSFT", close=0.0)], "row 2"),
        ([bar("MSFT", high=5.0, low=6.0)], "row 1"),
        ([bar(close="10")], "bars.0.close"),
        ([bar(close=True)], "bars.0.close"),
        ([bar(close=None)], "bars.0.close"),
        ([bar(timestamp="2007-01-03")], "bars.0.timestamp"),
        ([bar(timestamp="2007-01-03T00:00:00")], "bars.0.timestamp"),
        ([bar(timestamp=1167858000)], "ISO 8601"),
        ([bar(timestamp="soon")], "bars.0.timestamp"),
        ([bar(symbol="")], "bars.0.symbol"),
        ([bar(symbol="../etc")], "bars.0.symbol"),
        ([bar(price=3)], "bars.0.price: unknown field"),
        ([], "bars"),
    ],
)
def test_a_bad_bar_is_named_and_nothing_is_stored(client, bars, text):
    answer = post(client, *bars)
    assert answer.status_code == 422
    assert text in answer.json()["error"]["message"]
    assert client.get("/health").json()["dependencies"]["store"]["detail"] == "no bars yet"


@pytest.mark.parametrize(
    ("value", "status", "text"),
    [
        ("NaN", 400, "NaN is not JSON"),
        ("-Infinity", 400, "-Infinity is not JSON"),
        ("1e999", 422, "bars.0.close"),
    ],
)
def test_a_price_that_is_not_finite_is_refused(client, value, status, text):
    raw = '{"bars": [{"symbol": "A", "timestamp": "2007-01-03T00:00:00Z", "close": %s}],'
    body = (raw + '"interval": "1d"}') % value
    answer = client.post("/bars", content=body, headers=JSON)
    assert answer.status_code == status
    assert text in answer.json()["error"]["message"]


def test_a_second_bar_of_a_day_under_another_label_is_refused(client):
    close_labelled = bar(symbol="MSFT", timestamp="2007-01-03T21:00:00Z")
    assert post(client, bar(), close_labelled).json()["accepted"] == 2
    answer = post(client, bar(symbol="MSFT", timestamp="2007-01-03T00:00:00Z"))
    assert answer.status_code == 422
    message = answer.json()["error"]["message"]
    assert "MSFT has two bars of one day" in message
    both = post(client, bar(symbol="KO"), bar(symbol="KO", timestamp="2007-01-03T21:00:00Z"))
    assert both.status_code == 422
    assert "KO has two bars of one day" in both.json()["error"]["message"]
    assert post(client, close_labelled).json()["duplicates"] == 1
    hours = [bar(timestamp=f"2007-01-03T{hour}:00:00Z") for hour in ("20", "21")]
    hourly = {"bars": hours, "interval": "1h"}
    assert client.post("/bars", json=hourly).json()["accepted"] == 2


def test_another_price_basis_for_held_bars_is_409(client):
    post(client, bar(), price_basis="adjusted")
    answer = post(client, bar(timestamp="2007-01-04T00:00:00Z"), price_basis="raw")
    assert answer.status_code == 409
    assert "adjusted" in answer.json()["error"]["message"]


def test_an_unreadable_interval_is_422(client):
    answer = post(client, bar(), interval="daily")
    assert answer.status_code == 422
    assert "interval" in answer.json()["error"]["message"]


def test_bars_that_arrive_late_are_put_in_order(client, make, post_history):
    body = make.body(make.bars("AAPL"))
    without = [*body[:300], *body[301:]]
    client.post("/bars", json={"bars": without, "interval": "1d", "price_basis": "adjusted"})
    question = {"model": "volatility_forecast", "symbols": ["AAPL"]}
    before = client.post("/predict", json=question).json()["predictions"]["AAPL"]
    late = {"bars": [body[300]], "interval": "1d", "price_basis": "adjusted"}
    assert client.post("/bars", json=late).json()["accepted"] == 1
    after = client.post("/predict", json=question).json()["predictions"]["AAPL"]
    assert after["history_end"] == before["history_end"]
    assert after["forecast_variance"] != before["forecast_variance"]
    post_history("MSFT")
