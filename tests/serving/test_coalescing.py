import asyncio

import pytest

from monitoring.prediction_log import read_predictions
from serving import engine
from serving.coalescing import Coalescer
from serving.executor import Pace

MODEL = "volatility_forecast"


def asked_together(compute, *questions, kinds=None):
    async def every():
        coalescer = Coalescer(compute)
        asks = [
            coalescer.ask(kind, question)
            for kind, question in zip(kinds or ["k"] * len(questions), questions, strict=True)
        ]
        return await asyncio.gather(*asks, return_exceptions=True)

    return asyncio.run(every())


def doubles(calls, n_at_once=100):
    def compute(questions):
        calls.append(list(questions))
        return [2 * question for question in questions[:n_at_once]]

    return compute


def test_what_is_asked_in_one_round_is_computed_at_once():
    calls = []
    assert asked_together(doubles(calls), 1, 2, 3) == [2, 4, 6]
    assert calls == [[1, 2, 3]]


def test_questions_of_other_kinds_are_computed_apart():
    calls = []
    assert asked_together(doubles(calls), 1, 2, 3, kinds=["a", "b", "a"]) == [2, 4, 6]
    assert calls == [[1, 3], [2]]


def test_what_is_too_much_for_one_round_is_asked_in_the_next():
    calls = []
    assert asked_together(doubles(calls, n_at_once=2), 1, 2, 3, 4, 5) == [2, 4, 6, 8, 10]
    assert calls == [[1, 2, 3, 4, 5], [3, 4, 5], [5]]


def test_an_error_of_one_is_its_own_and_an_error_of_all_is_everybodys():
    wrong = ValueError("wrong")
    assert asked_together(lambda asked: [wrong, *asked[1:]], 1, 2) == [wrong, 2]

    def fail(_):
        raise wrong

    assert asked_together(fail, 1, 2) == [wrong, wrong]


def test_who_has_gone_is_not_computed_for():
    calls = []

    async def every():
        coalescer = Coalescer(doubles(calls))
        asks = [asyncio.ensure_future(coalescer.ask("k", question)) for question in (1, 2)]
        asyncio.get_running_loop().call_soon(asks[0].cancel)
        return await asyncio.gather(*asks, return_exceptions=True)

    gone, answer = asyncio.run(every())
    assert isinstance(gone, asyncio.CancelledError)
    assert answer == 4
    assert calls == [[2]]


# Predictions -------------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch):
    """The symbols of each computation; every computation counts as quick."""
    found, real = [], engine.compute
    monkeypatch.setattr(Pace, "is_quick", lambda *_: True)

    def spied(request, *others):
        found.append(request.symbols)
        return real(request, *others)

    monkeypatch.setattr(engine, "compute", spied)
    return found


def body(*symbols, **changes):
    return {"model": MODEL, "symbols": list(symbols)} | changes


def without_time(answer):
    assert answer.status_code == 200, answer.text
    own = ("processing_time_ms", "request_id")
    return {name: value for name, value in answer.json().items() if name not in own}


def test_requests_at_once_are_one_model_call_and_answered_as_if_alone(client, post_history, calls):
    post_history("AAPL", "MSFT", "XOM", "GE")
    asked = [body("MSFT", "AAPL"), body("AAPL"), body("none", "GE"), body("XOM"), body("none")]
    alone = [without_time(client.post("/predict", json=each)) for each in asked]
    calls.clear()
    together = client.post_together("/predict", asked)
    assert [without_time(answer) for answer in together] == alone
    assert list(together[0].json()["predictions"]) == ["MSFT", "AAPL"]
    assert len({answer.json()["request_id"] for answer in together}) == len(asked)
    assert calls == [["MSFT", "AAPL", "none", "GE", "XOM"]]


def test_a_wrong_request_spoils_none_beside_it(client, post_history, calls):
    post_history("AAPL")
    twice, right = client.post_together("/predict", [body("AAPL", "AAPL"), body("AAPL")])
    assert twice.status_code == 422
    assert "each symbol once" in twice.text
    assert list(right.json()["predictions"]) == ["AAPL"]


@pytest.mark.parametrize("is_first", [True, False])
def test_a_request_that_asks_for_more_is_answered_by_itself(client, post_history, calls, is_first):
    post_history("AAPL")
    more = body("AAPL", timestamp="2030-01-01T00:00:00Z")  # refused without price_data
    asked = [more, body("AAPL")] if is_first else [body("AAPL"), more]
    plain, refused = sorted(client.post_together("/predict", asked), key=lambda a: a.status_code)
    assert list(plain.json()["predictions"]) == ["AAPL"]
    assert refused.status_code == 422
    assert "price_data" in refused.text


def test_each_request_is_counted_and_logged_by_itself(client, post_history, app, calls):
    post_history("AAPL", "MSFT")
    calls.clear()
    answers = client.post_together("/predict", [body("AAPL"), body("MSFT"), body("AAPL")])
    assert calls == [["AAPL", "MSFT"]]
    app.state.service.log.close()
    logged = read_predictions(app.state.service.log.directory, MODEL).tail(3)
    ids = [answer.json()["request_id"] for answer in answers]
    rows = dict(zip(logged["request_id"], logged["symbol"], strict=True))
    assert rows == dict(zip(ids, ["AAPL", "MSFT", "AAPL"], strict=True))
    counted = 'ml_engine_predictions_total{backend="cpu",flavor="onnx",model="volatility_forecast"'
    assert f'{counted},version="1"}} 3.0' in client.get("/metrics").text


def test_requests_for_other_hardware_are_computed_apart(client, post_history, calls):
    post_history("AAPL")
    asked = [body("AAPL"), body("AAPL", hardware="neural_engine"), body("AAPL", strict=True)]
    plain, elsewhere, strict = client.post_together("/predict", asked)
    assert plain.json()["fallback"] is None
    assert "'neural_engine' is not available here" in elsewhere.json()["fallback"]
    assert strict.status_code == 200
    assert len(calls) == 3


def test_no_more_than_a_batch_is_computed_at_once(client, post_history, calls, serving_settings):
    symbols = [f"S{i}" for i in range(40)]
    post_history(*symbols)
    halves = [body(*symbols[:20]), body(*symbols[10:30]), body(*symbols[20:])]
    answers = client.post_together("/predict", halves)
    assert [len(answer.json()["predictions"]) for answer in answers] == [20, 20, 20]
    assert serving_settings.max_batch_size == 50
    assert [len(symbols) for symbols in calls] == [30, 20]
