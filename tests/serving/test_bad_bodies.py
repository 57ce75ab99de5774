"""Bodies that no client should send: each is refused in the one shape, and nothing sent comes back.

The list is the one that Triton's JSON servers are tried with. Every value below carries a mark, and
no answer may hold the mark.
"""

import json

import pytest

from monitoring.settings import PredictionLogSettings
from registry import errors
from registry.errors import MLEngineError
from registry.settings import PlatformSettings
from serving.app import create_app
from serving.errors import entry_of
from serving.settings import ServingSettings

JSON = {"content-type": "application/json"}
MODEL = "volatility_forecast"
MARK, NUMBER = "zq!mark", 31337.4242
LONGEST_ANSWER = 8000


@pytest.fixture(scope="module")
def http(tmp_path_factory, running, loaded):
    """A client of an application that serves the tiny version and holds bars of one symbol."""
    platform = PlatformSettings(
        data_dir=tmp_path_factory.mktemp("bad") / "var",
        database_url="",
        mlflow_tracking_uri="http://127.0.0.1:9",
    )
    serving = ServingSettings(alias_poll_interval=60, auto_hardware_routing=False)
    app = create_app(platform, serving, PredictionLogSettings())
    with running(app) as client:
        app.state.service.models.learn({MODEL: {"production": 1}})
        app.state.service.models.serve(loaded)
        bars = [{"symbol": "AAPL", "timestamp": "2007-01-03T00:00:00Z", "close": 1.0}]
        body = {"bars": bars, "interval": "1d", "price_basis": "adjusted"}
        assert client.post("/bars", json=body).status_code == 200
        yield client


def refused(answer, statuses=(400, 404, 422, 503)) -> str:
    """Check an error answer; return its message."""
    assert answer.status_code in statuses, answer.text
    body = json.loads(answer.text, parse_constant=pytest.fail)
    assert set(body) == {"error"}
    assert set(body["error"]) <= {"code", "message", "details"}
    assert "\n" not in body["error"]["message"]
    assert len(answer.content) < LONGEST_ANSWER
    assert "Traceback" not in answer.text
    silent(answer)
    return body["error"]["message"]


def silent(answer) -> None:
    assert MARK not in answer.text
    assert "31337" not in answer.text


def send(client, path, text):
    """Send text as a JSON body, half pairs of surrogates and all."""
    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return client.post(path, content=content, headers=JSON)


def predict(**fields) -> str:
    return json.dumps({"model": MODEL, "symbols": ["AAPL"]} | fields)


def rows(value: str, n=24) -> str:
    return f'{{"model": "{MODEL}", "rows": [[{", ".join([value] * n)}]]}}'


def bars(**fields) -> str:
    bar = {"symbol": "AAPL", "timestamp": "2007-01-04T00:00:00Z", "close": 1.0} | fields
    return json.dumps({"bars": [bar], "interval": "1d", "price_basis": "adjusted"})


# Numbers ---------------------------------------------------------------------------------------


OVERFLOWING = ["1e400", "-1e400", "1" * 400, '"31337"', "true", "[31337]"]


@pytest.mark.parametrize("number", [*OVERFLOWING, "3e39", "-" + "9" * 60])
def test_numbers_of_rows_that_overflow_or_are_none(http, number):
    assert "rows[0]." in refused(send(http, "/predict", rows(number)), (422,))


@pytest.mark.parametrize("number", OVERFLOWING)
def test_numbers_of_bars_that_overflow_or_are_none(http, number):
    text = bars(close=0).replace('"close": 0', f'"close": {number}')
    assert "bars.0.close" in refused(send(http, "/bars", text), (422,))


@pytest.mark.parametrize("field", ["close", "open", "high", "low", "vwap", "volume"])
def test_negative_numbers_where_there_are_none(http, field):
    message = refused(send(http, "/bars", bars(**{field: -NUMBER})), (422,))
    assert "row 1" in message
    assert field in message


@pytest.mark.parametrize(
    "fields",
    [
        {"version": -31337},
        {"version": 0},
        {"version": 10**30},
        {"version": 31337.5},
        {"timestamp": 31337},
        {"timestamp": "31337-01-01T00:00:00Z"},
        {"timestamp": "2007-01-03T00:00:00.31337Z", "features": {"price_data": [1.0]}},
        {"features": {"price_data": [1.0, NUMBER]}},
        {"features": {"volume": NUMBER}},
    ],
)
def test_numbers_of_a_question_that_cannot_be(http, fields):
    answer = send(http, "/predict", predict(**fields))
    silent(answer)
    assert answer.status_code in (200, 404, 422)
    if answer.status_code == 200:
        assert set(answer.json()["errors"]) == {"AAPL"}
    else:
        refused(answer)


@pytest.mark.parametrize("price", [-NUMBER, 0, 1e300, "31337", True, {"close": -NUMBER}, [NUMBER]])
def test_a_bad_price_is_the_symbol_s_error_without_the_price(http, price):
    answer = send(http, "/predict", predict(features={"price_data": [price]}))
    assert answer.status_code == 200
    assert list(answer.json()["errors"]) == ["AAPL"]
    silent(answer)


def test_a_price_below_its_low_is_told_without_its_numbers(http):
    price = {"close": NUMBER, "low": NUMBER + 1, "high": 1.0}
    answer = send(http, "/predict", predict(features={"price_data": [price]}))
    assert "low <= open, close <= high" in answer.json()["errors"]["AAPL"]["message"]
    silent(answer)


def test_a_high_below_its_low_is_told_without_its_numbers(http):
    message = refused(send(http, "/bars", bars(high=NUMBER, low=NUMBER + 1)), (422,))
    assert "row 1: high is ... and low is ..., expected high >= low" in message


def test_bars_that_run_backwards_are_told_without_their_times(http):
    own = [{"timestamp": f"2007-01-0{day}T00:00:00Z", "close": NUMBER} for day in (5, 5)]
    own[1]["close"] = NUMBER + 1
    body = {"model": MODEL, "bars": {"AAPL": own}, "price_basis": "adjusted"}
    answer = send(http, "/predict", json.dumps(body))
    assert "row 2 has the time of another bar" in answer.json()["errors"]["AAPL"]["message"]
    assert "2007" not in answer.text
    silent(answer)


# Form ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/predict", "/bars"])
@pytest.mark.parametrize("depth", [100, 5_000, 100_000])
@pytest.mark.parametrize("pair", ["[]", '{"a":}'])
def test_deeply_nested_json(http, path, depth, pair):
    start, end = pair[:-1], pair[-1]
    refused(send(http, path, start * depth + f'"{MARK}"' + end * depth))


@pytest.mark.parametrize("field", ["rows", "symbols", "features", "bars", "context", "texts"])
def test_deeply_nested_fields(http, field):
    deep = "[" * 200 + f'"{MARK}"' + "]" * 200
    refused(send(http, "/predict", f'{{"model": "{MODEL}", "{field}": {deep}}}'), (422,))


@pytest.mark.parametrize("path", ["/predict", "/bars"])
@pytest.mark.parametrize(
    "body",
    [
        f'{{"model": "{MODEL}", "model": "{MARK}"}}',
        f'{{"bars": [], "bars": ["{MARK}"]}}',
        f'{{"a": {{"{MARK}": 1, "{MARK}": 2}}}}',
    ],
)
def test_a_name_that_stands_twice(http, path, body):
    assert "name twice" in refused(send(http, path, body), (400,))


@pytest.mark.parametrize("path", ["/predict", "/bars"])
@pytest.mark.parametrize(
    "token", ["NaN", "Infinity", "-Infinity", "nan", "inf", "None", "+1", "01"]
)
def test_tokens_that_are_no_json(http, path, token):
    refused(send(http, path, f'{{"rows": [[{token}]], "mark": "{MARK}"}}'), (400,))


@pytest.mark.parametrize("path", ["/predict", "/bars"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"\x00",
        b'{"model": "a\x00b"}',
        b'\xff\xfe{"model"',
        b"{" + MARK.encode(),
        f'["{MARK}"]'.encode(),
        f'"{MARK}"'.encode(),
        b"31337",
        b"null",
        b'{"model": "zq!mark\xed\xa0\x80"}',
    ],
)
def test_bodies_that_are_no_question(http, path, body):
    refused(send(http, path, body))


@pytest.mark.parametrize(
    "body",
    [
        rows("0.5", 10_000),
        json.dumps({"model": MODEL, "rows": [{f"{MARK}{i}": i for i in range(10_000)}]}),
        json.dumps(
            {"model": MODEL, "rows": [[0.1] * 24]} | {f"{MARK}{i}": i for i in range(10_000)}
        ),
        json.dumps(
            {
                "model": MODEL,
                "rows": [[0.1] * 24],
                "context": {f"{MARK}{i}": [1] for i in range(10_000)},
            }
        ),
        predict(symbols=[f"{MARK}{i}" for i in range(10_000)]),
        predict(features={"price_data": [NUMBER] * 10_000}),
    ],
    ids=["values", "names", "fields", "context", "symbols", "prices"],
)
def test_ten_thousand_columns(http, body):
    refused(send(http, "/predict", body), (422,))


def test_ten_thousand_columns_of_a_bar(http):
    message = refused(send(http, "/bars", bars(**{f"{MARK}{i}": i for i in range(10_000)})), (422,))
    assert "unknown field" in message
    assert "9999 more problems" in message


# Names -----------------------------------------------------------------------------------------

BAD_NAMES = [
    "",
    " ",
    f" {MARK}",
    f"{MARK} ",
    f"{MARK}\t",
    f"{MARK}\n",
    f"{MARK}\x00",
    f"../../{MARK}",
    f"..\\{MARK}",
    f"/etc/{MARK}",
    f"{MARK}#fragment",
    f"%2e%2e%2f{MARK}",
    f"{MARK}?x=1",
    f"<b>{MARK}</b>",
    f"{MARK}" * 100,
    f"{MARK}\u202e",
    f"{MARK}\ud800",
]
NAMED = ["model", "model_type", "alias", "hardware", "backend", "price_basis"]


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_names_of_a_question(http, name):
    for field in NAMED:
        asked = {"symbols": ["AAPL"], "model": MODEL} | {field: name}
        if field == "model_type":
            del asked["model"]
        refused(send(http, "/predict", json.dumps(asked)), (422,))
    for asked in (
        {"symbols": [name]},
        {"bars": {name: [{"timestamp": "2007-01-03T00:00:00Z", "close": 1}]}},
        {"rows": [[0.1] * 24], "symbols": [name]},
        {"rows": [{name: 1}]},
        {"rows": [[0.1] * 24], "context": {name: [1.0]}},
        {"rows": [[0.1] * 24], name: 1},
    ):
        refused(send(http, "/predict", json.dumps({"model": MODEL} | asked)), (422,))


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_names_of_bars(http, name):
    refused(send(http, "/bars", bars(symbol=name)), (422,))
    refused(send(http, "/bars", bars(timestamp=name)), (422,))
    refused(send(http, "/bars", bars(**{name: 1})), (422,))
    for field in ("interval", "price_basis"):
        body = json.loads(bars()) | {field: name}
        refused(send(http, "/bars", json.dumps(body)), (422,))


@pytest.mark.parametrize("name", BAD_NAMES[2:], ids=ascii)
def test_other_words_of_a_question(http, name):
    answer = send(http, "/predict", predict(prediction_horizon=name))
    silent(answer)
    assert answer.status_code in (200, 422)
    if answer.status_code == 200:
        assert answer.json()["errors"]["AAPL"]["code"] == "horizon"
    portfolio = {"positions": [{"symbol": name, "weight": NUMBER}]}
    body = {"model_type": MODEL, "portfolio": portfolio}
    refused(send(http, "/predict", json.dumps(body)), (422,))


def test_plain_names_are_told_because_they_help(http):
    missing = send(http, "/predict", json.dumps({"model": "other_model", "symbols": ["AAPL"]}))
    assert "unknown model 'other_model'; registered: volatility_forecast" in refused(missing)
    typed = send(http, "/predict", predict(sybmols=["AAPL"]))
    assert refused(typed) == "sybmols: unknown field"


@pytest.mark.parametrize(
    "path", [f"/{MARK}", f"/predict/{MARK}", f"/bars/..%2f{MARK}", f"/a%00{MARK}"]
)
def test_addresses_that_are_nowhere(http, path):
    answer = send(http, path, "{}")
    assert answer.status_code == 404
    refused(answer)


# Errors ----------------------------------------------------------------------------------------

EVERY = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, MLEngineError) and kind.given
]


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_an_error_keeps_its_value_for_people_at_the_machine_alone(kind):
    code = kind.__init__.__code__
    arguments = dict.fromkeys(code.co_varnames[1 : code.co_argcount], "plain")
    arguments |= {
        name: 5.0 for name in ("tolerance", "total", "waited_seconds") if name in arguments
    }
    told = {name: NUMBER if name == "total" else MARK for name in kind.given}
    error = kind(**arguments | told)
    assert MARK in str(error) or "31337" in str(error)
    found = json.dumps(entry_of(error))
    assert MARK not in found
    assert "31337" not in found


@pytest.mark.parametrize(
    "error",
    [
        errors.UnknownNameError("template", MARK, ["anomaly"]),
        errors.UnknownSymbolError(MARK, "the version", ["AAPL"]),
        errors.NoHistoryError(MARK, ["AAPL"]),
        errors.ModelNotFoundError(MARK, ["tabular"]),
        errors.VersionNotFoundError(MARK, "version 7", ["1"]),
        errors.JobNotFoundError(MARK),
        errors.KeyNotFoundError(MARK),
        errors.RunNotFoundError(MARK, "artifacts"),
        errors.BarsError(f"row 1 is {MARK}", "bars", "correct it", "row 1"),
        errors.MissingColumnsError("file", ["close"], f"its first row is {MARK}", "no header"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_name_that_is_not_plain_is_not_told(error):
    assert MARK in str(error)
    assert MARK not in json.dumps(entry_of(error))


def test_a_plain_name_is_told_with_its_facts():
    found = entry_of(errors.NoHistoryError("GOOGL", ["AAPL"]))
    assert found["message"] == "no history for 'GOOGL'; post its bars to /bars first; held: AAPL"
    assert found["details"] == {"symbol": "GOOGL", "known": ["AAPL"]}
