"""Segments: bars as small immutable Parquet files in one folder, many writers, many readers.

An append writes one new file under another name, flushes it to disk and renames it. So a file under
its own name is whole, and an append that returned survives a power cut. When a level has `FAN_IN`
files they are merged into one of the next level: n appends leave O(log n) files, and each row is
rewritten O(log n) times. After a crash between writing the merged file and removing its parts, rows
are there twice; they are equal, and `load` keeps one.

A correction (`corrections.py`) puts one segment in the place of those that hold the bars it is
about. The new segment names them: from the moment of its appearance nobody counts them any more.

`lock` is advisory (`flock` on the folder itself) and works between processes and between threads.
Writers hold it. Readers take no lock: files never change, and one that a merge took away is in the
merged file, which a second look finds.
"""

import fcntl
import io
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from pipelines.data.bars import SCHEMA
from pipelines.data.sources import seals
from registry.errors import DamagedBarsError, StoreBusyError
from registry.thread_priority import give_way

FAN_IN = 32
LOCK_SECONDS = 30.0
LOCK_POLL_SECONDS = 0.002
TICK_NS = 50_000_000
PARTS, REPLACED = "merged_from", "replaces"
CORRECTIONS = "corrections"
"""Folder of an interval's corrections; where there is none, no segment replaces another."""

KEY = ("symbol", "timestamp")


class SegmentFolder:
    """One folder of segments; keeps no state, so any number of them may exist for one folder."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._path = str(directory)

    @contextmanager
    def lock(self, *, exclusive: bool) -> Iterator[None]:
        """Hold the folder's lock; the folder must exist.

        Raises:
            StoreBusyError: it was not free within `LOCK_SECONDS`.
        """
        mode = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB
        deadline = time.monotonic() + LOCK_SECONDS
        descriptor = os.open(self.directory, os.O_RDONLY)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, mode)
                    break
                except BlockingIOError as exc:
                    if time.monotonic() > deadline:
                        raise StoreBusyError(str(self.directory), LOCK_SECONDS) from exc
                    time.sleep(LOCK_POLL_SECONDS)
            yield
        finally:
            os.close(descriptor)

    def changed_ns(self) -> int | None:
        """Return when the folder's entries changed last, None where there is no folder.

        The clock of a file system moves in ticks, so a change may carry the time of the one before.
        A time within the last `TICK_NS` is therefore never the same as another: it is returned as
        a negative number that differs at each call.
        """
        try:
            changed = os.stat(self._path).st_mtime_ns  # noqa: PTH116 - called for every prediction
        except FileNotFoundError:
            return None
        now = time.time_ns()
        return changed if abs(now - changed) > TICK_NS else -now

    def listed(self) -> tuple[int, frozenset[str]]:
        """Return `changed_ns` and the names of the whole segments, in this order."""
        return self.changed_ns() or 0, self.names()

    def names(self) -> frozenset[str]:
        """Return the names of the whole segments."""
        return frozenset(n for n in os.listdir(self.directory) if n.endswith(".parquet"))  # noqa: PTH208 - names, not paths: called for every append

    def load(self, names: Iterable[str]) -> pl.DataFrame:
        """Return the rows of these segments, sorted and unique by symbol and time.

        Segments that another of them replaces are left out.

        Raises:
            DamagedBarsError: one of them is not what was written.
        """
        wanted = set(names)
        if len(wanted) > 1:
            wanted -= self.replaced(wanted)
        parts = [self._read(name) for name in sorted(wanted)]
        if not parts:
            return pl.DataFrame(schema=SCHEMA)
        return pl.concat(parts).unique(KEY, keep="first").sort(KEY)

    def damaged(self, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return name -> symbols of those segments that are not what was written.

        The symbols are empty where neither the segment nor the seal beside it can be read.
        """
        found = {}
        for name in names:
            try:
                self._read(name)
            except DamagedBarsError as exc:
                found[name] = tuple(exc.symbols)
        return found

    def _read(self, name: str) -> pl.DataFrame:
        content = (self.directory / name).read_bytes()
        seal = seals.read(self.directory / name)
        if seal is None or seal.fits(content):
            try:
                return pl.read_parquet(content)
            except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
                pass
        symbols = seals.symbols_in(content) if seal is None else seal.symbols
        raise DamagedBarsError(self.directory.name, {name: symbols})

    def merged_from(self, name: str) -> frozenset[str]:
        """Return the segments that one was merged from; none for one that was appended."""
        return self._named(name, PARTS)

    def replaced(self, names: Iterable[str]) -> frozenset[str]:
        """Return the segments in whose place some of these were written."""
        if not (self.directory / CORRECTIONS).is_dir():
            return frozenset()
        return frozenset().union(*(self._named(name, REPLACED) for name in names))

    def _named(self, name: str, key: str) -> frozenset[str]:
        try:
            facts = pl.read_parquet_metadata(self.directory / name)
        except pl.exceptions.PolarsError:  # damaged; whoever reads its rows says so
            return frozenset()
        return frozenset(json.loads(facts.get(key, "[]")))

    def write(
        self,
        frame: pl.DataFrame,
        level: int = 0,
        parts: Iterable[str] = (),
        replaced: Iterable[str] = (),
    ) -> str:
        """Store the rows as a new segment and return its name (hold the exclusive lock).

        Args:
            parts: the segments that it is merged from; a reader that has those need not read it.
            replaced: the segments in whose place it is; a reader that has those reads all anew.
        """
        name = f"{level}-{time.time_ns():020d}-{os.getpid()}.parquet"
        partial = self.directory / f".{name}.partial"
        metadata = {PARTS: json.dumps(sorted(parts)), REPLACED: json.dumps(sorted(replaced))}
        content = io.BytesIO()
        frame.write_parquet(content, compression="zstd", statistics=False, metadata=metadata)
        give_way()
        try:
            with partial.open("wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            give_way()
            symbols = sorted(set(frame["symbol"].to_list()))
            seals.write(self.directory / name, content.getbuffer(), symbols)
            partial.rename(self.directory / name)
        except BaseException:
            partial.unlink(missing_ok=True)  # a full disk would stay full
            seals.remove(self.directory / name)
            raise
        give_way()
        sync_folder(self.directory)
        return name

    def change(self, keys: pl.DataFrame, rows: pl.DataFrame) -> None:
        """Take the bars of some symbols and times away, and add `rows` (hold the exclusive lock).

        Doing it again changes nothing. Damaged segments stay as they are.
        """
        self._remove(self.replaced(self.names()))
        names = self.names() - self.damaged(self.names()).keys()
        held = {name: self._read(name).select(KEY) for name in names}
        touched = [n for n, own in held.items() if len(own.join(keys, on=KEY, how="semi"))]
        left = self.load(touched).join(keys, on=KEY, how="anti")
        level = max((int(name.partition("-")[0]) for name in touched), default=0)
        self.write(pl.concat([left, rows]).sort(KEY), level, replaced=touched)
        self._remove(touched)

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            (self.directory / name).unlink(missing_ok=True)
            seals.remove(self.directory / name)

    def compact(self) -> bool:
        """Merge levels that are full; return whether any was (hold the exclusive lock).

        Nothing is merged while one of them is damaged: what is left of it is kept.
        """
        is_changed, level = False, 0
        while True:
            names = [n for n in self.names() if n.startswith(f"{level}-")]
            if len(names) < FAN_IN:
                return is_changed
            try:
                merged = self.load(names)
            except DamagedBarsError:
                return is_changed
            self.write(merged, level + 1, names)
            self._remove(names)
            for partial in self.directory.glob(".*.partial"):  # left by a killed writer
                partial.unlink()
            is_changed, level = True, level + 1


def sync_folder(directory: Path) -> None:
    """Flush a folder's entries to disk, so that a rename in it survives a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
