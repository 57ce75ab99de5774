import asyncio
import json

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from registry import errors as all_errors
from registry.errors import MLEngineError, ModelNotFoundError, OverloadedError, ValueRangeError
from serving.errors import code_of, entry, entry_of, status_of

JSON = {"content-type": "application/json"}
FAMILIES = [
    kind
    for kind in vars(all_errors).values()
    if isinstance(kind, type) and issubclass(kind, MLEngineError)
]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda kind: kind.__name__)
def test_every_error_has_a_status(family):
    error = family.__new__(family)
    assert status_of(error) in {401, 403, 404, 409, 422, 429, 500, 503, 504}


def test_codes_are_made_from_class_names():
    assert code_of(ModelNotFoundError("m", [])) == "model_not_found"
    assert code_of(OverloadedError(1, 1)) == "overloaded"


def test_details_carry_no_nan():
    assert entry("code", "text", {"x": float("nan")})["details"]["x"] == "nan"


def test_details_and_message_carry_no_value_that_was_sent():
    found = entry_of(ValueRangeError("rows[0]", "a secret"))
    assert found["message"] == "rows[0]: expected a finite float32 number"
    assert found["details"] == {"name": "rows[0]", "expected": "a finite float32 number"}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("get", "/nowhere", 404, "not_found"),
        ("put", "/predict", 405, "method_not_allowed"),
        ("get", "/predict", 405, "method_not_allowed"),
        ("get", "/models/no_such", 404, "model_not_found"),
    ],
)
def test_the_router_s_errors_have_the_one_shape(client, method, path, status, code):
    answer = getattr(client, method)(path)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize("path", ["/predict", "/bars"])
@pytest.mark.parametrize("body", [b"{", b"not json", b"{'a': 1}", b'{"a": }'])
def test_a_body_that_is_not_json_is_400(client, path, body):
    answer = client.post(path, content=body, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_json"
    assert "not JSON" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "body", [b"\xff\xfe\x00", b"[" * 100_000, b'{"rows": ' + b"1" * 5000 + b"}"]
)
def test_a_body_that_breaks_the_parser_is_400_too(client, body):
    answer = client.post("/predict", content=body, headers=JSON)
    assert answer.status_code in (400, 422)
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize("body", [b"[]", b"null", b"7", b'"text"'])
def test_json_that_is_no_object_is_422(client, body):
    answer = client.post("/predict", content=body, headers=JSON)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "invalid_request"


@pytest.mark.parametrize("declared", [{"content-type": "text/plain"}, {}])
def test_another_content_type_is_415_and_says_which_is_wanted(client, declared):
    answer = client.post("/predict", content=b"{}", headers=declared)
    assert answer.status_code == 415
    assert "Content-Type: application/json" in answer.json()["error"]["message"]


HALF = "\\ud800"  # half of a surrogate pair: JSON can write it, UTF-8 cannot


@pytest.mark.parametrize(
    "fields",
    [
        '"symbols": ["AAPL"], "prediction_horizon": "HALF"',
        '"symbols": ["AAPL"], "features": {"technical_indicators": {"HALF": [1]}}',
        '"symbols": ["AAPL"], "features": {"HALF": [1]}',
        '"symbols": ["AAPL"], "HALF": 1',
        '"rows": [{"HALF": 1}]',
        '"rows": [[0.0]], "context": {"HALF": [1]}',
    ],
)
def test_text_that_utf8_cannot_hold_is_422(client, loaded, fields):
    body = f'{{"model": "volatility_forecast", {fields.replace("HALF", HALF)}}}'
    answer = client.post("/predict", content=body, headers=JSON)
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("field", ['"rows": [DEEP]', '"rows": [[DEEP, 1]]', '"rows": DEEP'])
@pytest.mark.parametrize("depth", [50, 900, 970])
def test_a_deep_body_is_refused_in_a_short_answer(client, loaded, field, depth):
    deep = "[" * depth + "1" + "]" * depth
    body = f'{{"model": "volatility_forecast", {field.replace("DEEP", deep)}}}'
    answer = client.post("/predict", content=body, headers=JSON)
    assert answer.status_code in (400, 422)
    assert len(answer.content) < 2000


def test_a_deep_price_is_that_symbol_s_error(client, loaded, post_history):
    post_history("AAPL")
    deep = "[" * 900 + "1" + "]" * 900
    features = f'{{"price_data": [{deep}]}}'
    body = f'{{"model": "volatility_forecast", "symbols": ["AAPL"], "features": {features}}}'
    answer = client.post("/predict", content=body, headers=JSON)
    assert answer.status_code == 200
    assert answer.json()["errors"]["AAPL"]["code"] == "value_range"
    assert len(answer.content) < 2000


@pytest.mark.parametrize(
    "time", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2500-01-01T00:00:00Z"]
)
def test_a_time_that_files_of_bars_cannot_hold_is_422(client, time):
    bar = {"symbol": "AAPL", "timestamp": time, "close": 1.0}
    answer = client.post("/bars", json={"bars": [bar], "interval": "1d"})
    assert answer.status_code == 422
    assert "1800 and 2200" in answer.json()["error"]["message"]


def test_a_body_that_never_arrives_is_408(app, running):
    from serving.envelope import BodyLimits, Envelope

    patient = Envelope(app, app.state.service.metrics, BodyLimits(100, 0.05))
    patient.router, patient.state = app.router, app.state
    sent: list[dict] = []

    async def never():
        await asyncio.sleep(60)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/predict",
        "query_string": b"",
        "headers": [
            (b"host", b"localhost"),
            (b"content-type", b"application/json"),
            (b"content-length", b"9"),
        ],
    }
    asyncio.run(patient(scope, never, send))
    assert sent[0]["status"] == 408
    assert "0.05 s (DEFAULT_TIMEOUT)" in json.loads(sent[1]["body"])["error"]["message"]


def test_a_body_beyond_the_limit_is_413(app, running, loaded):
    from serving.envelope import BodyLimits, Envelope

    small = Envelope(app, app.state.service.metrics, BodyLimits(100, 30.0))
    small.router, small.state = app.router, app.state
    with running(small) as client:
        answer = client.post("/predict", content=b'{"a": "' + b"x" * 200 + b'"}', headers=JSON)
    assert answer.status_code == 413
    assert "100 bytes" in answer.json()["error"]["message"]


def test_a_bug_is_500_with_the_request_id_and_no_traceback(client, app):
    app.state.service.models.find = None
    with capture_logs() as logged:
        answer = client.post(
            "/predict",
            json={"model": "volatility_forecast", "symbols": ["A"]},
            headers={"x-request-id": "abc-1"},
        )
    assert [line["request_id"] for line in logged if line["event"] == "bug"] == ["abc-1"]
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] == "abc-1"
    assert answer.json()["error"]["details"] == {"request_id": "abc-1"}
    assert "Traceback" not in answer.text
    assert "NoneType" not in answer.text


def test_every_answer_has_a_request_id_of_its_own(client):
    ids = {client.get("/health").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    assert client.get("/health", headers={"x-request-id": "a b"}).headers["x-request-id"] != "a b"


def test_many_problems_are_counted_and_listed(client):
    answer = client.post("/predict", json={"model": 7, "symbols": [1, 2], "nonsense": 0})
    details = answer.json()["error"]["details"]
    assert details["n_problems"] == 4
    assert "nonsense: unknown field" in details["problems"]


def test_a_database_that_is_away_is_503(client, monkeypatch):
    def away():
        raise sa.exc.OperationalError("SELECT 1", {}, Exception("disk I/O error"))

    monkeypatch.setattr("registry.version_rows.lines", lambda _: away())
    answer = client.get("/models")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "database_unavailable"
    assert "the engine database does not answer" in answer.json()["error"]["message"]
    assert "disk I/O error" not in answer.text
    assert "engine.db" not in answer.text
    assert "retry-after" in answer.headers
