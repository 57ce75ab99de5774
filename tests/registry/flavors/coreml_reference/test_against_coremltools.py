"""A second oracle: coremltools' own constant folding, and packages as coremltools writes them."""

from importlib.util import find_spec

import numpy as np
import pytest

from registry.errors import MLEngineError
from registry.flavors import Artifact, NativeModel
from registry.flavors.coreml_reference.models import open_model
from registry.flavors.coreml_reference.operations import NAMES
from tests.examples import make_contract
from tests.registry.flavors.coreml_reference.building import MIL_TYPES, evaluate

pytestmark = [
    pytest.mark.xdist_group("coreml"),
    pytest.mark.integration,
    pytest.mark.skipif(find_spec("coremltools") is None, reason="coremltools is not installed"),
]

X = np.float32([[-2.5, -1.0, -0.25], [0.0, 0.75, 3.5]])
Y = np.float32([[2.0, -1.5, 0.5], [4.0, 0.75, -3.0]])
POSITIVE = np.abs(X) + np.float32(0.5)
A = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
MASK = X > 0
AXES = {"axes": np.int32([1]), "keep_dims": True}


def ints(*numbers):
    return np.int32(numbers)


FOLDED = [
    *[(n, {"x": X, "y": Y}) for n in ("add", "floor_div", "maximum", "minimum", "mod", "mul")],
    *[(n, {"x": X, "y": Y}) for n in ("real_div", "sub", "equal", "not_equal", "greater")],
    *[(n, {"x": X, "y": Y}) for n in ("greater_equal", "less", "less_equal")],
    *[(n, {"x": MASK, "y": Y > 0}) for n in ("logical_and", "logical_or", "logical_xor")],
    ("logical_not", {"x": MASK}),
    ("pow", {"x": POSITIVE, "y": Y}),
    *[(n, {"x": X}) for n in ("abs", "ceil", "cos", "erf", "exp", "exp2", "floor", "identity")],
    *[(n, {"x": X}) for n in ("relu", "relu6", "round", "sigmoid", "sign", "sin", "softplus")],
    *[(n, {"x": X}) for n in ("square", "tanh")],
    ("sqrt", {"x": POSITIVE}),
    ("log", {"x": POSITIVE, "epsilon": np.float32(0.25)}),
    ("rsqrt", {"x": POSITIVE, "epsilon": np.float32(0.25)}),
    ("inverse", {"x": POSITIVE, "epsilon": np.float32(0.25)}),
    ("clip", {"x": X, "alpha": np.float32(-1), "beta": np.float32(2)}),
    ("elu", {"x": X, "alpha": np.float32(0.5)}),
    ("leaky_relu", {"x": X, "alpha": np.float32(0.5)}),
    ("threshold", {"x": X, "alpha": np.float32(0.5)}),
    *[("gelu", {"x": X, "mode": m}) for m in ("EXACT", "TANH_APPROXIMATION")],
    ("gelu", {"x": X, "mode": "SIGMOID_APPROXIMATION"}),
    ("softmax", {"x": X, "axis": 1}),
    ("select", {"cond": MASK, "a": X, "b": Y}),
    *[(f"reduce_{n}", {"x": POSITIVE, **AXES}) for n in ("l1_norm", "l2_norm", "log_sum")],
    *[(f"reduce_{n}", {"x": POSITIVE, **AXES}) for n in ("log_sum_exp", "max", "mean", "min")],
    *[(f"reduce_{n}", {"x": POSITIVE, **AXES}) for n in ("prod", "sum", "sum_square")],
    *[(n, {"x": X, "axis": 1, "keep_dims": False}) for n in ("reduce_argmax", "reduce_argmin")],
    ("cast", {"x": X, "dtype": "int32"}),
    ("cast", {"x": X, "dtype": "fp16"}),
    ("cast", {"x": X, "dtype": "bool"}),
    ("concat", {"values": [A, A + 1], "axis": 1}),
    ("stack", {"values": [A, A + 1], "axis": 1}),
    ("cumsum", {"x": A, "axis": 1, "exclusive": False, "reverse": True}),
    ("expand_dims", {"x": A, "axes": ints(0, -1)}),
    ("squeeze", {"x": A[:1], "axes": ints(0)}),
    ("fill", {"shape": ints(2, 3), "value": np.float32(1.5)}),
    ("pad", {"x": A, "pad": ints(1, 2, 0, 1), "mode": "constant", "constant_val": np.float32(3)}),
    ("pad", {"x": A, "pad": ints(1, 2), "mode": "reflect", "constant_val": np.float32(0)}),
    ("range_1d", {"start": np.int32(2), "end": np.int32(9), "step": np.int32(3)}),
    ("reshape", {"x": A, "shape": ints(0, -1, 2)}),
    ("reverse", {"x": A, "axes": ints(0, 2)}),
    ("shape", {"x": A}),
    ("split", {"x": A, "axis": 2, "split_sizes": ints(1, 3)}),
    ("split", {"x": A, "axis": 1, "num_splits": 3}),
    ("tile", {"x": A, "reps": ints(1, 2, 3)}),
    ("transpose", {"x": A, "perm": ints(2, 0, 1)}),
    ("gather", {"x": A, "indices": ints(2, 0), "axis": 1, "batch_dims": 0}),
    ("gather", {"x": A, "indices": np.int32([[1], [2]]), "axis": 1, "batch_dims": 1}),
    ("gather_along_axis", {"x": A, "indices": np.ones((2, 2, 4), np.int32), "axis": 1}),
    ("slice_by_size", {"x": A, "begin": ints(1, 0, -2), "size": ints(1, 2, -1)}),
    ("slice_by_index", {"x": A, "begin": ints(0, 1, 0), "end": ints(2, 3, 2)}),
    (
        "slice_by_index",
        {
            "x": A,
            "begin": ints(0, -1, 3),
            "end": ints(0, 0, 0),
            "stride": ints(1, 1, -2),
            "begin_mask": np.array([True, False, False]),
            "end_mask": np.array([True, False, True]),
            "squeeze_mask": np.array([False, True, False]),
        },
    ),
    ("matmul", {"x": X, "y": Y, "transpose_x": False, "transpose_y": True}),
    ("linear", {"x": X, "weight": Y, "bias": np.float32([1, -1])}),
]
UNFOLDED = {
    "batch_norm", "const", "conv", "conv_transpose", "gather_nd", "layer_norm", "lstm", "rnn",
    "scaled_dot_product_attention", "scatter", "scatter_along_axis", "silu", "while_loop",
}  # fmt: skip
"""Operations that coremltools does not evaluate: the other tests of this folder do."""
DECODED = {
    "constexpr_affine_dequantize",
    "constexpr_blockwise_shift_scale",
    "constexpr_lut_to_dense",
}


def as_inputs(given):
    """Inputs as arrays: coremltools' builder also takes plain numbers."""
    plain = {int: np.int32, bool: np.bool_}
    return {name: plain.get(type(value), lambda v: v)(value) for name, value in given.items()}


@pytest.fixture(scope="module")
def fold():
    """Returns what coremltools' builder makes of an operation on constants."""
    from registry.flavors.coreml.silence import silence

    with silence():
        from coremltools import target
        from coremltools.converters.mil.mil import Builder, Function

    def folded(name, given, opset="iOS17"):
        with Function({}, opset_version=getattr(target, opset)):
            made = getattr(Builder, name)(**given)
        return made if isinstance(made, list | tuple) else [made]

    return folded


@pytest.mark.parametrize(
    ("name", "given"), FOLDED, ids=[f"{n}-{k}" for k, (n, _) in enumerate(FOLDED)]
)
def test_constant_folding_of_coremltools_agrees(fold, name, given):
    expected = [np.asarray(made.val) for made in fold(name, given)]
    outputs = [(MIL_TYPES[str(value.dtype)], value.shape) for value in expected]
    found = evaluate(name, *outputs, **as_inputs(given))
    for one, value in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, value, rtol=2e-6, atol=1e-7)


def test_every_operation_has_an_oracle():
    assert {name for name, _ in FOLDED} | UNFOLDED | DECODED == set(NAMES)


CODES = np.int8([[1, 2, -3], [4, 5, -6]])
TABLE = np.float16([0.5, -1, 2, 8])
COMPRESSED = [
    (
        "constexpr_affine_dequantize",
        "iOS17",
        {
            "quantized_data": CODES,
            "zero_point": np.int8([1, -1]),
            "scale": np.float16([0.1, 10]),
            "axis": np.int32(0),
        },
    ),
    (
        "constexpr_affine_dequantize",
        "iOS17",
        {
            "quantized_data": CODES.view(np.uint8),
            "zero_point": np.uint8(3),
            "scale": np.float32(0.3),
            "axis": np.int32(1),
        },
    ),
    (
        "constexpr_lut_to_dense",
        "iOS17",
        {
            "indices": np.uint8([0b11100100, 0b10]),
            "lut": TABLE,
            "shape": np.uint32([5, 1]),
        },
    ),
    (
        "constexpr_blockwise_shift_scale",
        "iOS18",
        {"data": CODES, "scale": np.float16([[0.1], [3]]), "offset": np.int8([[1], [-2]])},
    ),
]


@pytest.mark.parametrize(
    ("name", "opset", "given"), COMPRESSED, ids=[f"{n}-{k}" for k, (n, *_) in enumerate(COMPRESSED)]
)
def test_compressed_weights_are_decoded_as_coremltools_does(fold, name, opset, given):
    (made,) = fold(name, given, opset)
    expected = made.op.materialized_val_inference()
    kind = (MIL_TYPES[str(expected.dtype)], expected.shape)
    place = {"attributes": given} if opset == "iOS17" else given
    set_name = {"iOS17": "CoreML7", "iOS18": "CoreML8"}[opset]
    (found,) = evaluate(name, kind, opset=set_name, **place)
    np.testing.assert_allclose(found, expected.astype(np.float32), rtol=2e-3)


@pytest.fixture(scope="module")
def loop():
    """A recurrent network, which coremltools writes as a loop, with rows and its scores."""
    import torch
    from torch import nn

    from registry.flavors.programs import open_program, save_program

    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.GRU(2, 16, batch_first=True), nn.Linear(16, 3)

        def forward(self, x):
            return self.head(self.body(x)[0][:, -1])

    torch.manual_seed(0)
    payload = save_program(Gated().eval(), (4, 2))
    rows = torch.randn(7, 4, 2)
    with torch.no_grad():
        scores = open_program(payload).module()(rows).numpy()
    contract = make_contract(3, architecture="gru", native_format="torch-export", window=4)
    return NativeModel("torch-export", payload), contract, rows.numpy(), scores


@pytest.fixture(scope="module")
def packages(loop):
    from registry.flavors.coreml import FLAVOR

    native, contract, _, _ = loop
    found = {}
    for variant in ("fp32", "fp16"):
        root = Artifact("coreml", variant).path(".mlpackage")
        files = FLAVOR.write(native, contract, variant)
        found[variant] = {path.removeprefix(f"{root}/"): data for path, data in files.items()}
    return found


@pytest.mark.parametrize(("variant", "limit"), [("fp32", 1e-6), ("fp16", 2e-3)])
def test_a_loop_of_coremltools_scores_as_torch_does(loop, packages, variant, limit):
    _, _, rows, scores = loop
    model = open_model(packages[variant])
    assert model.operations["while_loop"] == 1
    np.testing.assert_allclose(model(rows), scores, atol=limit)
    np.testing.assert_allclose(model(rows[:1]), scores[:1], atol=limit)
    assert (np.abs(model(rows) - scores).max() > 1e-6) == (variant == "fp16")


@pytest.mark.parametrize("seed", range(5))
def test_damage_to_a_real_package_gives_numbers_or_one_clear_line(loop, packages, seed):
    rows, rng = loop[2], np.random.default_rng(seed)
    refused = 0
    for _ in range(100):
        members = dict(packages["fp16"])
        name = str(rng.choice(["Data/com.apple.CoreML/model.mlmodel", *members]))
        content = bytearray(members[name])
        if rng.random() < 0.1:
            del content[int(rng.integers(len(content))) :]
        for at in rng.integers(len(content), size=rng.integers(1, 4)) if content else ():
            content[at] ^= 1 << int(rng.integers(8))
        members[name] = bytes(content)
        try:
            assert open_model(members)(rows).dtype == np.float32
        except MLEngineError as exc:
            assert "\n" not in str(exc)
            refused += 1
    assert refused > 50
