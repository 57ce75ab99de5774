"""The schema and the weight file, held to coremltools: its descriptors and its own writer."""

from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest

from registry.flavors.coreml_reference.schema import COLUMNS, ENUMERATIONS, MESSAGES, REFUSED, Field
from registry.flavors.coreml_reference.weights import WeightFiles, read_records

pytestmark = [
    pytest.mark.xdist_group("coreml"),
    pytest.mark.integration,
    pytest.mark.skipif(find_spec("coremltools") is None, reason="coremltools is not installed"),
]
FILES = ("Model_pb2", "FeatureTypes_pb2", "TreeEnsemble_pb2", "MIL_pb2")
ROOT = "CoreML.Specification."
SCALARS = {1: "double", 2: "float", 3: "int64", 4: "uint64", 5: "int32", 8: "bool", 9: "string"}
SCALARS |= {12: "bytes"}


@pytest.fixture(scope="module")
def described():
    """Every message and enumeration of Core ML by the name that the schema gives it."""
    from registry.flavors.coreml.silence import silence

    found = {}
    with silence():
        for file in FILES:
            descriptor = import_module(f"coremltools.proto.{file}").DESCRIPTOR
            waiting = list(descriptor.message_types_by_name.values())
            found |= {e.full_name: e for e in descriptor.enum_types_by_name.values()}
            while waiting:
                message = waiting.pop()
                found[message.full_name] = message
                found |= {e.full_name: e for e in message.enum_types}
                waiting += message.nested_types
    return {name.removeprefix(ROOT): message for name, message in found.items()}


def as_field(field):
    """A field of a descriptor as the schema writes it."""
    other = field.message_type or field.enum_type
    kind = other.full_name.removeprefix(ROOT) if other else SCALARS[field.type]
    return Field(field.name, kind, field.is_repeated, _one_of(field))


def _one_of(field):
    return field.containing_oneof.name if field.containing_oneof else ""


@pytest.mark.parametrize("name", MESSAGES)
def test_every_message_has_the_fields_of_coremltools(described, name):
    theirs = {field.number: field for field in described[name].fields}
    for number, field in MESSAGES[name].items():
        expected = as_field(theirs[number])
        if field.type == REFUSED:
            assert (field.name, field.one_of) == (expected.name, expected.one_of)
        else:
            assert field == expected
    if name not in ("Model", "ModelDescription", "FeatureType"):
        assert set(MESSAGES[name]) == set(theirs)


def test_every_kind_of_model_is_known_by_name(described):
    theirs = {f.number: f.name for f in described["Model"].fields if _one_of(f) == "Type"}
    ours = {n: f.name for n, f in MESSAGES["Model"].items() if f.one_of == "Type"}
    assert ours == theirs


@pytest.mark.parametrize("name", ENUMERATIONS)
def test_every_enumeration_has_the_values_of_coremltools(described, name):
    theirs = {value.number: value.name for value in described[name].values}
    assert ENUMERATIONS[name] == theirs


def test_columns_hold_only_what_they_can_read():
    waiting = list(COLUMNS)
    while waiting:
        for field in MESSAGES[waiting.pop()].values():
            waiting += [field.type] * (field.type in MESSAGES)
            assert field.is_repeated == (field.type in MESSAGES)
            assert field.type in ("uint64", "bool", "double", *ENUMERATIONS, *MESSAGES)


SIGNED = np.array([3, -2, 7], np.int8)
SMALL = np.array([1, 0, 1], np.uint8)
STORED = [
    ("float", "FLOAT32", np.float32([1.5, -2, 3])),
    ("fp16", "FLOAT16", np.float16([1.5, -2, 3])),
    ("int8", "INT8", SIGNED),
    ("uint8", "UINT8", SMALL),
    ("int16", "INT16", SIGNED.astype(np.int16)),
    ("uint16", "UINT16", SMALL.astype(np.uint16)),
    ("int32", "INT32", SIGNED.astype(np.int32)),
    ("uint32", "UINT32", SMALL.astype(np.uint32)),
    ("int4", "INT4", SIGNED),
    ("uint1", "UINT1", SMALL),
    ("uint2", "UINT2", SMALL * 3),
    ("uint3", "UINT3", SMALL * 6),
    ("uint4", "UINT4", SMALL * 13),
    ("uint6", "UINT6", SMALL * 61),
]


def test_a_weight_file_of_coremltools_is_read(tmp_path):
    from registry.flavors.coreml.silence import silence

    with silence():
        from coremltools.libmilstoragepython import _BlobStorageWriter

    writer = _BlobStorageWriter(str(tmp_path / "weight.bin"))
    offsets = {}
    for name, _, values in STORED:
        bits = values.view(np.uint16) if name == "fp16" else values
        offsets[name] = getattr(writer, f"write_{name}_data")(bits)
    del writer
    content = (tmp_path / "weight.bin").read_bytes()
    assert list(read_records(content)) == list(offsets.values())
    weights = WeightFiles({"weight.bin": content})
    for name, dtype, values in STORED:
        found = weights.take("@model_path/weights/weight.bin", offsets[name], dtype, (3,))
        np.testing.assert_array_equal(found, values)
    weights.finish()
