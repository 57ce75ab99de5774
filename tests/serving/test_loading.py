import sys
from dataclasses import replace

import numpy as np
import pytest

from registry.errors import (
    DigestMismatchError,
    FingerprintMismatchError,
    GoldenRowsError,
    ModelNotLoadedError,
    UnreadableArtifactError,
)
from registry.flavors.arrays import save_arrays
from registry.flavors.arrays.linear import Linear
from registry.flavors.arrays.preprocessing import Preprocessing
from registry.flavors.native import native_path
from registry.version_files import GOLDEN_FILE
from serving.loading import _used_columns, load

MODEL = "volatility_forecast"


def test_a_version_loads_with_what_decoding_needs(version_folder, make):
    *_, version = load(make.files(version_folder), MODEL, 1)
    assert [(o.flavor, o.backend) for o in version.options] == [("onnx", "cpu")]
    assert version.options[0].curve is not None
    assert set(version.context_names) == {"ewma_variance", "close"}
    assert version.used_columns == {"close"}
    assert version.refusals == ()
    assert version.n_bytes > 0


def test_a_version_with_its_native_file_alone_loads(tmp_path, make):
    contract = make.version(tmp_path, native_format="arrays")
    weights = golden_weights(tmp_path)
    n = len(weights)
    as_it_is = [np.zeros(n), np.full(n, -1e6), np.full(n, 1e6), np.zeros(n), np.ones(n)]
    preprocessing = Preprocessing(*(column.astype(np.float32) for column in as_it_is))
    model = Linear(preprocessing, weights, np.zeros(1, np.float32))
    (tmp_path / "onnx/model.onnx").unlink()
    (tmp_path / "native").mkdir()
    path = tmp_path / native_path(contract.native_format)
    path.write_bytes(save_arrays(model).payload)
    *_, version = load(make.files(tmp_path), MODEL, 1)
    assert [(o.flavor, o.backend) for o in version.options] == [("native", "cpu")]


def test_a_package_for_other_hardware_is_said_to_be_absent_and_not_read(tmp_path, make):
    make.version(tmp_path)
    for path in ("coreml/model.mlpackage/Manifest.json", "coreml/fp16/model.mlpackage/x/w.bin"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(b"not a package" * 1000)
    files = make.files(tmp_path)
    *_, version = load(files, MODEL, 1)
    assert {option.backend for option in version.options} == {"cpu"}
    assert set(version.absent) == {f"coreml.{v}/coreml_reference" for v in ("fp32", "fp16")}
    for reason in version.absent.values():
        assert reason.endswith("a reference interpreter verifies artifacts and never answers")
    assert version.n_bytes == sum(
        len(files.read(path))
        for artifact, paths in files.artifacts().items()
        if artifact.flavor != "coreml"
        for path in paths
    )


def golden_weights(folder):
    """The weights (n_features, 1) that the version's golden rows were made with."""
    with np.load(folder / GOLDEN_FILE) as golden:
        X, scores = golden["features"].astype(np.float64), golden["scores"]
    return np.linalg.lstsq(X, scores, rcond=None)[0].astype(np.float32)


def test_an_artifact_whose_library_is_absent_is_told_though_it_comes_last(
    tmp_path, make, monkeypatch
):
    contract = make.version(tmp_path, native_format="xgboost-ubj")
    (tmp_path / "native").mkdir()
    (tmp_path / native_path(contract.native_format)).write_bytes(b"not read")
    monkeypatch.setitem(sys.modules, "xgboost", None)
    first, last = load(make.files(tmp_path), MODEL, 1)
    assert [o.flavor for o in last.options] == [o.flavor for o in first.options] == ["onnx"]
    assert "xgboost" in last.absent["native.fp32/cpu"]


def test_a_column_that_only_context_holds_is_used_when_the_answer_needs_it(loaded):
    class Wider:
        inputs = loaded.template.inputs

        def __init__(self, field):
            self.field = field

        def context(self, series):
            return loaded.template.context(series) | {"traded": series.volume}

        def decode(self, scores, features, context, *others):
            (answer,) = loaded.template.decode(scores, features, context, *others)
            return [(answer, context[self.field][0])]

    scores = np.zeros((1, 1), np.float32)
    needs, ignores = (replace(loaded, template=Wider(field)) for field in ("traded", "close"))
    assert _used_columns(needs, scores) == {"close", "volume"}
    assert _used_columns(ignores, scores) == {"close"}


def test_a_changed_byte_is_not_loaded(tmp_path, make):
    make.version(tmp_path)
    files = make.files(tmp_path)
    model = tmp_path / "onnx/model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    with pytest.raises(DigestMismatchError, match="it is not loaded"):
        list(load(files, MODEL, 1))


def test_another_feature_definition_is_not_loaded(tmp_path, make):
    make.version(tmp_path, feature_fingerprint="f" * 64)
    with pytest.raises(FingerprintMismatchError, match="train a new version"):
        list(load(make.files(tmp_path), MODEL, 1))


def test_an_artifact_that_misses_its_golden_rows_is_not_loaded(tmp_path, make):
    make.version(tmp_path, seed=1)
    other = tmp_path.parent / "other"
    make.version(other, seed=2)
    (other / "onnx/model.onnx").rename(tmp_path / "onnx/model.onnx")
    with pytest.raises(GoldenRowsError, match="misses its golden rows"):
        list(load(make.files(tmp_path), MODEL, 1))


def test_bytes_that_are_no_model_are_not_loaded(tmp_path, make):
    make.version(tmp_path)
    (tmp_path / "onnx/model.onnx").write_bytes(b"not a model")
    with pytest.raises(UnreadableArtifactError):
        list(load(make.files(tmp_path), MODEL, 1))


def test_a_version_without_a_flavor_for_this_machine_is_not_loaded(tmp_path, make):
    make.version(tmp_path)
    (tmp_path / "onnx/model.onnx").unlink()
    with pytest.raises(ModelNotLoadedError, match="version 1"):
        list(load(make.files(tmp_path), MODEL, 1))


def test_the_first_value_answers_like_the_last(version_folder, make):
    first, *_ = load(make.files(version_folder), MODEL, 1)
    *_, last = load(make.files(version_folder), MODEL, 1)
    rows = np.ones((3, len(first.contract.feature_names)), np.float32)
    np.testing.assert_array_equal(first.options[0].predictor(rows), last.options[0].predictor(rows))
