"""Bars: the one checked frame of market data that everything downstream takes.

A frame has exactly the columns of `SCHEMA`, sorted by symbol and time, unique in both, with
positive finite prices and high >= low. A column that the source does not have is null, never
invented. `check_bars` makes such a frame or says in one line why it cannot.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

TIMESTAMP = pl.Datetime("us", "UTC")
PRICES = ("open", "high", "low", "close")
SCHEMA: dict[str, pl.DataType] = {
    "symbol": pl.String(),
    "timestamp": TIMESTAMP,
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),
    "volume": pl.Float64(),
    "vwap": pl.Float64(),
    "spread": pl.Float64(),
}


@dataclass(frozen=True, slots=True)
class BarSeries:
    """The bars of one symbol as arrays; a null is NaN.

    `timestamp` is int64 microseconds since the epoch (UTC, bar close); the others are float64,
    prices in quote currency, `spread` as a fraction of the mid price. All have length n.
    """

    symbol: str
    timestamp: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    vwap: NDArray[np.float64]
    spread: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.timestamp)

    def slice(self, start: int, stop: int) -> "BarSeries":
        """Return the bars [start, stop) as views."""
        arrays = {c: getattr(self, c)[start:stop] for c in SCHEMA if c != "symbol"}
        return BarSeries(self.symbol, **arrays)

    @classmethod
    def from_frame(cls, symbol: str, frame: pl.DataFrame) -> "BarSeries":
        """Return one symbol's rows of a checked frame (already filtered, sorted by time)."""
        arrays = {
            c: frame[c].cast(pl.Float64).fill_null(np.nan).to_numpy()
            for c in SCHEMA
            if c not in ("symbol", "timestamp")
        }
        return cls(symbol, frame["timestamp"].to_physical().to_numpy(), **arrays)


@dataclass(frozen=True, slots=True)
class Bars:
    """A checked frame with what is known about it.

    `interval` is `1d`, `1h`, `5m`, ...; `price_basis` is `adjusted`, `raw`, `mid` or `unknown`;
    `note` is a warning that every report repeats (survivorship bias); `repairs` are one line per
    kind of repair that the policy allowed.
    """

    frame: pl.DataFrame
    interval: str
    price_basis: str
    source: str
    note: str = ""
    repairs: tuple[str, ...] = ()

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols in alphabetical order."""
        return tuple(sorted(self.frame["symbol"].unique().to_list()))

    def series(self) -> Iterator[BarSeries]:
        """Yield one `BarSeries` per symbol, in alphabetical order."""
        for (symbol,), rows in sorted(self.frame.partition_by("symbol", as_dict=True).items()):
            yield BarSeries.from_frame(str(symbol), rows)

    def between(self, start: datetime | None, end: datetime | None) -> "Bars":
        """Return the bars with start <= timestamp <= end; None leaves a side open."""
        keep = pl.lit(True)
        if start is not None:
            keep = keep & (pl.col("timestamp") >= start)
        if end is not None:
            keep = keep & (pl.col("timestamp") <= end)
        return Bars(
            self.frame.filter(keep),
            self.interval,
            self.price_basis,
            self.source,
            self.note,
            self.repairs,
        )
