"""HeldBars: the bars of one interval in memory, as a value that nothing changes.

A reader takes one `HeldBars` and looks at it as long as it likes. New bars make a new value, which
shares the frames of every symbol that they do not touch.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import accumulate, groupby

import numpy as np
import polars as pl
import structlog

from pipelines.data.bars import SCHEMA, from_microseconds
from pipelines.data.sources.interval_folders import read_basis
from pipelines.data.sources.segments import KEY, SegmentFolder
from registry.errors import BarsError, DamagedBarsError

MAX_CHUNKS = 64

log = structlog.get_logger("pipelines.bars")


@dataclass(frozen=True, slots=True)
class HeldBars:
    """Per symbol a frame sorted by time, the time of its newest bar, and where they came from.

    `names` are the segments that are in it, `changed_ns` is the folder's time of change when they
    were listed. `price_basis` is empty while there is no bar. `revisions` counts per symbol how
    often bars that were held were found changed or gone: what was computed from them is void.
    `damaged` is segment -> symbols, of segments that cannot be read. Their symbols are in no frame,
    because nobody knows which of their bars are missing.
    """

    price_basis: str = ""
    names: frozenset[str] = frozenset()
    changed_ns: int = 0
    frames: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    newest: Mapping[str, datetime] = field(default_factory=dict)
    revisions: Mapping[str, int] = field(default_factory=dict)
    damaged: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def with_rows(self, rows: pl.DataFrame) -> "HeldBars":
        """Return these bars and rows that are sorted and unique; a time held already stays."""
        frames, newest = dict(self.frames), dict(self.newest)
        for part in by_symbol(rows):
            symbol, before = part.symbol, self.newest.get(part.symbol)
            merged = rows.slice(part.start, part.n_rows)
            if before is not None:
                merged = self.frames[symbol].vstack(merged)
                if part.first <= before:
                    merged = merged.unique(KEY, keep="first").sort(KEY)
                elif merged.n_chunks() > MAX_CHUNKS:
                    merged = merged.rechunk()
            frames[symbol] = merged
            newest[symbol] = part.last if before is None else max(before, part.last)
        return replace(self, frames=frames, newest=newest)._without_damaged()

    def is_damaged(self, symbol: str) -> bool:
        """Return whether some bars of a symbol lie in a damaged segment."""
        return any(symbol in symbols for symbols in self.damaged.values())

    def check_whole(self, interval: str, symbols: Iterable[str]) -> None:
        """Refuse symbols of which bars are damaged: what is there of them nobody knows.

        Raises:
            DamagedBarsError: of some of them.
        """
        if any(map(self.is_damaged, symbols)):
            raise DamagedBarsError(interval, self.damaged)

    def with_damaged(self, damaged: Mapping[str, tuple[str, ...]]) -> "HeldBars":
        """Return these bars without the symbols of further segments that cannot be read."""
        return replace(self, damaged={**self.damaged, **damaged})._without_damaged()

    def _without_damaged(self) -> "HeldBars":
        if not self.damaged:
            return self
        lost = {symbol for symbols in self.damaged.values() for symbol in symbols}
        frames = {s: frame for s, frame in self.frames.items() if s not in lost}
        return replace(self, frames=frames, newest={s: self.newest[s] for s in frames})

    def instead_of(self, before: "HeldBars") -> "HeldBars":
        """Return these bars, which were read anew, with what is known of those held before.

        A symbol whose bars are the same keeps its frame; one that lost or changed any is revised.
        """
        frames, revisions = dict(self.frames), dict(before.revisions)
        for symbol, held in before.frames.items():
            found = frames.get(symbol)
            if found is not None and found.equals(held):
                frames[symbol] = held
            elif found is None or not found.head(len(held)).equals(held):
                revisions[symbol] = revisions.get(symbol, 0) + 1
        return replace(self, frames=frames, revisions=revisions)

    def check_days(self, fresh: pl.DataFrame) -> None:
        """Refuse a second bar of a symbol's UTC day under another label.

        A day labelled by its date in one feed and by its close in another would be held twice,
        and every indicator would look back over half the days that it names.

        Raises:
            BarsError: there would be two; names the symbol and both times.
        """
        if self._are_later_days(fresh):
            return
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
            told = f"{symbol} has two bars of one day"
            problem = f"{told}, at {first:%Y-%m-%d %H:%M} and {label:%H:%M} UTC"
            raise BarsError(problem, "appended bars", "label every bar of a day alike", told)

    def _are_later_days(self, fresh: pl.DataFrame) -> bool:
        """Return whether each row is of a later UTC day than every bar of its symbol before it."""
        days = fresh["timestamp"].to_numpy().astype("datetime64[D]")
        for part in by_symbol(fresh):
            before = self.newest.get(part.symbol)
            if before is not None and part.first.date() <= before.date():
                return False
            own = days[part.start : part.start + part.n_rows]
            if (own[1:] <= own[:-1]).any():
                return False
        return True

    def split(self, fresh: pl.DataFrame) -> tuple[pl.DataFrame, int, tuple[str, ...]]:
        """Return the rows not held yet, how many are held alike, a line for each that differs."""
        held = self.rows_at(fresh)
        if held.is_empty():
            return fresh, 0, ()
        n_alike, conflicts = compare(fresh, held)
        return fresh.join(held, on=KEY, how="anti", maintain_order="left"), n_alike, conflicts

    def rows_at(self, fresh: pl.DataFrame) -> pl.DataFrame:
        """Return the rows held of the symbols and times of rows that are sorted by both."""
        known = [pl.DataFrame(schema=SCHEMA)]
        for part in by_symbol(fresh):
            before = self.newest.get(part.symbol)
            if before is not None and part.first <= before:
                times = fresh["timestamp"].slice(part.start, part.n_rows).implode()
                held = self.frames[part.symbol]
                known.append(held.filter(pl.col("timestamp").is_in(times)))
        return pl.concat(known)


NOTHING = HeldBars()


def caught_up(folder: SegmentFolder, held: HeldBars) -> HeldBars:
    """Return the bars of the folder as it is now, reading only segments that are new.

    A merge puts many segments into one and removes them, maybe while they are read here; then the
    folder is listed again.
    """
    while True:
        changed_ns, names = folder.listed()
        try:
            kept, missing = _missing(folder, held, names)
            found = _with(folder, kept, missing) if missing else kept
        except FileNotFoundError:  # merged or replaced meanwhile
            continue
        if kept is not held:
            found = found.instead_of(held)
        basis = held.price_basis or (read_basis(folder.directory) if names else "")
        return replace(found, price_basis=basis, names=names, changed_ns=changed_ns)


def _with(folder: SegmentFolder, held: HeldBars, names: set[str]) -> HeldBars:
    """Return these bars and those of some segments; what cannot be read is said and left out."""
    try:
        return held.with_rows(folder.load(names))
    except DamagedBarsError:
        damaged = folder.damaged(names)
    told = DamagedBarsError(folder.directory.name, damaged)
    log.error("bars damaged", interval=told.interval, symbols=told.symbols, error=str(told))
    return held.with_rows(folder.load(names - damaged.keys())).with_damaged(damaged)


def _missing(
    folder: SegmentFolder, held: HeldBars, names: frozenset[str]
) -> tuple[HeldBars, set[str]]:
    """Return the bars to go on from, and the segments that they lack.

    What vanished without a merge of known segments was taken away, or merged twice since the last
    look: everything is read anew. So it is where a new segment is in the place of a known one.
    """
    gone, missing = held.names - names, set(names - held.names)
    if held.names & folder.replaced(missing):
        return NOTHING, set(names)
    if not gone:
        return held, missing
    for name in sorted(missing):
        parts = folder.merged_from(name)
        if parts and parts <= held.names:
            missing.discard(name)
            gone -= parts
    return (NOTHING, set(names)) if gone else (held, missing)


@dataclass(frozen=True, slots=True)
class SymbolRows:
    """Where one symbol's rows stand in a frame, and the times of the first and the last."""

    symbol: str
    start: int
    n_rows: int
    first: datetime
    last: datetime


def by_symbol(rows: pl.DataFrame) -> list[SymbolRows]:
    """Return the symbols of rows that are sorted by symbol and time."""
    counts = [(symbol, sum(1 for _ in each)) for symbol, each in groupby(rows["symbol"].to_list())]
    starts = [0, *accumulate(n for _, n in counts)]
    stamps = rows["timestamp"].to_numpy().view(np.int64)
    return [
        SymbolRows(
            symbol,
            start,
            n_rows,
            from_microseconds(int(stamps[start])),
            from_microseconds(int(stamps[start + n_rows - 1])),
        )
        for (symbol, n_rows), start in zip(counts, starts[:-1], strict=True)
    ]


def compare(offered: pl.DataFrame, held: pl.DataFrame) -> tuple[int, tuple[str, ...]]:
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
