"""UBJSON: whether a file is whole, asked before XGBoost reads it.

XGBoost 3.2 reads beyond the end of a file that was cut short, and then hangs or ends the process.
This walks the structure (https://ubjson.org, as XGBoost writes it: keys and counts as `L`, typed
arrays as `[$type#count`) and decodes nothing.
"""

import struct

SIZES = {
    **{ord(letter): 0 for letter in "TFZN"},
    **{ord(letter): 1 for letter in "iUC"},
    **{ord(letter): size for letter, size in (("I", 2), ("l", 4), ("L", 8), ("d", 4), ("D", 8))},
}
"""Bytes after a type's letter."""
COUNTS = {ord("i"): ">b", ord("U"): ">B", ord("I"): ">h", ord("l"): ">i", ord("L"): ">q"}
DEEPEST = 64


def find_fault(payload: bytes) -> str | None:
    """Check the structure of a UBJSON object; return the fault, None when there is none."""
    if not payload.startswith(b"{"):
        return "not a UBJSON object"
    try:
        end = _value(payload, 0, 0)
    except (IndexError, struct.error):
        return f"cut short at {len(payload)} bytes"
    except ValueError as exc:
        return str(exc)
    return None if end == len(payload) else f"{len(payload) - end} bytes beyond its end"


def _value(payload: bytes, at: int, depth: int) -> int:
    """Return the end of the value that starts at `at`."""
    marker = payload[at]
    if marker in SIZES:
        return _skip(payload, at + 1, SIZES[marker])
    if marker in b"S":
        n, at = _count(payload, at + 1)
        return _skip(payload, at, n)
    if marker not in b"{[" or depth == DEEPEST:
        raise ValueError(f"nothing that can be read at byte {at}")
    return _container(payload, at + 1, depth + 1, is_object=marker in b"{")


def _container(payload: bytes, at: int, depth: int, *, is_object: bool) -> int:
    if not is_object and payload[at] in b"$":
        if payload[at + 2] not in b"#":
            raise ValueError(f"a typed array without a count at byte {at}")
        if payload[at + 1] not in SIZES:
            raise ValueError(f"an array of no known type at byte {at}")
        n, start = _count(payload, at + 3)
        return _skip(payload, start, n * SIZES[payload[at + 1]])
    n = -1
    if payload[at] in b"#":
        n, at = _count(payload, at + 1)
    closing = ord("}") if is_object else ord("]")
    while n != 0:
        if n < 0 and payload[at] == closing:
            return at + 1
        if is_object:
            length, at = _count(payload, at)
            at = _skip(payload, at, length)
        at = _value(payload, at, depth)
        n -= 1
    return at


def _count(payload: bytes, at: int) -> tuple[int, int]:
    """Return the count written at `at`, and its end."""
    marker = payload[at]
    if marker not in COUNTS:
        raise ValueError(f"no count at byte {at}")
    (n,) = struct.unpack_from(COUNTS[marker], payload, at + 1)
    if n < 0:
        raise ValueError(f"a count below 0 at byte {at}")
    return int(n), at + 1 + SIZES[marker]


def _skip(payload: bytes, at: int, n: int) -> int:
    if at + n > len(payload):
        raise IndexError
    return at + n
