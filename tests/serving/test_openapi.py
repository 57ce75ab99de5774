import pytest

from serving import examples
from serving.schemas import BarsRequest, PredictRequest

KEYED = {"401", "403", "429", "500"}
BODY = {"400", "408", "413", "415", "422"}
DECLARED = {
    ("/health", "get"): {"200", "500", "503"},
    ("/models", "get"): {"200", "422", "503"} | KEYED,
    ("/models/{model_id}", "get"): {"200", "404", "422", "503"} | KEYED,
    ("/models", "post"): {"202", "404", "409", "503"} | KEYED | BODY,
    ("/models/{model_id}/deploy", "post"): {"200", "404", "409", "503"} | KEYED | BODY,
    ("/models/{model_id}", "delete"): {"200", "404", "409", "422", "503"} | KEYED,
    ("/predict", "post"): {"200", "404", "503", "504"} | KEYED | BODY,
    ("/outcomes", "post"): {"200", "503", "504"} | KEYED | BODY,
    ("/bars", "post"): {"200", "409", "503", "504"} | KEYED | BODY,
    ("/metrics", "get"): {"200", "404"} | KEYED,
    ("/health/ready", "get"): {"200", "500", "503"},
    ("/system/status", "get"): {"200"} | KEYED,
    ("/hardware/utilization", "get"): {"200"} | KEYED,
}


@pytest.fixture
def openapi(client):
    return client.get("/openapi.json").json()


def test_every_route_declares_every_status(openapi):
    found = {
        (path, method): set(operation["responses"])
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    }
    assert {route: found[route] for route in DECLARED} == DECLARED


def test_every_error_is_declared_in_the_one_shape(openapi):
    for path, methods in openapi["paths"].items():
        for operation in methods.values():
            for status, declared in operation["responses"].items():
                if status.startswith("2") or (path.startswith("/health") and status == "503"):
                    continue
                schema = declared["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ErrorResponse"}, (path, status)


def test_the_forms_are_shown_as_examples(openapi):
    body = openapi["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    shown = [example["value"] for example in body["examples"].values()]
    assert shown == list(examples.PREDICT.values())


@pytest.mark.parametrize("body", examples.PREDICT.values(), ids=list(examples.PREDICT))
def test_every_example_is_a_request(body):
    PredictRequest.model_validate(body)


def test_the_example_of_bars_is_accepted(client):
    BarsRequest.model_validate(examples.BARS)
    assert client.post("/bars", json=examples.BARS).json()["accepted"] == 2


def test_callers_cannot_make_new_time_series(client):
    for method, url in [("BREW", "/health"), ("MILK", "/pot/1"), ("GET", "/pot/2")]:
        client.request(method, url)
    lines = client.get("/metrics").text.splitlines()
    found = {line.rpartition(" ")[0] for line in lines if line.startswith("ml_engine_requests_t")}
    assert found == {
        'ml_engine_requests_total{method="other",route="/health",status="405"}',
        'ml_engine_requests_total{method="other",route="none",status="404"}',
        'ml_engine_requests_total{method="GET",route="none",status="404"}',
    }


def test_metrics_can_be_switched_off(app, running):
    off = app.state.service.settings.model_copy(update={"metrics_enabled": False})
    object.__setattr__(app.state.service, "settings", off)
    with running(app) as client:
        assert client.get("/metrics").status_code == 404


def test_health_names_every_dependency(client):
    answer = client.get("/health")
    assert answer.status_code == 200
    assert set(answer.json()["dependencies"]) == {
        *("mlflow", "database", "store", "disk", "prediction_log")
    }
    assert answer.json()["loaded"] == {"volatility_forecast": 1}


def test_metrics_count_requests_by_route_and_status(client):
    client.get("/models/no_such")
    text = client.get("/metrics").text
    assert 'route="/models/{model_id}",status="404"' in text
    assert 'ml_engine_loaded_version{model="volatility_forecast",role="production"' in text
