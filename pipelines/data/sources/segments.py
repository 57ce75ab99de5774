"""Segments: bars as small immutable Parquet files in one folder, many writers, many readers.

An append writes one new file under another name, flushes it to disk and renames it. So a file under
its own name is whole, and an append that returned survives a power cut. When a level has `FAN_IN`
files they are merged into one of the next level: n appends leave O(log n) files, and each row is
rewritten O(log n) times. After a crash between writing the merged file and removing its parts, rows
are there twice; they are equal, and `load` keeps one.

`lock` is advisory (`flock` on the folder itself) and works between processes and between threads.
Readers share it, so that a merge never takes files away from under them.
"""

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from registry.errors import StoreBusyError

FAN_IN = 32
LOCK_SECONDS = 30.0
LOCK_POLL_SECONDS = 0.002

KEY = ("symbol", "timestamp")


class SegmentFolder:
    """One folder of segments; keeps no state, so any number of them may exist for one folder."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

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

    def names(self) -> frozenset[str]:
        """Return the names of the whole segments (hold the lock)."""
        return frozenset(n for n in os.listdir(self.directory) if n.endswith(".parquet"))  # noqa: PTH208 - names, not paths: called for every append

    def load(self, names: Iterable[str]) -> pl.DataFrame:
        """Return the rows of these segments, sorted and unique by symbol and time."""
        parts = [pl.read_parquet(self.directory / name) for name in sorted(names)]
        return pl.concat(parts).unique(KEY, keep="first").sort(KEY)

    def write(self, frame: pl.DataFrame, level: int = 0) -> str:
        """Store the rows as a new segment and return its name (hold the exclusive lock)."""
        name = f"{level}-{time.time_ns():020d}-{os.getpid()}.parquet"
        partial = self.directory / f".{name}.partial"
        with partial.open("wb") as file:
            frame.write_parquet(file, compression="zstd", statistics=False)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(self.directory / name)
        sync_folder(self.directory)
        return name

    def compact(self) -> bool:
        """Merge levels that are full; return whether any was (hold the exclusive lock)."""
        is_changed, level = False, 0
        while True:
            names = [n for n in self.names() if n.startswith(f"{level}-")]
            if len(names) < FAN_IN:
                return is_changed
            self.write(self.load(names), level + 1)
            for name in names:
                (self.directory / name).unlink()
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
