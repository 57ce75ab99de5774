"""POST /predict/HARDWARE: the address sets the hardware; what is absent is said or is 503."""

from dataclasses import replace

import pytest

from registry.backends import NOT_BUILT, LatencyCurve
from registry.flavors import Artifact
from serving.keys import Rights, make_key
from serving.routes.predict import HARDWARE

MODEL = "volatility_forecast"
ABSENT = {
    "/predict/neural-engine": "neural_engine",
    "/predict/metal-gpu": "metal_gpu",
    "/predict/cuda-gpu": "cuda_gpu",
}


@pytest.fixture
def ask(client, post_history):
    post_history("AAPL")

    def post(path, **fields):
        return client.post(path, json={"model": MODEL, "symbols": ["AAPL"]} | fields)

    return post


@pytest.mark.parametrize(("path", "backend"), ABSENT.items())
def test_absent_hardware_falls_back_and_says_so(client, ask, path, backend):
    plain = ask("/predict").json()
    body = ask(path).json()
    assert body["predictions"] == plain["predictions"]
    assert body["hardware_used"] == "cpu"
    assert body["fallback"] == f"backend {backend!r} is not available here: {NOT_BUILT[backend]}"
    assert plain["fallback"] is None
    counted = f'ml_engine_fallbacks_total{{backend="cpu",model="{MODEL}"}} 1.0'
    assert counted in client.get("/metrics").text


@pytest.mark.parametrize(("path", "backend"), ABSENT.items())
def test_strict_makes_absent_hardware_503(ask, path, backend):
    answer = ask(path, strict=True)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "backend_unavailable"
    assert NOT_BUILT[backend] in answer.json()["error"]["message"]
    assert answer.headers["retry-after"] == "5"


def test_hybrid_answers_by_the_curves_as_predict_does(app, ask, loaded):
    onnx = loaded.options[0]
    curves = {"onnx": (5.0, 5.0), "native": (1.0, 1.0)}
    options = tuple(
        replace(
            onnx,
            artifact=Artifact(flavor),
            curve=LatencyCurve(flavor, "fp32", "cpu", (1, 16), latency),
        )
        for flavor, latency in curves.items()
    )
    app.state.service.models.serve(replace(loaded, options=options))
    hybrid = ask("/predict/hybrid", strict=True).json()
    assert hybrid["flavor"] == "native"
    assert hybrid["fallback"] is None
    assert ask("/predict").json()["predictions"] == hybrid["predictions"]


def test_hardware_that_is_there_answers(app, ask, loaded):
    there = replace(loaded.options[0], backend="metal_gpu")
    app.state.service.models.serve(replace(loaded, options=(*loaded.options, there)))
    body = ask("/predict/metal-gpu", strict=True).json()
    assert (body["hardware_used"], body["fallback"]) == ("metal_gpu", None)


@pytest.mark.parametrize("field", ["hardware", "backend"])
@pytest.mark.parametrize("path", HARDWARE)
def test_a_body_that_names_other_hardware_is_422(ask, path, field):
    answer = ask(path, **{field: "cpu"})
    assert answer.status_code == 422
    assert "as the address says" in answer.json()["error"]["message"]


@pytest.mark.parametrize("field", ["hardware", "backend"])
def test_a_body_may_name_the_hardware_of_the_address(ask, field):
    assert ask("/predict/metal-gpu", **{field: "metal_gpu"}).status_code == 200
    assert ask("/predict/hybrid", **{field: "hybrid"}).json()["fallback"] is None


@pytest.mark.parametrize("strict", [False, True])
def test_a_name_that_no_hardware_has_is_422_and_names_those_that_are(ask, strict):
    answer = ask("/predict", hardware="quantum", strict=strict)
    assert answer.status_code == 422
    assert "cpu, cuda_gpu, metal_gpu, neural_engine" in answer.json()["error"]["message"]


def test_the_interpreter_of_core_ml_never_answers(ask):
    assert "never answers" in ask("/predict", hardware="coreml_reference").json()["fallback"]


@pytest.mark.parametrize("path", ["/predict", *HARDWARE])
def test_a_key_asks_the_models_on_its_list_only(app, client, ask, path):
    service = app.state.service
    keys = {
        model: make_key(service.database, Rights(("predict",), (model,)), actor="test")[1]
        for model in (MODEL, "sentiment")
    }
    service.security.keys.load()
    loads = []
    service.engine.loading.run = lambda *_: loads.append(1)

    def status(allowed, **fields):
        headers = {"Authorization": f"Bearer {keys[allowed]}"}
        body = {"model": MODEL, "symbols": ["AAPL"]} | fields
        return client.post(path, json=body, headers=headers).status_code

    assert status(MODEL) == 200
    assert status("sentiment") == 403
    assert status("sentiment", version=9) == 403
    assert loads == []
