"""Reference: a version's inputs in training, and how far a window may stray from them.

The statistic is the first Wasserstein distance between a window and the reference, divided by the
reference's standard deviation (floored at 0.001). Evidently calls the same number `wasserstein`, so
the drift stage's report and these thresholds agree. It needs no bins.

A fixed limit does not work. Features that look back weeks move together. So a window of contiguous
bars differs from the whole reference even when nothing has changed. The threshold of a column is
therefore a quantile (99.5 %) of the statistic over contiguous blocks of the reference itself. The
blocks have the window's length and the same symbols (docs/decisions/0002-drift-thresholds.md).

`train` calls `drift_profile` and saves the panel and the profile with the version; the drift stage
reads both back. `DriftProfile.from_json(profile.to_json()) == profile`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.names import PANEL_KEYS
from registry.errors import TooLittleHistoryError

STATISTIC = "wasserstein"
QUANTILE = 0.995
SHARE_LIMIT = 0.5
WINDOW_BARS = 21
REFERENCE_YEARS = 4
MAX_ROWS = 10_000
MAX_BLOCKS = 200
ENOUGH_BLOCKS = 20
SEED = 0
FEWEST_ALONE, MOST_ALONE = 50, 500
SMALLEST_STD = 0.001
SMALLEST_THRESHOLD = 0.01

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DriftProfile:
    """How far each column of a window may stray; `drift.json` of a version.

    `thresholds` are in reference standard deviations; `importance` sums to 1 (equal weights when
    the model names none). A window drifts when the importance of its columns at or over their
    threshold adds up to `share_limit`. `n_blocks` says how many blocks the quantile rests on.
    """

    statistic: str
    window_bars: int
    quantile: float
    share_limit: float
    n_rows: int
    n_blocks: int
    thresholds: Mapping[str, float]
    importance: Mapping[str, float]

    @property
    def is_usable(self) -> bool:
        """Whether the thresholds rest on enough blocks to judge by."""
        return self.n_blocks >= ENOUGH_BLOCKS

    def drifted_share(self, statistics: Mapping[str, float]) -> float:
        """Return the importance of the columns at or over their threshold, 0 to 1."""
        return sum(
            self.importance[name]
            for name, value in statistics.items()
            if value >= self.thresholds[name]
        )

    def to_json(self) -> str:
        """Return the profile as JSON with sorted keys."""
        return json.dumps(asdict(self), indent=2, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> "DriftProfile":
        """Return the profile that `to_json` wrote."""
        return cls(**json.loads(text))


def drift_profile(
    panel: pl.DataFrame, importance: Mapping[str, float], window_bars: int = WINDOW_BARS
) -> DriftProfile:
    """Return the thresholds of a version's inputs.

    Args:
        panel: symbol, timestamp, one float column per feature; the training rows. At most its last
            4 years are used.
        importance: feature -> non-negative importance; scaled to sum to 1.
        window_bars: bar times per window, as the drift stage will judge them.

    Raises:
        TooLittleHistoryError: fewer bar times than one window, or a column without any number.
    """
    recent = recent_rows(panel)
    stamps = recent["timestamp"].to_numpy()
    first_row = np.flatnonzero(np.r_[True, stamps[1:] != stamps[:-1]])
    n_times = len(first_row)
    if n_times < window_bars:
        raise TooLittleHistoryError("a drift reference", window_bars, n_times)
    edges = np.r_[first_row, len(stamps)]
    n_starts = n_times - window_bars + 1
    starts = np.unique(np.linspace(0, n_starts - 1, min(n_starts, MAX_BLOCKS)).astype(np.intp))
    sample = sample_rows(recent)
    thresholds = {}
    for name in feature_columns(recent):
        distance = NormedWasserstein(_finite(name, sample[name]))
        values = recent[name].cast(pl.Float64).to_numpy()
        blocks = [values[edges[i] : edges[i + window_bars]] for i in starts]
        found = [
            distance(block[np.isfinite(block)]) for block in blocks if np.isfinite(block).any()
        ]
        thresholds[name] = max(float(np.quantile(found, QUANTILE)), SMALLEST_THRESHOLD)
    return DriftProfile(
        statistic=STATISTIC,
        window_bars=window_bars,
        quantile=QUANTILE,
        share_limit=SHARE_LIMIT,
        n_rows=len(recent),
        n_blocks=len(starts),
        thresholds=thresholds,
        importance=_shares(importance, thresholds),
    )


def rows_per_window(n_rows: int) -> int:
    """Return the rows of a window where rows have no times: a fortieth of them, 50 to 500."""
    return min(MOST_ALONE, max(FEWEST_ALONE, n_rows // 40))


def in_turn(n_rows: int) -> NDArray[np.int64]:
    """Return times that put rows one after another, a second each from 1970 (microseconds)."""
    return np.arange(n_rows, dtype=np.int64) * 1_000_000


def recent_rows(panel: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of the last 4 years of a panel, in order of time, then symbol."""
    cut = pl.col("timestamp").max() - timedelta(days=365.25 * REFERENCE_YEARS)
    return panel.filter(pl.col("timestamp") >= cut).sort("timestamp", "symbol")


def sample_rows(recent: pl.DataFrame) -> pl.DataFrame:
    """Return at most 10,000 rows, always the same ones of the same frame; the order is kept."""
    if len(recent) <= MAX_ROWS:
        return recent
    chosen = np.random.default_rng(SEED).choice(len(recent), MAX_ROWS, replace=False)
    return recent[np.sort(chosen)]


def feature_columns(panel: pl.DataFrame) -> tuple[str, ...]:
    """Return the names of a panel's feature columns."""
    return tuple(name for name in panel.columns if name not in PANEL_KEYS)


class NormedWasserstein:
    """Distance of many samples to one reference; exact, O(m log n) per sample of m.

    W1 = integral of |F(x) - G(x)| dx (Vallender 1974), F and G the distribution functions of
    reference and sample. Between two neighbouring points of the sample G is constant and F crosses
    it at most once, at a quantile of the reference, so that the integral of F alone, tabulated
    once, gives each piece.
    """

    def __init__(self, reference: Floats) -> None:
        self._sorted = np.sort(reference)
        n = len(self._sorted)
        steps = np.arange(1, n) / n * np.diff(self._sorted)
        self._area = np.r_[0.0, np.cumsum(steps)]  # integral of F up to each reference point
        self._norm = max(float(np.std(reference)), SMALLEST_STD)

    def __call__(self, sample: Floats) -> float:
        """Return the distance of a non-empty sample, in standard deviations of the reference."""
        points, n, m = np.sort(sample), len(self._sorted), len(sample)
        level = np.arange(m + 1) / m
        left = np.r_[min(self._sorted[0], points[0]), points]
        right = np.r_[points, max(self._sorted[-1], points[-1])]
        rank = -(-np.arange(m + 1) * n // m)  # ceil(level * n) in whole numbers
        crossing = self._sorted[np.clip(rank - 1, 0, n - 1)]
        middle = np.clip(crossing, left, right)
        at_left, at_middle, at_right = map(self._integral, (left, middle, right))
        below = level * (middle - left) - (at_middle - at_left)  # F <= G here
        above = (at_right - at_middle) - level * (right - middle)  # F >= G here
        return float((below + above).sum()) / self._norm

    def _integral(self, x: Floats) -> Floats:
        """Return the integral of F from minus infinity to x."""
        count = np.searchsorted(self._sorted, x, side="right")
        last = np.maximum(count - 1, 0)
        beyond = np.where(count > 0, x - self._sorted[last], 0.0)
        integral: Floats = self._area[last] + count / len(self._sorted) * beyond
        return integral


def _finite(name: str, column: pl.Series) -> Floats:
    values: Floats = column.cast(pl.Float64).to_numpy()
    finite: Floats = values[np.isfinite(values)]
    if not len(finite):
        raise TooLittleHistoryError(f"the drift reference of column {name!r}", 1, 0)
    return finite


def _shares(importance: Mapping[str, float], columns: Mapping[str, float]) -> dict[str, float]:
    weights = {name: float(importance.get(name, 0.0)) for name in columns}
    total = sum(weights.values())
    if not total > 0:
        return {name: 1.0 / len(columns) for name in columns}
    return {name: weight / total for name, weight in weights.items()}
