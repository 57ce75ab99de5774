import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pipelines import pyfunc
from pipelines.architectures import ARCHITECTURES, Objective, TrainingRows
from pipelines.pyfunc import _load_pyfunc
from registry import version_files
from registry.decoder import Decoder
from registry.errors import MissingArtifactError, MissingColumnsError, ShapeError, ValueRangeError
from registry.flavors import FLAVORS, Artifact
from registry.gates import GateRow
from registry.versions import Registry
from tests.examples import make_contract

NAMES = ("return_1", "return_5", "log_ewma_variance")
FACTS = {
    "level": 0.9,
    "ratio_lower": 0.25,
    "ratio_upper": 4.0,
    "ewma_scale": 1.0,
    "bars_per_year": 252.0,
    "bars_per_day": 1.0,
}


def make_rows(n, seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 3)).astype(np.float32)
    X[:, 2] = np.log(1e-4) + 0.3 * X[:, 2]
    y = np.exp(0.5 * X[:, 0]) * rng.gamma(2.0, 0.5, n)
    return TrainingRows(X, y.astype(np.float64), np.ones(n))


CONTRACT = make_contract(feature_names=NAMES, symbols=("AAA",))


@pytest.fixture(scope="module")
def native():
    fitted = ARCHITECTURES.get("xgboost").fit(
        make_rows(400, 1), Objective("gamma"), {"rounds": 20}, 7
    )
    return fitted.native()


@pytest.fixture
def folder(native, tmp_path):
    """A version's files as the convert stage writes them."""
    files: dict[str, bytes] = {}
    for name in ("native", "onnx"):
        files |= FLAVORS.get(name).write(native, CONTRACT)
    files |= Decoder(FACTS).to_files()
    files |= {
        version_files.CONTRACT_FILE: CONTRACT.to_json().encode(),
        version_files.RECORD_FILE: json.dumps([]).encode(),
    }
    for name, content in files.items():
        (tmp_path / "version" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "version" / name).write_bytes(content)
    return tmp_path / "version"


@pytest.fixture
def frame():
    return pd.DataFrame(make_rows(8, 2).X.astype(np.float64), columns=NAMES)


def expected_volatility(native, frame):
    """The annualised forecast straight from XGBoost's own booster."""
    import xgboost

    booster = xgboost.Booster(model_file=bytearray(native.payload))
    matrix = xgboost.DMatrix(frame.to_numpy(np.float32))
    margin = booster.predict(matrix, output_margin=True)
    return np.sqrt(np.exp(margin) * np.exp(frame["log_ewma_variance"]) * 252)


def test_answers_are_the_boosters_forecasts_decoded(folder, frame, native):
    answers = _load_pyfunc(str(folder)).predict(frame)
    found = [answer["volatility_annualised"] for answer in answers]
    np.testing.assert_allclose(found, expected_volatility(native, frame), rtol=1e-5)
    ratio = [answer["interval"]["upper"] / answer["interval"]["lower"] for answer in answers]
    np.testing.assert_allclose(ratio, 4.0, rtol=1e-6)  # sqrt(4.0 / 0.25)


def test_the_order_of_columns_does_not_matter_and_an_array_is_taken_as_ordered(folder, frame):
    model = _load_pyfunc(str(folder))
    answers = model.predict(frame)
    assert model.predict(frame[list(reversed(NAMES))]) == answers
    assert model.predict(frame.to_numpy(np.float32)) == answers


def test_further_columns_are_the_templates_context(folder, frame):
    model = _load_pyfunc(str(folder))
    doubled = frame.assign(ewma_variance=4 * np.exp(frame["log_ewma_variance"]))
    before = [answer["volatility_annualised"] for answer in model.predict(frame)]
    after = [answer["volatility_annualised"] for answer in model.predict(doubled)]
    np.testing.assert_allclose(after, 2 * np.array(before), rtol=1e-6)


def test_bad_frames_are_named_errors(folder, frame):
    model = _load_pyfunc(str(folder))
    with pytest.raises(MissingColumnsError, match="return_5"):
        model.predict(frame.drop(columns="return_5"))
    with pytest.raises(ValueRangeError, match="row 3, return_1"):
        model.predict(frame.assign(return_1=[0, 0, 0, np.nan, 0, 0, 0, 0]))
    with pytest.raises(ValueRangeError, match="row 0, return_5"):
        model.predict(frame.assign(return_5=1e39))
    with pytest.raises(ShapeError):
        model.predict(frame.to_numpy()[:, :2])


def test_a_version_without_its_onnx_file_is_one_clear_error(folder):
    (folder / "onnx" / "model.onnx").unlink()
    with pytest.raises(MissingArtifactError, match=r"model\.onnx"):
        _load_pyfunc(str(folder))


def test_a_version_that_onnx_cannot_hold_answers_from_its_native_file(folder, frame):
    expected = _load_pyfunc(str(folder)).predict(frame)
    (folder / "onnx" / "model.onnx").unlink()
    row = GateRow("parity.onnx.fp32", None, "<=", 1e-4, "not written: hashes", applicable=False)
    (folder / version_files.RECORD_FILE).write_text(json.dumps([row.to_json()]))
    found = _load_pyfunc(str(folder)).predict(frame)
    np.testing.assert_allclose(
        [answer["volatility_annualised"] for answer in found],
        [answer["volatility_annualised"] for answer in expected],
        rtol=1e-5,
    )


def test_a_program_is_never_run_in_its_place(folder):
    contract = replace(CONTRACT, native_format="torch-export")
    (folder / version_files.CONTRACT_FILE).write_text(contract.to_json())
    (folder / "onnx" / "model.onnx").unlink()
    row = GateRow("parity.onnx.fp32", None, "<=", 1e-4, "not written: hashes", applicable=False)
    (folder / version_files.RECORD_FILE).write_text(json.dumps([row.to_json()]))
    with pytest.raises(MissingArtifactError, match=r"model\.onnx.*digest is checked"):
        _load_pyfunc(str(folder))


class AppleMachine:
    """A backend of Core ML packages, whose scores say how many files it was given."""

    flavors = ("coreml",)
    is_reference = False

    def unavailable_reason(self):
        return None

    def load(self, artifact, files, contract):
        assert artifact == Artifact("coreml")
        return lambda features: np.full((len(features), 1), len(files), np.float32)


def add_package(folder):
    """Put a package of two files and one of half precision beside the program that is native."""
    for place in ("coreml/model.mlpackage", "coreml/fp16/model.mlpackage"):
        (folder / place).mkdir(parents=True)
        (folder / place / "Manifest.json").write_text("{}")
        (folder / place / "model.mlmodel").write_bytes(b"")
    contract = replace(CONTRACT, native_format="torch-export")
    (folder / version_files.CONTRACT_FILE).write_text(contract.to_json())
    without = GateRow("parity.onnx.fp32", None, "<=", 1e-4, "not written", applicable=False)
    record = [without, GateRow("parity.coreml.fp32", 0.0, "<=", 1e-5)]
    rows = json.dumps([row.to_json() for row in record])
    (folder / version_files.RECORD_FILE).write_text(rows)


def test_an_artifact_of_this_machine_answers_where_onnx_cannot(folder, frame, monkeypatch):
    add_package(folder)
    with pytest.raises(MissingArtifactError, match="nothing else runs here"):
        _load_pyfunc(str(folder))
    monkeypatch.setattr(pyfunc, "BACKENDS", {"apple": AppleMachine()})
    answers = _load_pyfunc(str(folder)).predict(frame)
    found = [answer["volatility_annualised"] for answer in answers]
    expected = np.sqrt(np.exp(2.0) * np.exp(frame["log_ewma_variance"]) * 252)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_an_interpreter_that_verifies_never_answers(folder, monkeypatch):
    add_package(folder)
    monkeypatch.setattr(AppleMachine, "is_reference", True)
    monkeypatch.setattr(pyfunc, "BACKENDS", {"interpreter": AppleMachine()})
    with pytest.raises(MissingArtifactError, match="nothing else runs here"):
        _load_pyfunc(str(folder))


@pytest.mark.integration
def test_mlflow_loads_a_registered_version(folder, frame, native, settings, engine, tracking_uri):
    import mlflow
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
    run = client.create_run(client.get_experiment_by_name("tests").experiment_id).info.run_id
    registry = Registry(settings.model_copy(update={"mlflow_tracking_uri": tracking_uri}), engine)
    registry.register(folder, CONTRACT, [], run, context_names=("ewma_variance", "close"))
    loaded = mlflow.pyfunc.load_model("models:/volatility_forecast/1")
    found = [answer["volatility_annualised"] for answer in loaded.predict(frame)]
    np.testing.assert_allclose(found, expected_volatility(native, frame), rtol=1e-5)
    known = frame.assign(ewma_variance=np.exp(frame["log_ewma_variance"]))
    again = [answer["volatility_annualised"] for answer in loaded.predict(known)]
    np.testing.assert_allclose(again, found, rtol=1e-6)
