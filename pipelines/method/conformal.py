"""Conformal intervals: split, and adaptive over time. Numpy only.

Split: the ceil((n+1)*level)-th smallest score of rows that the fit had not seen (Vovk, Gammerman
and Shafer 2005). It keeps its promise while rows are exchangeable; rows of markets are not.
Adaptive (Gibbs and Candes 2021, "Adaptive conformal inference under distribution shift"): the level
itself moves, by gamma * (nominal - missed) for each decision time whose outcomes become known.

A score is the absolute error in units of the row's own scale; a quantile of scores times the scale
is half an interval. `statistics.conformal_quantile` is the split quantile of raw scores. This
module keeps the whole distribution of scores, as a short sorted array.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Times = NDArray[np.int64]

GAMMA = 0.005
"""Step of the adaptive level, that of the paper's experiments."""
HIGHEST_ALPHA = 0.5
KEPT = 2000
"""Most scores that are kept; a quantile of more moves by less than 1 / 2000 of the rows."""


def keep_scores(scores: Array, most: int = KEPT) -> Array:
    """Return the scores sorted, without NaN; of more than `most`, that many at evenly spaced ranks.

    Ranks are rounded up, so that a kept quantile is never below the one of all scores.
    """
    ordered = np.sort(scores[~np.isnan(scores)])
    n = len(ordered)
    if n <= most:
        return ordered
    ranks = np.ceil(np.arange(1, most + 1) * (n + 1) / (most + 1)).astype(np.intp)
    return np.asarray(ordered[np.minimum(ranks, n) - 1], dtype=np.float64)


def quantile(kept: Array, level: float) -> float:
    """Return the ceil((n+1)*level)-th of sorted scores: inf above the last rank, 0 below the first.

    A level at or below 0 is an interval of no width, one that no rank reaches covers everything.
    """
    rank = math.ceil(round((len(kept) + 1) * level, 9))
    if rank > len(kept):
        return math.inf
    return float(kept[rank - 1]) if rank >= 1 else 0.0


@dataclass(frozen=True, slots=True)
class AdaptiveWalk:
    """Adaptive intervals of rows in time order, and the level at the end.

    `half`: (n,) quantile of scores used for each row, finite; NaN where its fold had no scores to
    calibrate on. `alpha`: after every outcome.
    """

    half: Array
    alpha: float


def adapt(
    score: Array,
    t0: Times,
    t1: Times,
    fold: NDArray[np.int64],
    calibration: Mapping[int, Array],
    *,
    level: float,
    gamma: float = GAMMA,
) -> AdaptiveWalk:
    """Walk through rows as time would have: each interval knows only outcomes complete by its t0.

    Args:
        score: (n,) what each row's interval must reach to cover; a row whose score is NaN moves
            nothing.
        t0, t1: decision and completion, int64 microseconds UTC.
        fold: (n,), one per decision time; `calibration[fold]` are the sorted scores
            (`keep_scores`) of earlier rows.
        level: nominal coverage, 0.9.

    Each row that completes moves alpha by gamma * (nominal - missed) / K, K the rows of its own
    decision time: symbols of one date count as one observation, and labels that complete together
    count each. (One step per time of completion lets a cluster of misses count once.) Alpha is held
    between 1 / (m + 1) and 0.5, m the calibration scores. Law (Gibbs and Candes, proposition 4.1):
    while no bound is met, the mean over decision times of the misses is nominal
    - (alpha at the end - alpha at the start) / (gamma * times), whatever the scores are.
    """
    nominal = 1.0 - level
    alpha, half = nominal, np.full(len(score), np.nan)
    order = np.argsort(t0, kind="stable")  # rows of one decision time stand together from here on
    score, t0, t1 = score[order], t0[order], t1[order]
    known = np.argsort(t1, kind="stable")
    starts = np.flatnonzero(np.diff(t0, prepend=np.iinfo(np.int64).min))
    stops = np.searchsorted(t1[known], t0[starts], side="right").tolist()
    step, weight = np.zeros(len(score)), gamma * _per_row(score, t0)
    n_known, n_scores = 0, 0
    ends, folds = np.append(starts[1:], len(score)).tolist(), fold[order[starts]].tolist()
    for first, end, number, stop in zip(starts.tolist(), ends, folds, stops, strict=False):
        if stop > n_known:
            alpha = bounded(alpha + float(step[known[n_known:stop]].sum()), n_scores)
            n_known = stop
        kept = calibration.get(number)
        if kept is not None and len(kept):
            n_scores = len(kept)
            alpha = bounded(alpha, n_scores)
            reach = quantile(kept, 1.0 - alpha)
            half[first:end] = reach
            step[first:end] = weight[first:end] * (nominal - (score[first:end] > reach))
    alpha = bounded(alpha + float(step[known[n_known:]].sum()), n_scores)
    return AdaptiveWalk(half[np.argsort(order)], alpha)


def bounded(alpha: float, n_scores: int) -> float:
    """Return alpha within [1 / (m + 1), 0.5], so that m scores give a finite interval."""
    return min(max(alpha, 1.0 / (n_scores + 1)), HIGHEST_ALPHA) if n_scores else alpha


def _per_row(score: Array, t0: Times) -> Array:
    """Return 1 / (rows with a score at the row's decision time); 0 for a row without one."""
    there = ~np.isnan(score)
    _, date = np.unique(t0, return_inverse=True)
    count = np.bincount(date, there)
    return np.asarray(there / np.maximum(count, 1.0)[date], dtype=np.float64)


def adapted_alpha(
    score: Array, t0: Times, t1: Times, fold: NDArray[np.int64], level: float
) -> float:
    """Return alpha after all rows, each fold calibrated on the folds before it; 1 - level if one.

    An interval after the last of these rows starts from it, with all of them to calibrate on, and
    is finite.
    """
    numbers = np.unique(fold)
    earlier = {int(f): keep_scores(score[fold < f]) for f in numbers[1:]}
    alpha = adapt(score, t0, t1, fold, earlier, level=level).alpha
    return bounded(alpha, len(keep_scores(score)))
