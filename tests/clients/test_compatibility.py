"""Names that people know of the earlier engine's classes, over the client."""

import httpx
import pytest

from nautilus_ml_client import Client, InputError
from nautilus_ml_client.answers import Curve
from nautilus_ml_client.compatibility import (
    Decision,
    HardwareRouter,
    MLEngine,
    latency_at,
)
from registry.backends import LatencyCurve
from serving import examples
from tests.clients.conftest import URL, InProcess

VOLATILITY = "volatility_forecast"
SIGNALS = {name: value for name, value in examples.COLUMNS.items() if name != "model_type"}
EACH = [
    {
        "symbol": symbol,
        "features": {"price_data": price, "technical_indicators": {"rsi": rsi}},
    }
    for symbol, price, rsi in (("AAPL", 150.25, 65.2), ("MSFT", 305.5, 58.7))
]


def engine_of(asking, **options):
    key = asking.client._sender.server.key
    return MLEngine(url=URL, key=key, transport=InProcess.of(asking), **options)


def test_a_model_is_asked_as_before(whole):
    engine = engine_of(whole, neural_engine_priority="LOW")
    assert engine.predict("trading_signals", SIGNALS)["AAPL"].signal == "HOLD"
    listed = engine.predict_batch("trading_signals", EACH)
    columns = {"price_data": [150.25, 305.5], "technical_indicators": {"rsi": [65.2, 58.7]}}
    whole_answer = engine.predict(
        "trading_signals", {"symbols": ["AAPL", "MSFT"], "features": columns}
    )
    assert listed.predictions == whole_answer.predictions
    assert set(engine.predict_batch(VOLATILITY, [{"symbol": "AAPL"}]).predictions) == {"AAPL"}


def test_absent_hardware_falls_back_and_says_so(whole, loaded):
    rows = [[0.1] * len(loaded.contract.feature_names)] * 3
    engine = engine_of(whole)
    answer = engine.predict_neural_accelerated(VOLATILITY, rows, batch_size=2)
    assert len(answer) == 3
    assert "neural_engine" in answer.fallback
    answer = engine.predict_neural_accelerated(VOLATILITY, {"symbols": ["AAPL"]})
    assert "neural_engine" in answer.fallback
    with pytest.raises(InputError, match="neural_engine_enabled=False"):
        engine_of(whole, neural_engine_enabled=False).predict_neural_accelerated(VOLATILITY, rows)


CURVES = [
    {"backend": "cpu", "flavor": "onnx", "variant": "fp32", "batch_sizes": [1, 10, 100]},
    {"backend": "cuda_gpu", "flavor": "torchscript", "variant": "", "batch_sizes": [1, 10, 100]},
]
MILLISECONDS = ([0.01, 0.1, 1.0], [0.2, 0.2, 0.3])


def facts(curves):
    loaded = {"version": 1, "role": "production", "loaded_at": "2026-01-01T00:00:00Z"}
    more = {"artifact_bytes": 1, "artifacts": [], "absent": {}, "curves": curves}
    said = {"model_id": "m", "description": "", "owner": "", "tags": {}, "watched": True}
    state = {"recipe": {}, "created_at": None, "archived_at": None, "aliases": {}, "problem": None}
    rest = {"deployment": None, "request_aliases": [], "context": [], "versions": []}
    return httpx.Response(200, json=said | state | rest | {"loaded": [loaded | more]})


@pytest.mark.parametrize(("n_rows", "primary"), [(1, "cpu"), (10, "cpu"), (60, "cuda_gpu")])
def test_the_fastest_hardware_is_read_off_the_curves(scripted, n_rows, primary):
    curves = [c | {"latency_ms": ms} for c, ms in zip(CURVES, MILLISECONDS, strict=True)]
    router = HardwareRouter(scripted(facts(curves)))
    decision = router.route_workload({"model": "m", "batch_size": n_rows})
    assert isinstance(decision, Decision)
    assert decision.primary == primary
    assert decision.latency_ms > 0


def test_nothing_measured_is_said(scripted):
    with pytest.raises(InputError, match="nothing is measured of m"):
        HardwareRouter(scripted(facts([]))).route_workload({"model": "m"})


@pytest.mark.parametrize("profile", [{}, {"model": "m", "batch_size": 0}, {"model": 5}])
def test_a_profile_names_a_model(profile):
    with pytest.raises(InputError, match="profile"):
        HardwareRouter(Client()).route_workload(profile)


@pytest.mark.parametrize("n_rows", [1, 2, 10, 33, 100, 1000])
def test_a_curve_is_read_as_the_server_reads_it(n_rows):
    sizes, ms = (2, 10, 100), (0.5, 0.7, 3.0)
    there = LatencyCurve("onnx", "fp32", "cpu", sizes, ms)
    here = Curve(
        flavor="onnx", variant="fp32", backend="cpu", batch_sizes=list(sizes), latency_ms=list(ms)
    )
    assert latency_at(here, n_rows) == pytest.approx(there.latency_at(n_rows))
