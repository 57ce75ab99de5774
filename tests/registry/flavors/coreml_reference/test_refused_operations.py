"""Operations that are refused: what is not known, what contradicts itself, what does not fit."""

import numpy as np
import pytest

from registry.errors import UnevaluatedPackageError, UnreadableArtifactError
from tests.registry.flavors.coreml_reference.building import evaluate

X = np.float32([[-2.5, -1.0, -0.25], [0.0, 0.75, 3.5]])
Y = np.float32([[2.0, -1.5, 0.5], [4.0, 0.75, -3.0]])
I = np.int32([[7, -3, 2], [9, 4, -5]])  # noqa: E741
SHARED = ("FLOAT32", (2, 3))


def vector(*numbers):
    return np.array(numbers, np.int32)


def steps(end, step):
    return {"start": np.int32(0), "end": np.int32(end), "step": np.int32(step)}


REFUSED_AT_RUN_TIME = [
    ("cast", ("INT8", (1,)), {"x": vector(200), "dtype": "int8"}, "out of the range of INT8"),
    ("cast", ("INT32", (1,)), {"x": np.float32([np.nan]), "dtype": "int32"}, "NaN or infinity"),
    ("floor_div", ("INT32", (1,)), {"x": vector(2), "y": vector(0)}, "division by zero"),
    ("real_div", ("INT32", (1,)), {"x": vector(3), "y": vector(2)}, "leaves a rest"),
    ("mul", ("INT32", (1,)), {"x": vector(2**30), "y": vector(4)}, "out of the range of INT32"),
    ("add", ("FLOAT32", (2, 3)), {"x": X, "y": np.float32([1, 2])}, "broadcast"),
    ("add", ("FLOAT32", (3, 2)), {"x": X, "y": Y}, r"shape \(2, 3\), declared is FLOAT32\[3, 2\]"),
    ("gather", SHARED, {"x": X, "indices": vector(-1, 0)}, "index -1 or 0 of an axis of 2"),
    ("gather", SHARED, {"x": X, "indices": vector(0, 2)}, "index 0 or 2 of an axis of 2"),
    ("reshape", SHARED, {"x": X, "shape": vector(4, 2)}, "cannot reshape"),
    ("fill", SHARED, {"shape": vector(2**30, 2**30), "value": np.float32(0)}, "a tensor of shape"),
    ("fill", SHARED, {"shape": vector(-1), "value": np.float32(0)}, "a tensor of shape"),
    ("tile", SHARED, {"x": X, "reps": vector(2**30, 2**30)}, "a tensor of shape"),
    ("pad", SHARED, {"x": X, "pad": vector(0, 2**30)}, "a tensor of shape"),
    ("range_1d", ("INT32", (3,)), steps(2**31 - 1, 1), "a tensor of shape"),
    ("range_1d", ("INT32", (3,)), steps(4, 0), "division by zero"),
    ("softmax", SHARED, {"x": X, "axis": np.int32(5)}, "axis 5"),
    ("slice_by_size", SHARED, {"x": X, "begin": vector(0, 2), "size": vector(2, 3)}, "3 from 2 on"),
    ("linear", ("FLOAT32", (2, 2)), {"x": X, "weight": Y, "bias": np.float32([1])}, "is expected"),
    ("batch_norm", SHARED, {"x": X, "mean": X[0, :1], "variance": X[0]}, "is expected"),
    ("layer_norm", SHARED, {"x": X, "axes": vector(-1), "gamma": X[0, :1]}, "is expected"),
    ("layer_norm", SHARED, {"x": X, "axes": vector(1, 0)}, "not in order"),
    ("matmul", SHARED, {"x": X, "y": Y}, "mismatch"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "output", "given", "cause"), REFUSED_AT_RUN_TIME, ids=lambda v: str(v)[:12]
)
def test_inputs_that_do_not_fit_are_one_line(name, output, given, cause):
    with pytest.raises(UnreadableArtifactError, match=cause) as caught:
        evaluate(name, output, **given)
    assert "\n" not in str(caught.value)


def test_an_update_of_one_place_by_several_values_is_refused():
    given = {"mode": "update", "axis": np.int32(0)}
    with pytest.raises(UnreadableArtifactError, match="one place by several values"):
        evaluate("scatter", SHARED, data=X, indices=vector(0, 0), updates=Y, **given)


REFUSED_AT_LOADING = [
    ("topk", SHARED, {"x": X}, "operation 'topk' of CoreML7"),
    ("relu", SHARED, {"x": X, "slope": Y}, "input 'slope' of operation relu"),
    ("relu", ("INT32", (2, 3)), {"x": I}, "x of operation relu of type INT32"),
    ("gelu", SHARED, {"x": X, "mode": "QUICK"}, "mode of operation gelu 'QUICK'"),
    ("concat", SHARED, {"values": [X], "axis": np.int32(0), "interleave": np.bool_(True)}, "True"),
    ("lstm", SHARED, {"x": X, "clip": np.float32(1)}, "input 'clip' of operation lstm"),
    ("clip", SHARED, {"x": X, "alpha": "@features", "beta": np.float32(1)}, "that is not constant"),
    ("softmax", SHARED, {"x": X, "axis": vector(1)}, r"axis of .* of type INT32\[1\]"),
    ("conv", SHARED, {"x": X, "weight": X, "pad_type": "same"}, "pad_type of .* 'same'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "output", "given", "what"), REFUSED_AT_LOADING, ids=lambda v: str(v)[:12]
)
def test_what_is_not_known_refuses_by_name(name, output, given, what):
    with pytest.raises(UnevaluatedPackageError, match=what) as caught:
        evaluate(name, output, **given)
    assert "\n" not in str(caught.value)


CONTRADICTIONS = [
    (
        "add",
        SHARED,
        {"x": X, "y": Y.astype(np.float16)},
        "add of different types: FLOAT16, FLOAT32",
    ),
    ("add", ("FLOAT16", (2, 3)), {"x": X, "y": Y}, "add gives FLOAT32; declared is FLOAT16"),
    ("less", SHARED, {"x": X, "y": Y}, "less gives BOOL; declared is FLOAT32"),
    ("cast", SHARED, {"x": X, "dtype": "int32"}, "cast gives INT32; declared is FLOAT32"),
    ("add", SHARED, {"x": X}, "add has no input y"),
    ("add", SHARED, {"x": X, "y": "@later"}, "'later' is used before it is computed"),
]


@pytest.mark.parametrize(
    ("name", "output", "given", "cause"), CONTRADICTIONS, ids=lambda v: str(v)[:12]
)
def test_a_program_that_contradicts_itself_is_refused(name, output, given, cause):
    with pytest.raises(UnreadableArtifactError, match=cause):
        evaluate(name, output, **given)
