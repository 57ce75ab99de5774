"""Streaming: one symbol's features, carried forward one closed bar at a time.

`FeatureStream` keeps the newest bars of a symbol and the state of its feature set: TA-Lib's
handles, since everything else is computed from the kept bars. It also decides about bars that are
late, duplicate or out of step.

Law: after any run of accepted bars, `newest` is what `FeatureSet.compute` gives for them:
bit-identical where TA-Lib or Alpha158's kernels give the value, to 1e-10 elsewhere. While there are
fewer than `min_history` bars, or one of them lacks a column, rows are computed as a batch from the
kept bars, which is slower. A stream opened on the newest `min_history` bars agrees with one opened
on all of them to 1e-6, as `min_history` promises.

Not safe for threads: the owner holds a lock.
"""

import math
from dataclasses import dataclass
from datetime import timedelta
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from pipelines.data.bars import SCHEMA, BarSeries, parse_interval
from pipelines.data.features import FeatureSet, RowStream

COLUMNS = tuple(name for name in SCHEMA if name not in ("symbol", "timestamp"))
_values_of = attrgetter(*COLUMNS)
LARGEST, LEAST = 1e150, 1e-150
"""Between these limits the square of a number and the ratio of two prices fit into a float64."""

LONGEST_CATCH_UP = 100
"""With this many new bars, opening anew is cheaper than one update for each."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar; `timestamp` is its close in int64 microseconds UTC, NaN what is not known."""

    timestamp: int
    open: float = np.nan
    high: float = np.nan
    low: float = np.nan
    close: float = np.nan
    volume: float = np.nan
    vwap: float = np.nan
    spread: float = np.nan


@dataclass(slots=True)
class Counts:
    """Number of bars offered, by what the stream did with them; the stream adds to it.

    `late` and `duplicate` (not after the newest bar) and `invalid` (no positive close) were
    rejected. `gaps` are accepted bars more than one interval after the one before: a night, or
    bars that are missing; like the batch, the row takes the bars that are there. `resynchronised`
    counts openings anew because bars held were no longer those followed.
    """

    accepted: int = 0
    late: int = 0
    duplicate: int = 0
    invalid: int = 0
    gaps: int = 0
    resynchronised: int = 0


class BarTape:
    """The newest `keep` bars of one symbol as contiguous arrays; appending copies one bar."""

    def __init__(self, series: BarSeries, keep: int) -> None:
        kept = series.slice(max(0, len(series) - keep), len(series))
        self.symbol, self._keep, self._end = series.symbol, keep, len(kept)
        self._stamps = np.zeros(2 * keep + 1, dtype=np.int64)
        self._values = np.empty((len(COLUMNS), 2 * keep + 1))
        self._stamps[: len(kept)] = kept.timestamp
        for row, column in zip(self._values, COLUMNS, strict=True):
            row[: len(kept)] = getattr(kept, column)

    def __len__(self) -> int:
        return min(self._end, self._keep)

    @property
    def last(self) -> int | None:
        """Timestamp of the newest bar, None without any."""
        return int(self._stamps[self._end - 1]) if self._end else None

    def append(self, bar: Bar) -> BarSeries:
        """Add a bar and return those kept, as views that the next call may change."""
        if self._end == 2 * self._keep:
            self._stamps[: self._keep] = self._stamps[self._end - self._keep : self._end]
            self._values[:, : self._keep] = self._values[:, self._end - self._keep : self._end]
            self._end = self._keep
        with_bar = self.beside(bar)
        self._end += 1
        return with_bar

    def beside(self, bar: Bar) -> BarSeries:
        """Return the bars kept with one more, which is not added."""
        at = self._end
        self._stamps[at] = bar.timestamp
        self._values[:, at] = _values_of(bar)
        return self._view(at + 1)

    def bars(self) -> BarSeries:
        """Return the bars kept, oldest first."""
        return self._view(self._end)

    def _view(self, stop: int) -> BarSeries:
        start = max(0, stop - self._keep)
        return BarSeries(self.symbol, self._stamps[start:stop], *self._values[:, start:stop])


class FeatureStream:
    """One symbol's features at its newest closed bar.

    Args:
        series: the bars there are, oldest first; may be empty.
        interval: `1d`, `5m`, ...: what is longer between two bars is counted as a gap.
        window: rows kept in `newest`.
    """

    def __init__(
        self, feature_set: FeatureSet, series: BarSeries, interval: str, window: int = 1
    ) -> None:
        self._set, self._window = feature_set, window
        prices = [name for name in feature_set.needs if name != "volume"]
        self._needed = attrgetter(*feature_set.needs, "close")
        self._priced = attrgetter(*prices, "close")
        self._step = parse_interval(interval) // timedelta(microseconds=1)
        self.counts = Counts()
        self._rows: NDArray[np.float64]
        self._open(series)

    @property
    def newest(self) -> NDArray[np.float64]:
        """Features of the newest bars, (window, n_features), newest last; NaN where unknown.

        Fewer rows while fewer bars are there. Callers must not change it.
        """
        return self._rows

    @property
    def last(self) -> int | None:
        """Timestamp of the newest bar, None without any."""
        return self._tape.last

    def update(self, bar: Bar) -> NDArray[np.float64] | None:
        """Take a closed bar and return its features, (n_features,); None if it is rejected."""
        if not self._is_next(bar):
            return None
        bars = self._tape.append(bar)
        row = self._row(bar, bars, is_closed=True)
        rows = row[None]
        if self._window > 1:
            rows = np.concatenate([self._rows, rows])[-self._window :]
        self._rows = rows
        self.counts.accepted += 1
        return row

    def peek(self, bar: Bar) -> NDArray[np.float64]:
        """Return the features a forming bar would have, (n_features,); nothing changes."""
        return self._row(bar, self._tape.beside(bar), is_closed=False)

    def follow(self, series: BarSeries) -> NDArray[np.float64]:
        """Take what is new in the bars held and return `newest`.

        Opens anew where `series` is not the bars followed with some added at the end: a late bar
        was inserted, or more are new than an update each is worth.
        """
        last = self._tape.last
        start = 0 if last is None else int(np.searchsorted(series.timestamp, last, side="right"))
        if not self._continues(series, start) or len(series) - start > LONGEST_CATCH_UP:
            self.counts.resynchronised += 1
            self._open(series)
            return self._rows
        for at in range(start, len(series)):
            self.update(bar_at(series, at))
        return self._rows

    def _open(self, series: BarSeries) -> None:
        self._tape = BarTape(series, self._set.min_history)
        self._rows = _computed(self._set, series)[-self._window :]
        self._stream = self._opened(series)

    def _opened(self, series: BarSeries) -> RowStream | None:
        """Return the state that carries on from `series`; None while there is none to carry."""
        if len(series) < self._set.min_history:
            return None
        columns = np.stack([getattr(series, name) for name in (*self._set.needs, "close")])
        prices = columns[[name != "volume" for name in (*self._set.needs, "close")]]
        if not ((columns < LARGEST).all() and (prices > LEAST).all()):
            return None
        return self._set.stream(series)

    def _is_next(self, bar: Bar) -> bool:
        last, counts = self._tape.last, self.counts
        if not 0 < bar.close < math.inf:
            counts.invalid += 1
        elif last is not None and bar.timestamp == last:
            counts.duplicate += 1
        elif last is not None and bar.timestamp < last:
            counts.late += 1
        else:
            if last is not None and bar.timestamp > last + self._step:
                counts.gaps += 1
            return True
        return False

    def _row(self, bar: Bar, bars: BarSeries, *, is_closed: bool) -> NDArray[np.float64]:
        """Return the newest row of `bars`, of which `bar` is the newest."""
        if self._stream is not None and self._is_whole(bar):
            return self._stream.update(bars) if is_closed else self._stream.peek(bars)
        if is_closed:
            self._stream = self._opened(bars)
        return np.asarray(_computed(self._set, bars)[-1])

    def _is_whole(self, bar: Bar) -> bool:
        """Return whether the bar has every column the set needs, none of absurd size."""
        return bool(sum(self._needed(bar)) < LARGEST and min(self._priced(bar)) > LEAST)

    def _continues(self, series: BarSeries, start: int) -> bool:
        held = self._tape.bars().timestamp
        shared = min(start, len(held))
        known = series.timestamp[start - shared : start]
        return bool(np.array_equal(known, held[len(held) - shared :])) and (
            shared > 0 or not len(held)
        )


def bar_at(series: BarSeries, at: int) -> Bar:
    """Return one bar of a series."""
    values = {column: float(getattr(series, column)[at]) for column in COLUMNS}
    return Bar(int(series.timestamp[at]), **values)


def _computed(feature_set: FeatureSet, series: BarSeries) -> NDArray[np.float64]:
    with np.errstate(all="ignore"):  # what overflows is not finite, and refused by its name
        return feature_set.compute(series)
