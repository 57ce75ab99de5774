"""Source `store`: the bars this engine has received, under `var/bars/<interval>/`.

`BarStore` is written by serving (`POST /bars`) and read by serving, monitoring and the training
stages, in several processes at once. An append is on disk before it returns, and idempotent on
(symbol, timestamp): the first bar of a time stands; a later one that differs is reported, not
stored. Each interval has one price basis. The files are `pipelines.data.sources.segments`.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from pipelines.data.bar_rules import is_in_order
from pipelines.data.bars import SCHEMA, Bars, canonical_interval, check_bars, parse_interval
from pipelines.data.sources import BarQuery
from pipelines.data.sources.arrivals import ArrivalLimits, believed
from pipelines.data.sources.corrections import Author, Correction, CorrectionFolder, Removal
from pipelines.data.sources.held_bars import NOTHING, HeldBars, caught_up, compare
from pipelines.data.sources.interval_folders import (
    IntervalFolders,
    check_basis,
    fix_basis,
    read_basis,
)
from pipelines.data.sources.segments import KEY, SegmentFolder
from registry.errors import BarsError, DamagedBarsError, ParameterError, UnknownSymbolError
from registry.settings import PlatformSettings, read_settings
from registry.thread_priority import give_way

if TYPE_CHECKING:
    import sqlalchemy as sa


@dataclass(frozen=True, slots=True)
class AppendReport:
    """Result of an append; a line for each bar that differs from one held or is not believed."""

    accepted: int
    duplicates: int
    conflicts: tuple[str, ...]
    refused: tuple[str, ...] = ()


class BarStore:
    """Bars on disk with a copy in memory that follows what other processes append.

    Thread safe. Two stores on one folder, in one process or in several, see each other's bars.
    A reader waits for no writer: it looks at the folder's time of change, and at the bars held when
    nothing has changed. While this process appends, with the folder's lock, nobody else can, and
    readers need not look: they get the bars held before, until the append has them in memory too.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._folders = IntervalFolders(directory)
        self._writing = threading.Lock()  # one append of this process at a time
        self._swapping = threading.Lock()  # guards `_held`, for a moment
        self._held: dict[str, HeldBars] = {}
        self._appended: str | None = None  # the folder that this process changes now

    def intervals(self) -> tuple[str, ...]:
        """Return the intervals of which there are bars, each in its largest unit."""
        return self._folders.names()

    def symbols(self, interval: str) -> tuple[str, ...]:
        """Return the symbols of which there are bars, in alphabetical order."""
        return tuple(sorted(self.held(interval).frames))

    def append(
        self,
        frame: pl.DataFrame,
        interval: str,
        price_basis: str,
        limits: ArrivalLimits | None = None,
    ) -> AppendReport:
        """Store bars of any symbols, in any order; see the module for the laws.

        Args:
            frame: what `check_bars` takes; one bar is enough.
            price_basis: `adjusted`, `raw`, `mid` or `unknown`.
            limits: what is believed of a feed; None believes everything.

        Raises:
            BarsError, MissingColumnsError: a bar is unusable, or it is a second bar of a day
                under another label; nothing was stored.
            PriceBasisConflictError: the interval's bars have another price basis.
            ParameterError: unknown interval or price basis.
            StoreBusyError: another process holds the folder too long.
        """
        give_way()
        fresh, duplicates, conflicts = _distinct(frame)
        give_way()
        with self._locked(interval, price_basis) as folder:
            held = self.held(interval)
            if parse_interval(interval) >= timedelta(days=1):
                held.check_days(fresh)
            give_way()
            accepted, known, differing = held.split(fresh)
            give_way()
            refused: tuple[str, ...] = ()
            if limits is not None and len(accepted):
                accepted, refused = believed(accepted, held, interval, limits)
            if not accepted.is_empty():
                self._add(folder, accepted, price_basis)
        return AppendReport(len(accepted), duplicates + known, conflicts + differing, refused)

    def put(
        self,
        frame: pl.DataFrame,
        interval: str,
        price_basis: str,
        author: Author,
        database: "sa.Engine",
    ) -> Correction | None:
        """Hold these bars, instead of others of their times; None where all are held already.

        Raises:
            BarsError: a bar is unusable, or two of one time differ; nothing has changed.
            And as `append`; the database's errors, where it does not answer.
        """
        fresh, _, conflicts = _distinct(frame)
        if conflicts:
            raise BarsError("two bars of one time differ", "bars to put", "keep one of them")
        with self._locked(interval, price_basis) as folder:
            held = self.held(interval)
            if parse_interval(interval) >= timedelta(days=1):
                held.check_days(fresh)
            held.check_whole(interval, fresh["symbol"].unique())
            at = held.rows_at(fresh)
            now = fresh.join(at, on=list(SCHEMA), how="anti", nulls_equal=True)
            was = at.join(now, on=KEY, how="semi")
            return self._decided(
                folder, Correction.of(author, canonical_interval(interval), was, now), database
            )

    def remove(
        self, interval: str, bars: Removal, author: Author, database: "sa.Engine"
    ) -> Correction | None:
        """Hold some bars of a symbol no more; None where none of them is held.

        Raises:
            The database's errors, where it does not answer.
        """
        if self.held(interval) is NOTHING:
            return None
        with self._locked(interval, self.price_basis(interval)) as folder:
            held = self.held(interval)
            held.check_whole(interval, [bars.symbol])
            frame = held.frames.get(bars.symbol, pl.DataFrame(schema=SCHEMA))
            was = frame.filter(bars.is_meant()).rechunk()
            nothing = pl.DataFrame(schema=SCHEMA)
            return self._decided(
                folder, Correction.of(author, canonical_interval(interval), was, nothing), database
            )

    def recover(self, database: "sa.Engine") -> None:
        """Finish the corrections that a killed process began, and tell those not told."""
        for interval in self.intervals():
            folder = self._folders.of(interval)
            corrections = CorrectionFolder(folder)
            if corrections.ids():
                with self._writing, folder.lock(exclusive=True):
                    corrections.finish()
                    corrections.tell_missing(database)

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
            DamagedBarsError: a file with bars of these symbols cannot be read.
            ParameterError: the store does not hold the interval.
        """
        symbols = tuple(symbols)
        interval = self._only_interval(interval)
        held = self.held(interval)
        if held.damaged and (not symbols or any(map(held.is_damaged, symbols))):
            raise DamagedBarsError(interval, held.damaged)
        if not held.frames:
            raise self._empty()
        wanted = tuple(dict.fromkeys(symbols)) or tuple(held.frames)
        for symbol in wanted:
            if symbol not in held.frames:
                raise UnknownSymbolError(symbol, f"the bars store ({interval})", held.frames)
        frame = pl.concat([held.frames[s] for s in sorted(wanted)])
        return Bars(frame, interval, held.price_basis, "store").between(start, end)

    def folder(self, interval: str) -> SegmentFolder:
        """Return the folder of an interval; it need not exist."""
        return self._folders.of(interval)

    def tail(self, interval: str, symbol: str, n_bars: int) -> pl.DataFrame:
        """Return the newest `n_bars` bars of one symbol (fewer if there are fewer), by time."""
        frame = self.held(interval).frames.get(symbol)
        return pl.DataFrame(schema=SCHEMA) if frame is None else frame.tail(n_bars)

    def price_basis(self, interval: str) -> str:
        """Return the price basis of an interval that is held."""
        return read_basis(self._folders.of(interval).directory)

    def held(self, interval: str) -> HeldBars:
        """Return the bars of an interval as they are now; none for one that is not held.

        Costs one look at the folder while nothing is appended.
        """
        folder = self._folders.of(interval)
        name = folder.directory.name
        is_appended = name == self._appended  # asked first: what is held then lacks nothing
        held = self._held.get(name, NOTHING)
        return held if is_appended else self._look(folder, held)

    def _look(self, folder: SegmentFolder, held: HeldBars) -> HeldBars:
        """Return the bars of a folder as they are now, given those held before."""
        changed_ns, name = folder.changed_ns(), folder.directory.name
        if changed_ns is None:
            return NOTHING
        is_same = changed_ns == held.changed_ns
        if is_same or (changed_ns < 0 and held.names and folder.names() == held.names):
            return held
        with self._swapping:  # one thread reads what is new, the others find it read
            held = self._held.get(name, NOTHING)
            if folder.changed_ns() != held.changed_ns:
                held = self._held[name] = caught_up(folder, held)
            return held

    @contextmanager
    def _locked(self, interval: str, price_basis: str) -> Iterator[SegmentFolder]:
        """Yield the folder of an interval, with its lock held and its corrections finished."""
        check_basis(price_basis)
        folder = self._folders.of(interval)
        folder.directory.mkdir(parents=True, exist_ok=True)
        with self._writing, folder.lock(exclusive=True):
            fix_basis(folder.directory, interval, price_basis)
            CorrectionFolder(folder).finish()
            yield folder

    def _add(self, folder: SegmentFolder, rows: pl.DataFrame, price_basis: str) -> None:
        """Write rows to a folder whose lock is held and whose bars are all in memory."""
        self._appended = folder.directory.name
        try:
            give_way()
            name = folder.write(rows)
            give_way()
            with self._swapping:
                held = self._held[self._appended]
                if name not in held.names:  # a reader that looked just before may have found it
                    names = held.names | {name}
                    held = replace(held.with_rows(rows), price_basis=price_basis, names=names)
                    self._held[self._appended] = held
            give_way()
            folder.compact()
            give_way()
            self._look(folder, held)  # so that no reader has to
        finally:
            self._appended = None

    @staticmethod
    def _decided(
        folder: SegmentFolder, correction: Correction, database: "sa.Engine"
    ) -> Correction | None:
        corrections = CorrectionFolder(folder)
        corrections.tell_missing(database)
        if correction.keys.is_empty():
            return None
        corrections.decide(database, correction)
        return correction

    def _only_interval(self, interval: str) -> str:
        held = self.intervals()
        if not held:
            raise self._empty()
        if not interval and len(held) == 1:
            return held[0]
        if interval and canonical_interval(interval) in held:
            return canonical_interval(interval)
        raise ParameterError("interval", interval, f"one that the store holds: {', '.join(held)}")

    def _empty(self) -> BarsError:
        return BarsError("the store holds no bars", str(self.directory), "post some to /bars")


def _distinct(frame: pl.DataFrame) -> tuple[pl.DataFrame, int, tuple[str, ...]]:
    """Return the first row of each symbol and time, checked.

    The further rows are compared with it: returns how many are alike, and a line for each that
    differs.
    """
    if not {*KEY, "close"} <= set(frame.columns):
        check_bars(frame, policy="strict", where="appended bars", is_history=False)
    first = frame
    if not is_in_order(frame):
        first = frame.unique(KEY, keep="first", maintain_order=True).sort(KEY)
    checked, _ = check_bars(first, policy="strict", where="appended bars", is_history=False)
    if len(first) == len(frame):
        return checked, 0, ()
    rest = frame.with_row_index("at").filter(~pl.struct(KEY).is_first_distinct())
    n_alike, conflicts = compare(_as_bars(rest), checked)
    return checked, n_alike, conflicts


def _as_bars(frame: pl.DataFrame) -> pl.DataFrame:
    columns = [
        (pl.col(c) if c in frame.columns else pl.lit(None)).cast(dtype).alias(c)
        for c, dtype in SCHEMA.items()
    ]
    return frame.select(columns)


class Store:
    """The store as a source for training."""

    name = "store"

    def read(self, query: BarQuery) -> Bars:
        """Return the bars held; `path` is the bars folder, by default the platform's."""
        directory = query.path or (query.platform or read_settings(PlatformSettings)).bars_dir
        bars = BarStore(directory).read(query.interval, query.symbols, query.start, query.end)
        if bars.frame.is_empty():
            raise BarsError("there are no bars in the time asked for", str(directory))
        frame, repairs = check_bars(
            bars.frame, policy=query.policy, where="store", adjustments=query.adjustments
        )
        return Bars(frame, bars.interval, bars.price_basis, self.name, "", repairs)


SOURCE = Store()
