"""Seals: what a segment of bars must be, in a small hidden file beside it.

Parquet tells of a broken page at most that it cannot be read, and a page of zeros not even that:
it reads as other bars. A seal holds the SHA-256 of the segment and its symbols, so a segment is
either what was written, or it is known whose bars it held. It is written before the segment appears
and not flushed: one that a power cut spoiled counts as none. Segments of before 0.2 have none.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import polars as pl

ENDING = ".seal"
Buffer: TypeAlias = "bytes | memoryview"


@dataclass(frozen=True, slots=True)
class Seal:
    """SHA-256 and symbols of one segment."""

    sha256: str
    symbols: tuple[str, ...]

    def fits(self, content: bytes) -> bool:
        """Return whether these are the bytes that were written."""
        return hashlib.sha256(content).hexdigest() == self.sha256


def write(segment: Path, content: Buffer, symbols: Sequence[str]) -> None:
    """Write the seal of a segment.

    Raises:
        OSError: the disk does not take it.
    """
    facts = {"sha256": hashlib.sha256(content).hexdigest(), "symbols": list(symbols)}
    _path(segment).write_bytes(json.dumps(facts).encode())


def read(segment: Path) -> Seal | None:
    """Return the seal of a segment, None where there is none that can be read."""
    try:
        facts = json.loads(_path(segment).read_text())
        return Seal(str(facts["sha256"]), tuple(map(str, facts["symbols"])))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove(segment: Path) -> None:
    """Remove the seal of a segment; one that is not there is fine."""
    _path(segment).unlink(missing_ok=True)


def move(segment: Path, to: Path) -> None:
    """Move the seal of a segment that was moved."""
    with suppress(FileNotFoundError):
        _path(segment).rename(_path(to))


def symbols_in(content: bytes) -> tuple[str, ...]:
    """Return the symbols that a damaged segment without a seal still tells; perhaps none."""
    with suppress(pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        column = pl.read_parquet(io.BytesIO(content), columns=["symbol"])
        return tuple(column["symbol"].drop_nulls().unique().sort().to_list())
    return ()


def _path(segment: Path) -> Path:
    return segment.with_name(f".{segment.name}{ENDING}")
