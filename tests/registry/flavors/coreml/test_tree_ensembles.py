"""Boosted trees as a TreeEnsemble: the branches and the sums of their own libraries."""

from importlib.util import find_spec

import lightgbm as lgb
import numpy as np
import pytest
import xgboost as xgb
from catboost import CatBoostClassifier

from registry.errors import UnsupportedModelError
from registry.flavors import NativeModel
from registry.flavors.coreml import FLAVOR
from registry.flavors.trees import EQUAL, TreeNodes
from registry.flavors.trees.catboost import read_catboost
from registry.flavors.trees.lightgbm import read_lightgbm
from registry.flavors.trees.xgboost import read_xgboost
from tests.examples import make_contract
from tests.registry.flavors.coreml.small_models import f32, opened

pytestmark = [
    pytest.mark.xdist_group("coreml"),
    pytest.mark.integration,
    pytest.mark.skipif(find_spec("coremltools") is None, reason="coremltools is not installed"),
]
FEATURES = ("a", "b", "c", "category")


def rows(n=400):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((n, 4)).astype(np.float32)
    X[:, 3] = rng.integers(0, 9, n)
    X[rng.random(X.shape) < 0.1] = np.nan
    signal = np.nan_to_num(X[:, 0]) + np.isin(X[:, 3], [2, 5, 7])
    return X, np.digitize(signal, [-0.4, 0.8])


def xgboost():
    X, y = rows()
    types = ["q", "q", "q", "c"]
    data = xgb.DMatrix(X, label=y, feature_types=types, enable_categorical=True)
    settings = {"objective": "multi:softprob", "num_class": 3, "max_depth": 4, "nthread": 1}
    booster = xgb.train(settings | {"max_cat_to_onehot": 1}, data, 6)
    payload = bytes(booster.save_raw("ubj"))

    def predict(X):
        some = xgb.DMatrix(X, feature_types=types, enable_categorical=True)
        return booster.predict(some, output_margin=True)

    return NativeModel("xgboost-ubj", payload), predict, read_xgboost(payload, "coreml")


def lightgbm():
    X, y = rows()
    settings = {"objective": "multiclass", "num_class": 3, "verbosity": -1, "num_threads": 1}
    changes = {"min_data_in_leaf": 5, "max_cat_to_onehot": 1, "cat_smooth": 1}
    data = lgb.Dataset(X, label=y, categorical_feature=[3])
    booster = lgb.train(settings | changes, data, 6)
    payload = booster.model_to_string().encode()

    def predict(X):
        return booster.predict(X, raw_score=True)

    return NativeModel("lightgbm-txt", payload), predict, read_lightgbm(payload, "coreml")


def catboost(tmp_path):
    X, y = rows()
    model = CatBoostClassifier(
        iterations=6, depth=3, verbose=0, thread_count=1, allow_writing_files=False
    ).fit(X, y)
    model.save_model(str(tmp_path / "model.cbm"))
    payload = (tmp_path / "model.cbm").read_bytes()

    def predict(X):
        return model.predict(X, prediction_type="RawFormulaVal")

    return NativeModel("catboost-cbm", payload), predict, read_catboost(payload, "coreml")


def contract(native, n_scores=3, names=FEATURES):
    return make_contract(n_scores, feature_names=names, native_format=native.format)


@pytest.mark.parametrize("library", ["xgboost", "lightgbm", "catboost"])
def test_margins_are_the_librarys_at_thresholds_for_missing_values_and_categories(
    library, tmp_path
):
    made = {"xgboost": xgboost, "lightgbm": lightgbm, "catboost": lambda: catboost(tmp_path)}
    native, predict, trees = made[library]()
    X, _ = rows()
    some = np.resize(X, (3 * len(trees.value), 4))
    is_split = ~trees.is_leaf & (trees.mode != EQUAL) & (np.abs(trees.value) > 1e-30)
    value = np.where(is_split, trees.value, 0)
    near = [value, np.nextafter(value, f32(np.inf)), np.nextafter(value, f32(-np.inf))]
    at = np.tile(np.flatnonzero(is_split), 3)
    some = np.resize(X, (len(at), 4))
    some[np.arange(len(at)), trees.feature[at]] = np.concatenate(near)[
        at + np.repeat(np.arange(3), is_split.sum()) * len(value)
    ]
    if library != "catboost":  # it reads every number as a number
        assert (trees.mode == EQUAL).any()
        some[: len(at) // 2, 3] = np.resize(f32(*range(10), 40, np.nan), len(at) // 2)
    some = np.concatenate([some, np.full((1, 4), np.nan, np.float32), X])
    if library == "catboost":
        some[:, 3] = np.resize(X[:, 3], len(some))
    found = opened(native, contract(native))(some)
    np.testing.assert_allclose(found, predict(some), rtol=3e-6, atol=3e-6)


def test_huge_tiny_and_infinite_values_take_xgboosts_branches():
    native, predict, _ = xgboost()
    ends = f32(3.4e38, -3.4e38, 1e-45, -1e-45, 0.0, -0.0)
    X = np.random.default_rng(0).choice(ends, (200, 4))
    X[:, 3] = np.arange(200) % 9
    found = opened(native, contract(native))(X)
    np.testing.assert_allclose(found, predict(X), rtol=3e-6, atol=3e-6)


def test_one_feature_one_tree_and_one_leaf_are_held():
    X = f32([0], [1], [2])
    data = xgb.DMatrix(X, label=[1.0, 2.0, 3.0])
    for settings in ({"max_depth": 1, "min_child_weight": 0}, {"gamma": 1e9}):
        booster = xgb.train({"objective": "reg:squarederror", "nthread": 1} | settings, data, 1)
        native = NativeModel("xgboost-ubj", bytes(booster.save_raw("ubj")))
        found = opened(native, contract(native, 1, ("a",)))(X)
        np.testing.assert_allclose(found[:, 0], booster.predict(data), rtol=1e-6)


def test_a_tree_has_one_precision():
    native, _, _ = xgboost()
    for variant in ("fp16", *FLAVOR.compressions):
        with pytest.raises(UnsupportedModelError, match="a TreeEnsemble has one precision"):
            FLAVOR.write(native, contract(native), variant)


def shared(n_categories):
    """A set of categories whose members share one subtree of three nodes."""
    nodes = TreeNodes(2, 1)
    nodes.start_tree()
    chain = nodes.add_membership(0, list(range(n_categories)), nan_in=True)
    member = nodes.add_split(1, 0, 0.5, False)
    nodes.connect(member, nodes.add_leaf({0: 1.0}), nodes.add_leaf({0: 2.0}))
    nodes.connect_chain(chain, member, nodes.add_leaf({}))
    return nodes.ensemble(f32(10))


def test_a_shared_branch_is_written_for_each_of_its_parents(monkeypatch):
    monkeypatch.setattr("registry.flavors.coreml.trees.MAX_NODES", 13)
    monkeypatch.setattr("registry.flavors.coreml._WRITERS", _writer_of(shared(3)))
    native = NativeModel("xgboost-ubj", b"")
    found = opened(native, contract(native, 1, ("a", "b")))(
        f32([0, 0], [1, 1], [2, 0], [3, 0], [np.nan, 1])
    )
    np.testing.assert_array_equal(found[:, 0], f32(11, 12, 11, 10, 12))


def test_more_nodes_than_a_package_may_have_are_refused(monkeypatch):
    monkeypatch.setattr("registry.flavors.coreml.trees.MAX_NODES", 12)
    monkeypatch.setattr("registry.flavors.coreml._WRITERS", _writer_of(shared(3)))
    native = NativeModel("xgboost-ubj", b"")
    with pytest.raises(UnsupportedModelError, match="more than 12 nodes once shared branches"):
        FLAVOR.write(native, contract(native, 1, ("a", "b")))


def _writer_of(trees):
    from registry.flavors.coreml import _from_trees

    return {"xgboost-ubj": _from_trees(lambda *_: trees)}
