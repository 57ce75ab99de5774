"""Programs: blocks, loops, constants and weights, all checked before anything runs."""

import numpy as np
import pytest

from registry.errors import UnevaluatedPackageError, UnreadableArtifactError
from registry.flavors.coreml_reference import evaluation
from registry.flavors.coreml_reference.evaluation import run_program
from registry.flavors.coreml_reference.programs import read_program
from registry.flavors.coreml_reference.wire import read_message
from tests.registry.flavors.coreml_reference.building import (
    block,
    call,
    constant,
    encode,
    evaluate,
    program,
    stored,
    tensor_type,
    weight_file,
)

OPEN = ("FLOAT32", (None, 2))
ROWS = np.float32([[1, 2], [3, 4], [5, 6]])


def read(body, weights=None):
    return read_program(
        read_message(encode("MILSpec.Program", body), "MILSpec.Program"), weights or {}
    )


def run(*operations, rows=ROWS, weights=None, **facts):
    return run_program(read(program(operations, **facts), weights), {"features": rows})["scores"]


def counting(limit, by=1, state=("INT32", ()), body_type=("FLOAT32", (None, 2))):
    """A loop that doubles the features `limit` times."""
    condition = block(
        [call("less", {"go": ("BOOL", ())}, x="@i", y=np.int32(limit))],
        ["go"],
        {"i": state, "v": OPEN},
    )
    body = block(
        [
            call("add", {"next": ("INT32", ())}, x="@j", y=np.int32(by)),
            call("add", {"twice": body_type}, x="@w", y="@w"),
        ],
        ["next", "twice"],
        {"j": state, "w": OPEN},
    )
    made = {"last": ("INT32", ()), "scores": OPEN}
    return call("while_loop", made, [condition, body], loop_vars=[np.int32(0), "@features"])


def test_operations_follow_each_other_and_constants_are_found_by_name():
    operations = [
        constant("two", np.float32(2)),
        call("mul", {"doubled": OPEN}, x="@features", y="@two"),
        call("add", {"scores": OPEN}, x="@doubled", y=np.float32([1, -1])),
    ]
    np.testing.assert_array_equal(run(*operations), ROWS * 2 + [1, -1])


def test_a_loop_runs_until_its_condition_fails():
    np.testing.assert_array_equal(run(counting(3)), ROWS * 8)
    np.testing.assert_array_equal(run(counting(0)), ROWS)


def test_a_loop_that_does_not_end_is_refused(monkeypatch):
    monkeypatch.setattr(evaluation, "MOST_STEPS", 1000)
    with pytest.raises(UnreadableArtifactError, match="more than 1000 operations in a run"):
        run(counting(1, by=0))


def test_a_loop_inside_a_loop_sees_what_lies_outside():
    inner = counting(2)
    inner["outputs"][1]["name"] = "quadrupled"
    inner["inputs"]["arguments"] = None
    del inner["inputs"]["arguments"]
    inner["inputs"]["loop_vars"] = {"arguments": [{"name": "zero"}, {"name": "outer"}]}
    condition = block(
        [call("less", {"goes": ("BOOL", ())}, x="@k", y=np.int32(2))],
        ["goes"],
        {"k": ("INT32", ()), "u": OPEN},
    )
    body = block(
        [call("add", {"following": ("INT32", ())}, x="@n", y=np.int32(1)), inner],
        ["following", "quadrupled"],
        {"n": ("INT32", ()), "outer": OPEN},
    )
    made = {"end": ("INT32", ()), "scores": OPEN}
    loop = call("while_loop", made, [condition, body], loop_vars=["@zero", "@features"])
    np.testing.assert_array_equal(run(constant("zero", np.int32(0)), loop), ROWS * 16)


@pytest.mark.parametrize(
    ("loop", "error", "cause"),
    [
        (counting(2, state=("FLOAT32", ())), UnreadableArtifactError, "of different types|changes"),
        (
            call("while_loop", {"scores": OPEN}, loop_vars=["@features"]),
            UnevaluatedPackageError,
            "while_loop with inputs",
        ),
        (
            call(
                "while_loop",
                {"scores": OPEN},
                [block([], ["b"], {"b": ("BOOL", ())})] * 2,
                loop_vars=["@features"],
            ),
            UnreadableArtifactError,
            "changes the types of its state",
        ),
        (
            call(
                "while_loop",
                {"scores": OPEN},
                [block([], ["features"], {"b": OPEN})] * 2,
                loop_vars=["@features"],
            ),
            UnreadableArtifactError,
            "changes the types of its state",
        ),
        (
            call("relu", {"scores": OPEN}, [block([], [])], x="@features"),
            UnevaluatedPackageError,
            "blocks of operation relu",
        ),
    ],
    ids=range(5),
)
def test_a_loop_that_contradicts_itself_is_refused(loop, error, cause):
    with pytest.raises(error, match=cause):
        run(loop)


def test_an_unknown_operation_is_found_in_a_nested_block_without_running_it():
    loop = counting(0)
    loop["blocks"][1]["operations"].insert(0, call("topk", {"t": OPEN}, x="@w"))
    with pytest.raises(UnevaluatedPackageError, match="operation 'topk' of CoreML7"):
        read(program([loop]))


def test_a_name_of_an_inner_block_is_not_known_outside():
    after = call("relu", {"other": OPEN}, x="@twice")
    with pytest.raises(UnreadableArtifactError, match="'twice' is used before it is computed"):
        run(counting(1), after)


@pytest.mark.parametrize(
    ("operations", "cause"),
    [
        ([call("relu", {"features": OPEN}, x="@features")], "'features' is computed twice"),
        ([call("relu", {"": OPEN}, x="@features")], "'' is computed twice"),
        ([call("relu", {}, x="@features")], "operation 'relu' gives nothing"),
        ([call("relu", {"other": OPEN}, x="@features")], "'scores' is used before it is computed"),
        (
            [call("relu", {"scores": OPEN}, attributes={"x": ROWS}, x="@features")],
            "'x' is an input and an attribute",
        ),
        (
            [
                call(
                    "split",
                    {"scores": OPEN},
                    x="@features",
                    axis=np.int32(1),
                    num_splits=np.int32(2),
                )
            ],
            "split gives 2 values, not 1",
        ),
        (
            [
                {
                    **constant("scores", np.float32([1])),
                    "outputs": [{"name": "scores", "type": tensor_type("FLOAT32", (2,))}],
                }
            ],
            "'scores' is FLOAT32",
        ),
    ],
    ids=range(7),
)
def test_a_program_that_contradicts_itself_is_refused(operations, cause):
    with pytest.raises(UnreadableArtifactError, match=cause):
        run(*operations)


VALUES = [
    ({"type": tensor_type("FLOAT64", ())}, UnevaluatedPackageError, "type FLOAT64"),
    ({"type": tensor_type("INT64", ())}, UnevaluatedPackageError, "type INT64"),
    ({"type": {}}, UnreadableArtifactError, "has no type"),
    ({"type": {"dictionaryType": {}}}, UnevaluatedPackageError, "a value of dictionaryType"),
    ({"type": tensor_type("FLOAT32", (None,))}, UnreadableArtifactError, "the open shape"),
    (
        {
            "type": tensor_type("UINT4", (2,)),
            "immediateValue": {"tensor": {"bytes": {"values": b"ab"}}},
        },
        UnevaluatedPackageError,
        "UINT4 outside of a weight file",
    ),
    (
        {
            "type": tensor_type("FLOAT32", (2**62, 2**62)),
            "immediateValue": {"tensor": {"floats": {"values": [1.0]}}},
        },
        UnreadableArtifactError,
        "1 elements as the content",
    ),
    (
        {
            "type": tensor_type("FLOAT16", (2,)),
            "immediateValue": {"tensor": {"bytes": {"values": b"abc"}}},
        },
        UnreadableArtifactError,
        "elements as the content",
    ),
    (
        {
            "type": tensor_type("FLOAT32", (1,)),
            "immediateValue": {"tensor": {"ints": {"values": [1]}}},
        },
        UnreadableArtifactError,
        "ints as the content of FLOAT32",
    ),
    (
        {
            "type": tensor_type("INT8", (1,)),
            "immediateValue": {"tensor": {"ints": {"values": [300]}}},
        },
        UnreadableArtifactError,
        "out of the range of INT8",
    ),
    (
        {
            "type": tensor_type("STRING", ()),
            "immediateValue": {"tensor": {"strings": {"values": ["a", "b"]}}},
        },
        UnevaluatedPackageError,
        "a text that is not a single one",
    ),
    (
        {"type": tensor_type("FLOAT32", (1,)), "immediateValue": {"dictionary": {}}},
        UnevaluatedPackageError,
        "a dictionary as a value",
    ),
    (
        {"type": tensor_type("FLOAT32", (1,)), "immediateValue": {}},
        UnreadableArtifactError,
        "has no value",
    ),
    (
        stored("FLOAT32", (1,), 64),
        UnreadableArtifactError,
        "'@model_path/weights/weight.bin' is missing",
    ),
    (
        {"type": {"tensorType": {"dataType": "FLOAT32", "rank": 2}}},
        UnreadableArtifactError,
        "a tensor of rank 2 has 0 dimensions",
    ),
    (
        {
            "type": {
                "tensorType": {
                    "dataType": "FLOAT32",
                    "rank": 1,
                    "dimensions": [{"unknown": {"variadic": True}}],
                }
            }
        },
        UnevaluatedPackageError,
        "a shape of any rank",
    ),
]


@pytest.mark.parametrize(("value", "error", "cause"), VALUES, ids=range(len(VALUES)))
def test_a_value_of_another_kind_is_refused(value, error, cause):
    with pytest.raises(error, match=cause):
        run(call("add", {"scores": OPEN}, x="@features", y=value))


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"version": 2}, "version 2 of a program"),
        ({"functions": {}}, "functions"),
        ({"functions": {"other": {}}}, r"functions \['other'\]"),
        ({"attributes": {"secret": {}}}, "attribute 'secret' of a program"),
        ({"functions": {"main": {"opset": "CoreML5"}}}, "operation set 'CoreML5'"),
        (
            {"functions": {"main": {"opset": "CoreML7", "block_specializations": {"CoreML6": {}}}}},
            "operation set",
        ),
    ],
    ids=range(6),
)
def test_a_program_of_another_kind_is_refused(change, cause):
    with pytest.raises(UnevaluatedPackageError, match=cause):
        read({**program([], ["features"]), **change})


def test_a_batch_that_contradicts_a_declared_shape_is_refused():
    fixed = call("relu", {"scores": ("FLOAT32", (2, 2))}, x="@features")
    np.testing.assert_array_equal(run(fixed, rows=ROWS[:2]), ROWS[:2])
    with pytest.raises(
        UnreadableArtifactError, match=r"shape \(3, 2\), declared is FLOAT32\[2, 2\]"
    ):
        run(fixed)


def test_values_of_float16_are_rounded_where_they_come_in_and_after_each_operation():
    half = ("FLOAT16", (None, 2))
    operations = [call("add", {"scores": half}, x="@features", y=np.float16(1))]
    rows = np.float32([[1 + 2**-12, 2048], [70000, 0]])
    found = run(*operations, rows=rows, given=half)
    np.testing.assert_array_equal(found, [[2, 2048], [np.inf, 1]])


CODES = np.array([[1, 2], [-3, 4]], np.int8)
TABLE = np.float32([0.5, -1, 2, 8])


def test_affine_weights_are_decoded():
    given = {"quantized_data": CODES, "axis": np.int32(0)}
    shape = ("FLOAT32", (2, 2))
    one = {**given, "zero_point": np.int8(1), "scale": np.float32(0.5)}
    each = {**given, "zero_point": np.int8([0, 1]), "scale": np.float32([1, 10])}
    name = "constexpr_affine_dequantize"
    np.testing.assert_array_equal(evaluate(name, shape, attributes=one)[0], [[0, 0.5], [-2, 1.5]])
    np.testing.assert_array_equal(evaluate(name, shape, attributes=each)[0], [[1, 2], [-40, 30]])
    half = {**given, "zero_point": np.int8(0), "scale": np.float16(0.1)}
    found = evaluate(name, ("FLOAT16", (2, 2)), attributes=half)[0]
    np.testing.assert_array_equal(found, (CODES * np.float32(np.float16(0.1))).astype(np.float16))


def test_a_table_of_ios_16_is_looked_up_by_packed_bits():
    given = {
        "indices": np.array([0b11100100, 0b01], np.uint8),
        "lut": TABLE,
        "shape": np.array([5, 1], np.uint32),
    }
    found = evaluate("constexpr_lut_to_dense", ("FLOAT32", (5, 1)), attributes=given)[0]
    np.testing.assert_array_equal(found[:, 0], TABLE[[0, 1, 2, 3, 1]])
    short = {**given, "indices": given["indices"][:1]}
    with pytest.raises(UnreadableArtifactError, match=r"\(1,\) bytes for 5 indices of 2 bits"):
        evaluate("constexpr_lut_to_dense", ("FLOAT32", (5, 1)), attributes=short)


def test_tables_of_ios_18_are_looked_up_per_block_and_may_hold_vectors():
    weights = weight_file((10, bytes([0b11100100]), 0))
    indices = stored("UINT2", (2, 2), 64)
    name, facts = "constexpr_lut_to_dense", {"opset": "CoreML8", "weights": weights}
    two = np.stack([TABLE, -TABLE]).reshape(2, 1, 4, 1)
    found = evaluate(name, ("FLOAT32", (2, 2)), indices=indices, lut=two, **facts)[0]
    np.testing.assert_array_equal(found, [[0.5, -1], [-2, -8]])
    pairs = np.stack([TABLE, TABLE * 10], -1).reshape(1, 1, 4, 2)
    for axis, expected in (
        (0, [[0.5, -1], [5, -10], [2, 8], [20, 80]]),
        (1, [[0.5, 5, -1, -10], [2, 20, 8, 80]]),
    ):
        shape = ("FLOAT32", np.shape(expected))
        given = {"indices": indices, "lut": pairs, "vector_axis": np.int32(axis)}
        np.testing.assert_array_equal(evaluate(name, shape, **given, **facts)[0], expected)


def test_blocks_share_a_scale_and_an_offset():
    weights = weight_file((8, b"\x21\xf3", 0))
    data = stored("INT4", (2, 2), 64)
    name, facts = "constexpr_blockwise_shift_scale", {"opset": "CoreML8", "weights": weights}
    scale = np.float32([[10], [100]])
    found = evaluate(name, ("FLOAT32", (2, 2)), data=data, scale=scale, **facts)[0]
    np.testing.assert_array_equal(found, [[10, 20], [300, -100]])
    shift = {"scale": scale, "offset": np.int8([[1], [-1]])}
    found = evaluate(name, ("FLOAT32", (2, 2)), data=data, **shift, **facts)[0]
    np.testing.assert_array_equal(found, [[0, 10], [400, 0]])
    with pytest.raises(UnreadableArtifactError, match=r"blocks of shape \(3, 1\)"):
        evaluate(name, ("FLOAT32", (2, 2)), data=data, scale=np.ones((3, 1), np.float32), **facts)


def test_a_compressed_weight_of_something_computed_is_refused():
    given = {
        "quantized_data": CODES,
        "zero_point": np.int8(1),
        "scale": "@features",
        "axis": np.int32(0),
    }
    with pytest.raises(UnevaluatedPackageError, match="of something that is computed"):
        run(call("constexpr_affine_dequantize", {"scores": ("FLOAT32", (2, 2))}, **given))
