"""HeldBars: the bars of one interval in memory, as a value that nothing changes.

A reader takes one `HeldBars` and looks at it as long as it likes. New bars make a new value, which
shares the frames of every symbol that they do not touch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import polars as pl

from pipelines.data.bars import SCHEMA
from pipelines.data.sources.segments import KEY
from registry.errors import BarsError

MAX_CHUNKS = 64


@dataclass(frozen=True, slots=True)
class HeldBars:
    """Per symbol a frame sorted by time, the time of its newest bar, and where they came from.

    `names` are the segments that are in it, `changed_ns` is the folder's time of change when they
    were listed. `price_basis` is empty while there is no bar.
    """

    price_basis: str = ""
    names: frozenset[str] = frozenset()
    changed_ns: int = 0
    frames: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    newest: Mapping[str, datetime] = field(default_factory=dict)

    def with_rows(self, rows: pl.DataFrame) -> "HeldBars":
        """Return these bars and rows that are sorted and unique; a time held already stays."""
        frames, newest = dict(self.frames), dict(self.newest)
        for (name,), part in rows.partition_by("symbol", as_dict=True).items():
            symbol = str(name)
            frames[symbol] = self._merged(symbol, part)
            newest[symbol] = frames[symbol]["timestamp"][-1]
        return replace(self, frames=frames, newest=newest)

    def _merged(self, symbol: str, rows: pl.DataFrame) -> pl.DataFrame:
        held = self.frames.get(symbol)
        if held is None:
            return rows
        merged = pl.concat([held, rows], rechunk=held.n_chunks() >= MAX_CHUNKS)
        if rows["timestamp"][0] <= self.newest[symbol]:
            merged = merged.unique(KEY, keep="first").sort(KEY)
        return merged

    def check_days(self, fresh: pl.DataFrame) -> None:
        """Refuse a second bar of a symbol's UTC day under another label.

        A day labelled by its date in one feed and by its close in another would be held twice,
        and every indicator would look back over half the days that it names.

        Raises:
            BarsError: there would be two; names the symbol and both times.
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
            told = f"{symbol} has two bars of one day"
            problem = f"{told}, at {first:%Y-%m-%d %H:%M} and {label:%H:%M} UTC"
            raise BarsError(problem, "appended bars", "label every bar of a day alike", told)

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
        n_alike, conflicts = compare(fresh, held)
        return fresh.join(held, on=KEY, how="anti", maintain_order="left"), n_alike, conflicts


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
