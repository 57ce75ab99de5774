"""Plausibility: what no honest model of prices shows, on the lower 95 % bound.

Results above these limits have always been a leak, a wrong date or a wrong cost. Each measure is
written as one value per date whose mean is the measure (its influence values added to it), so that
its bound is that of a mean (`mean_tests.MeanTest.lower`) and counts dates, not rows. Numpy and
polars only.
"""

import math
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.bars import parse_interval
from pipelines.method.mean_tests import CONSTANT, mean_test
from registry.gates import GateRow, Requirement

Array = NDArray[np.float64]

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class ByLength:
    """A limit for bars of a day and longer, of an hour to a day, and shorter ones."""

    day: float
    hour: float
    shorter: float

    def of(self, interval: str) -> float:
        """Return the limit of bars of this length; the strictest where it is not known."""
        length = parse_interval(interval) if interval else DAY
        return self.day if length >= DAY else self.hour if length >= HOUR else self.shorter


SHARPE = ByLength(4.0, 6.0, 10.0)
"""Annualised net Sharpe ratio."""
RETURN_R2 = ByLength(0.05, 0.10, 0.10)
DIRECTION = ByLength(0.60, 0.65, 0.65)
"""Area under the ROC curve of the sign of a return: 0.5 without skill, whatever the drift is."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure and its one-sided lower 95 % bound; `lower` is None where there is none, `why`."""

    value: float
    lower: float | None
    why: str = ""

    def row(self, gate: Requirement, what: str, limit: float | None = None) -> GateRow:
        """Return the bound beside the gate's limit, or beside a stricter one."""
        note = f"lower 95 % bound of {what}, {self.value:.4g}"
        row = gate.row(self.lower, self.why or note)
        return row if limit is None else replace(row, limit=limit)


def sharpe(returns: Array, bars_per_year: float) -> Measure:
    """Return the annualised Sharpe ratio of returns per bar; 0 for a strategy that never trades.

    Influence of a standardised return z: z - SR (z^2 - 1) / 2 (Lo 2002, delta method).
    """
    deviation = float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
    if not len(returns) or deviation <= CONSTANT * float(np.abs(returns).max()):
        certain = math.inf if len(returns) and returns[0] > 0 else 0.0
        return Measure(certain, certain)
    z = (returns - returns.mean()) / deviation
    ratio = float(returns.mean()) / deviation
    return _bounded(bars_per_year**0.5 * (ratio + z - ratio / 2 * (z**2 - 1)))


def share_explained(loss: Array, rival: Array, t0: NDArray[np.int64], horizon: int) -> Measure:
    """Return 1 - sum of losses / sum of the rival's losses: R2 where losses are squared errors.

    Args:
        loss, rival: (n,) per row, none negative; t0: (n,) times of the rows.
    """
    ours, theirs = _sum_per_date(loss, t0), _sum_per_date(rival, t0)
    mean = float(theirs.mean()) if len(theirs) else 0.0
    if mean <= 0:
        return Measure(0.0, 0.0)
    found = 1 - float(ours.mean()) / mean
    return _bounded(found - (ours - (1 - found) * theirs) / mean, horizon)


def mean_gain(gain: Array, t0: NDArray[np.int64], horizon: int) -> Measure:
    """Return the mean per row of a gain, each date weighing as many rows as it has."""
    rows = _sum_per_date(np.ones(len(gain)), t0)
    if not len(rows):
        return Measure(0.0, 0.0)
    found = float(gain.mean())
    centred = (_sum_per_date(gain, t0) - found * rows) / rows.mean()
    return _bounded(found + centred, horizon)


def area_under_curve(
    score: Array, is_positive: NDArray[np.bool_], t0: NDArray[np.int64], horizon: int
) -> Measure | None:
    """Return the area under the ROC curve, None where only one class came.

    Influence of a row: how much of the other class lies on its right side (DeLong and others 1988).
    """
    n_in, n_out = int(is_positive.sum()), int((~is_positive).sum())
    if not n_in or not n_out:
        return None
    among_all = _ranks(score)
    right = np.empty(len(score))
    right[is_positive] = (among_all[is_positive] - _ranks(score[is_positive])) / n_out
    others = (among_all[~is_positive] - _ranks(score[~is_positive])) / n_in
    right[~is_positive] = 1 - others
    area = float(right[is_positive].mean())
    size = np.where(is_positive, n_in, n_out) / len(score)
    per_date = _sum_per_date((right - area) / size, t0)
    return _bounded(area + per_date * len(per_date) / len(score), horizon)


def _ranks(values: Array) -> Array:
    return pl.Series(values).rank("average").to_numpy()


def _sum_per_date(values: Array, t0: NDArray[np.int64]) -> Array:
    _, date = np.unique(t0, return_inverse=True)
    return np.bincount(date, values).astype(np.float64)


def _bounded(per_date: Array, horizon: int = 1) -> Measure:
    """Return the mean of values per date and its lower bound; of constant values, the mean."""
    found = mean_test(per_date, horizon)
    lower = found.lower() if found.varies else found.mean
    return Measure(found.mean, lower, "" if lower is not None else found.missing)
