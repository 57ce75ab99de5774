"""The newest bars of every symbol as arrays, so that a prediction converts nothing twice.

The store (`pipelines.data.sources.store`) holds the bars and follows what other processes append.
`History` keeps the arrays of the newest bars of each of its frames, which never change, and extends
them by new ones. A request takes one `Look`. Only POST /bars appends here; predictions never do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
import polars as pl

from pipelines.data.bars import BarSeries
from pipelines.data.sources.arrivals import ArrivalLimits
from pipelines.data.sources.held_bars import HeldBars
from pipelines.data.sources.store import AppendReport, BarStore
from registry.errors import DamagedBarsError, MLEngineError, NoHistoryError

ARRAYS = tuple(f.name for f in fields(BarSeries) if f.name not in ("symbol", "revision"))


@dataclass(frozen=True, slots=True)
class StoredBars:
    """The newest bars of one symbol and the basis of their prices."""

    series: BarSeries
    price_basis: str


Arrays = dict[tuple[str, str, int], tuple[pl.DataFrame, BarSeries]]
"""(interval, symbol, bars) -> the frame that was converted, and its arrays."""


@dataclass(frozen=True, slots=True)
class Look:
    """The bars of one interval at one moment: whatever arrives later is not in it."""

    interval: str
    bars: HeldBars
    arrays: Arrays

    def newest(self, symbol: str, n_bars: int) -> StoredBars | None:
        """Return the newest `n_bars` of a symbol (fewer if fewer are held), None without any.

        Callers share the arrays and must not change them.
        """
        frame = self.bars.frames.get(symbol)
        if frame is None:
            return None
        key = (self.interval, symbol, n_bars)
        before = self.arrays.get(key)
        if before is None or before[0] is not frame:
            revision = self.bars.revisions.get(symbol, 0)
            series = _extended(before, symbol, frame, n_bars, revision)
            before = self.arrays[key] = (frame, series)
        return StoredBars(before[1], self.bars.price_basis)

    def absent(self, symbol: str) -> MLEngineError:
        """Return why a symbol has no bars here."""
        if self.bars.is_damaged(symbol):
            return DamagedBarsError(self.interval, self.bars.damaged)
        return NoHistoryError(symbol, self.symbols)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols held, sorted."""
        return tuple(sorted(self.bars.frames))


class Looks(Protocol):
    """What requests take their looks from."""

    def look(self, interval: str) -> Look:
        """Return the bars of an interval; a request takes one look."""
        ...


@dataclass(frozen=True, slots=True)
class OneLook(Looks):
    """The bars as one look saw them, for a request that is answered in many slices."""

    taken: Look

    def look(self, interval: str) -> Look:
        """Return the same bars each time."""
        assert interval == self.taken.interval
        return self.taken


class History:
    """Bars this engine has received. Safe for threads.

    Law: once `append` has returned, a look that is taken then has its bars.
    """

    def __init__(self, store: BarStore, limits: ArrivalLimits | None = None) -> None:
        self.store = store
        self._limits = limits
        self._arrays: Arrays = {}

    def append(self, frame: pl.DataFrame, interval: str, price_basis: str) -> AppendReport:
        """Store bars durably; idempotent, see `BarStore.append` for its errors."""
        return self.store.append(frame, interval, price_basis, self._limits)

    def look(self, interval: str) -> Look:
        """Return the bars of an interval as they are now; a request takes one look."""
        return Look(interval, self.store.held(interval), self._arrays)

    def damaged(self, interval: str) -> Mapping[str, tuple[str, ...]]:
        """Return segment -> symbols, of segments that cannot be read."""
        return self.store.held(interval).damaged

    def symbols(self, interval: str) -> tuple[str, ...]:
        """Return the symbols held at this interval, sorted."""
        return self.store.symbols(interval)

    def intervals(self) -> tuple[str, ...]:
        """Return the intervals held, sorted."""
        return self.store.intervals()


def _extended(
    before: tuple[pl.DataFrame, BarSeries] | None,
    symbol: str,
    frame: pl.DataFrame,
    n_bars: int,
    revision: int,
) -> BarSeries:
    """Return the newest bars of a frame; where it only got longer, convert what is new."""
    n_new = 0 if before is None else len(frame) - len(before[0])
    if before is None or before[1].revision != revision or not 0 < n_new < n_bars:
        return BarSeries.from_frame(symbol, frame.tail(n_bars).rechunk(), revision)
    series = before[1]
    new = BarSeries.from_frame(symbol, frame.tail(n_new + 1))  # with the last one known
    if new.timestamp[0] != series.timestamp[-1]:  # a bar was inserted between others
        return BarSeries.from_frame(symbol, frame.tail(n_bars).rechunk(), revision)
    start = max(0, len(series) + n_new - n_bars)
    joined = {
        name: np.concatenate([getattr(series, name)[start:], getattr(new, name)[1:]])
        for name in ARRAYS
    }
    return BarSeries(symbol, **joined, revision=revision)
