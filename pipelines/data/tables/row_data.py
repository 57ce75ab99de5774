"""Row data: files whose rows stand alone (tables, labelled texts), in the order of time.

The counterpart of `Bars`: checked, sorted, digested. A time column gives each row its time. Without
one the file's order is used as time, one second per row from 1970, and the note says so. Rows of
one time stay together in every fold. `read_rows` reads CSV and Parquet as source `files` does.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.bars import EPOCH, TIMESTAMP
from pipelines.data.sources import BarQuery
from pipelines.data.sources.files import paths_of
from pipelines.data.sources.marks import notes_of
from pipelines.data.sources.number_texts import with_points
from pipelines.data.sources.tables import read_table
from pipelines.data.sources.times import parse_times, to_utc
from registry.contract import NO_TIMES
from registry.errors import ParameterError, TableError

TIME = "timestamp"
UNTIMED = f"{NO_TIMES}: their order in the file is used as time"
FEWEST_ROWS = 60
"""Fewer rows cannot be split into parts to fit, calibrate and test on."""


@dataclass(frozen=True, slots=True)
class RowData:
    """Rows sorted by their time (UTC), the first column; the others are the file's own.

    The first column is called `timestamp`, or otherwise where a column of the file is.
    There are no bars behind them, so `interval`, `price_basis`, `symbols` and `instrument` are
    empty.
    `file_sha256` is of the upload they were read from; `timezone` and `date_order` say how naive
    times and open dates of its columns are read.
    """

    frame: pl.DataFrame
    source: str
    note: str = ""
    repairs: tuple[str, ...] = ()
    interval: str = ""
    price_basis: str = ""
    symbols: tuple[str, ...] = ()
    file_sha256: str = ""
    instrument: str = ""
    timezone: str = "UTC"
    date_order: str = ""

    def digest(self) -> str:
        """Return the SHA-256 of times, names and values, whatever file they came from."""
        return hashlib.sha256(self.frame.write_csv().encode()).hexdigest()

    def times(self) -> pl.Series:
        """Return the time of each row."""
        return self.frame.to_series(0)

    def span(self) -> tuple[datetime, datetime]:
        """Return the first and the last time."""
        first, last = self.times()[0], self.times()[-1]
        assert isinstance(first, datetime) and isinstance(last, datetime)
        return first, last

    def between(self, start: datetime | None, end: datetime | None) -> "RowData":
        """Return the rows with start <= timestamp <= end; None leaves a side open."""
        keep = pl.lit(value=True)
        if start is not None:
            keep = keep & (pl.nth(0) >= start)
        if end is not None:
            keep = keep & (pl.nth(0) <= end)
        return replace(self, frame=self.frame.filter(keep))

    @property
    def where(self) -> str:
        """What error messages call the data."""
        return self.source


def read_rows(query: BarQuery, time: str) -> RowData:
    """Read all files that the query's `path` names; they must have the same columns.

    Args:
        time: the column with the rows' times; empty takes the files' order.

    Raises:
        ParameterError: no path, a parameter that belongs to bars, no such time column.
        TableError, BarsError: files that cannot be read, that differ, or with too few rows.
    """
    refuse_bar_parameters(query)
    paths = paths_of(query.path)
    tables = [read_table(path, query.policy) for path in paths]
    first = tables[0]
    first.refuse_repeated()
    for table in tables[1:]:
        if table.columns != first.columns:
            problem = f"its columns differ from those of {first.where}"
            raise TableError(problem, table.where, "read files of one layout")
    if not all(table.has_header for table in tables):
        without = next(table.where for table in tables if not table.has_header)
        raise TableError("the file has no header", without, "name the columns in a first line")
    read = [with_points(table) for table in tables]
    frame = pl.concat([frame for frame, _ in read])
    notes = tuple(note for table in tables for note in table.notes)
    notes += tuple(dict.fromkeys(note for _, lines in read for note in lines))
    where = first.where if len(tables) == 1 else str(query.path)
    data, lines = timed(frame, time, query.timezone, where, query.date_order)
    note = "; ".join(filter(None, (notes_of(paths), data.note)))
    data = replace(
        data,
        note=note,
        repairs=(*notes, *lines),
        timezone=query.timezone,
        date_order=query.date_order,
    ).between(query.start, query.end)
    if len(data.frame) < FEWEST_ROWS:
        problem = f"there are {len(data.frame)} rows"
        raise TableError(problem, where, f"at least {FEWEST_ROWS} are needed")
    return data


def refuse_bar_parameters(query: BarQuery) -> None:
    """Refuse parameters that say how bars are read.

    Raises:
        ParameterError: one is there.
    """
    of_bars = {
        "symbols": ",".join(query.symbols),
        "columns": ",".join(f"{ours}={theirs}" for ours, theirs in query.columns.items()),
        "interval": query.interval,
        **query.adjustments.said(),
    }
    for name, value in of_bars.items():
        if value:
            raise ParameterError(name, value, "nothing, because it is for bars only")


def timed(
    frame: pl.DataFrame,
    time: str,
    timezone: str = "UTC",
    where: str = "rows",
    date_order: str = "",
) -> tuple[RowData, tuple[str, ...]]:
    """Return rows with their times, sorted, and one line per change.

    Raises:
        ParameterError: no such column, or a time zone that does not exist.
        TableError: a time that the clocks skip.
        BarsError: a time that is missing or cannot be read.
    """
    if not time:
        note = f"{UNTIMED}; its column {TIME!r} is a feature" if TIME in frame.columns else UNTIMED
        return RowData(_in_order(frame), where, note), ()
    stamps, notes = read_time(frame, time, timezone, where, date_order)
    rest = frame.drop(time)
    stamped = rest.select(stamps.alias(_free(rest)), pl.all())
    ordered = stamped.sort(pl.nth(0), maintain_order=True)
    lines = () if stamps.is_sorted() else (f"{where}: sorted by {time}",)
    return RowData(ordered, where), (*(f"{where}: {note}" for note in notes), *lines)


def read_time(
    frame: pl.DataFrame, name: str, timezone: str, where: str, date_order: str = ""
) -> tuple[pl.Series, tuple[str, ...]]:
    """Return a column of times in UTC, one per row, and what is to be said of how it was read.

    Raises:
        ParameterError, TableError, BarsError: as `timed` says.
    """
    if name not in frame.columns:
        raise ParameterError("time", name, f"one of the columns {', '.join(frame.columns)}")
    found = parse_times(frame[name], pl.Series(range(1, len(frame) + 1)), where, date_order)
    if not found.is_naive:
        return found.values.cast(TIMESTAMP), found.notes
    naive = pl.DataFrame({"symbol": [""] * len(frame), TIME: found.values})
    utc, skipped, _ = to_utc(naive, timezone, is_unique=False)
    if len(skipped):
        problem = f"{len(skipped)} times do not exist in {timezone} (clocks skip them)"
        raise TableError(problem, where, "give the file's own timezone=")
    return utc[TIME].cast(TIMESTAMP), found.notes


def microseconds(frame: pl.DataFrame) -> NDArray[np.int64]:
    """Return the rows' times, their first column, as int64 microseconds UTC."""
    return np.asarray(frame.to_series(0).to_physical().to_numpy(), dtype=np.int64)


def place_in_time(t0: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the place of each row among the rows of its time: 0, 1, ...; `t0` is sorted.

    Together with the time it is the row's key.
    """
    first = np.searchsorted(t0, t0, side="left")
    return np.asarray(np.arange(len(t0)) - first, dtype=np.int32)


def label_ends(
    t0: NDArray[np.int64], horizon: int, ends: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Return the time at which each row's label is known: `ends`, else `horizon` times later.

    Horizon 0 means at once: a microsecond after the row's time. Beyond the last time, labels end
    one typical step apart.

    Raises:
        TableError: a label that ends before its row's time.
    """
    if ends is not None:
        if (early := np.flatnonzero(ends <= t0)).size:
            problem = f"row {int(early[0]) + 1}: its label ends at or before its time"
            raise TableError(problem, "label_end", "give the time when the target became known")
        return ends
    if horizon == 0:
        return t0 + 1
    times = np.unique(t0)
    step = max(1, int(np.median(np.diff(times)))) if len(times) > 1 else 1
    later = np.concatenate((times, times[-1] + step * np.arange(1, horizon + 1)))
    return np.asarray(later[np.searchsorted(times, t0) + horizon], dtype=np.int64)


def names_of_places(place: NDArray[np.int32]) -> tuple[str, ...]:
    """Return a name for each place in time; they stand where bars have symbols."""
    return tuple(str(i) for i in range(int(place.max(initial=0)) + 1))


def _in_order(frame: pl.DataFrame) -> pl.DataFrame:
    stamps = pl.lit(EPOCH).cast(TIMESTAMP) + pl.duration(seconds=pl.int_range(pl.len()))
    return frame.select(stamps.cast(TIMESTAMP).alias(_free(frame)), pl.all())


def _free(frame: pl.DataFrame) -> str:
    """Return the name of the column of times, which no column of the file has."""
    name = TIME
    while name in frame.columns:
        name += "_"
    return name
