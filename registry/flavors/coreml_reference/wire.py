"""Wire: protobuf messages read field by field, strictly.

`read_message` follows the wire format (https://protobuf.dev/programming-guides/encoding/) and the
table of `registry.flavors.coreml_reference.schema`. A field, wire type or enumeration value that
the table does not have is refused by name. So is what protobuf itself would tolerate: a singular
field that comes twice, two members of a one-of, a number out of its range.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from registry.errors import UnevaluatedPackageError, UnreadableArtifactError, shown
from registry.flavors.coreml_reference import FLAVOR
from registry.flavors.coreml_reference.columns import Columns, read_columns
from registry.flavors.coreml_reference.schema import (
    COLUMNS,
    ENUMERATIONS,
    MESSAGES,
    REFUSED,
    Field,
)

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types; 3 and 4 (groups) are in no message of Core ML."""
LONGEST_VARINT = 10
DEEPEST = 100
"""Messages inside messages: protobuf's own limit."""


@dataclass(frozen=True, slots=True)
class Message:
    """The fields of one message that are present; an absent scalar reads as 0, "" or False."""

    type: str
    values: Mapping[str, Any]

    def has(self, name: str) -> bool:
        """Return whether the field is present."""
        return name in self.values

    def text(self, name: str) -> str:
        """Return a string, or the name of an enumeration's value."""
        return str(self.values.get(name, ""))

    def integer(self, name: str) -> int:
        """Return a whole number."""
        return int(self.values.get(name, 0))

    def number(self, name: str) -> float:
        """Return a floating-point number."""
        return float(self.values.get(name, 0.0))

    def is_set(self, name: str) -> bool:
        """Return a truth value."""
        return bool(self.values.get(name, False))

    def many(self, name: str) -> Sequence[Any]:
        """Return the values of a repeated scalar, or the content of a bytes field."""
        values: Sequence[Any] = self.values.get(name, ())
        return values

    def message(self, name: str) -> "Message":
        """Return a message that must be present.

        Raises:
            UnreadableArtifactError: it is absent.
        """
        if name not in self.values:
            raise UnreadableArtifactError(FLAVOR, f"{self.type} has no {name}")
        found: Message = self.values[name]
        return found

    def messages(self, name: str) -> Sequence["Message"]:
        """Return a repeated message."""
        return self.many(name)

    def columns(self, name: str) -> Columns:
        """Return a repeated message that is read as columns."""
        found: Columns = self.values[name]
        return found

    def entries(self, name: str) -> dict[str, "Message"]:
        """Return a map from names to messages.

        Raises:
            UnreadableArtifactError: a name comes twice.
        """
        found = {entry.text("key"): entry.message("value") for entry in self.messages(name)}
        if len(found) != len(self.messages(name)):
            raise UnreadableArtifactError(FLAVOR, f"a key of {self.type}.{name} comes twice")
        return found

    def chosen(self, one_of: str) -> str:
        """Return the name of the member of a one-of that is present.

        Raises:
            UnreadableArtifactError: none is.
        """
        names = {f.name for f in MESSAGES[self.type].values() if f.one_of == one_of}
        for name in self.values:
            if name in names:
                return name
        raise UnreadableArtifactError(FLAVOR, f"{self.type} has no {one_of}")


def read_message(payload: bytes, message_type: str) -> Message:
    """Return a message of the schema.

    Raises:
        UnreadableArtifactError: the bytes are not such a message.
        UnevaluatedPackageError: it has a field or a value that the schema does not know.
    """
    return _read(payload, 0, len(payload), message_type, 0)


def _read(payload: bytes, at: int, end: int, message_type: str, depth: int) -> Message:
    if depth > DEEPEST:
        raise UnreadableArtifactError(FLAVOR, f"messages are nested deeper than {DEEPEST}")
    fields = MESSAGES[message_type]
    values: dict[str, Any] = {}
    taken: set[str] = set()
    while at < end:
        key, at = _varint(payload, at, end)
        field = fields.get(key >> 3)
        if field is None:
            raise UnevaluatedPackageError(f"field {key >> 3} of {message_type}")
        if field.type == REFUSED:
            raise UnevaluatedPackageError(f"{field.name} of {message_type}")
        content, at = _content(payload, at, end, key & 7)
        decoded = _decode(payload, content, key & 7, field, message_type, depth)
        if field.is_repeated:
            values.setdefault(field.name, []).extend(decoded)
            continue
        if field.name in values or (field.one_of and field.one_of in taken):
            raise UnreadableArtifactError(FLAVOR, f"{field.name} of {message_type} comes twice")
        values[field.name] = decoded[0]
        taken.add(field.one_of)
    for name, column_type in _COLUMNS.get(message_type, ()):
        places = np.array(values.get(name, ()), np.int64).reshape(-1, 2)
        values[name] = read_columns(payload, places[:, 0], places[:, 1], column_type)
    return Message(message_type, values)


def _varint(payload: bytes, at: int, end: int) -> tuple[int, int]:
    """Return the number written at `at`, below 2 ** 64, and its end."""
    if at < end and payload[at] < 128:  # nearly all of them
        return payload[at], at + 1
    value = shift = 0
    for position in range(at, min(end, at + LONGEST_VARINT)):
        byte = payload[position]
        value |= (byte & 127) << shift
        if byte < 128:
            if value >> 64:
                break
            return value, position + 1
        shift += 7
    raise UnreadableArtifactError(FLAVOR, f"no number can be read at byte {at} of the model")


def _content(payload: bytes, at: int, end: int, wire: int) -> tuple[Any, int]:
    """Return a field's content and its end: a number, or where its bytes begin and end."""
    if wire == VARINT:
        return _varint(payload, at, end)
    if wire == BYTES:
        size, at = _varint(payload, at, end)
    elif wire in (FIXED32, FIXED64):
        size = 4 if wire == FIXED32 else 8
    else:
        raise UnreadableArtifactError(FLAVOR, f"wire type {wire} at byte {at} of the model")
    if size > end - at:
        raise UnreadableArtifactError(FLAVOR, f"the model is cut short at byte {end}")
    return (at, at + size), at + size


def _decode(
    payload: bytes, content: Any, wire: int, field: Field, message_type: str, depth: int
) -> list[Any]:
    """Return the values of one occurrence of a field: several when they are packed."""
    if field.type in COLUMNS and wire == BYTES:
        return [content]
    if field.type in MESSAGES and wire == BYTES:
        return [_read(payload, content[0], content[1], field.type, depth + 1)]
    if field.type in _TEXTS and wire == BYTES:
        return [_TEXTS[field.type](payload[slice(*content)])]
    if wire == VARINT and (field.type in _WHOLE or field.type in ENUMERATIONS):
        return [_whole(content, field, message_type)]
    if field.type in _FIXED:
        own_wire, code = _FIXED[field.type]
        size = struct.calcsize(code)
        n, rest = divmod(content[1] - content[0], size) if wire != VARINT else (0, 1)
        if not rest and (wire == own_wire or (wire == BYTES and field.is_repeated)):
            return list(struct.unpack_from(f"<{n}{code}", payload, content[0]))
    if wire == BYTES and field.is_repeated and field.type in _WHOLE:
        return [_whole(number, field, message_type) for number in _packed(payload, *content)]
    raise UnreadableArtifactError(FLAVOR, f"{field.name} of {message_type} has wire type {wire}")


def _packed(payload: bytes, at: int, end: int) -> list[int]:
    numbers = []
    while at < end:
        number, at = _varint(payload, at, end)
        numbers.append(number)
    return numbers


def _whole(number: int, field: Field, message_type: str) -> Any:
    if field.type in ENUMERATIONS:
        if number not in ENUMERATIONS[field.type]:
            raise UnevaluatedPackageError(f"value {number} of {field.type}")
        return ENUMERATIONS[field.type][number]
    low, high = _WHOLE[field.type]
    signed = number - (1 << 64) if low < 0 and number >> 63 else number
    if not low <= signed <= high:
        cause = f"{field.name} of {message_type}: {signed} is no {field.type}"
        raise UnreadableArtifactError(FLAVOR, cause)
    return signed


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as exc:
        raise UnreadableArtifactError(FLAVOR, f"{shown(content)} is no text") from exc


_COLUMNS = {
    message: [(field.name, field.type) for field in fields.values() if field.type in COLUMNS]
    for message, fields in MESSAGES.items()
}
_TEXTS: dict[str, Callable[[bytes], str | bytes]] = {"string": _text, "bytes": bytes}
_FIXED = {"float": (FIXED32, "f"), "double": (FIXED64, "d")}
_WHOLE = {
    "bool": (0, 1),
    "int32": (-(1 << 31), (1 << 31) - 1),
    "int64": (-(1 << 63), (1 << 63) - 1),
    "uint64": (0, (1 << 64) - 1),
}
"""Smallest and largest value."""
