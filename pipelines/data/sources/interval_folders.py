"""Interval folders: where the bars of each interval lie below the store's folder.

An interval is its length: `60m` is `1h`. Its folder is called by the largest unit that divides it.
Until release 0.2 a folder was called as its first caller wrote the interval; such a folder stays
where it is. Where a store has two of one length, the segments of both are put together, unless
their price bases differ: then each is found under its own name.
"""

import json
import os
from pathlib import Path

from pipelines.data.bars import canonical_interval, parse_interval
from pipelines.data.sources import seals
from pipelines.data.sources.segments import SegmentFolder, sync_folder
from registry.errors import ParameterError, PriceBasisConflictError

PRICE_BASES = ("adjusted", "raw", "mid", "unknown")
FACTS_FILE = "interval.json"


class IntervalFolders:
    """Finds the folder of an interval however it is written. Safe for threads."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._found: dict[str, SegmentFolder] = {}

    def names(self) -> tuple[str, ...]:
        """Return the intervals of which there are bars, each in its largest unit."""
        return tuple(sorted({canonical_interval(name) for name in self._names()}))

    def of(self, interval: str) -> SegmentFolder:
        """Return the folder of an interval; it need not exist.

        Raises:
            ParameterError: it is not written like 1d or 5m.
        """
        found = self._found.get(interval)
        if found is not None:
            return found
        length = parse_interval(interval)
        alike = [name for name in self._names() if parse_interval(name) == length]
        own = canonical_interval(interval)
        if len(alike) > 1:
            _unite(self.directory / own, [self.directory / name for name in alike if name != own])
        name = next((n for n in (interval, own, *alike) if (self.directory / n).is_dir()), own)
        folder = SegmentFolder(self.directory / name)
        if alike:
            self._found[interval] = folder
        return folder

    def _names(self) -> list[str]:
        return sorted(path.parent.name for path in self.directory.glob(f"*/{FACTS_FILE}"))


def _unite(own: Path, others: list[Path]) -> None:
    """Put the segments of other folders into an interval's own, where the price basis is the same.

    A crash leaves some in each; the next caller goes on.
    """
    if not (own / FACTS_FILE).is_file():
        own.mkdir(exist_ok=True)
        fix_basis(own, own.name, read_basis(others[0]))
    for other in others:
        if read_basis(other) != read_basis(own):
            continue
        folder = SegmentFolder(other)
        with SegmentFolder(own).lock(exclusive=True), folder.lock(exclusive=True):
            for name in folder.names():
                (other / name).rename(own / name)
                seals.move(other / name, own / name)
            sync_folder(own)
            (other / FACTS_FILE).unlink(missing_ok=True)
        if not any(other.iterdir()):
            other.rmdir()


def fix_basis(directory: Path, interval: str, price_basis: str) -> None:
    """Write the first price basis of an interval, refuse another (hold the exclusive lock).

    Raises:
        PriceBasisConflictError: its bars have another one.
    """
    path = directory / FACTS_FILE
    if path.exists():
        held = read_basis(directory)
        if held != price_basis:
            raise PriceBasisConflictError(interval, held, price_basis)
        return
    partial = path.with_suffix(".partial")
    with partial.open("w") as file:
        json.dump({"price_basis": price_basis}, file)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    for folder in (directory, directory.parent):
        sync_folder(folder)


def read_basis(directory: Path) -> str:
    """Return the price basis of a folder that holds bars."""
    return str(json.loads((directory / FACTS_FILE).read_text())["price_basis"])


def check_basis(price_basis: str) -> None:
    """Refuse a price basis that is none.

    Raises:
        ParameterError: it is not known.
    """
    if price_basis not in PRICE_BASES:
        raise ParameterError("price_basis", price_basis, " or ".join(PRICE_BASES))
