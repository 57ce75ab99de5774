"""A version's files, its contract and a record that opens the serve lock."""

import json

import numpy as np
import pytest

from registry import version_files
from registry.decoder import Decoder
from registry.versions import Registry
from tests.examples import failing_record, make_contract, passing_record


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
        return registry.register(
            directory, make_contract(model_id=model_id, parameters={"max_depth": 4}), chosen, run_id
        )

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
    return failing_record("better")


@pytest.fixture
def version_folder(tmp_path):
    """A folder with the files of a version."""
    return write_version(tmp_path / "made")
