"""Trees of LightGBM's model text, and the ONNX node built from them, against LightGBM itself."""

import lightgbm as lgb
import numpy as np
import onnxruntime as ort
import pytest

from registry.errors import UnreadableArtifactError, UnsupportedModelError
from registry.flavors import NativeModel
from registry.flavors.onnx import FLAVOR
from registry.flavors.trees import LESS_EQUAL, round_down
from registry.flavors.trees.lightgbm import open_lightgbm, read_lightgbm

CODES = np.float32([*range(9), 9, 40, np.nan, -1])


def train(objective="regression", categorical=(), missing=0.1, **changes):
    rng = np.random.default_rng(5)
    X = rng.standard_normal((1200, 5)).astype(np.float32)
    X[:, 3] = rng.integers(0, 9, len(X))
    X[:, 4] = np.round(X[:, 4] * 3) / 3
    X[rng.random(X.shape) < missing] = np.nan
    signal = np.nan_to_num(X[:, 0]) + np.isin(X[:, 3], [2, 5, 7])
    y = {
        "regression": 900.0 + signal,
        "gamma": rng.gamma(2.0, 50.0, len(X)) * np.exp(signal),
        "multiclass": np.digitize(signal, [-0.4, 0.8]).astype(float),
    }.get(objective, signal)
    settings = {"objective": objective, "verbosity": -1, "num_threads": 1, "deterministic": True}
    if objective == "multiclass":
        settings["num_class"] = 3
    data = lgb.Dataset(X, label=y, categorical_feature=list(categorical))
    return lgb.train(settings | {"min_data_in_leaf": 5, "cat_smooth": 1} | changes, data, 20), X


def payload(booster):
    return booster.model_to_string().encode()


def margins(booster, X):
    return booster.predict(X, raw_score=True).reshape(len(X), -1)


def through_onnx(booster, X):
    (content,) = FLAVOR.write(NativeModel("lightgbm-txt", payload(booster)), None).values()
    return ort.InferenceSession(content).run(["scores"], {"features": X})[0]


def at_the_thresholds(booster, X):
    """Rows in which one feature is the float32 just below, at, or just above a split.

    Without LightGBM's own boundaries of zero, +-1e-35: it reads those a last digit off.
    """
    trees = read_lightgbm(payload(booster), "onnx")
    rng = np.random.default_rng(6)
    is_split = ~trees.is_leaf & (trees.mode == LESS_EQUAL) & (np.abs(trees.value) > 1e-30)
    chosen = rng.choice(np.flatnonzero(is_split), 3000)
    steps = rng.integers(-1, 2, 3000)
    value = trees.value[chosen]
    towards = np.where(steps > 0, np.inf, -np.inf).astype(np.float32)
    moved = np.where(steps == 0, value, np.nextafter(value, towards))
    rows = X[rng.integers(0, len(X), 3000)].copy()
    rows[np.arange(3000), trees.feature[chosen]] = moved
    return rows


@pytest.mark.parametrize("objective", ["regression", "gamma", "multiclass"])
@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_margins_equal_lightgbms_at_thresholds_and_for_missing_values(objective, missing):
    booster, X = train(objective, missing=missing)
    nothing = np.full((3, 5), np.nan, np.float32)
    for rows in (X, at_the_thresholds(booster, X), nothing):
        expected = margins(booster, rows)
        np.testing.assert_allclose(through_onnx(booster, rows), expected, rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("max_cat_to_onehot", [1, 20])
def test_sets_of_categories_are_held_and_unseen_or_missing_ones_go_where_lightgbm_sends_them(
    max_cat_to_onehot,
):
    booster, X = train(categorical=[3], max_cat_to_onehot=max_cat_to_onehot)
    assert "num_cat=1" in booster.model_to_string()
    rows = np.zeros((len(CODES), 5), np.float32)
    rows[:, 3] = CODES
    for some in (X, rows):
        expected = margins(booster, some)
        np.testing.assert_allclose(through_onnx(booster, some), expected, rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"linear_tree": True, "missing": 0.0}, "leaves are linear"),
        ({"zero_as_missing": True}, "treats zero as missing"),
        ({"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, "averages its trees"),
        ({"objective": "huber"}, "objective 'huber' is not in"),
    ],
)
def test_what_is_not_understood_is_refused(changes, reason):
    booster, _ = train(**changes)
    with pytest.raises(UnsupportedModelError, match=reason):
        read_lightgbm(payload(booster), "onnx")


def test_no_beginning_of_a_file_is_read():
    whole = payload(train()[0])
    for cut in range(0, whole.index(b"end of parameters"), 997):
        with pytest.raises(UnreadableArtifactError, match="convert the model again"):
            open_lightgbm(whole[:cut])


def test_a_tree_that_was_taken_out_is_noticed():
    whole = payload(train()[0])
    first, second = whole.index(b"Tree=1\n"), whole.index(b"Tree=2\n")
    with pytest.raises(UnreadableArtifactError, match="announced"):
        open_lightgbm(whole[:first] + whole[second:])


def test_a_threshold_rounded_down_decides_the_same_for_every_float32():
    rng = np.random.default_rng(0)
    thresholds = np.concatenate([rng.standard_normal(2000), [0.1, 0.0, 1e-320, 3e38, -3e38]])
    rounded = round_down(thresholds)
    for x in (rounded, np.nextafter(rounded, np.float32(np.inf))):
        np.testing.assert_array_equal(x <= rounded, x.astype(np.float64) <= thresholds)


def test_values_that_lightgbm_reads_as_zero_take_its_branch():
    rng = np.random.default_rng(0)
    sparse = np.where(rng.random((2000, 2)) < 0.7, 0, rng.standard_normal((2000, 2)))
    y = (sparse[:, 0] < 0) * 2.0 + (sparse[:, 1] > 0) + 0.1 * sparse[:, 0]
    settings = {"objective": "regression", "verbosity": -1, "num_threads": 1, "seed": 0}
    booster = lgb.train(settings, lgb.Dataset(sparse, y), 20)
    edge = np.float32(1e-35)
    sides = [np.nextafter(sign * edge, np.float32(end)) for sign in (-1, 1) for end in (-1, 0, 1)]
    values = np.float32([-edge, edge, *sides, -1e-45, 1e-45, 0, -1e-30, 1e-30])
    X = np.stack(np.meshgrid(values, values), axis=-1).reshape(-1, 2).astype(np.float32)
    thresholds = [tree["tree_structure"]["threshold"] for tree in booster.dump_model()["tree_info"]]
    assert any(abs(threshold) <= float(edge) for threshold in thresholds)
    np.testing.assert_allclose(through_onnx(booster, X), margins(booster, X), atol=1e-6)
