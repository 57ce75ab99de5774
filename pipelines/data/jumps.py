"""Jumps: steps between two bars that ordinary trading does not explain.

A split for which nobody adjusted, a ticker that another company has now, a price in another unit:
each looks like a return, and no model or metric survives it. A step is judged by the ordinary
returns on both sides of it, since a crash is followed by wild days and a split is not. Where the
bars have them, the open says whether the step lies between two sessions, and the traded value
whether the day was special.

What is done about a jump is the policy's; a person says of one that it is known by `splits` and
`jumps` (`pipelines.data.adjustments`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

import numpy as np
import polars as pl
from numpy.typing import NDArray

Array = NDArray[np.float64]

RATIOS = tuple(
    Fraction(ratio)
    for ratio in (
        *("5/4", "4/3", "3/2", "2", "5/2", "3", "4", "5", "6", "7", "8", "9", "10", "12"),
        *("15", "20", "25", "30", "40", "50", "100", "1000", "10000", "100000", "1000000"),
    )
)
"""New shares per old one, and powers of ten that are a unit of the price; their inverses too."""

POWERS_OF_TEN = (10, 100, 1000, 10_000, 100_000, 1_000_000)

SMALL_RATIOS = (Fraction(5, 4), Fraction(4, 3), Fraction(4, 5), Fraction(3, 4))
"""Only an open tells these from a bad day."""

SMALLEST = 0.16
"""A log return up to here is none; ln 5/4, less the ordinary return of a day."""

BEYOND = 2.08
"""A log return of one bar (a factor of 8) that no ordinary market makes, whatever its ratio."""

SPLIT_ERRORS, QUIET_ERRORS, BEYOND_ERRORS, HOLE_ERRORS = 13.0, 8.0, 12.0, 4.0
"""Ordinary returns to which a jump must come: of a ratio, of one on a day whose traded value was
ordinary, beyond any, and across a hole. A stock that loses a third overnight shows 8 to 12."""

NEAR_ERRORS, NEAR_AT_END, NEAREST = 3.0, 1.5, 0.12
"""Ordinary returns (fewer where no later bar confirms it), and log points, from a ratio at most."""

DAYS_BEFORE, DAYS_AFTER, LEAST_DAYS, LEAST_IN_ALL = 60, 20, 5, 20
"""Days whose returns are the ordinary ones on either side, and fewest of them."""

WILD_RETURN, WILD_SHARE, WILD_FACTOR = 0.2, 0.005, 2.0
"""A symbol whose daily log returns are that large that often must show so many times as much."""

LEAST_DEVIATION = 0.005
TICK_ROUNDING, CENT = 1e-6, 0.01
QUIET_DAY, SPECIAL_DAY = 2.0, 5.0
"""Traded value of a day, in medians of the days before it: up to here nothing happened; beyond,
something did."""

LONGEST_CLOSED_DAYS = 5
DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Jump:
    """A step from `before` to `after` (closes) at the bar `time`, on row `row` of what was read.

    `previous` is the time of the bar before it.

    `ratio` is new shares per old one (2 halves the price); None where no usual ratio is near.
    """

    symbol: str
    previous: datetime
    time: datetime
    row: int
    before: float
    after: float
    ratio: Fraction | None

    @property
    def is_power_of_ten(self) -> bool:
        """Whether the price may have changed its unit."""
        return self.ratio is not None and max(self.ratio, 1 / self.ratio) in POWERS_OF_TEN

    @property
    def is_beyond(self) -> bool:
        """Whether no ordinary market makes such a step."""
        return abs(float(np.log(self.after / self.before))) >= BEYOND

    def undoes(self, other: "Jump") -> bool:
        """Whether the price comes back from another jump."""
        back = self.ratio is not None and other.ratio is not None and self.ratio * other.ratio == 1
        return back and self.symbol == other.symbol

    @property
    def written(self) -> str:
        """The ratio as people write it, `new:old` (2:1, 1:10); empty where none is near."""
        return f"{self.ratio.numerator}:{self.ratio.denominator}" if self.ratio else ""


def find_jumps(frame: pl.DataFrame) -> list[Jump]:
    """Return the jumps of a frame that is sorted by symbol and time, in this order.

    Args:
        frame: with `row`, symbol, timestamp, open, close and volume; closes are positive.
    """
    step = (pl.col("close") / pl.col("close").shift()).log().abs().over("symbol")
    names = frame.select("symbol", is_large=step.fill_null(0.0) > SMALLEST)
    found = names.filter("is_large")["symbol"].unique().sort()
    return [jump for name in found for jump in _of_symbol(frame.filter(pl.col("symbol") == name))]


def _of_symbol(frame: pl.DataFrame) -> Iterator[Jump]:
    series = _Series.of(frame)
    steps = np.diff(np.log(series.close))
    for i in (np.flatnonzero(np.abs(steps) > SMALLEST) + 1).tolist():
        ratio = series.judged(i, float(steps[i - 1]))
        if ratio is not None:
            facts = frame.row(i, named=True)
            before, after = float(series.close[i - 1]), float(series.close[i])
            known = ratio if ratio else None
            times = (frame["timestamp"][i - 1], facts["timestamp"])
            yield Jump(facts["symbol"], *times, facts["row"], before, after, known)


@dataclass(frozen=True, slots=True)
class _Series:
    """Bars of one symbol, and their days.

    Of each bar the place of its day; of each day the close, the traded value, and the log return
    into it (the first is into day 1).
    """

    stamps: NDArray[np.int64]
    opened: Array
    close: Array
    step_us: float
    day_of: NDArray[np.intp]
    day_close: Array
    day_return: Array
    day_value: Array
    wildness: float

    @classmethod
    def of(cls, frame: pl.DataFrame) -> "_Series":
        stamps = frame["timestamp"].to_physical().to_numpy()
        close, volume = frame["close"].to_numpy(), frame["volume"].to_numpy()
        step_us = float(np.median(np.diff(stamps)))
        days = stamps // DAY_US if step_us < DAY_US else stamps
        _, first, day_of = np.unique(days, return_index=True, return_inverse=True)
        day_close = close[np.append(first[1:], len(days)) - 1]
        returns = np.diff(np.log(day_close))
        is_wild = len(returns) and np.mean(np.abs(returns) > WILD_RETURN) > WILD_SHARE
        return cls(
            *(stamps, frame["open"].to_numpy(), close, max(step_us, DAY_US), day_of, day_close),
            *(returns, np.add.reduceat(close * volume, first), WILD_FACTOR if is_wild else 1.0),
        )

    def judged(self, i: int, step: float) -> Fraction | None:
        """Return the ratio of a log return into bar `i` that is a jump; 0 where none is near."""
        day = int(self.day_of[i])
        ordinary, has_after = self._ordinary(day)
        if ordinary is None:
            return None
        tick = self._tick(day) / min(self.close[i - 1], self.close[i])
        ordinary = max(ordinary, tick, LEAST_DEVIATION)
        n_missed = self._missed(i)
        errors = abs(step) / (ordinary * n_missed**0.5 * self.wildness)
        ratio, near = _nearest(step), NEAR_ERRORS * ordinary
        if abs(step) >= BEYOND and errors >= (BEYOND_ERRORS if n_missed == 1 else HOLE_ERRORS):
            return ratio if _is_near(step, ratio, near) else Fraction(0)
        if errors < self._needed(day):
            return None
        near = near if has_after else NEAR_AT_END * ordinary
        return ratio if self._lies_between_sessions(i, step, ratio, near) else None

    def _lies_between_sessions(self, i: int, step: float, ratio: Fraction, near: float) -> bool:
        gap = float(np.log(self.opened[i] / self.close[i - 1]))
        if np.isnan(gap):
            return ratio not in SMALL_RATIOS and _is_near(step, ratio, near)
        return _is_near(step, ratio, near) and _is_near(gap, ratio, near)

    def _needed(self, day: int) -> float:
        """Return how many ordinary returns a step must be: beyond all where the day was special."""
        earlier = self.day_value[max(0, day - DAYS_AFTER) : day]
        if len(earlier) < LEAST_DAYS or not np.median(earlier) > 0:
            return SPLIT_ERRORS
        activity = self.day_value[day] / np.median(earlier)
        if activity > SPECIAL_DAY:
            return np.inf
        return QUIET_ERRORS if activity <= QUIET_DAY else SPLIT_ERRORS

    def _ordinary(self, day: int) -> tuple[float | None, bool]:
        """Return the larger deviation of daily returns before and after, and if any is after."""
        before = _usual(self.day_return[max(0, day - 1 - DAYS_BEFORE) : max(0, day - 1)])
        after = _usual(self.day_return[day : day + DAYS_AFTER])
        sides = [_deviation(side) for side in (before, after) if len(side) >= LEAST_DAYS]
        if len(before) + len(after) < LEAST_IN_ALL or not sides:
            return None, False
        return max(sides), len(after) >= LEAST_DAYS

    def _tick(self, day: int) -> float:
        """Return the smallest step of the price near a day; a few of them are an ordinary one."""
        first = max(0, day - 1 - DAYS_BEFORE)
        moves = np.abs(np.diff(self.day_close[first : day + DAYS_AFTER]))
        moves[day - 1 - first] = 0.0  # its own
        moved = moves > TICK_ROUNDING * self.day_close[day]
        return float(np.min(moves[moved])) if moved.any() else CENT

    def _missed(self, i: int) -> float:
        """Return how many days lie between a bar and the one before it; 1 for what is usual."""
        gap = float(self.stamps[i] - self.stamps[i - 1])
        usual = max(LONGEST_CLOSED_DAYS * DAY_US, 4 * self.step_us)
        return gap / self.step_us if gap > usual else 1.0


def _usual(returns: Array) -> Array:
    return returns[np.abs(returns) < BEYOND]


def _deviation(returns: Array) -> float:
    """Return a deviation that one odd return does not move and rare trading does not make zero."""
    sizes = np.abs(returns)
    return float(max(np.median(sizes) / 0.6745, np.quantile(sizes, 0.95) / 1.96))


_EVERY = (*RATIOS, *(1 / ratio for ratio in RATIOS))
_LOGS = np.log([float(ratio) for ratio in _EVERY])


def _nearest(step: float) -> Fraction:
    return _EVERY[int(np.argmin(np.abs(step + _LOGS)))]


def _is_near(step: float, ratio: Fraction, near: float) -> bool:
    return bool(abs(step + np.log(float(ratio))) <= min(near, NEAREST))
