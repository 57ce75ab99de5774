import math
from datetime import timedelta

import numpy as np
import pytest

from monitoring.prediction_log import read_predictions
from pipelines.data.bars import BarSeries, check_bars
from pipelines.data.features import FEATURE_SETS

MODEL = "volatility_forecast"
N = len(FEATURE_SETS.get("close_only").feature_names)


def ask(client, **body):
    return client.post("/predict", json={"model": MODEL} | body)


def line(answer) -> str:
    assert set(answer.json()) == {"error"}
    assert "\n" not in answer.json()["error"]["message"]
    return answer.json()["error"]["message"]


def expected_scores(loaded, frame):
    """Scores computed outside of serving: whole history, numpy."""
    checked, _ = check_bars(frame, policy="strict", where="test")
    series = BarSeries.from_frame(frame["symbol"][0], checked)
    last = FEATURE_SETS.get("close_only").compute(series)[-1]
    return loaded.options[0].predictor(np.asarray([last], np.float32))[0]


def test_the_bars_held_are_answered_like_features_of_the_whole_history(
    client, post_history, make, loaded
):
    post_history("AAPL", "MSFT")
    answer = ask(client, symbols=["MSFT", "AAPL"])
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert list(body["predictions"]) == ["MSFT", "AAPL"]
    assert body["errors"] == {}
    for symbol in ("AAPL", "MSFT"):
        frame = make.bars(symbol)
        growth = math.exp(float(expected_scores(loaded, frame)[0]))
        returns = np.diff(np.log(frame["close"].to_numpy()))
        variance = returns[:20].var()  # any start: 500 bars later its weight is 1e-14
        for r in returns:
            variance = 0.94 * variance + 0.06 * r**2
        found = body["predictions"][symbol]["forecast_variance"]
        assert found == pytest.approx(growth * variance, rel=1e-5)
    end = (make.first_bar + timedelta(days=make.n_bars - 1)).isoformat()
    prediction = body["predictions"]["AAPL"]
    assert prediction["as_of"] == prediction["history_end"] == end.replace("+00:00", "Z")
    assert prediction["price_basis"] == "adjusted"
    assert (body["hardware_used"], body["flavor"], body["fallback"]) == ("cpu", "onnx", None)
    assert (body["model_id"], body["model_version"]) == (MODEL, 1)


def test_bars_of_the_request_give_the_same_answer_and_are_not_written(client, post_history, make):
    own = [{k: v for k, v in bar.items() if k != "symbol"} for bar in make.body(make.bars("AAPL"))]
    answer = ask(client, bars={"AAPL": own}, price_basis="adjusted").json()
    again = ask(client, symbols=["AAPL"]).json()
    assert again["errors"]["AAPL"]["code"] == "no_history"
    post_history("AAPL")
    held = ask(client, symbols=["AAPL"]).json()
    assert answer["predictions"] == held["predictions"]


def test_bars_of_another_basis_are_answered_with_a_warning_and_counted(client, post_history, make):
    own = [{k: v for k, v in bar.items() if k != "symbol"} for bar in make.body(make.bars("AAPL"))]
    body = ask(client, bars={"AAPL": own}, price_basis="raw").json()
    assert list(body["predictions"]) == ["AAPL"]
    assert body["warnings"] == ["price_basis: made from adjusted prices, got raw"]
    counted = f'ml_engine_price_basis_mismatches_total{{model="{MODEL}"}} 1.0'
    assert counted in client.get("/metrics").text
    post_history("AAPL")
    assert ask(client, symbols=["AAPL"]).json()["warnings"] == []


def test_symbols_that_were_not_in_the_training_data_are_named(client, post_history):
    post_history("AAPL", "TSLA")
    body = ask(client, symbols=["TSLA", "AAPL"]).json()
    assert list(body["predictions"]) == ["TSLA", "AAPL"]
    assert body["warnings"] == ["symbols: not in the training data: TSLA"]


def test_a_forming_bar_is_the_bar_after_the_last_one_held(client, post_history, make, loaded):
    post_history("AAPL", n_bars=make.n_bars - 1)
    whole = make.bars("AAPL")
    body = ask(client, symbols=["AAPL"], features={"price_data": [whole["close"][-1]]}).json()
    prediction = body["predictions"]["AAPL"]
    assert prediction["as_of"] > prediction["history_end"]
    post_history("AAPL")
    held = ask(client, symbols=["AAPL"]).json()["predictions"]["AAPL"]
    assert prediction["forecast_variance"] == held["forecast_variance"]
    assert prediction["as_of"] == held["as_of"]


def test_predict_never_writes_bars(client, post_history, app):
    post_history("AAPL")
    before = ask(client, symbols=["AAPL"]).json()["predictions"]["AAPL"]["history_end"]
    ask(client, symbols=["AAPL"], features={"price_data": [100.0]})
    after = ask(client, symbols=["AAPL"]).json()["predictions"]["AAPL"]["history_end"]
    assert before == after


def test_an_indicator_overrides_what_is_computed(client, post_history, app):
    post_history("AAPL")
    plain = ask(client, symbols=["AAPL"]).json()["predictions"]["AAPL"]
    features = {"technical_indicators": {"rsi": [99.0], "no_such": [1]}, "mood": ["good"]}
    body = ask(client, symbols=["AAPL"], features=features).json()
    assert body["predictions"]["AAPL"]["forecast_variance"] != plain["forecast_variance"]
    assert body["ignored"] == ["technical_indicators.no_such", "mood"]
    app.state.service.log.close()
    logged = read_predictions(app.state.service.log.directory, MODEL).sort("served_at")
    rsi = FEATURE_SETS.get("close_only").feature_names.index("rsi_14")
    assert logged["features"][1][rsi] == 99.0
    assert logged["source_kind"].to_list() == ["bars", "bars"]


def test_the_columns_form_answers_those_with_history_and_names_what_is_missing(
    client, post_history
):
    post_history("AAPL", "MSFT")
    body = {
        "model_type": MODEL,
        "symbols": ["AAPL", "MSFT", "GOOGL"],
        "features": {
            "price_data": [101.0, 99.0, 2750.8],
            "volume": [1_000_000, 800_000, 500_000],
            "technical_indicators": {"rsi": [65.2, 58.7, 72.1], "macd": [1.2, 0.8, 2.1]},
        },
        "prediction_horizon": "5d",
    }
    answer = client.post("/predict", json=body)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()["predictions"]) == {"AAPL", "MSFT"}
    assert answer.json()["ignored"] == ["volume"]
    error = answer.json()["errors"]["GOOGL"]
    assert error["code"] == "no_history"
    assert "held: AAPL, MSFT" in error["message"]


def test_a_wrong_horizon_is_that_symbols_error(client, post_history):
    post_history("AAPL", "MSFT")
    body = ask(client, symbols=["AAPL", "MSFT"], prediction_horizon=["1d", None]).json()
    assert list(body["predictions"]) == ["MSFT"]
    assert "available: 5d" in body["errors"]["AAPL"]["message"]
    everywhere = ask(client, symbols=["AAPL", "MSFT"], prediction_horizon="1d").json()
    assert list(everywhere["errors"]) == ["AAPL", "MSFT"]


def test_too_little_history_is_that_symbols_error(client, post_history, make):
    post_history("AAPL")
    post_history("NEW", n_bars=100)
    body = ask(client, symbols=["AAPL", "NEW"]).json()
    assert list(body["predictions"]) == ["AAPL"]
    assert "needs 520 bars but there are 100" in body["errors"]["NEW"]["message"]


def test_a_bad_bar_of_the_request_is_that_symbols_error(client, make):
    good = make.body(make.bars("AAPL").drop("symbol"))
    bad = [*good[:-1], good[-1] | {"close": -5.0}]
    body = ask(client, bars={"AAPL": good, "MSFT": bad}).json()
    assert list(body["predictions"]) == ["AAPL"]
    assert "MSFT" in body["errors"]["MSFT"]["message"]


def test_rows_are_answered_by_number_or_by_symbol(client, loaded):
    rows = [[0.1] * len(loaded.contract.feature_names)] * 2
    body = ask(client, rows=rows, context={"ewma_variance": [1e-4, 4e-4]}).json()
    assert list(body["predictions"]) == ["0", "1"]
    first, second = (body["predictions"][k]["forecast_variance"] for k in ("0", "1"))
    assert second == pytest.approx(4 * first)
    assert body["predictions"]["0"]["as_of"] is None
    named = [dict.fromkeys(loaded.contract.feature_names, 0.1)] * 2
    by_symbol = ask(client, rows=named, symbols=["A", "B"], context={"ewma_variance": [1e-4] * 2})
    assert by_symbol.json()["predictions"]["A"]["forecast_variance"] == pytest.approx(first)


@pytest.mark.parametrize("value", ["1e999", "1e39", '"x"', "true"])
def test_a_bad_value_in_a_row_names_row_and_column(client, loaded, value):
    n_features = len(loaded.contract.feature_names)
    row = ", ".join(["0.5"] * (n_features - 1) + [value])
    raw = f'{{"model": "{MODEL}", "rows": [[{row}]]}}'
    answer = client.post("/predict", content=raw, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert line(answer) == (
        f"rows[0].{loaded.contract.feature_names[-1]} (column {n_features - 1}): "
        "expected a finite float32 number"
    )


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"rows": []}, 422, "1 to 50 rows"),
        ({"rows": [[1.0]]}, 422, f"rows[0]: expected {N} values"),
        ({"rows": [[1.0] * N, [1.0] * (N - 1)]}, 422, "rows[1]"),
        ({"rows": [[0.0] * N] * 51}, 422, "51 rows"),
        ({"rows": 7}, 422, "rows"),
        ({"symbols": []}, 422, "symbols"),
        ({"symbols": ["AAPL", "AAPL"]}, 422, "each symbol once"),
        ({"symbols": [f"S{i}" for i in range(51)]}, 422, "at most 50 symbols"),
        ({"symbols": [1]}, 422, "symbols.0"),
        ({"symbols": ["a\nb"]}, 422, "symbols.0"),
        ({}, 422, "give rows, or bars, or symbols"),
        ({"symbols": ["AAPL"], "sybmols": ["AAPL"]}, 422, "sybmols: unknown field"),
        ({"symbols": ["AAPL"], "features": {"price_data": [1, 2]}}, 422, "1 values, one per"),
        ({"symbols": ["AAPL"], "version": 1, "alias": "staging"}, 422, "not both"),
        ({"symbols": ["AAPL"], "version": 99}, 404, "volatility_forecast"),
        ({"symbols": ["AAPL"], "alias": "nightly"}, 404, "has no alias 'nightly'"),
        ({"symbols": ["AAPL"], "hardware": "neural_engine", "strict": True}, 503, "no backend"),
        ({"symbols": ["AAPL"], "timestamp": "2007-01-03T21:00:00Z"}, 422, "price_data with it"),
        ({"rows": [[0.0] * N], "prediction_horizon": "1d"}, 422, "available: 5d"),
    ],
)
def test_a_request_that_cannot_be_answered_is_one_clear_line(client, body, status, text):
    answer = ask(client, **body)
    assert answer.status_code == status
    assert text in line(answer)


def test_an_unknown_model_is_404_and_names_the_known(client):
    answer = client.post("/predict", json={"model": "no_such", "symbols": ["AAPL"]})
    assert answer.status_code == 404
    assert "registered: volatility_forecast" in line(answer)


def test_a_model_that_is_not_loaded_is_503_and_says_why(client, app):
    told = "no version has the alias production; promote one"
    app.state.service.models.withdraw(MODEL, told, is_fault=False)
    answer = ask(client, symbols=["AAPL"])
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert "promote one" in line(answer)


def test_an_absent_backend_falls_back_and_says_so(client, post_history):
    post_history("AAPL")
    body = ask(client, symbols=["AAPL"], hardware="neural_engine").json()
    assert body["hardware_used"] == "cpu"
    assert "'neural_engine' is not available here" in body["fallback"]
    assert 'ml_engine_fallbacks_total{backend="cpu"' in client.get("/metrics").text


def test_a_huge_jump_poisons_nobody_and_carries_no_nan(client, post_history):
    post_history("AAPL", "MSFT")
    features = {"price_data": [1e30, 101.0]}
    answer = ask(client, symbols=["AAPL", "MSFT"], features=features)
    assert answer.status_code == 200
    assert "NaN" not in answer.text
    assert "Infinity" not in answer.text
    assert "MSFT" in answer.json()["predictions"]


def test_a_slow_answer_is_504(loaded, app, running):
    slow = app.state.service.settings.model_copy(update={"default_timeout": 0.000001})
    app.state.service.engine._settings = slow
    with running(app) as client:
        app.state.service.models.serve(loaded)
        answer = ask(client, symbols=["AAPL"])
    assert answer.status_code == 504
    assert "DEFAULT_TIMEOUT" in line(answer)


def test_predictions_reach_the_log_with_their_features(client, post_history, app, loaded):
    post_history("AAPL")
    request_id = ask(client, symbols=["AAPL"]).json()["request_id"]
    app.state.service.log.close()
    logged = read_predictions(app.state.service.log.directory, MODEL)
    assert logged["request_id"].to_list() == [request_id]
    assert logged["symbol"].to_list() == ["AAPL"]
    assert len(logged["features"][0]) == len(loaded.contract.feature_names)
    assert logged["version"].to_list() == [1]


def test_an_override_is_not_remembered(client, post_history):
    post_history("AAPL")
    plain = ask(client, symbols=["AAPL"]).json()["predictions"]
    ask(client, symbols=["AAPL"], features={"technical_indicators": {"rsi": [99.0]}})
    assert ask(client, symbols=["AAPL"]).json()["predictions"] == plain


def test_bars_of_another_interval_are_refused(client, make):
    hourly = make.body(make.bars("AAPL").drop("symbol"))
    for i, bar in enumerate(hourly):
        bar["timestamp"] = (make.first_bar + timedelta(hours=i)).isoformat()
    body = ask(client, bars={"AAPL": hourly}).json()
    assert (
        "these are 1h bars; volatility_forecast takes 1d bars" in body["errors"]["AAPL"]["message"]
    )


@pytest.mark.parametrize("body", [[], [1], "text", 1, None, True])
def test_a_body_that_is_no_object_is_told_in_the_words_of_every_route(client, body):
    told = client.post("/predict", json=body)
    same = client.post("/bars", json=body)
    assert told.status_code == same.status_code == 422
    assert told.json() == same.json()
