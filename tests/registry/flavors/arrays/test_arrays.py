"""Models of arrays: stored as they are, read back equal, and nothing else is read."""

import json

import numpy as np
import pytest
from safetensors.numpy import save

from registry.errors import UnreadableArtifactError
from registry.flavors.arrays import ARRAY_MODELS, open_arrays, save_arrays
from registry.flavors.arrays.clusters import ClusterStates
from registry.flavors.arrays.forest import Forest
from registry.flavors.arrays.linear import Linear
from registry.flavors.arrays.markov import MarkovFilter
from registry.flavors.arrays.preprocessing import Preprocessing


def f32(*values):
    return np.array(values, np.float32)


def i64(*values):
    return np.array(values, np.int64)


PREPROCESSING = Preprocessing(f32(1, 2), f32(-9, -9), f32(9, 9), f32(1, 2), f32(1, 0.5))
LINEAR = Linear(PREPROCESSING, f32([1, 0], [2, 1]), f32(0, 5))
FOREST = Forest(
    n_features=2,
    root=i64(0, 3),
    feature=i64(0, 0, 0, 1, 0, 0),
    value=f32(0.5, 0, 0, 1.5, 0, 0),
    left=i64(1, 1, 2, 4, 4, 5),
    right=i64(2, 1, 2, 5, 4, 5),
    nan_left=i64(0, 0, 0, 1, 0, 0),
    leaf=f32([0], [1], [2], [0], [10], [20]),
    base=f32(100),
)
CLUSTERS = ClusterStates(
    PREPROCESSING, f32([0, 0], [3, 0]), i64(0, 2), f32(0, 0), f32(1), i64(1), f32(-4)
)
HMM = MarkovFilter(
    window=2,
    preprocessing=PREPROCESSING,
    start=np.log(f32(0.5, 0.5)),
    transition=np.log(f32([0.9, 0.1], [0.2, 0.8])),
    whiten=np.hstack([np.eye(2), np.eye(2)]).astype(np.float32),
    centre=f32([0, 0], [2, 0]),
    level=f32(0, 0),
)
MODELS = (LINEAR, FOREST, CLUSTERS, HMM)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_what_was_stored_is_read_and_its_bytes_are_repeatable(model):
    native = save_arrays(model)
    again = open_arrays(native.payload)
    assert type(again) is type(model)
    assert save_arrays(again) == native
    assert {name: a.tolist() for name, a in again.arrays().items()} == {
        name: a.tolist() for name, a in model.arrays().items()
    }


def test_every_kind_is_in_the_catalog():
    assert {model.name for model in MODELS} <= set(ARRAY_MODELS)
    assert all(ARRAY_MODELS.get(model.name) is type(model) for model in MODELS)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_a_missing_a_further_a_reshaped_or_a_nan_array_is_refused(model):
    arrays = model.arrays()
    for name, values in arrays.items():
        wrong = [
            {k: v for k, v in arrays.items() if k != name},
            arrays | {name: values.astype(np.float64)},
            arrays | {name: values[None]},
        ]
        if values.dtype == np.float32:
            wrong.append(arrays | {name: np.full_like(values, np.nan)})
        for others in wrong:
            with pytest.raises(UnreadableArtifactError, match=name):
                open_arrays(save(others, metadata={"kind": model.name}))
    with pytest.raises(UnreadableArtifactError, match="unknown arrays extra"):
        open_arrays(save(arrays | {"extra": f32(1)}, metadata={"kind": model.name}))


@pytest.mark.parametrize(
    ("model", "change", "reason"),
    [
        (FOREST, {"left": i64(7, 1, 2, 4, 4, 5)}, "expected numbers in"),
        (FOREST, {"left": i64(0, 1, 2, 4, 4, 5)}, "not below its parent"),
        (FOREST, {"right": i64(2, 1, 2, 3, 4, 5)}, "not below its parent"),
        (FOREST, {"feature": i64(0, 0, 0, 2, 0, 0)}, "expected numbers in"),
        (CLUSTERS, {"state": i64(2, 0)}, "not sorted"),
        (CLUSTERS, {"far": i64(0)}, "not sorted|has some"),
        (CLUSTERS, {"sharpness": f32(0)}, "not above 0"),
        (HMM, {"window": i64(0)}, "expected numbers in"),
    ],
)
def test_arrays_that_contradict_each_other_are_refused(model, change, reason):
    with pytest.raises(UnreadableArtifactError, match=reason):
        open_arrays(save(model.arrays() | change, metadata={"kind": model.name}))


@pytest.mark.parametrize("metadata", [{"kind": "pickle"}, {"kind": ""}, None])
def test_an_unknown_kind_is_refused(metadata):
    with pytest.raises(UnreadableArtifactError):
        open_arrays(save(LINEAR.arrays(), metadata=metadata))


def test_bytes_that_are_no_file_are_refused():
    whole = save_arrays(LINEAR).payload
    for broken in (b"", b"garbage", whole[:40], whole[:-1], whole + b"x"):
        with pytest.raises(UnreadableArtifactError, match="not a safetensors file"):
            open_arrays(broken)


def test_the_file_says_nothing_but_its_kind():
    whole = save_arrays(LINEAR).payload
    header = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])
    assert header["__metadata__"] == {"kind": "linear"}


def test_inputs_fill_bound_shift_and_scale():
    X = f32([3, 4], [np.nan, np.nan], [1e30, -1e30])
    np.testing.assert_array_equal(PREPROCESSING(X), f32([2, 1], [0, 0], [8, -5.5]))


def test_linear_scores_by_hand():
    np.testing.assert_array_equal(LINEAR(f32([3, 4])), f32([4, 6]))


def test_a_forest_follows_thresholds_and_missing_values():
    X = f32([0.5, 1.5], [0.6, 1.6], [np.nan, np.nan])
    np.testing.assert_array_equal(FOREST(X), f32([111], [122], [112]))


def test_clusters_score_the_nearest_centre_and_what_lies_far():
    X = f32([1, 2], [4, 2], [1, 8])  # z: (0, 0), (3, 0), (0, 3)
    np.testing.assert_allclose(CLUSTERS(X), f32([0, -4, -9], [-9, -4, 0], [-9, -4, -18]))


def test_the_filter_equals_bayes_rule_written_out():
    X = f32([[1, 2], [3, 2]])  # z: (0, 0) then (2, 0)
    density = np.exp([[0, -2], [-2, 0]])
    first = 0.5 * density[0]
    ahead = first / first.sum() @ np.array([[0.9, 0.1], [0.2, 0.8]])
    second = ahead * density[1]
    np.testing.assert_allclose(np.exp(HMM(X)[0]), second / second.sum(), rtol=1e-6)
