"""Coverage: whether intervals keep their promise, over time and not only on average.

Split and adaptive intervals of the same rows stand beside a naive volatility band of normal
returns. Reported are the share covered, overall and in the worst 500 decision times, the width, and
the interval score (Gneiting and Raftery 2007). The score is proper; width and coverage alone are
not. The gate looks at what a version answers: the adaptive level stands still from the day a
version is made, so each fold is judged at the level that its version would have answered with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.bars import TIMESTAMP
from pipelines.method.metrics import MeanInterval, mean_interval
from pipelines.method.statistics import mean_per_date
from registry.gates import GateRow

Array = NDArray[np.float64]

TOLERANCE = 0.02
WINDOW = 500
"""Decision times of a rolling window."""
LEAST_DATES = 100
"""Fewest decision times with an interval for a bootstrap of coverage."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """Intervals of n rows, all in the unit of the outcome (a log return).

    `error`: (n,) outcome minus centre. `split`, `adaptive`, `naive`: (n,) half widths; NaN where
    there was no interval, inf where it covers everything. `t0`: (n,). `level`: promised coverage.
    `answered`: (n,) half widths that the fold's version would have answered, by the answer's field.
    """

    error: Array
    split: Array
    adaptive: Array
    naive: Array
    t0: NDArray[np.int64]
    level: float
    answered: Mapping[str, Array]

    @property
    def known(self) -> NDArray[np.bool_]:
        """Rows with every interval."""
        return np.isfinite(self.split) & ~np.isnan(self.adaptive) & np.isfinite(self.naive)

    def half_widths(self) -> dict[str, Array]:
        """Return the half widths by name."""
        return {"split": self.split, "adaptive": self.adaptive, "naive": self.naive}


def naive_band(sigma: Array, horizon: int, level: float) -> Array:
    """Return the half width of a normal band: z * sigma * sqrt(h)."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    return np.asarray(z * sigma * horizon**0.5, dtype=np.float64)


def judge_coverage(
    intervals: Intervals, block: int
) -> tuple[dict[str, float], GateRow, dict[str, pl.DataFrame]]:
    """Return metrics, the gate `edge.coverage` and the table `coverage_over_time`.

    The coverage of an answered interval has a 90 % block-bootstrap interval. The gate's value is
    its point nearest to the promised coverage, so the gate refuses only when the whole bootstrap
    interval lies more than two points away. Where a version answers several intervals, the gate's
    is the one farthest off. Only a finite interval covers.

    Args:
        block: decision times of a bootstrap block.
    """
    level = intervals.level
    limit = (round(level - TOLERANCE, 9), round(level + TOLERANCE, 9))
    keep = intervals.known
    t0, error = intervals.t0[keep], np.abs(intervals.error[keep])
    n_dates = len(np.unique(t0))
    if n_dates < LEAST_DATES:
        why = f"{n_dates} decision times have an interval, {LEAST_DATES} are needed"
        return {}, GateRow("edge.coverage", None, "between", limit, why), {}
    halves = {name: half[keep] for name, half in intervals.half_widths().items()}
    covered = {name: _covers(half, error) for name, half in halves.items()}
    name, interval = _farthest(intervals, keep, block)
    found = {
        "interval_coverage_answered": interval.estimate,
        "interval_coverage_lower": interval.lower,
        "interval_coverage_upper": interval.upper,
    }
    for kind, half in halves.items():
        suffix = "" if kind == "split" else f"_{kind}"
        found |= _scores(covered[kind], half, error, t0, level, suffix)
    note = (
        f"`{name}` as answered covers {interval.estimate:.4f}; the coverage nearest to {level:g} "
        f"in its 90 % block-bootstrap interval, {interval.lower:.4f} to {interval.upper:.4f}; "
        f"{len(error)} rows, {n_dates} decision times"
    )
    gate = GateRow("edge.coverage", _nearest(interval, level), "between", limit, note)
    return found, gate, {"coverage_over_time": _over_time(covered, t0, level)}


def _covers(half: Array, error: Array) -> Array:
    return ((error <= half) & np.isfinite(half)).astype(np.float64)


def _nearest(interval: MeanInterval, level: float) -> float:
    return float(np.clip(level, interval.lower, interval.upper))


def _farthest(
    intervals: Intervals, keep: NDArray[np.bool_], block: int
) -> tuple[str, MeanInterval]:
    """Return the answered interval whose coverage is farthest from what it promises."""
    error, level = np.abs(intervals.error[keep]), intervals.level
    found = [
        (name, mean_interval(_covers(half[keep], error), intervals.t0[keep], block=block))
        for name, half in intervals.answered.items()
    ]
    return max(
        found, key=lambda x: (abs(_nearest(x[1], level) - level), abs(x[1].estimate - level))
    )


def _scores(
    covered: Array, half: Array, error: Array, t0: NDArray[np.int64], level: float, suffix: str
) -> dict[str, float]:
    finite = np.isfinite(half)
    width = 2 * half[finite]
    excess = np.maximum(error[finite] - half[finite], 0.0)
    score = width + 2 / (1 - level) * excess
    found = {
        f"interval_coverage{suffix}": float(covered.mean()),
        f"interval_width{suffix}": float(width.mean()),
        f"interval_score{suffix}": float(score.mean()),
    }
    per_date = mean_per_date(covered, t0)
    if len(per_date) >= WINDOW:
        found[f"interval_coverage{suffix}_worst_{WINDOW}"] = float(_rolling(per_date, WINDOW).min())
    return found


def _rolling(values: Array, window: int) -> Array:
    total = np.concatenate(([0.0], np.cumsum(values)))
    return np.asarray((total[window:] - total[:-window]) / window, dtype=np.float64)


def _over_time(covered: dict[str, Array], t0: NDArray[np.int64], level: float) -> pl.DataFrame:
    """Return the coverage of the rolling window that ends at each decision time.

    The window is 500 decision times, or a fifth of all where that is less.
    """
    dates = np.unique(t0)
    window = min(WINDOW, max(1, len(dates) // 5))
    columns = {
        name: _rolling(mean_per_date(values, t0), window) for name, values in covered.items()
    }
    times = {"timestamp": pl.Series(dates[window - 1 :]).cast(TIMESTAMP)}
    n = len(dates) - window + 1
    return pl.DataFrame(times | columns | {"nominal": np.full(n, level), "n_dates": [window] * n})
