"""Wire: what protobuf writes is read, and what it would tolerate is refused."""

import numpy as np
import pytest

from registry.errors import UnevaluatedPackageError, UnreadableArtifactError
from registry.flavors.coreml_reference.columns import read_columns
from registry.flavors.coreml_reference.wire import read_message
from tests.registry.flavors.coreml_reference.building import encode, varint

UNKNOWN, FLOATS = "MILSpec.Dimension.UnknownDimension", "MILSpec.TensorValue.RepeatedFloats"
ARRAY, NODE = "ArrayFeatureType", "TreeEnsembleParameters.TreeNode"


def test_fields_come_back_and_absent_ones_read_as_nothing():
    body = {"shape": [1, -1], "dataType": "FLOAT32"}
    found = read_message(encode(ARRAY, body), ARRAY)
    assert (found.many("shape"), found.text("dataType")) == ([1, -1], "FLOAT32")
    empty = read_message(b"", "MILSpec.TensorType")
    assert (empty.text("dataType"), empty.integer("rank"), empty.messages("dimensions")) == (
        "",
        0,
        (),
    )


def test_repeated_numbers_are_read_packed_or_one_by_one():
    packed = varint(1 << 3 | 2) + varint(3) + varint(1) + varint(300)
    assert read_message(packed, ARRAY).many("shape") == [1, 300]
    floats = varint(1 << 3 | 2) + varint(8) + np.float32([1.5, -2]).tobytes()
    kind = "MILSpec.TensorValue.RepeatedFloats"
    assert read_message(floats, kind).many("values") == [1.5, -2]
    assert read_message(encode(kind, {"values": [1.5, -2]}), kind).many("values") == [1.5, -2]


REFUSED = [
    (varint(99 << 3) + b"\0", ARRAY, UnevaluatedPackageError, "field 99 of ArrayFeatureType"),
    (varint(21 << 3 | 2) + b"\0", ARRAY, UnevaluatedPackageError, "enumeratedShapes of"),
    (varint(2 << 3) + varint(7), ARRAY, UnevaluatedPackageError, "value 7 of ArrayFeature"),
    (varint(2 << 3 | 5) + b"\0" * 4, ARRAY, UnreadableArtifactError, "dataType of .* wire type 5"),
    (varint(1 << 3 | 3), ARRAY, UnreadableArtifactError, "wire type 3"),
    (varint(1 << 3), ARRAY, UnreadableArtifactError, "no number can be read"),
    (b"\xff" * 10 + b"\x01", ARRAY, UnreadableArtifactError, "no number can be read at byte 0"),
    (varint(1 << 3 | 2) + varint(2**62), ARRAY, UnreadableArtifactError, "cut short"),
    (2 * (varint(2 << 3) + varint(65568)), ARRAY, UnreadableArtifactError, "comes twice"),
    (varint(1 << 3) + varint(2**40), "Model", UnreadableArtifactError, "1099511627776 is no int32"),
    (varint(1 << 3) + varint(2), UNKNOWN, UnreadableArtifactError, "2 is no bool"),
    (varint(1 << 3 | 2) + b"\x01\xff", "Metadata", UnreadableArtifactError, "is no text"),
    (varint(202 << 3 | 2) + b"\0", "Model", UnevaluatedPackageError, "pipeline of Model"),
    (varint(402 << 3 | 2) + b"\0", "Model", UnevaluatedPackageError, "treeEnsembleClassifier of"),
    (b"\x0a\x00\x12\x00", "MILSpec.Argument.Binding", UnreadableArtifactError, "comes twice"),
    (b"\x0a\x03\x00\x00\x00", FLOATS, UnreadableArtifactError, "values of"),
]  # fmt: skip


@pytest.mark.parametrize(("payload", "kind", "error", "cause"), REFUSED, ids=lambda v: str(v)[:24])
def test_what_the_schema_does_not_know_is_refused(payload, kind, error, cause):
    with pytest.raises(error, match=cause) as caught:
        read_message(payload, kind)
    assert "\n" not in str(caught.value)


def test_a_key_of_a_map_that_comes_twice_is_refused():
    entry = encode("MILSpec.Operation.InputsEntry", {"key": "x", "value": {}})
    field = varint(2 << 3 | 2) + varint(len(entry)) + entry
    with pytest.raises(UnreadableArtifactError, match="a key of MILSpec.Operation.inputs comes"):
        read_message(field * 2, "MILSpec.Operation").entries("inputs")


def test_messages_nested_without_end_are_refused():
    nested = b""
    for _ in range(300):
        nested = encode(
            "MILSpec.Operation", {"blocks": [encode("MILSpec.Block", {"operations": [nested]})]}
        )
    with pytest.raises(UnreadableArtifactError, match="nested deeper than 100"):
        read_message(nested, "MILSpec.Operation")


def columns(*messages):
    ends = np.cumsum([len(m) for m in messages])
    return read_columns(b"".join(messages), ends - [len(m) for m in messages], ends, NODE)


def test_columns_read_what_messages_hold():
    leaves = [{"evaluationIndex": 1, "evaluationValue": 2.5}, {"evaluationValue": -1.0}]
    nodes = [
        {"treeId": 2**63 + 5, "nodeId": 300, "nodeBehavior": "LeafNode", "evaluationInfo": leaves},
        {},
        {"branchFeatureValue": 0.25, "missingValueTracksTrueChild": True},
    ]
    found = columns(*(encode(NODE, node) for node in nodes))
    assert found.values["treeId"].tolist() == [2**63 + 5, 0, 0]
    assert found.values["nodeId"].tolist() == [300, 0, 0]
    assert found.values["nodeBehavior"].tolist() == [6, 0, 0]
    assert found.values["branchFeatureValue"].tolist() == [0, 0, 0.25]
    assert found.values["missingValueTracksTrueChild"].tolist() == [0, 0, 1]
    owner, values = found.nested["evaluationInfo"]
    assert owner.tolist() == [0, 0]
    assert values.values["evaluationValue"].tolist() == [2.5, -1.0]


@pytest.mark.parametrize(
    ("message", "error", "cause"),
    [
        (varint(9 << 3) + b"\0", UnevaluatedPackageError, "field 9 of"),
        (varint(3 << 3) + b"\x07", UnevaluatedPackageError, "value 7 of"),
        (varint(14 << 3) + b"\x02", UnevaluatedPackageError, "value 2 of bool"),
        (varint(1 << 3 | 1) + b"\0" * 8, UnreadableArtifactError, "treeId of .* wire type 1"),
        (b"\x08\x01\x08\x01", UnreadableArtifactError, "treeId of .* comes twice"),
        (b"\x08", UnreadableArtifactError, "no number can be read"),
        (b"\x08" + b"\xff" * 9 + b"\x02", UnreadableArtifactError, "no number can be read"),
        (varint(11 << 3 | 1) + b"\0" * 7, UnreadableArtifactError, "cut short"),
        (varint(20 << 3 | 2) + varint(2**63), UnreadableArtifactError, "cut short"),
    ],
    ids=lambda v: str(v)[:24],
)
def test_columns_are_as_strict_as_messages(message, error, cause):
    with pytest.raises(error, match=cause):
        columns(encode(NODE, {"nodeId": 3}), message)
