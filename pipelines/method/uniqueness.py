"""Uniqueness: how much of a label is its own when labels overlap (AFML section 4.4). Numpy only.

A label of twenty bars shares nineteen of them with the label of the next bar. With full weights
every return would be learnt twenty times, except those near the ends of the sample.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def average_uniqueness(
    t0: NDArray[np.int64], t1: NDArray[np.int64], symbol: NDArray[np.int32]
) -> Array:
    """Return for each label the mean over its bars of 1 / (labels of its symbol alive there).

    Args:
        t0, t1: first and last time of each label, both included; (n,), any order.
        symbol: (n,); labels of two symbols do not overlap: they hold different returns.

    Bars are counted on the symbol's own decision and end times. A label without extent (t1 not
    after t0) overlaps nothing: its uniqueness is 1.
    """
    out = np.ones(len(t0))
    for name in np.unique(symbol):
        rows = np.flatnonzero((symbol == name) & (t1 > t0))
        if len(rows):
            out[rows] = _of_one_symbol(t0[rows], t1[rows])
    return out


def _of_one_symbol(t0: NDArray[np.int64], t1: NDArray[np.int64]) -> Array:
    timeline = np.unique(np.concatenate((t0, t1)))
    first, last = np.searchsorted(timeline, t0), np.searchsorted(timeline, t1)
    change = np.bincount(first, minlength=len(timeline) + 1)
    change -= np.bincount(last + 1, minlength=len(timeline) + 1)
    alive = np.cumsum(change)[:-1]
    share = np.concatenate(([0.0], np.cumsum(1.0 / np.maximum(alive, 1))))
    return np.asarray((share[last + 1] - share[first]) / (last + 1 - first), dtype=np.float64)


def uniqueness_weights(
    t0: NDArray[np.int64], t1: NDArray[np.int64], symbol: NDArray[np.int32]
) -> Array:
    """Return average uniqueness scaled to mean 1, the weight of each row in a fit; (n,)."""
    unique = average_uniqueness(t0, t1, symbol)
    return unique / unique.mean() if len(unique) else unique
