"""Prediction files: where the rows of the prediction log lie, and how they are read.

    <directory>/<model_id>/day=2026-11-30/<first as_of>_<last as_of>_<level>-<unique>.parquet

The day is the one on which the rows were served (UTC): a flush writes one file, a replay of twenty
years does not make thousands of folders, and retention means what was logged how long ago. Readers
ask by `as_of`; its span stands in the name (microseconds UTC), so they open only the files they
need. Until release 0.1 the files lay in the model's folder itself; they are read for ever, and
`monitoring/prediction_merges.py` takes them into their days.

A file appears whole or not at all, and never changes. What a reader finds is what was there at one
moment: no row twice, none missing, whatever is being merged or removed. A column that a file does
not have is null, and one that is not in `SCHEMA` is left out. A file that cannot be read is
skipped, said and counted: one bad file ends no drift report.
"""

import json
import os
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import structlog

from monitoring.prediction_rows import SCHEMA
from pipelines.data.bars import to_microseconds
from pipelines.data.sources.segments import sync_folder

DAY = "day="
BATCHES = "batches"
"""Folder of a model for the rows of batches, laid out as the model's own (`batch_log`)."""
UNFINISHED = ".unfinished"
MERGED = ".merged"
"""Ending of a merged file that counts already (its merge is recorded) and has no name yet."""
MERGE = ".merge"
NO_TIME = 0
READ_TRIES = 50

Span = tuple[int, int]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Merge:
    """The record of a merge; while it lies in the model's folder, `made` counts and `parts` do not.

    Its appearance is the moment of the merge. Paths are relative to the model's folder.
    """

    parts: tuple[str, ...]
    made: tuple[str, ...]

    def to_json(self) -> str:
        """Return the record as JSON."""
        return json.dumps({"parts": self.parts, "made": self.made})

    @classmethod
    def from_json(cls, text: str) -> "Merge":
        """Return the record that `to_json` wrote."""
        facts = json.loads(text)
        return cls(tuple(facts["parts"]), tuple(facts["made"]))


@dataclass(frozen=True, slots=True)
class Found:
    """Rows that were read, and the files that could not be."""

    rows: pl.DataFrame
    damaged: tuple[Path, ...] = ()


class ModelFolder:
    """The files of one model; keeps no state, so any number of them may exist for one folder."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def days(self) -> list[date]:
        """Return the days that have a folder, oldest first."""
        return sorted(day for name in _names(self.directory) if (day := _day_of(name)))

    def of_day(self, day: date) -> Path:
        """Return the folder of a day."""
        return self.directory / f"{DAY}{day.isoformat()}"

    def files(self) -> list[Path]:
        """Return the files that hold the rows at this moment, each row in one of them, by name.

        A listing is no snapshot: a file that is merged while it is taken may be missed together
        with the one it is merged into. Then one of the files before is gone at the next look.
        """
        found = self._look()
        while not found <= (again := self._look()):
            found = again
        return sorted(again)

    def merges(self) -> dict[Path, Merge]:
        """Return the merges that are recorded and not tidied up yet.

        Raises:
            FileNotFoundError: one of them was tidied up meanwhile.
        """
        found = {}
        for name in _names(self.directory):
            path = self.directory / name
            if name.endswith(MERGE):
                try:
                    found[path] = Merge.from_json(path.read_text())
                except (ValueError, KeyError, TypeError):
                    log.exception("merge of predictions cannot be read", file=str(path))
        return found

    def newest_write(self) -> datetime | None:
        """Return when a row was last written; None without any.

        Costs a look at the folders and at the files of the newest ones. The clock that named the
        days may have been wrong; the times of change order the folders.
        """
        folders = [self.directory, *map(self.of_day, self.days())]
        newest = 0.0
        for changed, folder in sorted(((_changed(f), f) for f in folders), reverse=True):
            if changed < newest:
                break
            names = [name for name in _names(folder) if name.endswith(".parquet")]
            newest = max([newest, *(_changed(folder / name) for name in names)])
        return datetime.fromtimestamp(newest, UTC) if newest else None

    def _look(self) -> frozenset[Path]:
        while True:
            try:
                merges = self.merges().values()
            except FileNotFoundError:
                continue
            found = set(parquet_files(self.directory))
            for day in self.days():
                found.update(parquet_files(self.of_day(day)))
            for merge in merges:
                found.difference_update(self.directory / name for name in merge.parts)
                for path in (self.directory / name for name in merge.made):
                    found.add(path if path in found else path.with_suffix(MERGED))
            return frozenset(found)


def span_of(path: Path) -> Span | None:
    """Return the first and the last as_of of a file; None where its name does not say."""
    parts = path.stem.split("_")
    try:
        return int(parts[0]), int(parts[1])
    except (ValueError, IndexError):
        return None


def served_on(path: Path) -> date | None:
    """Return the day whose folder a file lies in; None for the layout until release 0.1."""
    return _day_of(path.parent.name)


def between(files: Iterable[Path], start: datetime | None, end: datetime | None) -> list[Path]:
    """Return the files that may hold rows with start <= as_of <= end; None leaves a side open."""
    first = None if start is None else to_microseconds(start)
    last = None if end is None else to_microseconds(end)

    def overlaps(span: Span | None) -> bool:
        if span is None:
            return True
        return (first is None or span[1] >= first) and (last is None or span[0] <= last)

    return [path for path in files if overlaps(span_of(path))]


def parquet_files(folder: Path) -> list[Path]:
    """Return the finished files of one folder; none where there is no folder."""
    return [folder / name for name in _names(folder) if name.endswith(".parquet")]


def read_folder(
    folder: ModelFolder,
    start: datetime | None = None,
    end: datetime | None = None,
    where: pl.Expr | None = None,
    columns: Sequence[str] = tuple(SCHEMA),
    day: date | None = None,
) -> Found:
    """Return the rows with start <= as_of <= end, in no order; None leaves a side open.

    Args:
        day: the day on which they were served, None for all.
        where: what else must be true of them.
        columns: names of `SCHEMA`; the others are not read.
    """
    conditions = [] if where is None else [where]
    conditions += [] if start is None else [pl.col("as_of") >= start]
    conditions += [] if end is None else [pl.col("as_of") <= end]
    for _ in range(READ_TRIES):
        try:
            return read_files(_of(folder, start, end, day), conditions, columns)
        except FileNotFoundError:  # merged or removed meanwhile
            continue
    files = _of(folder, start, end, day)
    gone = [path for path in files if not path.exists()]
    return said(read_files([p for p in files if p not in gone], conditions, columns), gone)


def _of(
    folder: ModelFolder, start: datetime | None, end: datetime | None, day: date | None
) -> list[Path]:
    files = between(folder.files(), start, end)
    return [path for path in files if day is None or served_on(path) == day]


def read_files(
    files: Sequence[Path], where: Sequence[pl.Expr], columns: Sequence[str] = tuple(SCHEMA)
) -> Found:
    """Return the rows of some files of which all of `where` is true, in no order.

    Raises:
        FileNotFoundError: one of the files is not there.
    """
    nothing = Found(pl.DataFrame(schema={name: SCHEMA[name] for name in columns}))
    if not files:
        return nothing
    wanted = [pl.lit(True), *where]
    try:
        return Found(_scan(files).filter(wanted).select(columns).collect())
    except FileNotFoundError:
        raise
    except (pl.exceptions.PolarsError, OSError):  # damaged, or of another layout: one by one
        pass
    parts, damaged = [nothing.rows], []
    for path in files:
        try:
            parts.append(read_whole(path).filter(wanted).select(columns))
        except FileNotFoundError:
            raise
        except (pl.exceptions.PolarsError, OSError):
            damaged.append(path)
    return said(Found(pl.concat(parts)), damaged)


def read_whole(path: Path) -> pl.DataFrame:
    """Return the rows of one file in the columns of `SCHEMA`, whatever layout it has.

    Raises:
        FileNotFoundError: it is not there.
        PolarsError, OSError: it is damaged, or cannot be opened.
    """
    return in_schema(pl.read_parquet(path, glob=False)).select(tuple(SCHEMA))


def in_schema(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame with the columns of `SCHEMA`, null where it has none, and its further ones.

    Raises:
        PolarsError: a column is something else altogether.
    """
    cast = frame.with_columns(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in SCHEMA.items()
    )
    if wrong := [name for name, dtype in SCHEMA.items() if cast.schema[name] != dtype]:
        raise pl.exceptions.SchemaError(f"columns of another type: {', '.join(wrong)}")
    return cast


def said(found: Found, damaged: Sequence[Path]) -> Found:
    """Return what was found with some files as damaged, and say so in the log."""
    if damaged:
        names = [str(path) for path in damaged[:3]]
        log.error("prediction files skipped: unreadable", files=len(damaged), first=names)
    return Found(found.rows, (*found.damaged, *damaged))


def write_file(folder: Path, rows: pl.DataFrame, level: int = 0, ending: str = ".parquet") -> Path:
    """Store rows as one new file that appears whole or not at all; return it.

    Args:
        level: how often its rows were merged.
        ending: `MERGED` for one that does not count yet.

    Raises:
        OSError, PolarsError: it cannot be written; nothing is left of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    times = rows["as_of"].drop_nulls().to_physical().to_numpy()
    low, high = (int(times.min()), int(times.max())) if len(times) else (NO_TIME, NO_TIME)
    path = folder / f"{low}_{high}_{level}-{uuid.uuid4().hex}{ending}"
    unfinished = path.with_suffix(UNFINISHED)
    try:
        with unfinished.open("wb") as file:
            rows.write_parquet(file, compression="zstd", compression_level=1, statistics=False)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)  # a full disk would stay full
        raise
    sync_folder(folder)
    return path


def _scan(files: Sequence[Path]) -> pl.LazyFrame:
    return pl.scan_parquet(
        list(files),
        schema=SCHEMA,
        missing_columns="insert",
        extra_columns="ignore",
        glob=False,
    )


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names, not paths: called for every flush
    except (FileNotFoundError, NotADirectoryError):
        return []


def _day_of(name: str) -> date | None:
    try:
        day = date.fromisoformat(name.removeprefix(DAY))
    except ValueError:
        return None
    return day if name == f"{DAY}{day.isoformat()}" else None


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # merged or removed meanwhile
        return 0.0
