"""Trees of CatBoost's binary file, and the ONNX node built from them, against CatBoost itself."""

import numpy as np
import onnxruntime as ort
import pytest
from catboost import CatBoost, Pool

from registry.errors import UnreadableArtifactError, UnsupportedModelError
from registry.flavors import NativeModel
from registry.flavors.onnx import FLAVOR
from registry.flavors.trees.catboost import catboost_features, open_catboost, read_catboost


def train(folder, loss="RMSE", categorical=(), nan_mode="Min", **changes):
    rng = np.random.default_rng(5)
    X = rng.standard_normal((900, 4)).astype(np.float32)
    X[:, 2] = rng.integers(0, 6, len(X))
    X[rng.random(len(X)) < 0.1, 0] = np.nan
    signal = np.nan_to_num(X[:, 0]) + np.isin(X[:, 2], [1, 4])
    y = np.digitize(signal, [-0.4, 0.8]).astype(float) if loss == "MultiClass" else 90 + signal
    settings = {"loss_function": loss, "iterations": 20, "depth": 4, "nan_mode": nan_mode}
    quiet = {"thread_count": 1, "verbose": 0, "allow_writing_files": False}
    model = CatBoost(settings | quiet | changes)
    model.fit(Pool(catboost_features(X, list(categorical)), y, cat_features=list(categorical)))
    model.save_model(str(folder / "model.cbm"))
    return model, X, (folder / "model.cbm").read_bytes()


def through_onnx(payload, X):
    session = ort.InferenceSession(
        *FLAVOR.write(NativeModel("catboost-cbm", payload), None).values()
    )
    return session.run(["scores"], {"features": X})[0]


@pytest.mark.parametrize("loss", ["RMSE", "MultiClass"])
@pytest.mark.parametrize("nan_mode", ["Min", "Max"])
def test_margins_equal_catboosts_at_borders_and_for_missing_values(tmp_path, loss, nan_mode):
    model, X, payload = train(tmp_path, loss, nan_mode=nan_mode)
    trees = read_catboost(payload, "onnx")
    splits = np.flatnonzero(~trees.is_leaf)
    at_borders = X[np.arange(len(splits)) % len(X)].copy()
    at_borders[np.arange(len(splits)), trees.feature[splits]] = trees.value[splits]
    for rows in (X, at_borders, np.full((3, 4), np.nan, np.float32)):
        expected = model.predict(rows, prediction_type="RawFormulaVal").reshape(len(rows), -1)
        np.testing.assert_allclose(through_onnx(payload, rows), expected, rtol=3e-6, atol=3e-6)


def test_the_intercept_and_the_scale_are_part_of_the_scores(tmp_path):
    model, X, _ = train(tmp_path)
    model.set_scale_and_bias(0.5, -3.0)
    model.save_model(str(tmp_path / "scaled.cbm"))
    payload = (tmp_path / "scaled.cbm").read_bytes()
    expected = model.predict(X, prediction_type="RawFormulaVal")[:, None]
    np.testing.assert_allclose(through_onnx(payload, X), expected, rtol=3e-6, atol=3e-6)


def test_categorical_features_are_refused_with_the_reason(tmp_path):
    *_, payload = train(tmp_path, categorical=[2])
    with pytest.raises(UnsupportedModelError, match="statistics behind a hash"):
        read_catboost(payload, "onnx")


def test_trees_that_are_not_oblivious_are_refused(tmp_path):
    *_, payload = train(tmp_path, grow_policy="Depthwise")
    with pytest.raises(UnsupportedModelError, match="not oblivious"):
        read_catboost(payload, "onnx")


@pytest.mark.parametrize("payload", [b"", b"CBM1", b"garbage" * 9])
def test_bytes_that_are_no_model_are_refused(payload):
    with pytest.raises(UnreadableArtifactError, match="convert the model again"):
        open_catboost(payload)


def test_codes_are_integers_and_what_is_no_code_is_unknown():
    X = np.float32([[0.5, 3.0], [np.nan, np.nan], [1.5, 3e38]])
    found = catboost_features(X, [1])
    assert found[:, 1].tolist() == [3, -1, -1]
    assert [type(code) for code in found[:, 1]] == [int] * 3
    assert catboost_features(X, []) is X


def test_a_file_cut_anywhere_is_unreadable(tmp_path):
    _, _, payload = train(tmp_path, "MultiClass")
    open_catboost(payload)
    for length in range(0, len(payload), max(1, len(payload) // 200)):
        with pytest.raises(UnreadableArtifactError):
            open_catboost(payload[:length])
