"""A tiny real version (a linear model in ONNX over close_only), bars, and an application.

Most tests put the version straight into the running application and leave MLflow away: that is
the state "MLflow is down", in which everything must work. `test_loop.py` goes the whole way.
"""

import asyncio
import io
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest
from anyio.from_thread import start_blocking_portal

from monitoring.settings import HardwareSettings, PredictionLogSettings
from pipelines.data.features import FEATURE_SETS, fingerprint
from registry import events
from registry.contract import ModelContract
from registry.decoder import Decoder
from registry.version_files import (
    CONTRACT_FILE,
    GOLDEN_FILE,
    RECORD_FILE,
    VersionFiles,
    digest_directory,
)
from registry.versions import Registry
from serving.app import create_app
from serving.keys import Rights, make_key
from serving.loading import load
from serving.settings import ServingSettings
from tests.examples import make_contract, passing_record

N_BARS = 540
FIRST_BAR = datetime(2004, 1, 2, tzinfo=UTC)
DEAD_MLFLOW = "http://127.0.0.1:9"
DECODER = Decoder(
    {
        "level": 0.9,
        "ratio_lower": 0.1,
        "ratio_upper": 3.0,
        "ewma_scale": 1.0,
        "bars_per_year": 252.0,
        "bars_per_day": 1.0,
        "n_calibration_rows": 100,
    }
)


def contract_of(model_id: str = "volatility_forecast") -> ModelContract:
    feature_set = FEATURE_SETS.get("close_only")
    return make_contract(
        model_id=model_id,
        feature_names=feature_set.feature_names,
        feature_fingerprint=fingerprint(feature_set),
        min_history=feature_set.min_history,
    )


def linear_onnx(weights: np.ndarray) -> bytes:
    """Return an ONNX model: scores = features @ weights."""
    from onnx import TensorProto, helper, numpy_helper

    n_features = len(weights)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["features", "weights"], ["scores"])],
        "linear",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, n_features])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 1])],
        [numpy_helper.from_array(weights.astype(np.float32).reshape(-1, 1), "weights")],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()


def write_version(directory: Path, seed: int = 1, **changes) -> ModelContract:
    """Write the files of a version whose weights come from `seed`."""
    contract = replace(contract_of(), **changes)
    rng = np.random.default_rng(seed)
    weights = 0.01 * rng.standard_normal(len(contract.feature_names))
    features = rng.standard_normal((16, len(weights))).astype(np.float32)
    golden = io.BytesIO()
    scores = (features @ weights.astype(np.float32)).reshape(-1, 1)
    np.savez(golden, features=features, scores=scores)
    files = {
        CONTRACT_FILE: contract.to_json().encode(),
        RECORD_FILE: b"[]",
        GOLDEN_FILE: golden.getvalue(),
        "onnx/model.onnx": linear_onnx(weights),
        **DECODER.to_files(),
    }
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return contract


def files_of(directory: Path, model_id: str = "volatility_forecast", number: int = 1):
    return VersionFiles(model_id, number, directory, digest_directory(directory))


def walk(symbol: str, n_bars: int = N_BARS, seed: int = 0) -> pl.DataFrame:
    """Return daily closes of a random walk."""
    rng = np.random.default_rng([seed, *symbol.encode()])
    close = 100 * np.exp(np.cumsum(0.01 * rng.standard_normal(n_bars)))
    times = [FIRST_BAR + timedelta(days=i) for i in range(n_bars)]
    return pl.DataFrame({"symbol": symbol, "timestamp": times, "close": close})


def as_json(frame: pl.DataFrame) -> list[dict]:
    return [row | {"timestamp": row["timestamp"].isoformat()} for row in frame.to_dicts()]


class Client:
    """Blocking calls to an application that runs in a thread; bugs are answered, not raised."""

    def __init__(self, app, portal) -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._http = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")
        self._portal = portal
        self.app = app

    def request(self, method: str, url: str, **arguments) -> httpx.Response:
        return self._portal.call(lambda: self._http.request(method, url, **arguments))

    def get(self, url: str, **arguments) -> httpx.Response:
        return self._portal.call(lambda: self._http.get(url, **arguments))

    def post(self, url: str, **arguments) -> httpx.Response:
        return self._portal.call(lambda: self._http.post(url, **arguments))

    def post_together(self, url: str, bodies: Sequence[object]) -> list[httpx.Response]:
        """Post several bodies at once; the answers are in their order."""

        async def every():
            return await asyncio.gather(*(self._http.post(url, json=body) for body in bodies))

        return self._portal.call(every)

    def put(self, url: str, **arguments) -> httpx.Response:
        return self._portal.call(lambda: self._http.put(url, **arguments))

    def delete(self, url: str, **arguments) -> httpx.Response:
        return self._portal.call(lambda: self._http.delete(url, **arguments))


@contextmanager
def running_app(app):
    """Run an application with its lifespan; yield a client."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(app.router.lifespan_context(app)),
    ):
        yield Client(app, portal)


class Installation:
    """An MLflow, an engine database, and applications on them."""

    def __init__(self, settings, engine, tracking_uri, tmp_path):
        from mlflow import MlflowClient

        self.platform = settings.model_copy(update={"mlflow_tracking_uri": tracking_uri})
        self.registry = Registry(self.platform, engine)
        self.engine, self.folder = engine, tmp_path
        self.mlflow = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
        experiment = self.mlflow.get_experiment_by_name("tests").experiment_id
        self.run_id = self.mlflow.create_run(experiment).info.run_id

    def register(self, record=None, seed=1, is_first=False, **changes):
        directory = self.folder / f"made-{time.time_ns()}"
        contract = write_version(directory, seed, **changes)
        rows = passing_record(None if is_first else "better") if record is None else record
        return self.registry.register(directory, contract, rows, self.run_id).number

    def promote(self, number, model_id="volatility_forecast"):
        self.registry.promote(model_id, number, actor="test", reason="test")

    def app(self, alias_poll_interval=0.05, **changes):
        platform = self.platform.model_copy(update=changes)
        serving = ServingSettings(
            alias_poll_interval=alias_poll_interval, auto_hardware_routing=False
        )
        return create_app(platform, serving, PredictionLogSettings())

    def kinds(self, model_id="volatility_forecast"):
        return [event.kind for event in events.read(self.engine, model_id)]

    def key(self, app, *scopes, **rights):
        """Headers with a key of these scopes."""
        _, text = make_key(self.engine, Rights(scopes, **rights), actor="test")
        app.state.service.security.keys.load()
        return {"authorization": f"Bearer {text}"}


@pytest.fixture
def installation(settings, engine, tracking_uri, tmp_path):
    return Installation(settings, engine, tracking_uri, tmp_path)


@pytest.fixture(scope="session")
def running():
    return running_app


@pytest.fixture(scope="session")
def version_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("version")
    write_version(directory)
    return directory


@pytest.fixture(scope="session")
def loaded(version_folder):
    """The tiny version, loaded; not measured."""
    *_, version = load(files_of(version_folder), "volatility_forecast", 1, is_measured=False)
    return version


@pytest.fixture
def serving_settings() -> ServingSettings:
    return ServingSettings(alias_poll_interval=60, max_batch_size=50, auto_hardware_routing=False)


@pytest.fixture
def hardware_settings() -> HardwareSettings:
    return HardwareSettings(hardware_monitoring=False)


@pytest.fixture
def app(settings, serving_settings, hardware_settings):
    platform = settings.model_copy(update={"mlflow_tracking_uri": DEAD_MLFLOW})
    return create_app(platform, serving_settings, PredictionLogSettings(), hardware_settings)


@pytest.fixture
def client(app, loaded):
    """A client of a running application that serves the tiny version, without any bars."""
    with running_app(app) as opened:
        models = app.state.service.models
        models.learn({"volatility_forecast": {"production": 1}})
        models.serve(loaded)
        yield opened


@pytest.fixture
def post_history(client):
    """Post a random walk for each symbol."""

    def post(*symbols: str, n_bars: int = N_BARS):
        frame = pl.concat([walk(symbol, n_bars) for symbol in symbols])
        body = {"bars": as_json(frame), "interval": "1d", "price_basis": "adjusted"}
        answer = client.post("/bars", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return post


@pytest.fixture
def make():
    """What tests build versions and bars with."""

    class Make:
        version = staticmethod(write_version)
        files = staticmethod(files_of)
        bars = staticmethod(walk)
        body = staticmethod(as_json)
        contract = staticmethod(contract_of)
        n_bars = N_BARS
        first_bar = FIRST_BAR

    return Make
