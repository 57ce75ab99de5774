"""docs/compatibility.md: every example on it is sent and answered so; every row is true."""

import io
import json
import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import structlog

from monitoring.settings import HardwareSettings, MonitoringSettings, PredictionLogSettings
from nautilus_ml_client import compatibility
from registry.contract import TensorSpec
from registry.decoder import Decoder
from registry.errors import PortInUseError, SettingValueError
from registry.settings import PlatformSettings, read_settings
from registry.version_files import CONTRACT_FILE, GOLDEN_FILE, RECORD_FILE
from serving.app import configure_logging, create_app, listen
from serving.loading import load
from serving.routes import ROUTES
from serving.settings import ServingSettings
from tests.serving.test_portfolio import write_portfolio
from tests.waiting import wait_for

PAGE = (Path(__file__).parents[2] / "docs" / "compatibility.md").read_text()
BLOCK = re.compile(r"```bash\n(.*?)```\n+(?:```json\n(.*?)```)?", re.DOTALL)
ADDRESS = "http://127.0.0.1:8400"
TIMED = ("processing_time_ms", "response_time_ms", "interval_seconds")
"""Numbers that differ from run to run."""


@dataclass(frozen=True)
class Call:
    """A curl command of the page and the answer that stands below it."""

    method: str
    path: str
    headers: dict[str, str]
    body: str | None
    shown: object


def calls() -> list[Call]:
    return [_call(command, shown) for command, shown in BLOCK.findall(PAGE)]


def _call(command: str, shown: str) -> Call:
    program, *words = shlex.split(command.replace("\\\n", " "))
    assert program == "curl"
    method, url, headers, body = "", "", {}, None
    while words:
        word = words.pop(0)
        if word == "-X":
            method = words.pop(0)
        elif word == "-H":
            name, _, value = words.pop(0).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = words.pop(0)
        elif word != "-s":
            url = word
    assert url.startswith(ADDRESS)
    method = method or ("GET" if body is None else "POST")
    return Call(
        method, url.removeprefix(ADDRESS), headers, body, json.loads(shown) if shown else None
    )


def differences(shown, real, where="answer"):
    """Yield how an answer differs from the one that the page shows of it."""
    if shown == "...":
        return
    if isinstance(shown, dict) and isinstance(real, dict):
        for name, value in shown.items():
            if name not in real:
                yield f"{where}.{name} is missing"
            elif name in TIMED:
                yield from [] if isinstance(real[name], float | int) else [f"{where}.{name}"]
            else:
                yield from differences(value, real[name], f"{where}.{name}")
    elif isinstance(shown, list) and isinstance(real, list) and len(shown) == len(real):
        for i, pair in enumerate(zip(shown, real, strict=True)):
            yield from differences(*pair, f"{where}[{i}]")
    elif isinstance(shown, float) and isinstance(real, float | int):
        if shown != pytest.approx(real, rel=0.01, abs=1e-4):
            yield f"{where}: {shown} shown, {real} answered"
    elif type(shown) is not type(real) or shown != real:
        yield f"{where}: {shown!r} shown, {real!r} answered"


# The world of the examples ------------------------------------------------------------------------


def write_signals(directory, base) -> None:
    """Write a version of trading_signals: a linear model whose trade lock is shut."""
    from onnx import TensorProto, helper, numpy_helper

    n = len(base.feature_names)
    rng = np.random.default_rng(3)
    weights = (0.003 * rng.standard_normal((n, 3))).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["features", "weights"], ["scores"])],
        "linear",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, n])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 3])],
        [numpy_helper.from_array(weights, "weights")],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    contract = replace(
        base,
        model_id="trading_signals",
        template="trading_signals",
        horizon="1d",
        horizon_bars=1,
        outputs=TensorSpec("scores", "float32", (None, 3)),
        label_spec={"horizon_bars": 1, "fill": "next_close", "path": "close", "width": 0.4},
    )
    facts = {"calibrator": "identity", "ece": 0.01, "threshold": 0.2, "beta": 0.0, "conformal": 2.0}
    decoder = Decoder(
        facts,
        {
            "prior": np.array([0.3, 0.4, 0.3]),
            "class_return": np.array([-0.02, 0.0, 0.02]),
            "novelty.center": np.zeros(n),
            "novelty.spread": np.full(n, 100.0),
            "novelty.limit": np.array([4.0]),
        },
    )
    features = rng.standard_normal((8, n)).astype(np.float32)
    golden = io.BytesIO()
    np.savez(golden, features=features, scores=features @ weights)
    files = {
        CONTRACT_FILE: contract.to_json().encode(),
        RECORD_FILE: b"[]",
        GOLDEN_FILE: golden.getvalue(),
        "onnx/model.onnx": model,
        **decoder.to_files(),
    }
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)


@pytest.fixture
def world(installation, running, make, tmp_path, loaded):
    """A client with a key, and a server with bars, three models that answer, and one on MLflow."""
    installation.register(is_first=True)
    app = installation.app(alias_poll_interval=60)
    headers = installation.key(app, "read", "manage", "predict")
    key = headers["authorization"].removeprefix("Bearer ")
    versions = [loaded]
    for model_id, write in (
        ("trading_signals", write_signals),
        ("portfolio_risk", write_portfolio),
    ):
        write(tmp_path / model_id, make.contract())
        files = make.files(tmp_path / model_id, model_id)
        versions.append([*load(files, model_id, 1, is_measured=False)][-1])
    with running(app) as client:
        service = app.state.service
        wait_for(lambda: service.follower.registry_status.is_reachable)
        wait_for(lambda: service.system.hardware.newest is not None)
        service.follower.close()  # it does not know the three that come
        service.models.learn({version.model_id: {"production": 1} for version in versions})
        for version in versions:
            service.models.serve(version)
        bars = make.body(pl.concat([make.bars(symbol) for symbol in ("AAPL", "MSFT")]))
        body = {"bars": bars, "interval": "1d", "price_basis": "adjusted"}
        assert client.post("/bars", json=body, headers=headers).status_code == 200

        def send(call: Call):
            sent = {name: value.replace("$KEY", key) for name, value in call.headers.items()}
            content = {} if call.body is None else {"content": call.body}
            return client.request(call.method, call.path, headers=sent, **content)

        yield send


@pytest.mark.integration
def test_every_example_is_answered_as_the_page_shows(world):
    for call in calls():
        answer = world(call)
        assert call.shown is not None, answer.text
        assert ("error" in call.shown) == (answer.status_code >= 400), (call.path, answer.text)
        assert list(differences(call.shown, answer.json())) == [], (call.path, answer.text)


@pytest.mark.parametrize(
    ("shown", "real"),
    [
        ({"a": 1}, {}),
        ({"a": 1.5}, {"a": 1.6}),
        ({"a": None}, {"a": 0}),
        ({"a": "x"}, {"a": "y"}),
        ({"a": True}, {"a": 1}),
        ({"processing_time_ms": 1.0}, {"processing_time_ms": "1"}),
        ([1, 2], [1]),
        ([{"a": 1}], [{"a": 2}]),
    ],
)
def test_a_difference_is_found(shown, real):
    assert list(differences(shown, real))


# The rows -----------------------------------------------------------------------------------------

ROW = re.compile(r"^\| (.+?) \| (works|differently|not yet|never) \| (.+) \|$", re.MULTILINE)
ROWS = ROW.findall(PAGE)
THERE = ("works", "differently")
ADDRESSES = {f"{route.method} {route.path}" for route in ROUTES}
SETTINGS = {
    name.upper()
    for kind in (PlatformSettings, ServingSettings, HardwareSettings, MonitoringSettings)
    for name in kind.model_fields
}
OF_OTHERS = {"PYTORCH_ENABLE_MPS_FALLBACK"}
"""Variables of libraries, which read them themselves."""


def named(pattern: str, *states: str) -> set[str]:
    """What the first cells of rows in these states name."""
    return {
        found for what, state, _ in ROWS if state in states for found in re.findall(pattern, what)
    }


CALL, VARIABLE = r"`((?:GET|POST|PUT|DELETE) /[^`]+)`", r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)`"


def test_calls_that_work_are_routes_and_the_others_are_not_yet():
    assert named(CALL, *THERE) - ADDRESSES == set()
    assert named(CALL, "not yet", "never") & ADDRESSES == set()
    assert len(named(CALL, *THERE)) == 25
    assert len(named(CALL, "not yet")) == 5


def test_settings_that_work_are_read_and_the_others_do_not_exist():
    assert named(VARIABLE, *THERE) - SETTINGS == OF_OTHERS
    assert named(VARIABLE, "not yet", "never") & SETTINGS == set()
    assert len(named(VARIABLE, "not yet", "never")) == 10


def test_every_call_that_a_row_refers_to_is_a_route():
    told = {call for _, _, text in ROWS for call in re.findall(CALL, text)}
    assert told - ADDRESSES == set()


CLASS = r"`([A-Z][A-Za-z]+)(?:\(\.\.\.\))?\.\w+`?"


def test_classes_that_the_client_has_are_in_a_row_and_do_what_it_says():
    kept = (compatibility.MLEngine, compatibility.AutoMLEngine, compatibility.HardwareRouter)
    there = {kind.__name__ for kind in kept}
    assert there & named(CLASS, *THERE) == there
    for kind in kept:
        [row] = [what for what, _, _ in ROWS if what.startswith(f"`{kind.__name__}")]
        calls = [name for name in vars(kind) if not name.startswith("_")]
        assert [name for name in calls if name not in row] == []


# Settings with the names that people know ---------------------------------------------------------


def test_the_settings_are_read_under_their_names(monkeypatch):
    given = {
        "ML_ENGINE_PORT": "8401",
        "LOG_LEVEL": "WARNING",
        "METRICS_ENABLED": "false",
        "MODEL_CACHE_SIZE": "1GB",
        "MAX_BATCH_SIZE": "3",
        "DEFAULT_TIMEOUT": "0.5",
        "MONITORING_INTERVAL": "7",
        "HARDWARE_MONITORING": "false",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    read, hardware = ServingSettings(), HardwareSettings()
    assert (read.ml_engine_port, read.log_level, read.metrics_enabled) == (8401, "WARNING", False)
    assert (read.model_cache_size, read.max_batch_size) == (1_000_000_000, 3)
    assert (read.default_timeout, hardware.monitoring_interval) == (0.5, 7.0)
    assert hardware.hardware_monitoring is False


def test_defaults_are_the_known_ones(monkeypatch):
    for name in ("ML_ENGINE_PORT", "MODEL_CACHE_SIZE", "MAX_BATCH_SIZE", "DEFAULT_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    read = ServingSettings()
    assert (read.ml_engine_port, read.model_cache_size) == (8400, 1_000_000_000)
    assert (read.max_batch_size, read.default_timeout) == (1000, 30.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ML_ENGINE_PORT", "eighty"),
        ("ML_ENGINE_PORT", "70000"),
        ("LOG_LEVEL", "LOUD"),
        ("METRICS_ENABLED", "perhaps"),
        ("MODEL_CACHE_SIZE", "1 elephant"),
        ("MAX_BATCH_SIZE", "0"),
        ("DEFAULT_TIMEOUT", "-1"),
    ],
)
def test_a_value_that_cannot_be_read_ends_the_start_with_its_name(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingValueError, match=f"^{name}="):
        read_settings(ServingSettings)


def test_the_settings_have_their_effect(settings, loaded, running):
    few = ServingSettings(
        max_batch_size=2, metrics_enabled=False, model_cache_size=5, alias_poll_interval=60
    )
    platform = settings.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})
    app = create_app(
        platform, few, PredictionLogSettings(), HardwareSettings(monitoring_interval=7)
    )
    row = [0.1] * len(loaded.contract.feature_names)
    with running(app) as client:
        models = app.state.service.models
        models.serve(loaded)
        asked = {"model": loaded.model_id, "rows": [row] * 3}
        answer = client.post("/predict", json=asked)
        assert answer.status_code == 422
        assert "1 to 2 rows (MAX_BATCH_SIZE)" in answer.json()["error"]["message"]
        assert client.get("/metrics").status_code == 404
        assert client.get("/hardware/utilization").json()["interval_seconds"] == 7.0
        assert models._max_bytes == 5


def test_less_severe_lines_than_the_level_are_not_written(capsys):
    configure_logging("WARNING")
    structlog.get_logger("test").info("quiet")
    structlog.get_logger("test").warning("loud")
    written = capsys.readouterr().err
    structlog.reset_defaults()
    assert "loud" in written
    assert "quiet" not in written


def test_the_server_listens_on_its_port():
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortInUseError, match="ML_ENGINE_PORT"):
            listen("127.0.0.1", port)
