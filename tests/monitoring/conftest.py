"""A small world: three symbols, four features, a registered version, logged predictions, bars."""

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from monitoring.prediction_log import PredictionLog
from monitoring.reports import DriftReport
from monitoring.settings import PredictionLogSettings
from pipelines.data.sources.store import BarStore
from pipelines.recipes.reference import drift_profile
from registry import version_files
from registry.contract import DataSpan, ModelContract
from registry.decoder import Decoder
from registry.tables import aliases, versions
from registry.versions import Registry
from tests.examples import make_contract, make_logged, passing_record

MODEL = "watched"
SYMBOLS = ("AAPL", "MSFT", "XOM")
FEATURES = ("f0", "f1", "f2", "f3")
TRAINED_FROM = datetime(2003, 1, 1, tzinfo=UTC)
N_REFERENCE = 400
REPLAY_FROM = TRAINED_FROM + timedelta(days=N_REFERENCE)
DAY = timedelta(days=1)


def watched_contract(**changes) -> ModelContract:
    facts = {
        "model_id": MODEL,
        "feature_names": FEATURES,
        "symbols": SYMBOLS,
        "label_spec": {"kind": "realised_variance", "horizon_bars": 5},
        "parameters": {"max_depth": 4},
        "data": DataSpan("sample", "d" * 64, TRAINED_FROM.isoformat(), REPLAY_FROM.isoformat(), 9),
        "trained_until": (REPLAY_FROM - DAY).isoformat(),
        "first_test": (TRAINED_FROM + 200 * DAY).isoformat(),
        "recent_bars": 252,
    }
    return make_contract(**(facts | changes))


def make_features(n_times: int, seed: int) -> np.ndarray:
    """Independent noise, float32 (n_times, n_symbols, n_features)."""
    shape = (n_times, len(SYMBOLS), len(FEATURES))
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def make_panel(features: np.ndarray, start: datetime) -> pl.DataFrame:
    n_times = len(features)
    return pl.DataFrame(
        {
            "symbol": list(SYMBOLS) * n_times,
            "timestamp": [start + i * DAY for i in range(n_times) for _ in SYMBOLS],
            **{name: features[:, :, i].ravel() for i, name in enumerate(FEATURES)},
        },
        schema_overrides={"timestamp": pl.Datetime("us", "UTC")},
    )


def write_version(directory):
    """Write the files of a version; returns the directory."""
    panel = make_panel(make_features(N_REFERENCE, seed=0), TRAINED_FROM)
    buffer = io.BytesIO()
    panel.write_parquet(buffer)
    files = {
        "native/model.ubj": b"a booster",
        "onnx/model.onnx": b"an onnx file",
        version_files.CURVES_FILE: b"[]",
        version_files.REFERENCE_FILE: buffer.getvalue(),
        version_files.DRIFT_FILE: drift_profile(panel, dict.fromkeys(FEATURES, 1.0))
        .to_json()
        .encode(),
        **Decoder({"ewma_scale": 1.0}).to_files(),
    }
    for name, payload in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(payload)
    return directory


@pytest.fixture
def version(tmp_path) -> version_files.VersionFiles:
    """The files of version 1, not registered anywhere."""
    directory = write_version(tmp_path / "version")
    (directory / version_files.CONTRACT_FILE).write_text(watched_contract().to_json())
    record = json.dumps([row.to_json() for row in passing_record()])
    (directory / version_files.RECORD_FILE).write_text(record)
    digests = version_files.digest_directory(directory)
    return version_files.VersionFiles(MODEL, 1, directory, digests)


def insert_version(engine, number: int, run_id: str = "r" * 32) -> None:
    """Record a version in the engine database alone, as far as the state machine looks."""
    row = {
        "model_id": MODEL,
        "number": number,
        "run_id": run_id,
        "contract": json.loads(watched_contract().to_json()),
        "digests": {version_files.REFERENCE_FILE: "a" * 64},
        "record": [gate.to_json() for gate in passing_record("non_inferior")],
        "may_trade": False,
        "created_at": datetime.now(UTC),
    }
    with engine.begin() as connection:
        connection.execute(versions.insert().values(row))


def serve(engine, number: int) -> None:
    """Let alias `production` point at a version, in the engine database alone."""
    key = {"model_id": MODEL, "alias": "production"}
    row = {"number": number, "generation": 1, "moved_at": datetime.now(UTC)}
    with engine.begin() as connection:
        connection.execute(aliases.delete())
        connection.execute(aliases.insert().values(key | row))


def make_report(day: int, verdict="no_drift", share=0.1, number=1, **performance) -> DriftReport:
    end = REPLAY_FROM + day * DAY
    facts = {"fell": None, "new_labelled_bars": 500} | performance
    return DriftReport(
        MODEL, number, end - 20 * DAY, end, 63, verdict, share, {}, {}, facts, None, end
    )


def log_predictions(directory, features: np.ndarray, start: datetime, **changes) -> None:
    """Log version 1's predictions: score 0.25, features (n_times, n_symbols, n_features)."""
    log = PredictionLog(directory, PredictionLogSettings(prediction_log_flush_seconds=60))
    served_at = datetime.now(UTC)  # a replay: years within seconds
    for i, of_time in enumerate(features):
        at = start + i * DAY
        facts = {
            "request_id": "r",
            "served_at": served_at,
            "as_of": at,
            "model_id": MODEL,
            "version": 1,
            "flavor": "onnx",
            "backend": "cpu",
            "latency_ms": 0.1,
            "scores": [0.25],
            "answer": "{}",
            "source_kind": "bars",
        } | changes
        rows = zip(SYMBOLS, of_time, strict=False)
        log.append(make_logged(*(facts | {"symbol": s, "features": x} for s, x in rows)))
    log.close()


def make_bars(n_times: int, start: datetime = TRAINED_FROM) -> pl.DataFrame:
    rng = np.random.default_rng(11)
    close = 100 * np.exp(np.cumsum(0.01 * rng.standard_normal((n_times, len(SYMBOLS))), axis=0))
    return pl.DataFrame(
        {
            "symbol": list(SYMBOLS) * n_times,
            "timestamp": [start + i * DAY for i in range(n_times) for _ in SYMBOLS],
            "close": close.ravel(),
        },
        schema_overrides={"timestamp": pl.Datetime("us", "UTC")},
    )


def store_bars(directory, n_times: int) -> BarStore:
    store = BarStore(directory)
    store.append(make_bars(n_times), "1d", "adjusted")
    return store


@pytest.fixture
def platform(settings, tracking_uri, tmp_path, monkeypatch):
    """Settings whose MLflow is this test's own."""
    monkeypatch.chdir(tmp_path)  # where MLflow on SQLite puts a new experiment's files
    return settings.model_copy(update={"mlflow_tracking_uri": tracking_uri})


@pytest.fixture
def registry(platform, engine) -> Registry:
    return Registry(platform, engine)


@pytest.fixture
def register(registry, tracking_uri, tmp_path):
    """Register a version for real; returns it. `comparison` names its champion gate."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
    experiment = client.get_experiment_by_name("tests").experiment_id

    def make(comparison: str | None = None, spoil: str | None = None):
        run_id = client.create_run(experiment).info.run_id
        record = [
            replace(row, value=None) if row.gate == spoil else row
            for row in passing_record(comparison)
        ]
        directory = write_version(tmp_path / "made")
        return registry.register(directory, watched_contract(), record, run_id)

    return make


@pytest.fixture
def world() -> SimpleNamespace:
    """The functions and constants of this file, for tests that build their own history."""
    return SimpleNamespace(
        model=MODEL,
        symbols=SYMBOLS,
        start=REPLAY_FROM,
        make_contract=watched_contract,
        make_features=make_features,
        make_report=make_report,
        insert_version=insert_version,
        serve=serve,
        log_predictions=log_predictions,
        store_bars=store_bars,
    )
