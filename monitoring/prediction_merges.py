"""Prediction merges: the many small files of the prediction log become few.

Each flush of each serving process makes a file. `FAN_IN` files of one day and level are merged into
one of the next level; when a day is over, what is left of it becomes one file. Files of at least
`FULL_BYTES` are left as they are. Files of the layout until release 0.1 are taken into the folders
of their days. Columns that this release does not know are kept. A damaged file is set aside (its
name then ends in `.damaged`) and counted.

A merge survives being killed at any moment. (1) The merged files are written and flushed under a
name that nobody reads. (2) The record of the merge appears (`prediction_files.Merge`), with which
readers leave the parts and take the merged files. (3) Those get their names, the parts are removed,
and the record. Whoever comes next ends what stopped after (2), and what stopped before it has
changed nothing. One process at a time merges the files of a model (an advisory lock on its folder);
nobody waits for it, neither readers nor those who write new files.
"""

import fcntl
import io
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import cast

import polars as pl
import structlog

from monitoring.prediction_files import (
    MERGE,
    MERGED,
    UNFINISHED,
    Merge,
    ModelFolder,
    in_schema,
    parquet_files,
    write_file,
)
from pipelines.data.bars import EPOCH
from pipelines.data.sources.segments import sync_folder

FAN_IN = 32
FULL_BYTES = 16 * 2**20
MOST_BYTES = 2 * FULL_BYTES
"""Bytes of the files in one merge; memory takes a few times as much."""
DAMAGED = ".damaged"
SERVED_ON = "__served_on"
OLD_SECONDS = 86_400.0
"""An unfinished file this old belongs to a process that was killed."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a look at a folder led to: whether files were merged, and which were set aside."""

    is_changed: bool = False
    damaged: tuple[Path, ...] = ()


def merge_day(folder: ModelFolder, day: date) -> Outcome:
    """Merge the fullest level of a day that is still written to, if it has `FAN_IN` files."""
    return _merged(folder, lambda: _full_level(folder, day))


def merge_past(folder: ModelFolder, today: date) -> Outcome:
    """Merge some files of a day before today, or of the old layout; call it until nothing changes.

    It also ends merges that were killed, and removes what killed writers have left.
    """
    with locked(folder) as is_mine:
        if is_mine:
            _sweep(folder)
    return _merged(folder, lambda: _old_layout(folder) or _past_day(folder, today))


def merge_old_layout(folder: ModelFolder) -> Outcome:
    """Take some files of the layout until 0.1 into their days; call it until nothing changes."""
    return _merged(folder, lambda: _old_layout(folder))


@contextmanager
def locked(folder: ModelFolder) -> Iterator[bool]:
    """Hold the folder for merging or removing, with earlier merges ended; False where it is held.

    Raises:
        OSError: the folder cannot be locked, or not written.
    """
    descriptor = os.open(folder.directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        for record, merge in folder.merges().items():
            _end(folder, record, merge)
        yield True
    finally:
        os.close(descriptor)


def level_of(path: Path) -> int:
    """Return how often a file's rows were merged; 0 for names of the layout until 0.1."""
    level, dash, _ = path.stem.rpartition("_")[2].partition("-")
    return int(level) if dash and level.isdecimal() else 0


# Which files to merge ---------------------------------------------------------------------------


def _full_level(folder: ModelFolder, day: date) -> list[Path]:
    by_level: dict[int, list[Path]] = {}
    for path in parquet_files(folder.of_day(day)):
        by_level.setdefault(level_of(path), []).append(path)
    for _, files in sorted(by_level.items()):
        if len(files) >= FAN_IN and len(small := _small(files)) >= FAN_IN:
            return _some(small, FAN_IN)
    return []


def _old_layout(folder: ModelFolder) -> list[Path]:
    return _some(sorted(parquet_files(folder.directory)), 4 * FAN_IN, fewest=1)


def _past_day(folder: ModelFolder, today: date) -> list[Path]:
    for day in folder.days():
        if day < today and (found := _some(_small(parquet_files(folder.of_day(day))), 4 * FAN_IN)):
            return found
    return []


def _small(files: Sequence[Path]) -> list[Path]:
    return sorted(path for path in files if path.stat().st_size < FULL_BYTES)


def _some(files: Sequence[Path], most: int, fewest: int = 2) -> list[Path]:
    """Return the first of the files, as many as one merge takes; none if that is too few."""
    found, n_bytes = list[Path](), 0
    for path in files[:most]:
        n_bytes += path.stat().st_size
        if found and n_bytes > MOST_BYTES:
            break
        found.append(path)
    return found if len(found) >= fewest else []


# One merge --------------------------------------------------------------------------------------


def _merged(folder: ModelFolder, choose: Callable[[], list[Path]]) -> Outcome:
    if not choose():  # the usual case needs no lock
        return Outcome()
    with locked(folder) as is_mine:
        parts = choose() if is_mine else []
        return _merge(folder, parts) if parts else Outcome()


def _merge(folder: ModelFolder, parts: Sequence[Path]) -> Outcome:
    frames, whole, damaged = [], [], []
    for path in parts:
        try:
            content = io.BytesIO(path.read_bytes())  # a disk that fails now is no damaged file
            frames.append(in_schema(pl.read_parquet(content)))
            whole.append(path)
        except pl.exceptions.PolarsError:
            damaged.append(path)
    for path in damaged:
        path.rename(path.with_suffix(DAMAGED))
        log.error("prediction file set aside: unreadable", file=str(path.with_suffix(DAMAGED)))
    if whole:
        _replace(folder, whole, pl.concat(frames, how="diagonal_relaxed"))
    return Outcome(True, tuple(damaged))


def _replace(folder: ModelFolder, parts: Sequence[Path], rows: pl.DataFrame) -> None:
    level = 1 + max(map(level_of, parts))
    written_ns = max(path.stat().st_mtime_ns for path in parts)
    made: list[Path] = []
    record = folder.directory / f"{uuid.uuid4().hex}{MERGE}"
    try:
        for target, some in _by_folder(folder, parts, rows):
            made.append(write_file(target, some, level, MERGED))
            os.utime(made[-1], ns=(written_ns, written_ns))  # when its newest row was written
        merge = Merge(_named(folder, parts), _named(folder, made, ".parquet"))
        _write_record(record, merge)
    except BaseException:
        for path in [] if record.exists() else made:  # with a record they count already
            path.unlink(missing_ok=True)
        raise
    _end(folder, record, merge)


def _by_folder(
    folder: ModelFolder, parts: Sequence[Path], rows: pl.DataFrame
) -> Iterator[tuple[Path, pl.DataFrame]]:
    """Yield the rows with the folder they belong to: their day's where it holds them already."""
    if parts[0].parent != folder.directory:
        yield parts[0].parent, rows
        return
    served_on = pl.coalesce("served_at", "as_of", pl.lit(EPOCH)).dt.date()
    dated = rows.with_columns(served_on.alias(SERVED_ON))
    for (day,), some in dated.partition_by(SERVED_ON, as_dict=True, include_key=False).items():
        yield folder.of_day(cast(date, day)), some


def _named(folder: ModelFolder, paths: Sequence[Path], ending: str = "") -> tuple[str, ...]:
    shown = (path.with_suffix(ending) if ending else path for path in paths)
    return tuple(path.relative_to(folder.directory).as_posix() for path in shown)


def _write_record(record: Path, merge: Merge) -> None:
    unfinished = record.with_suffix(UNFINISHED)
    try:
        with unfinished.open("w") as file:
            file.write(merge.to_json())
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(record)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(record.parent)


def _end(folder: ModelFolder, record: Path, merge: Merge) -> None:
    """Do what follows the record: name the merged files, remove the parts, then the record."""
    made = [folder.directory / name for name in merge.made]
    for path in made:
        if path.with_suffix(MERGED).exists():
            path.with_suffix(MERGED).rename(path)
    if not all(path.exists() for path in made):  # somebody removed it: then the parts count
        log.error("merged predictions are gone", record=str(record))
        record.unlink()
        return
    parts = [folder.directory / name for name in merge.parts]
    _sync(made)
    for path in parts:
        path.unlink(missing_ok=True)
    _sync(parts)  # after a power cut no part may be back without the record
    record.unlink()


def _sync(paths: Sequence[Path]) -> None:
    for target in {path.parent for path in paths}:
        if target.exists():
            sync_folder(target)


def _sweep(folder: ModelFolder) -> None:
    """Remove what killed processes have left (hold the lock)."""
    for place in (folder.directory, *map(folder.of_day, folder.days())):
        for path in place.iterdir():
            is_old = path.suffix == UNFINISHED and time.time() - _changed(path) > OLD_SECONDS
            if is_old or path.suffix == MERGED:
                path.unlink(missing_ok=True)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # its writer has just finished it
        return time.time()
