"""Operations, each against its formula in numpy; float16 results are the rounded float32 ones."""

import math

import numpy as np
import pytest

from registry.errors import UnreadableArtifactError
from registry.flavors.coreml_reference.operations import NAMES, OPERATIONS
from tests.registry.flavors.coreml_reference.building import evaluate

X = np.array([[-2.5, -1.0, -0.25], [0.0, 0.75, 3.5]], np.float32)
Y = np.array([[2.0, -1.5, 0.5], [4.0, 0.75, -3.0]], np.float32)
POSITIVE = np.abs(X) + np.float32(0.5)
I = np.array([[7, -3, 2], [9, 4, -5]], np.int32)  # noqa: E741
J = np.array([[2, 2, -1], [4, 4, 3]], np.int32)
MASK = X > 0
SHARED = ("FLOAT32", (2, 3))
F16 = np.float16


def vector(*numbers):
    return np.array(numbers, np.int32)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-7)


FLOAT_SINGLES = {
    "abs": np.abs,
    "ceil": np.ceil,
    "cos": np.cos,
    "erf": np.vectorize(math.erf),
    "exp": np.exp,
    "exp2": np.exp2,
    "floor": np.floor,
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "round": np.round,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "sign": np.sign,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "sin": np.sin,
    "softplus": lambda x: np.log(1 + np.exp(x)),
    "square": np.square,
    "tanh": np.tanh,
}


@pytest.mark.parametrize("name", FLOAT_SINGLES)
def test_single_input(name):
    expected = FLOAT_SINGLES[name](X.astype(np.float64))
    close(evaluate(name, SHARED, x=X)[0], expected)
    half = evaluate(name, ("FLOAT16", (2, 3)), x=X.astype(F16))[0]
    np.testing.assert_array_equal(half, half.astype(F16).astype(np.float32))
    np.testing.assert_allclose(half, expected, rtol=1e-3)


PAIRS = {
    "add": np.add,
    "floor_div": np.floor_divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "mod": np.mod,
    "mul": np.multiply,
    "real_div": np.divide,
    "sub": np.subtract,
}
COMPARISONS = {
    "equal": np.equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "not_equal": np.not_equal,
}


@pytest.mark.parametrize("name", PAIRS)
def test_two_inputs_broadcast(name):
    close(evaluate(name, SHARED, x=X, y=Y)[0], PAIRS[name](X, Y))
    close(evaluate(name, SHARED, x=X, y=Y[1])[0], PAIRS[name](X, Y[1]))
    close(evaluate(name, ("FLOAT32", (2, 2, 3)), x=X, y=Y[:, None])[0], PAIRS[name](X, Y[:, None]))


@pytest.mark.parametrize("name", [n for n in PAIRS if n != "real_div"])
def test_two_inputs_of_integers_stay_integers(name):
    found = evaluate(name, ("INT32", (2, 3)), x=I, y=J)[0]
    np.testing.assert_array_equal(found, PAIRS[name](I, J))


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons_give_truth_values_also_of_missing_values(name):
    with_nan = np.where(X == 0, np.float32(np.nan), X)
    found = evaluate(name, ("BOOL", (2, 3)), x=with_nan, y=np.where(MASK, X, Y))[0]
    np.testing.assert_array_equal(found, COMPARISONS[name](with_nan, np.where(MASK, X, Y)))


def test_a_missing_value_differs_from_itself():
    x = np.array([np.nan, 1], np.float32)
    np.testing.assert_array_equal(evaluate("not_equal", ("BOOL", (2,)), x=x, y=x)[0], [True, False])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("logical_and", np.logical_and), ("logical_or", np.logical_or), ("logical_xor", np.not_equal)],
)
def test_logic(name, expected):
    found = evaluate(name, ("BOOL", (2, 3)), x=MASK, y=Y > 0)[0]
    np.testing.assert_array_equal(found, expected(MASK, Y > 0))
    assert not evaluate("logical_not", ("BOOL", (2, 3)), x=MASK)[0][MASK].any()


WITH_PARAMETERS = [
    ("clip", {"alpha": np.float32(-1), "beta": np.float32(2)}, np.clip(X, -1, 2)),
    ("elu", {"alpha": np.float32(0.5)}, np.where(X > 0, X, 0.5 * (np.exp(X) - 1))),
    ("inverse", {"epsilon": np.float32(1)}, 1 / (X + 1 + (X == -1))),
    ("leaky_relu", {"alpha": np.float32(0.1)}, np.where(X >= 0, X, 0.1 * X)),
    ("threshold", {"alpha": np.float32(0.5)}, np.maximum(X, 0.5)),
]


@pytest.mark.parametrize(("name", "given", "expected"), WITH_PARAMETERS, ids=lambda v: str(v)[:9])
def test_single_input_with_parameters(name, given, expected):
    x = np.where(X == -1, np.float32(0), X) if name == "inverse" else X
    expected = 1 / (x + 1) if name == "inverse" else expected
    close(evaluate(name, SHARED, x=x, **given)[0], expected)


def test_logarithm_and_roots_add_their_epsilon():
    half, none = np.float32(0.5), np.float32(0)
    close(evaluate("log", SHARED, x=POSITIVE, epsilon=half)[0], np.log(POSITIVE + half))
    close(evaluate("rsqrt", SHARED, x=POSITIVE, epsilon=half)[0], (POSITIVE + half) ** -0.5)
    close(evaluate("sqrt", SHARED, x=POSITIVE)[0], np.sqrt(POSITIVE))
    close(evaluate("pow", SHARED, x=POSITIVE, y=Y)[0], POSITIVE**Y)
    zero = np.zeros((2, 3), np.float32)
    assert np.isneginf(evaluate("log", SHARED, x=zero, epsilon=none)[0]).all()


@pytest.mark.parametrize("mode", ["EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"])
def test_gelu(mode):
    x = X.astype(np.float64)
    approximations = {
        "EXACT": 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
        "TANH_APPROXIMATION": 0.5
        * x
        * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        "SIGMOID_APPROXIMATION": x / (1 + np.exp(-1.702 * x)),
    }
    close(evaluate("gelu", SHARED, x=X, mode=mode)[0], approximations[mode])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax(axis):
    powers = np.exp(X.astype(np.float64))
    expected = powers / powers.sum(axis=axis, keepdims=True)
    close(evaluate("softmax", SHARED, x=X, axis=np.int32(axis))[0], expected)


def test_select_takes_what_the_condition_says_also_beside_missing_values():
    a = np.where(MASK, X, np.float32(np.nan))
    close(evaluate("select", SHARED, cond=MASK, a=a, b=Y)[0], np.where(MASK, X, Y))
    one = np.ones((), np.float32)
    close(evaluate("select", SHARED, cond=MASK, a=one, b=Y)[0], np.where(MASK, 1, Y))


REDUCTIONS = {
    "reduce_l1_norm": lambda x, **k: np.abs(x).sum(**k),
    "reduce_l2_norm": lambda x, **k: np.sqrt((x * x).sum(**k)),
    "reduce_log_sum": lambda x, **k: np.log(x.sum(**k)),
    "reduce_log_sum_exp": lambda x, **k: np.log(np.exp(x).sum(**k)),
    "reduce_max": np.max,
    "reduce_mean": np.mean,
    "reduce_min": np.min,
    "reduce_prod": np.prod,
    "reduce_sum": np.sum,
    "reduce_sum_square": lambda x, **k: (x * x).sum(**k),
}


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize(("axes", "kept", "gone"), [((1,), (2, 1), (2,)), ((0, -1), (1, 1), ())])
def test_reductions(name, axes, kept, gone):
    for keep_dims, shape in ((True, kept), (False, gone)):
        given = {"axes": vector(*axes), "keep_dims": np.bool_(keep_dims)}
        expected = REDUCTIONS[name](POSITIVE.astype(float), axis=axes, keepdims=keep_dims)
        close(evaluate(name, ("FLOAT32", shape), x=POSITIVE, **given)[0], expected)


def test_a_reduction_without_axes_is_over_all_of_them():
    close(evaluate("reduce_sum", ("FLOAT32", ()), x=X)[0], X.sum())


def test_the_logarithm_of_a_sum_of_powers_does_not_overflow():
    x = np.array([[1e4, 1e4], [-np.inf, -np.inf], [-np.inf, 3]], np.float32)
    given = {"axes": vector(1), "keep_dims": np.bool_(False)}
    found = evaluate("reduce_log_sum_exp", ("FLOAT32", (3,)), x=x, **given)[0]
    close(found, [1e4 + math.log(2), -np.inf, 3])


@pytest.mark.parametrize(
    ("name", "expected"), [("reduce_argmax", np.argmax), ("reduce_argmin", np.argmin)]
)
def test_places_of_the_largest_and_smallest(name, expected):
    given = {"axis": np.int32(1), "keep_dims": np.bool_(False)}
    np.testing.assert_array_equal(
        evaluate(name, ("INT32", (2,)), x=X, **given)[0], expected(X, axis=1)
    )
    short = evaluate(name, ("UINT16", (2,)), x=X, output_dtype="uint16", **given)[0]
    np.testing.assert_array_equal(short, expected(X, axis=1))


A = np.arange(24, dtype=np.float32).reshape(2, 3, 4)

SHAPES = [
    ("transpose", {"perm": vector(2, 0, 1)}, A.transpose(2, 0, 1)),
    ("reshape", {"shape": vector(0, -1)}, None),
    ("reshape", {"shape": vector(4, -1)}, A.reshape(4, 6)),
    ("reshape", {"shape": vector(0, -1, 2)}, A.reshape(2, 6, 2)),
    ("expand_dims", {"axes": vector(0, -1)}, A[None, ..., None]),
    ("reverse", {"axes": vector(1)}, A[:, ::-1]),
    ("tile", {"reps": vector(1, 2, 1)}, np.tile(A, (1, 2, 1))),
    ("cumsum", {"axis": np.int32(1)}, A.cumsum(1)),
    ("cumsum", {"axis": np.int32(2), "exclusive": np.bool_(True)}, A.cumsum(2) - A),
    ("cumsum", {"reverse": np.bool_(True)}, A[::-1].cumsum(0)[::-1]),
    ("pad", {"pad": vector(1, 2)}, np.pad(A, [(0, 0), (0, 0), (1, 2)])),
    (
        "pad",
        {"pad": vector(1, 0, 0, 2), "mode": "constant", "constant_val": np.float32(7)},
        np.pad(A, [(0, 0), (1, 0), (0, 2)], constant_values=7),
    ),
    ("pad", {"pad": vector(2, 1), "mode": "reflect"}, A[..., [2, 1, 0, 1, 2, 3, 2]]),
    ("pad", {"pad": vector(2, 1), "mode": "replicate"}, A[..., [0, 0, 0, 1, 2, 3, 3]]),
    ("gather", {"indices": vector(2, 0), "axis": np.int32(1)}, A[:, [2, 0]]),
    ("gather", {"indices": np.int32(1), "axis": np.int32(-1)}, A[..., 1]),
    (
        "gather",
        {"indices": vector([2], [0]), "axis": np.int32(1), "batch_dims": np.int32(1)},
        np.stack([A[0, [2]], A[1, [0]]]),
    ),
    (
        "gather_along_axis",
        {"indices": np.full((2, 1, 4), 2, np.int32), "axis": np.int32(1)},
        A[:, 2:],
    ),
    ("gather_nd", {"indices": vector([1, 2], [0, 0])}, A[[1, 0], [2, 0]]),
    (
        "gather_nd",
        {"indices": vector([[1, 2]], [[0, 3]]), "batch_dims": np.int32(1)},
        np.array([[A[0, 1, 2]], [A[1, 0, 3]]]),
    ),
    ("slice_by_size", {"begin": vector(1, 0, -2), "size": vector(1, 2, -1)}, A[1:, :2, -2:]),
    ("slice_by_index", {"begin": vector(0, 1, 0), "end": vector(2, 3, 2)}, A[:, 1:3, :2]),
    (
        "slice_by_index",
        {
            "begin": vector(0, -1, 3),
            "end": vector(0, 0, 0),
            "stride": vector(1, 1, -2),
            "begin_mask": np.array([True, False, False]),
            "end_mask": np.array([True, False, True]),
            "squeeze_mask": np.array([False, True, False]),
        },
        A[:, -1, 3::-2],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "expected"), SHAPES, ids=lambda v: str(v)[:16])
def test_arrangements(name, given, expected):
    if expected is None:
        with pytest.raises(UnreadableArtifactError, match="a size 0 in a shape of another rank"):
            evaluate(name, ("FLOAT32", (2, 12)), x=A, **given)
        return
    found = evaluate(name, ("FLOAT32", expected.shape), x=A, **given)[0]
    np.testing.assert_array_equal(found, expected)


def test_squeeze_of_named_axes_and_of_all():
    x = A[:1, :, :1]
    one = evaluate("squeeze", ("FLOAT32", (3, 1)), x=x, axes=vector(0))[0]
    every = evaluate("squeeze", ("FLOAT32", (3,)), x=x)[0]
    np.testing.assert_array_equal(one.ravel(), every)


def test_joins_and_parts():
    given = {"axis": np.int32(1), "interleave": np.bool_(False)}
    joined = evaluate("concat", ("FLOAT32", (2, 6, 4)), values=[A, A], **given)[0]
    np.testing.assert_array_equal(joined, np.concatenate([A, A], 1))
    parts = evaluate(
        "split", *[("FLOAT32", (2, n, 4)) for n in (1, 2)], x=A, axis=np.int32(1),
        split_sizes=vector(1, 2),
    )  # fmt: skip
    np.testing.assert_array_equal(np.concatenate(parts, 1), A)
    halves = evaluate(
        "split", *[("FLOAT32", (2, 3, 2))] * 2, x=A, axis=np.int32(-1), num_splits=np.int32(2)
    )
    np.testing.assert_array_equal(halves[1], A[..., 2:])
    stacked = evaluate("stack", ("FLOAT32", (2, 2, 3)), values=[X, Y], axis=np.int32(0))[0]
    np.testing.assert_array_equal(stacked, [X, Y])
    scalars = [np.int32(4), np.int32(5)]
    found = evaluate("concat", ("INT32", (2,)), values=scalars, axis=np.int32(0))[0]
    np.testing.assert_array_equal(found, [4, 5])


def test_tensors_made_of_a_few_numbers():
    filled = evaluate("fill", SHARED, shape=vector(2, 3), value=np.float32(1.5))[0]
    np.testing.assert_array_equal(filled, np.full((2, 3), 1.5))
    np.testing.assert_array_equal(evaluate("shape", ("INT32", (3,)), x=A)[0], [2, 3, 4])
    numbers = {"start": np.int32(2), "end": np.int32(9), "step": np.int32(3)}
    np.testing.assert_array_equal(evaluate("range_1d", ("INT32", (3,)), **numbers)[0], [2, 5, 8])


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("update", [[9, 9], [1, 1], [8, 8]]),
        ("add", [[10, 10], [1, 1], [9, 9]]),
        ("sub", [[-8, -8], [1, 1], [-7, -7]]),
        ("mul", [[9, 9], [1, 1], [8, 8]]),
        ("div", [[1 / 9, 1 / 9], [1, 1], [1 / 8, 1 / 8]]),
        ("max", [[9, 9], [1, 1], [8, 8]]),
        ("min", [[1, 1], [1, 1], [1, 1]]),
    ],
)
def test_scatter(mode, expected):
    data, updates = np.ones((3, 2), np.float32), np.float32([[9, 9], [8, 8]])
    given = {"axis": np.int32(0), "mode": mode, "validate_indices": np.bool_(False)}
    found = evaluate(
        "scatter", ("FLOAT32", (3, 2)), data=data, indices=vector(0, 2), updates=updates, **given
    )[0]
    close(found, expected)
    places = np.array([[0, 0], [2, 2]], np.int32)
    along = evaluate(
        "scatter_along_axis", ("FLOAT32", (3, 2)), data=data, indices=places, updates=updates,
        **given,
    )[0]  # fmt: skip
    close(along, expected)


def test_products():
    close(evaluate("matmul", ("FLOAT32", (2, 2)), x=X, y=Y, transpose_y=np.bool_(True))[0], X @ Y.T)
    close(evaluate("matmul", ("FLOAT32", (3, 3)), x=X, y=Y, transpose_x=np.bool_(True))[0], X.T @ Y)
    given = {"weight": Y, "bias": np.float32([1, -1])}
    close(evaluate("linear", ("FLOAT32", (2, 2)), x=X, **given)[0], X @ Y.T + [1, -1])


CASTS = [
    (np.float32([1.9, -1.9]), "int32", "INT32", [1, -1]),
    (np.float32([0, -0.5]), "bool", "BOOL", [False, True]),
    (np.float32([1 + 2**-12, 7e4]), "fp16", "FLOAT16", [1, np.inf]),
    (np.array([True, False]), "fp32", "FLOAT32", [1, 0]),
    (np.array([300, -4], np.int32), "int16", "INT16", [300, -4]),
    (np.array([300, 4], np.int32), "uint16", "UINT16", [300, 4]),
    (np.array([30, -4], np.int32), "int8", "INT8", [30, -4]),
    (np.array([30, 4], np.uint16), "uint8", "UINT8", [30, 4]),
]


@pytest.mark.parametrize(("x", "dtype", "kind", "expected"), CASTS, ids=lambda v: str(v)[:9])
def test_casts(x, dtype, kind, expected):
    found = evaluate("cast", (kind, (2,)), x=x, dtype=dtype)[0]
    np.testing.assert_array_equal(found, expected)


def test_an_overflow_of_float16_becomes_infinite():
    x = np.array([60000, -60000], np.float16)
    found = evaluate("add", ("FLOAT16", (2,)), x=x, y=x)[0]
    np.testing.assert_array_equal(found, [np.inf, -np.inf])


def test_float16_is_rounded_to_nearest_even():
    x = np.array([2048, 2050], np.float16)
    one = np.ones(2, np.float16)
    np.testing.assert_array_equal(evaluate("add", ("FLOAT16", (2,)), x=x, y=one)[0], [2048, 2052])


def test_every_operation_has_one_formula_per_operation_set():
    assert len({name for name, _ in OPERATIONS}) == len(NAMES) - 2
    assert ("scaled_dot_product_attention", "CoreML7") not in OPERATIONS
