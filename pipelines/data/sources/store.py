"""Source `store`: the bars this engine has received, under `var/bars/<interval>/`.

`BarStore` is written by serving (`POST /bars`) and read by serving, monitoring and the training
stages, in several processes at once. An append is on disk before it returns, and idempotent on
(symbol, timestamp): the first bar of a time stands; a later one that differs is reported, not
stored. Each interval has one price basis. The files are `pipelines.data.sources.segments`.
"""

import json
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from pipelines.data.bars import SCHEMA, Bars, check_bars, parse_interval
from pipelines.data.sources import BarQuery
from pipelines.data.sources.segments import KEY, SegmentFolder, sync_folder
from registry.errors import (
    BarsError,
    ParameterError,
    PriceBasisConflictError,
    UnknownSymbolError,
)
from registry.settings import PlatformSettings, read_settings

PRICE_BASES = ("adjusted", "raw", "mid", "unknown")
FACTS_FILE = "interval.json"
MAX_CHUNKS = 64


@dataclass(frozen=True, slots=True)
class AppendReport:
    """Result of an append; `conflicts` has one line per bar that was refused."""

    accepted: int
    duplicates: int
    conflicts: tuple[str, ...]


class BarStore:
    """Bars on disk with a copy in memory that follows what other processes append.

    Thread safe. Two stores on one folder, in one process or in several, see each other's bars.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.Lock()
        self._held: dict[str, _IntervalBars] = {}

    def intervals(self) -> tuple[str, ...]:
        """Return the intervals of which there are bars."""
        return tuple(sorted(p.parent.name for p in self.directory.glob(f"*/{FACTS_FILE}")))

    def symbols(self, interval: str) -> tuple[str, ...]:
        """Return the symbols of which there are bars, in alphabetical order."""
        return tuple(sorted(self._current(interval)))

    def append(self, frame: pl.DataFrame, interval: str, price_basis: str) -> AppendReport:
        """Store bars of any symbols, in any order; see the module for the laws.

        Args:
            frame: what `check_bars` takes; one bar is enough.
            price_basis: `adjusted`, `raw`, `mid` or `unknown`.

        Raises:
            BarsError, MissingColumnsError: a bar is unusable, or it is a second bar of a day
                under another label; nothing was stored.
            PriceBasisConflictError: the interval's bars have another price basis.
            ParameterError: unknown interval or price basis.
            StoreBusyError: another process holds the folder too long.
        """
        parse_interval(interval)
        if price_basis not in PRICE_BASES:
            raise ParameterError("price_basis", price_basis, " or ".join(PRICE_BASES))
        fresh, duplicates, conflicts = _distinct(frame)
        folder = SegmentFolder(self.directory / interval)
        folder.directory.mkdir(parents=True, exist_ok=True)
        with self._lock, folder.lock(exclusive=True):
            _fix_basis(folder.directory, interval, price_basis)
            held = self._refreshed(interval, folder)
            if parse_interval(interval) >= timedelta(days=1):
                held.check_days(fresh)
            accepted, known, differing = held.split(fresh)
            if not accepted.is_empty():
                held.add(accepted, folder.write(accepted))
                if folder.compact():
                    held.names = folder.names()
        return AppendReport(len(accepted), duplicates + known, conflicts + differing)

    def read(
        self,
        interval: str = "",
        symbols: Iterable[str] = (),
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Bars:
        """Return the bars with start <= timestamp <= end, sorted by symbol and time.

        Args:
            interval: may be empty when the store holds only one.
            symbols: none means all.

        Raises:
            UnknownSymbolError: a symbol without bars.
            BarsError: the store is empty.
            ParameterError: the store does not hold the interval.
        """
        interval = self._only_interval(interval)
        frames = self._current(interval)
        if not frames:
            raise self._empty()
        wanted = tuple(dict.fromkeys(symbols)) or tuple(frames)
        for symbol in wanted:
            if symbol not in frames:
                raise UnknownSymbolError(symbol, f"the bars store ({interval})", frames)
        frame = pl.concat([frames[s] for s in sorted(wanted)])
        return Bars(frame, interval, self.price_basis(interval), "store").between(start, end)

    def tail(self, interval: str, symbol: str, n_bars: int) -> pl.DataFrame:
        """Return the newest `n_bars` bars of one symbol (fewer if there are fewer), by time."""
        frame = self._current(interval).get(symbol)
        return pl.DataFrame(schema=SCHEMA) if frame is None else frame.tail(n_bars)

    def price_basis(self, interval: str) -> str:
        """Return the price basis of an interval that is held."""
        facts = json.loads((self.directory / interval / FACTS_FILE).read_text())
        return str(facts["price_basis"])

    def _current(self, interval: str) -> dict[str, pl.DataFrame]:
        folder = SegmentFolder(self.directory / interval)
        if not folder.directory.is_dir():
            return {}
        with self._lock, folder.lock(exclusive=False):
            return dict(self._refreshed(interval, folder).frames)

    def _refreshed(self, interval: str, folder: SegmentFolder) -> "_IntervalBars":
        names = folder.names()
        held = self._held.setdefault(interval, _IntervalBars())
        if held.names - names:  # another process has merged segments
            held = self._held[interval] = _IntervalBars()
        if missing := names - held.names:
            held.add(folder.load(missing))
            held.names = names
        return held

    def _only_interval(self, interval: str) -> str:
        held = self.intervals()
        if not held:
            raise self._empty()
        if interval in held or (not interval and len(held) == 1):
            return interval or held[0]
        raise ParameterError("interval", interval, f"one that the store holds: {', '.join(held)}")

    def _empty(self) -> BarsError:
        return BarsError("the store holds no bars", str(self.directory), "post some to /bars")


@dataclass(slots=True)
class _IntervalBars:
    """The bars of one interval in memory, per symbol, and the segments they came from."""

    names: frozenset[str] = frozenset()
    frames: dict[str, pl.DataFrame] = field(default_factory=dict)
    newest: dict[str, datetime] = field(default_factory=dict)

    def add(self, frame: pl.DataFrame, name: str = "") -> None:
        """Take in rows that are sorted and unique."""
        for (symbol,), rows in frame.partition_by("symbol", as_dict=True).items():
            self._add_symbol(str(symbol), rows)
        if name:
            self.names |= {name}

    def _add_symbol(self, symbol: str, rows: pl.DataFrame) -> None:
        first, last = rows["timestamp"][0], rows["timestamp"][-1]
        held = self.frames.get(symbol)
        if held is None:
            self.frames[symbol], self.newest[symbol] = rows, last
            return
        merged = pl.concat([held, rows], rechunk=held.n_chunks() >= MAX_CHUNKS)
        if first <= self.newest[symbol]:
            merged = merged.unique(KEY, keep="first").sort(KEY)
        self.frames[symbol], self.newest[symbol] = merged, max(last, self.newest[symbol])

    def check_days(self, fresh: pl.DataFrame) -> None:
        """Refuse a second bar of a symbol's UTC day under another label.

        A day labelled by its date in one feed and by its close in another would be held twice,
        and every indicator would look back over half the days that it names.
        """
        stamps = fresh.select(KEY)
        near = [
            self.frames[s].select(KEY).filter(pl.col("timestamp").dt.date() >= first)
            for s, first in stamps.group_by("symbol")
            .agg(pl.col("timestamp").min().dt.date())
            .rows()
            if s in self.newest and self.newest[s].date() >= first
        ]
        both = pl.concat([stamps, *near]).unique().sort(KEY)
        day = pl.struct("symbol", pl.col("timestamp").dt.date())
        twice = both.filter(day.is_duplicated())
        if not twice.is_empty():
            symbol, first = twice.row(0)
            label = twice["timestamp"][1]
            problem = (
                f"{symbol} has two bars of one day, at {first:%Y-%m-%d %H:%M} and {label:%H:%M} UTC"
            )
            raise BarsError(problem, "appended bars", "label every bar of a day alike")

    def split(self, fresh: pl.DataFrame) -> tuple[pl.DataFrame, int, tuple[str, ...]]:
        """Return the rows not held yet, how many are held alike, a line for each that differs."""
        known = [
            self.frames[s].filter(pl.col("timestamp").is_in(rows["timestamp"].implode()))
            for (s,), rows in fresh.partition_by("symbol", as_dict=True).items()
            if s in self.newest and rows["timestamp"][0] <= self.newest[s]
        ]
        known = [rows for rows in known if not rows.is_empty()]
        if not known:
            return fresh, 0, ()
        held = pl.concat(known)
        n_alike, conflicts = _compare(fresh, held)
        return fresh.join(held, on=KEY, how="anti", maintain_order="left"), n_alike, conflicts


def _distinct(frame: pl.DataFrame) -> tuple[pl.DataFrame, int, tuple[str, ...]]:
    """Return the first row of each symbol and time, checked.

    The further rows are compared with it: returns how many are alike, and a line for each that
    differs.
    """
    if not {*KEY, "close"} <= set(frame.columns):
        check_bars(frame, policy="strict", where="appended bars", is_history=False)
    first = frame.unique(KEY, keep="first", maintain_order=True).sort(KEY)
    checked, _ = check_bars(first, policy="strict", where="appended bars", is_history=False)
    if len(first) == len(frame):
        return checked, 0, ()
    rest = frame.with_row_index("at").filter(~pl.struct(KEY).is_first_distinct())
    n_alike, conflicts = _compare(_as_bars(rest), checked)
    return checked, n_alike, conflicts


def _as_bars(frame: pl.DataFrame) -> pl.DataFrame:
    columns = [
        (pl.col(c) if c in frame.columns else pl.lit(None)).cast(dtype).alias(c)
        for c, dtype in SCHEMA.items()
    ]
    return frame.select(columns)


def _compare(offered: pl.DataFrame, held: pl.DataFrame) -> tuple[int, tuple[str, ...]]:
    """Count the offered rows that equal the held row of their time; return a line per other one."""
    both = offered.join(held, on=KEY, how="inner", suffix="_held", maintain_order="left")
    values = [c for c in SCHEMA if c not in KEY]
    alike = pl.all_horizontal(pl.col(c).eq_missing(pl.col(f"{c}_held")) for c in values)
    differing = both.filter(~alike)
    lines = []
    for row in differing.iter_rows(named=True):
        changed = next(c for c in values if row[c] != row[f"{c}_held"])
        lines.append(
            f"{row['symbol']} {row['timestamp']:%Y-%m-%d %H:%M} is held with {changed} "
            f"{row[f'{changed}_held']}, not {row[changed]}; the held bar stands"
        )
    return len(both) - len(differing), tuple(lines)


def _fix_basis(directory: Path, interval: str, price_basis: str) -> None:
    """Write the first price basis of an interval, refuse another (hold the exclusive lock)."""
    path = directory / FACTS_FILE
    if path.exists():
        held = json.loads(path.read_text())["price_basis"]
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


class Store:
    """The store as a source for training."""

    name = "store"

    def read(self, query: BarQuery) -> Bars:
        """Return the bars held; `path` is the bars folder, by default the platform's."""
        directory = query.path or (query.platform or read_settings(PlatformSettings)).bars_dir
        bars = BarStore(directory).read(query.interval, query.symbols, query.start, query.end)
        if bars.frame.is_empty():
            raise BarsError("there are no bars in the time asked for", str(directory))
        frame, repairs = check_bars(bars.frame, policy=query.policy, where="store")
        return Bars(frame, bars.interval, bars.price_basis, self.name, "", repairs)


SOURCE = Store()
