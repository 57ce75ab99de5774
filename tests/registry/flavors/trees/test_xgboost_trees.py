"""Trees read from a booster, and the ONNX node built from them, against XGBoost itself."""

import numpy as np
import onnxruntime as ort
import pytest
import xgboost as xgb

from registry.errors import UnreadableArtifactError, UnsupportedModelError
from registry.flavors import NativeModel
from registry.flavors.onnx import FLAVOR
from registry.flavors.trees.xgboost import open_booster, read_xgboost

OBJECTIVES = {
    "reg:gamma": lambda rng, X: rng.gamma(2.0, 50.0, len(X)) * np.exp(np.nan_to_num(X[:, 0])),
    "reg:squarederror": lambda rng, X: 900.0 + np.nan_to_num(X[:, 1]) + rng.random(len(X)),
    "multi:softprob": lambda rng, X: rng.choice(3, len(X), p=[0.7, 0.2, 0.1]).astype(float),
}


def train(objective, **changes):
    rng = np.random.default_rng(5)
    X = rng.standard_normal((1200, 5)).astype(np.float32)
    X[rng.random(X.shape) < 0.1] = np.nan
    X[:, 4] = np.round(X[:, 4] * 3) / 3
    X[:60, 3] *= np.float32(1e-42)
    settings = {"objective": objective, "max_depth": 5, "nthread": 1, "seed": 1, "verbosity": 0}
    if objective.startswith("multi"):
        settings["num_class"] = 3
    data = xgb.DMatrix(X, label=OBJECTIVES.get(objective, OBJECTIVES["reg:gamma"])(rng, X))
    booster = xgb.train(settings | {"tree_method": "hist"} | changes, data, 20)
    return booster, X


def native(booster):
    return NativeModel("xgboost-ubj", bytes(booster.save_raw("ubj")))


def margins(booster, X):
    return booster.predict(xgb.DMatrix(X), output_margin=True, strict_shape=True)


def through_onnx(booster, X):
    session = ort.InferenceSession(*FLAVOR.write(native(booster), None).values())
    return session.run(["scores"], {"features": X})[0]


def at_the_thresholds(booster, X):
    """Rows in which one feature lies exactly at, or one float32 below, a split of the trees."""
    trees = read_xgboost(native(booster).payload, "onnx")
    splits = np.flatnonzero(~trees.is_leaf)
    rng = np.random.default_rng(6)
    chosen = rng.choice(splits, 3000)
    value = trees.value[chosen]
    below = np.nextafter(value, np.float32(-np.inf))
    rows = X[rng.integers(0, len(X), len(chosen))].copy()
    rows[np.arange(len(rows)), trees.feature[chosen]] = np.where(
        rng.random(len(rows)) < 0.5, value, below
    )
    return rows


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_margins_equal_xgboosts_at_thresholds_and_for_missing_values(objective):
    booster, X = train(objective)
    for rows in (X, at_the_thresholds(booster, X), np.full((3, 5), np.nan, np.float32)):
        expected = margins(booster, rows)
        np.testing.assert_allclose(through_onnx(booster, rows), expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_denormal_and_huge_values_take_xgboosts_branch(objective):
    booster, _ = train(objective)
    extremes = np.float32([1e-45, -1e-45, 1e-42, 0.0, -0.0, 3.4e38, -3.4e38])
    rows = np.repeat(extremes[:, None], 5, axis=1)
    np.testing.assert_allclose(
        through_onnx(booster, rows), margins(booster, rows), rtol=2e-6, atol=2e-6
    )


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_base_is_the_margin_of_a_model_whose_leaves_are_all_zero(objective):
    booster, X = train(objective, eta=0.0)
    base = read_xgboost(native(booster).payload, "onnx").base
    np.testing.assert_allclose(margins(booster, X)[0], base, rtol=1e-6)


def test_trees_without_a_split_are_held():
    booster, X = train("reg:gamma", gamma=1e9)
    assert read_xgboost(native(booster).payload, "onnx").is_leaf.all()
    np.testing.assert_allclose(through_onnx(booster, X), margins(booster, X), rtol=1e-6)


def test_pruned_nodes_are_left_out():
    booster, X = train("reg:gamma", tree_method="exact", gamma=20.0)
    assert (read_xgboost(native(booster).payload, "onnx").feature < 5).all()
    np.testing.assert_allclose(through_onnx(booster, X), margins(booster, X), rtol=2e-6, atol=2e-6)


def test_a_booster_other_than_plain_trees_is_refused():
    booster, _ = train("reg:gamma", booster="dart")
    with pytest.raises(UnsupportedModelError, match="booster 'dart' is not gbtree"):
        read_xgboost(native(booster).payload, "onnx")


def test_an_objective_whose_margin_is_not_known_is_refused():
    booster, _ = train("reg:tweedie")
    with pytest.raises(UnsupportedModelError, match="objective 'reg:tweedie' is not in"):
        read_xgboost(native(booster).payload, "onnx")


@pytest.mark.parametrize("max_cat_to_onehot", [1, 20])
def test_sets_of_categories_are_held_and_unseen_or_missing_ones_go_where_xgboost_sends_them(
    max_cat_to_onehot,
):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((900, 2)).astype(np.float32)
    X[:, 0] = rng.integers(0, 9, 900)
    X[rng.random(900) < 0.1, 0] = np.nan
    types = {"feature_types": ["c", "q"], "enable_categorical": True}
    data = xgb.DMatrix(X, label=np.isin(X[:, 0], [2, 5, 7]) + 0.1 * X[:, 1], **types)
    settings = {"nthread": 1, "max_cat_to_onehot": max_cat_to_onehot, "max_depth": 4}
    booster = xgb.train(settings, data, 20)
    codes = np.float32([*range(9), 9, 40, np.nan, -1])
    for rows in (X, np.column_stack([codes, np.zeros_like(codes)])):
        expected = booster.predict(xgb.DMatrix(rows, **types), strict_shape=True)
        np.testing.assert_allclose(through_onnx(booster, rows), expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("payload", [b"", b"garbage", b"{}", b"{L" + b"\xff" * 50, b'{"a": 1}'])
def test_bytes_that_are_no_model_are_refused_without_ending_the_process(payload):
    with pytest.raises(UnreadableArtifactError, match="convert the model again"):
        open_booster(payload)
