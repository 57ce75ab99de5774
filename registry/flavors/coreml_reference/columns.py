"""Columns: many messages of one type, read at once with numpy.

A tree ensemble has a message per node, a hundred thousand of them, for which reading one after
another takes seconds. `read_columns` reads the first field of every message, then the second, and
so on, as strictly as `registry.flavors.coreml_reference.wire`. It knows what these messages have:
`uint64`, `bool`, `double`, enumerations and repeated messages.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.errors import UnevaluatedPackageError, UnreadableArtifactError
from registry.flavors.coreml_reference import FLAVOR
from registry.flavors.coreml_reference.schema import ENUMERATIONS, MESSAGES, REFUSED, Field

Index = NDArray[np.int64]
Bytes = NDArray[np.uint8]
DOUBLE = np.dtype("<f8")
MOST_FIELDS = 4200
"""Fields of one message, repeated ones counted each: a leaf has a value for every score."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Fields of `n` messages: an array each, 0 where a field is absent.

    An enumeration is its number. `nested` holds, per repeated message, which message each of them
    belongs to, and its own columns.
    """

    n: int
    values: Mapping[str, NDArray[Any]]
    nested: Mapping[str, tuple[Index, "Columns"]]

    def __len__(self) -> int:
        return self.n


def read_columns(payload: bytes, starts: Index, ends: Index, message_type: str) -> Columns:
    """Return the fields of the messages that lie between these places of the payload.

    Raises:
        UnreadableArtifactError: the bytes are not such messages.
        UnevaluatedPackageError: one has a field or a value that the schema does not know.
    """
    return _read(np.frombuffer(payload, np.uint8), starts, ends, message_type)


def _read(payload: Bytes, starts: Index, ends: Index, message_type: str) -> Columns:
    fields = MESSAGES[message_type]
    values = {
        field.name: np.zeros(len(starts), np.float64 if field.type == "double" else np.uint64)
        for field in fields.values()
        if not field.is_repeated
    }
    seen = {name: np.zeros(len(starts), bool) for name in values}
    places: dict[str, list[tuple[Index, Index, Index]]] = {
        field.name: [] for field in fields.values() if field.is_repeated
    }
    at = starts.copy()
    rows = np.flatnonzero(at < ends)
    for turn in itertools.count():
        if turn == MOST_FIELDS:
            cause = f"a {message_type} of more than {MOST_FIELDS} fields"
            raise UnreadableArtifactError(FLAVOR, cause)
        if not rows.size:
            break
        keys, at[rows] = _varints(payload, at[rows], ends[rows])
        for key in np.unique(keys).tolist():
            field, these = _known(fields, key, message_type), rows[keys == key]
            first, at[these] = _content(payload, at[these], ends[these], field)
            if field.is_repeated:
                places[field.name].append((these, first.astype(np.int64), at[these]))
                continue
            if seen[field.name][these].any():
                cause = f"{field.name} of {message_type} comes twice"
                raise UnreadableArtifactError(FLAVOR, cause)
            values[field.name][these], seen[field.name][these] = first, True
        rows = rows[at[rows] < ends[rows]]
    types = {field.name: field.type for field in fields.values()}
    nested = {name: _nested(payload, found, types[name]) for name, found in places.items()}
    return Columns(len(starts), values, nested)


def _nested(
    payload: Bytes, found: list[tuple[Index, Index, Index]], message_type: str
) -> tuple[Index, Columns]:
    none = np.empty(0, np.int64)
    owner, starts, ends = map(np.concatenate, zip((none,) * 3, *found, strict=True))
    return owner, _read(payload, starts, ends, message_type)


def _known(fields: Mapping[int, Field], key: int, message_type: str) -> Field:
    """Return the field of a key, which must have the wire type of its own type."""
    field = fields.get(key >> 3)
    if field is None or field.type == REFUSED:
        raise UnevaluatedPackageError(f"field {key >> 3} of {message_type}")
    wire = {"double": 1}.get(field.type, 2 if field.type in MESSAGES else 0)
    if key & 7 != wire:
        cause = f"{field.name} of {message_type} has wire type {key & 7}"
        raise UnreadableArtifactError(FLAVOR, cause)
    return field


def _content(payload: Bytes, at: Index, ends: Index, field: Field) -> tuple[NDArray[Any], Index]:
    """Return the values of a field, or where its messages begin, and the ends."""
    if field.type == "double":
        _expect_room(at, ends, np.full(len(at), DOUBLE.itemsize, np.uint64))
        spans = payload[at[:, None] + np.arange(DOUBLE.itemsize)]
        return spans.view(DOUBLE)[:, 0], at + DOUBLE.itemsize
    numbers, at = _varints(payload, at, ends)
    if field.type in MESSAGES:
        _expect_room(at, ends, numbers)
        return at, at + numbers.astype(np.int64)
    known = ENUMERATIONS.get(field.type, {0: "", 1: ""} if field.type == "bool" else {})
    if known and not np.isin(numbers, list(known)).all():
        strange = numbers[~np.isin(numbers, list(known))][0]
        raise UnevaluatedPackageError(f"value {strange} of {field.type} {field.name}")
    return numbers, at


def _expect_room(at: Index, ends: Index, sizes: NDArray[np.uint64]) -> None:
    if (sizes > (ends - at).astype(np.uint64)).any():
        raise UnreadableArtifactError(FLAVOR, "the model is cut short within a message")


def _varints(payload: Bytes, at: Index, ends: Index) -> tuple[NDArray[np.uint64], Index]:
    """Return the numbers written at these places, below 2 ** 64, and their ends."""
    numbers, at = np.zeros(len(at), np.uint64), at.copy()
    rows = np.arange(len(at))
    for shift in range(0, 64, 7):
        if (at[rows] >= ends[rows]).any():
            break
        byte = payload[at[rows]]
        at[rows] += 1
        if shift == 63 and (byte > 1).any():
            break
        numbers[rows] |= (byte & 127).astype(np.uint64) << np.uint64(shift)
        rows = rows[byte > 127]
        if not rows.size:
            return numbers, at
    raise UnreadableArtifactError(FLAVOR, "no number can be read within a message")
