"""The newest bars of every symbol as arrays, so that a prediction converts nothing twice.

The store (`pipelines.data.sources.store`) holds the bars and follows what other processes append.
`History` keeps the arrays of its newest bars and extends them by new ones. A stored bar never
changes; bars are only inserted. So length, first and last time tell whether the arrays still are
the store's newest bars. Only POST /bars appends here; predictions never do.
"""

from dataclasses import dataclass, fields
from threading import Lock

import numpy as np
import polars as pl

from pipelines.data.bars import BarSeries
from pipelines.data.sources.store import AppendReport, BarStore

ARRAYS = tuple(f.name for f in fields(BarSeries) if f.name != "symbol")


@dataclass(frozen=True, slots=True)
class StoredBars:
    """The newest bars of one symbol and the basis of their prices."""

    series: BarSeries
    price_basis: str


class History:
    """Bars this engine has received. Safe for threads.

    Law: once `append` has returned, `newest` returns its bars.
    """

    def __init__(self, store: BarStore) -> None:
        self._store = store
        self._lock = Lock()  # guards both below
        self._arrays: dict[tuple[str, str, int], BarSeries] = {}
        self._basis: dict[str, str] = {}  # an interval keeps the basis of its first bar

    def append(self, frame: pl.DataFrame, interval: str, price_basis: str) -> AppendReport:
        """Store bars durably; idempotent, see `BarStore.append` for its errors."""
        return self._store.append(frame, interval, price_basis)

    def newest(self, symbol: str, interval: str, n_bars: int) -> StoredBars | None:
        """Return the newest `n_bars` of a symbol (fewer if fewer are held), None without any.

        Callers share the arrays and must not change them.
        """
        tail = self._store.tail(interval, symbol, n_bars)
        if tail.is_empty():
            return None
        key = (interval, symbol, n_bars)
        with self._lock:
            before, basis = self._arrays.get(key), self._basis.get(interval)
        series = _brought_up_to(before, symbol, tail)
        basis = basis or self._store.price_basis(interval)
        with self._lock:
            self._arrays[key], self._basis[interval] = series, basis
        return StoredBars(series, basis)

    def symbols(self, interval: str) -> tuple[str, ...]:
        """Return the symbols held at this interval, sorted."""
        return self._store.symbols(interval)

    def intervals(self) -> tuple[str, ...]:
        """Return the intervals held, sorted."""
        return self._store.intervals()


def _brought_up_to(before: BarSeries | None, symbol: str, tail: pl.DataFrame) -> BarSeries:
    """Return the arrays of `tail`, converting only what `before` lacks."""
    if before is None:
        return BarSeries.from_frame(symbol, tail.rechunk())
    stamps = tail["timestamp"].to_physical().to_numpy()
    if np.array_equal(stamps, before.timestamp):
        return before
    n_new = int((stamps > before.timestamp[-1]).sum())
    n_old = len(stamps) - n_new
    if n_old == 0 or not np.array_equal(stamps[:n_old], before.timestamp[-n_old:]):
        return BarSeries.from_frame(symbol, tail.rechunk())  # a bar was inserted between others
    new = BarSeries.from_frame(symbol, tail.tail(n_new).rechunk())
    joined = {
        name: np.concatenate([getattr(before, name)[-n_old:], getattr(new, name)])
        for name in ARRAYS
    }
    return BarSeries(symbol, **joined)
