"""Weights: the file beside a program that holds its large constants (MIL blob storage, version 2).

A header of 64 bytes (number of records, version) is followed by records. A record is 64 bytes of
metadata, starting at a multiple of 64 (sentinel, type, size in bytes, offset of the data, unused
bits), and the data right after it. Elements below a byte are packed, the lowest bits first.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.errors import UnevaluatedPackageError, UnreadableArtifactError, shown
from registry.flavors.coreml_reference import FLAVOR

ALIGNMENT = 64
VERSION, SENTINEL = 2, 0xDEADBEEF
HEADER, METADATA = struct.Struct("<II56x"), struct.Struct("<IIQQQ32x")
PREFIX = "@model_path/weights/"
"""How a program names a weight file."""

WHOLE_BYTES: Mapping[int, tuple[str, np.dtype[Any]]] = {
    1: ("FLOAT16", np.dtype("<f2")),
    2: ("FLOAT32", np.dtype("<f4")),
    3: ("UINT8", np.dtype("u1")),
    4: ("INT8", np.dtype("i1")),
    6: ("INT16", np.dtype("<i2")),
    7: ("UINT16", np.dtype("<u2")),
    14: ("INT32", np.dtype("<i4")),
    15: ("UINT32", np.dtype("<u4")),
}
PACKED: Mapping[int, tuple[str, int]] = {
    8: ("INT4", 4),
    9: ("UINT1", 1),
    10: ("UINT2", 2),
    11: ("UINT4", 4),
    12: ("UINT3", 3),
    13: ("UINT6", 6),
}
"""Type's number in a record -> its name, and how it is stored or how many bits it has."""
SUB_BYTE = dict(PACKED.values())


@dataclass(frozen=True, slots=True)
class Record:
    """One array of a weight file, as it is stored."""

    type: int
    data: bytes
    unused_bits: int


class WeightFiles:
    """The weight files of a package; `take` reads an array, `finish` tells what nobody took."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._records = {name: read_records(content) for name, content in files.items()}
        self._taken: set[tuple[str, int]] = set()

    def take(self, path: str, offset: int, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the array at an offset.

        Raises:
            UnreadableArtifactError: there is none, or it is not of this type and size: the
                weights of another model.
        """
        name = path.removeprefix(PREFIX)
        if not path.startswith(PREFIX) or name not in self._records:
            raise UnreadableArtifactError(FLAVOR, f"weight file {shown(path)} is missing")
        record = self._records[name].get(offset)
        if record is None:
            raise UnreadableArtifactError(FLAVOR, f"no array at byte {offset} of {shown(name)}")
        self._taken.add((name, offset))
        place = f"the array at byte {offset} of {shown(name)}"
        return _unpacked(record, place, dtype, shape)

    def finish(self) -> None:
        """Refuse weights that the program does not use: they are another model's."""
        every = {(name, offset) for name, found in self._records.items() for offset in found}
        if left := sorted(every - self._taken):
            name, offset = left[0]
            cause = f"the program does not use the array at byte {offset} of {shown(name)}"
            raise UnreadableArtifactError(FLAVOR, cause)


def read_records(content: bytes) -> dict[int, Record]:
    """Return the records of a weight file by the offset of their metadata.

    Raises:
        UnreadableArtifactError: it is cut short, or not such a file.
        UnevaluatedPackageError: it has another version.
    """
    if len(content) < HEADER.size:
        raise UnreadableArtifactError(FLAVOR, "the weight file is cut short")
    n_records, version = HEADER.unpack_from(content)
    if version != VERSION:
        raise UnevaluatedPackageError(f"version {version} of a weight file", [str(VERSION)])
    records: dict[int, Record] = {}
    at = HEADER.size
    for _ in range(n_records):
        if at + METADATA.size > len(content):
            raise UnreadableArtifactError(FLAVOR, f"the weight file is cut short at byte {at}")
        sentinel, kind, size, start, unused_bits = METADATA.unpack_from(content, at)
        if sentinel != SENTINEL or start != at + METADATA.size:
            raise UnreadableArtifactError(FLAVOR, f"no record at byte {at} of the weight file")
        if size > len(content) - start:
            raise UnreadableArtifactError(FLAVOR, f"the weight file is cut short at byte {start}")
        records[at] = Record(kind, content[start : start + size], unused_bits)
        at = -(-(start + size) // ALIGNMENT) * ALIGNMENT
    if at < len(content):
        raise UnreadableArtifactError(FLAVOR, f"the weight file goes on after byte {at}")
    return records


def _unpacked(record: Record, place: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    n, n_bits = math.prod(shape), 8 * len(record.data)
    if record.type in WHOLE_BYTES:
        found, stored = WHOLE_BYTES[record.type]
        if found == dtype and n * stored.itemsize == len(record.data) and not record.unused_bits:
            return np.frombuffer(record.data, stored).reshape(shape)
    elif record.type in PACKED:
        found, bits = PACKED[record.type]
        if found == dtype and n * bits == n_bits - record.unused_bits and record.unused_bits < 8:
            packed = np.frombuffer(record.data, np.uint8)
            return unpack_bits(packed, n, bits, is_signed=found == "INT4").reshape(shape)
    else:
        raise UnevaluatedPackageError(f"type {record.type} in a weight file")
    cause = f"{place} is {found} of {len(record.data)} bytes, not {dtype} of shape {shape}"
    raise UnreadableArtifactError(FLAVOR, cause)


def unpack_bits(
    packed: NDArray[np.uint8], n: int, bits: int, *, is_signed: bool = False
) -> NDArray[Any]:
    """Return `n` numbers of so many bits each, the lowest bits first, as int8 or uint8."""
    every = np.unpackbits(packed, bitorder="little")[: n * bits].reshape(n, bits)
    values = (every << np.arange(bits, dtype=np.uint8)).sum(axis=1, dtype=np.uint8)
    if not is_signed:
        return np.asarray(values)
    below = values.astype(np.int16) - (1 << bits)
    return np.asarray(np.where(values >> (bits - 1), below, values).astype(np.int8))
