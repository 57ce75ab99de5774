"""A version's files, its contract and a record that opens the serve lock."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest

from registry import version_files
from registry.contract import DataSpan, ModelContract, TensorSpec, tensor_input
from registry.decoder import Decoder
from registry.gates import GateRow
from registry.versions import Registry

NAMES = ("return_1", "volatility_5")


def make_contract(model_id="volatility_forecast", **changes):
    facts = {
        "model_id": model_id,
        "template": "volatility_forecast",
        "architecture": "xgboost",
        "feature_set": "close_only",
        "feature_names": NAMES,
        "feature_fingerprint": "f" * 64,
        "window": 1,
        "inputs": tensor_input(len(NAMES), 1),
        "outputs": TensorSpec("scores", "float32", (None, 1)),
        "horizon": "5d",
        "horizon_bars": 5,
        "interval": "1d",
        "min_history": 30,
        "symbols": ("AAPL", "MSFT"),
        "price_basis": "adjusted",
        "native_format": "xgboost-ubj",
        "label_spec": {},
        "cost_spec": {},
        "parameters": {"max_depth": 4},
        "data": DataSpan("sample", "d" * 64, "1990-01-02", "2006-12-29", 8572, "survivors only"),
        "trained_until": "2006-12-29T00:00:00+00:00",
        "seed": 7,
        "git_commit": "c" * 40,
        "lock_sha256": "l" * 64,
        "created_at": datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
    }
    return ModelContract(**(facts | changes))


def passing_record(comparison: str | None = None):
    record = [
        GateRow("data.checks", 0.0, "<=", 0.0),
        GateRow("causality", 0.0, "<=", 1e-9),
        GateRow("feature_parity", 1e-9, "<=", 1e-6),
        GateRow("golden_rows", 1e-7, "<=", 1e-5),
        GateRow("digests", 0.0, "<=", 0.0),
        GateRow("parity.native", 0.0, "<=", 1e-5),
        GateRow("parity.onnx", 1e-7, "<=", 1e-5),
        GateRow("quality.dm_ewma", -4.9, "<", -1.645),
        GateRow("quality.dm_scaled_ewma", -3.1, "<", -1.645),
        GateRow("quality.bias", 1.02, "between", (0.8, 1.25)),
        GateRow("quality.qlike_vs_ewma", -0.05, "<", 0.0),
    ]
    if comparison:
        record.append(GateRow(f"champion.{comparison}", 0.001, "<", 0.01, against=1))
    return record


def failing_record():
    return [
        GateRow("quality.dm_ewma", -1.2, "<", -1.645) if row.gate == "quality.dm_ewma" else row
        for row in passing_record("better")
    ]


def write_version(directory, content=b"an onnx file"):
    files = {
        "native/model.ubj": b"a booster",
        "onnx/model.onnx": content,
        version_files.CURVES_FILE: json.dumps([]).encode(),
        **Decoder({"kind": "identity"}, {"scale": np.ones(1)}).to_files(),
    }
    for name, payload in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(payload)
    return directory


@pytest.fixture
def registry(settings, engine, tracking_uri):
    """A registry on the embedded engine database and an MLflow of its own."""
    return Registry(settings.model_copy(update={"mlflow_tracking_uri": tracking_uri}), engine)


@pytest.fixture
def run_id(tracking_uri):
    """An MLflow run that versions are made in."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
    return client.create_run(client.get_experiment_by_name("tests").experiment_id).info.run_id


@pytest.fixture
def register(registry, run_id, tmp_path):
    """Register a version with a given record (by default one that opens the serve lock)."""

    def make(record=None, model_id="volatility_forecast", content=b"an onnx file"):
        directory = write_version(tmp_path / "made", content)
        chosen = passing_record() if record is None else record
        return registry.register(directory, make_contract(model_id), chosen, run_id)

    return make


@pytest.fixture
def contract():
    return make_contract()


@pytest.fixture
def record():
    """A record that opens the serve lock of a first version."""
    return passing_record()


@pytest.fixture
def challenger():
    """A record that opens the serve lock against a champion."""
    return passing_record("better")


@pytest.fixture
def failing():
    """A record with one failed quality gate."""
    return failing_record()


@pytest.fixture
def version_folder(tmp_path):
    """A folder with the files of a version."""
    return write_version(tmp_path / "made")
