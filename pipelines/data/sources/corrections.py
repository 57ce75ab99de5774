"""Corrections: changes to bars that are held, which keep what was there.

A correction is a file in `<interval>/corrections/`: the bars that were held and those held instead,
who wanted it and why. It is decided when that file appears, and from then on it happens: whoever
takes the folder's lock next puts it into the segments, whatever became of the process that decided
it. Its event is written in the same step; `tell_missing` makes up for one that a crash kept out of
the engine database. A reader finds the bars before it or the bars after it, nothing between.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from pipelines.data.bars import SCHEMA
from pipelines.data.sources.segments import CORRECTIONS, KEY, SegmentFolder, sync_folder
from registry.contract import Json

if TYPE_CHECKING:
    import sqlalchemy as sa

CORRECTED, REMOVED = "bars_corrected", "bars_removed"
PENDING, DONE = ".pending", ".parquet"
IS_NOW = "is_now"
FACTS = "correction"
MOST_SHOWN = 100
"""Bars that an event shows itself, of those before and of those after; the file has all."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who corrects bars, and why."""

    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Removal:
    """Bars of a symbol with first <= timestamp <= last; None leaves a side open."""

    symbol: str
    first: datetime | None = None
    last: datetime | None = None

    def is_meant(self) -> pl.Expr:
        """Return whether a bar of the symbol is one of them."""
        first = pl.lit(True) if self.first is None else pl.col("timestamp") >= self.first
        return first if self.last is None else first & (pl.col("timestamp") <= self.last)


@dataclass(frozen=True, slots=True)
class Correction:
    """`was` are the bars held before, `now` those held instead of them or added (both `SCHEMA`)."""

    id: str
    at: datetime
    author: Author
    interval: str
    was: pl.DataFrame
    now: pl.DataFrame

    @property
    def kind(self) -> str:
        """Kind of its event."""
        return REMOVED if self.now.is_empty() else CORRECTED

    @property
    def keys(self) -> pl.DataFrame:
        """The symbols and times that it is about."""
        return pl.concat([self.was.select(KEY), self.now.select(KEY)]).unique()

    @classmethod
    def of(
        cls, author: Author, interval: str, was: pl.DataFrame, now: pl.DataFrame
    ) -> "Correction":
        """Return a new correction."""
        number = f"{time.time_ns():020d}-{os.getpid()}"
        return cls(number, datetime.now(UTC), author, interval, was, now)


class CorrectionFolder:
    """The corrections of one interval; keeps no state."""

    def __init__(self, segments: SegmentFolder) -> None:
        self._segments = segments
        self.directory = segments.directory / CORRECTIONS

    def decide(self, database: "sa.Engine", correction: Correction) -> None:
        """Write a correction and its event, then put it into the segments (hold the lock).

        Raises:
            sqlalchemy.exc.OperationalError: the database does not answer; nothing has changed.
            OSError: the disk does not take it; nothing has changed.
        """
        self.directory.mkdir(exist_ok=True)
        with database.begin() as connection:
            tell(connection, correction)
            _write(self.directory / f"{correction.id}{PENDING}", correction)
        self._apply(correction)

    def finish(self) -> None:
        """Put corrections into the segments that a killed process has decided (hold the lock)."""
        for path in self._paths(PENDING):
            self._apply(read(path))

    def tell_missing(self, database: "sa.Engine") -> None:
        """Append the events that a crash kept out of the database."""
        ids = self.ids()
        missing = set(ids) - _told(database) if ids else set()
        for correction_id in sorted(missing):
            with database.begin() as connection:
                tell(connection, self.get(correction_id))

    def ids(self) -> tuple[str, ...]:
        """Return the corrections that were decided, oldest first."""
        return tuple(sorted(path.stem for end in (DONE, PENDING) for path in self._paths(end)))

    def get(self, correction_id: str) -> Correction:
        """Return a correction."""
        with suppress(FileNotFoundError):  # renamed when it was put into the segments
            return read(self.directory / f"{correction_id}{PENDING}")
        return read(self.directory / f"{correction_id}{DONE}")

    def _apply(self, correction: Correction) -> None:
        self._segments.change(correction.keys, correction.now)
        path = self.directory / f"{correction.id}{PENDING}"
        path.rename(path.with_suffix(DONE))
        sync_folder(self.directory)

    def _paths(self, ending: str) -> list[Path]:
        try:
            names = os.listdir(self.directory)  # noqa: PTH208 - names, not paths: for every append
        except FileNotFoundError:
            return []
        return [self.directory / name for name in sorted(names) if name.endswith(ending)]


def read(path: Path) -> Correction:
    """Return the correction of a file."""
    facts = json.loads(pl.read_parquet_metadata(path)[FACTS])
    rows = pl.read_parquet(path)
    parts = [rows.filter(is_now).select(*SCHEMA) for is_now in (~pl.col(IS_NOW), pl.col(IS_NOW))]
    author = Author(facts["actor"], facts["reason"])
    at = datetime.fromisoformat(facts["at"])
    return Correction(path.stem, at, author, facts["interval"], *parts)


def tell(connection: "sa.Connection", correction: Correction) -> None:
    """Append a correction's event in the caller's transaction."""
    from registry import events  # a process that only reads bars needs no database

    facts: dict[str, Json] = {
        "correction": correction.id,
        "interval": correction.interval,
        "symbols": correction.keys["symbol"].unique().sort().to_list()[:MOST_SHOWN],
        "n_before": len(correction.was),
        "n_after": len(correction.now),
        "before": _shown(correction.was),
        "after": _shown(correction.now),
    }
    author = correction.author
    events.append(
        connection, correction.kind, actor=author.actor, reason=author.reason, facts=facts
    )


def _told(database: "sa.Engine") -> set[Json]:
    from registry import events

    kinds = (CORRECTED, REMOVED)
    found = (event for kind in kinds for event in events.of_kind(database, kind))
    return {event.facts.get("correction") for event in found}


def _write(path: Path, correction: Correction) -> None:
    sides = ((correction.was, False), (correction.now, True))
    rows = pl.concat([side.with_columns(pl.lit(is_now).alias(IS_NOW)) for side, is_now in sides])
    facts = {
        "at": correction.at.isoformat(),
        "interval": correction.interval,
        "actor": correction.author.actor,
        "reason": correction.author.reason,
    }
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            rows.write_parquet(file, compression="zstd", metadata={FACTS: json.dumps(facts)})
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _shown(bars: pl.DataFrame) -> list[Json]:
    return list(_rows(bars.head(MOST_SHOWN)))


def _rows(bars: pl.DataFrame) -> Iterator[dict[str, Json]]:
    for row in bars.iter_rows(named=True):
        yield {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in row.items()
            if value is not None
        }
