"""Misdating: columns of bars that know what came later.

A price, a volume or a spread that is dated a bar too early makes every model look brilliant. The
bars themselves betray it: the open after a close is near that close and not near the one before; an
open and a close lie within their bar's range; no column beside the prices ranks the next return.
Symbols of one session move together on the same bar, not one bar apart. Each needs 250 bars in time
order; what is counted here is judged by gates (`pipelines/recipes/plausible_data.py`), the last
is a notice of the bars. Numpy and polars only.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.bars import BarSeries

Array = NDArray[np.float64]

LEAST_BARS = 250
"""Fewest bars that are judged."""
SHORT_ONES = "the shorter symbols together"
ROUNDING = 1e-9
"""Share of a price by which it may lie outside its bar's range."""
MEAN_BARS = 20
BESIDE_PRICES = ("volume", "spread")
LEAST_CORRELATION, ERRORS = 0.15, 4.0
"""A column knows the next return beyond both: this correlation, and so many standard errors."""


@dataclass(frozen=True, slots=True)
class Counted:
    """How many of the bars that tell something show what is looked for."""

    n_found: int
    n_bars: int

    def __add__(self, other: "Counted") -> "Counted":
        return Counted(self.n_found + other.n_found, self.n_bars + other.n_bars)

    @property
    def share(self) -> float:
        """The share of bars; there must be one."""
        return self.n_found / self.n_bars


def near_opens(series: BarSeries) -> Counted:
    """Count the bars whose open is nearer to the last close than to the one before it.

    |ln O[t+1] / C[t]| < |ln O[t+1] / C[t-1]|; bars on which both are equal say nothing and are
    left out. Real series show 0.7 and more, one with tomorrow's closes dated today 0.55 and less.
    """
    opened, close = np.log(series.open), np.log(series.close)
    near, far = np.abs(opened[2:] - close[1:-1]), np.abs(opened[2:] - close[:-2])
    tells = (near != far) & np.isfinite(near) & np.isfinite(far)
    return Counted(int((near < far)[tells].sum()), int(tells.sum()))


def outside_ranges(series: BarSeries) -> Counted:
    """Count the bars with a range whose open or close lies outside low..high."""
    has_range = np.isfinite(series.high) & np.isfinite(series.low)
    top, bottom = series.high * (1 + ROUNDING), series.low * (1 - ROUNDING)
    prices = (series.open, series.close)  # an open that is not known is nowhere outside
    outside = np.logical_or.reduce([(price > top) | (price < bottom) for price in prices])
    return Counted(int(outside[has_range].sum()), int(has_range.sum()))


def shares(counted: Mapping[str, Counted]) -> dict[str, float]:
    """Return the share of each symbol with 250 bars or more, and of all shorter ones together."""
    long = {symbol: one for symbol, one in counted.items() if one.n_bars >= LEAST_BARS}
    rest = sum((one for s, one in counted.items() if s not in long), start=Counted(0, 0))
    joined = {SHORT_ONES: rest} if rest.n_bars >= LEAST_BARS else {}
    return {symbol: one.share for symbol, one in (long | joined).items()}


@dataclass(frozen=True, slots=True)
class Foresight:
    """A column's rank correlation with the next return, and what it may be at most."""

    symbol: str
    column: str
    correlation: float
    limit: float

    def line(self) -> str:
        """Return the finding for people."""
        return (
            f"{self.column} of {self.symbol} ranks the next return by {self.correlation:+.3f}, "
            f"at most {self.limit:.3f} is plausible"
        )


def foresights(series: BarSeries) -> Iterator[Foresight]:
    """Yield the correlation of each column that is no price, with 250 bars of it or more.

    Spearman's, of the column minus its mean over 20 bars with the next close-to-close return.
    """
    ahead = np.log(series.close[1:] / series.close[:-1])
    for column in BESIDE_PRICES:
        values = getattr(series, column)
        mean = pl.Series(values).fill_nan(None).rolling_mean(MEAN_BARS).to_numpy()
        above = (values - mean)[:-1]
        known = np.isfinite(above) & np.isfinite(ahead)
        n = int(known.sum())
        if n < LEAST_BARS or np.ptp(above[known]) == 0 or np.ptp(ahead[known]) == 0:
            continue
        found = rank_correlation(above[known], ahead[known])
        yield Foresight(series.symbol, column, found, max(LEAST_CORRELATION, ERRORS / n**0.5))


def rank_correlation(one: Array, other: Array) -> float:
    """Return Spearman's correlation, ties at their mean rank; both must vary."""
    first, second = (pl.Series(values).rank("average").to_numpy() for values in (one, other))
    return float(np.corrcoef(first, second)[0, 1])
