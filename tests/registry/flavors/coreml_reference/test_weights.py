"""Weights: records of a weight file, and the files of another model."""

import numpy as np
import pytest

from registry.errors import UnevaluatedPackageError, UnreadableArtifactError
from registry.flavors.coreml_reference.weights import WeightFiles
from tests.registry.flavors.coreml_reference.building import weight_file

NUMBERS = np.float32([1.5, -2, 3])
FILE = weight_file((2, NUMBERS.tobytes(), 0), (11, b"\x21\x0f", 4))
PATH = "@model_path/weights/weight.bin"


def files(content=FILE):
    return WeightFiles({"weight.bin": content})


def test_arrays_are_read_at_their_offsets():
    weights = files()
    np.testing.assert_array_equal(weights.take(PATH, 64, "FLOAT32", (3, 1)), NUMBERS[:, None])
    np.testing.assert_array_equal(weights.take(PATH, 192, "UINT4", (3,)), [1, 2, 15])
    weights.finish()


@pytest.mark.parametrize(
    ("record", "dtype", "numbers"),
    [
        ((1, np.float16([1, 2]).tobytes(), 0), "FLOAT16", [1, 2]),
        ((3, b"\x01\xff", 0), "UINT8", [1, 255]),
        ((4, b"\x01\xff", 0), "INT8", [1, -1]),
        ((6, b"\x01\0\xff\xff", 0), "INT16", [1, -1]),
        ((7, b"\x01\0\xff\xff", 0), "UINT16", [1, 65535]),
        ((14, np.int32([7, -7]).tobytes(), 0), "INT32", [7, -7]),
        ((15, np.uint32([7, 2**32 - 1]).tobytes(), 0), "UINT32", [7, 2**32 - 1]),
        ((8, b"\xf1", 0), "INT4", [1, -1]),
        ((9, b"\x02", 6), "UINT1", [0, 1]),
        ((10, b"\x0d", 4), "UINT2", [1, 3]),
        ((12, b"\x39", 2), "UINT3", [1, 7]),
        ((13, b"\x81\x0f", 4), "UINT6", [1, 62]),
    ],
)
def test_every_type_is_read_the_lowest_bits_first(record, dtype, numbers):
    found = files(weight_file(record)).take(PATH, 64, dtype, (2,))
    assert found.tolist() == numbers


@pytest.mark.parametrize(
    ("offset", "dtype", "shape", "cause"),
    [
        (0, "FLOAT32", (3,), "no array at byte 0"),
        (128, "FLOAT32", (3,), "no array at byte 128"),
        (2**63, "FLOAT32", (3,), "no array at byte 9223372036854775808"),
        (64, "FLOAT32", (4,), "is FLOAT32 of 12 bytes, not FLOAT32 of shape"),
        (64, "FLOAT16", (6,), "is FLOAT32 of 12 bytes, not FLOAT16"),
        (64, "FLOAT32", (2**40, 2**40), "is FLOAT32 of 12 bytes"),
        (192, "UINT4", (4,), "is UINT4 of 2 bytes"),
    ],
)
def test_weights_of_another_model_are_refused(offset, dtype, shape, cause):
    with pytest.raises(UnreadableArtifactError, match=cause):
        files().take(PATH, offset, dtype, shape)


@pytest.mark.parametrize(
    "path", ["weights/weight.bin", "@model_path/weights/other.bin", "@model_path/weights/../x", ""]
)
def test_a_path_that_is_no_member_is_refused(path):
    with pytest.raises(UnreadableArtifactError, match="weight file .* is missing"):
        files().take(path, 64, "FLOAT32", (3,))


def test_an_array_that_the_program_does_not_use_is_refused():
    weights = files()
    weights.take(PATH, 64, "FLOAT32", (3,))
    with pytest.raises(UnreadableArtifactError, match="does not use the array at byte 192"):
        weights.finish()


@pytest.mark.parametrize(
    ("content", "error", "cause"),
    [
        (b"", UnreadableArtifactError, "cut short"),
        (FILE[:-1], UnreadableArtifactError, "cut short at byte 256"),
        (FILE[:200], UnreadableArtifactError, "cut short at byte 192"),
        (FILE + b"\0" * 64, UnreadableArtifactError, "goes on after byte 320"),
        (FILE[:4] + b"\x01" + FILE[5:], UnevaluatedPackageError, "version 1 of a weight file"),
        (FILE[:64] + b"\0" + FILE[65:], UnreadableArtifactError, "no record at byte 64"),
        (FILE[:80] + b"\xff" + FILE[81:], UnreadableArtifactError, "no record at byte 64"),
        (b"\xff" * 4 + FILE[4:], UnreadableArtifactError, "cut short at byte 320"),
    ],
    ids=lambda v: str(v)[:12],
)
def test_damaged_files_are_refused(content, error, cause):
    with pytest.raises(error, match=cause):
        files(content)


def test_a_type_that_is_not_known_is_refused():
    with pytest.raises(UnevaluatedPackageError, match="type 5 in a weight file"):
        files(weight_file((5, b"\0\0", 0))).take(PATH, 64, "FLOAT16", (1,))
