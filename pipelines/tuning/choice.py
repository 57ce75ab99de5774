"""The choice among trials by their losses, and what the one that is chosen so will lose.

The best of many noisy means is partly the luckiest. So a later trial replaces an earlier one only
where it is better by more than one standard error of their difference (Breiman et al. 1984 take the
simplest within one; here it is the earliest: good defaults come first). What the choice itself adds
is taken away by a bootstrap over the dates (Tsamardinos et al. 2018, BBC-CV): chosen anew on dates
drawn with replacement, scored on those that were not drawn.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BLOCKS = 48
"""Blocks of neighbouring dates that a trial's losses are kept as."""
DRAWS = 400
SEED = 1


def chosen(losses: Array) -> int:
    """Return the row that is chosen.

    Args:
        losses: (n_trials, n_blocks), the earliest trial first; at least two blocks.
    """
    every = np.arange(losses.shape[1])
    return int(_chosen(losses, every[None])[0])


def _chosen(losses: Array, draws: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the row that is chosen on each draw of blocks (n_draws, n_drawn)."""
    rows = np.zeros(len(draws), dtype=np.intp)
    best = losses[0][draws]
    for row in range(1, len(losses)):
        other = losses[row][draws]
        better = best - other
        error = better.std(axis=1, ddof=1) / np.sqrt(draws.shape[1])
        replaces = better.mean(axis=1) > error
        rows[replaces], best[replaces] = row, other[replaces]
    return rows


def choice_bias(losses: Array, row: int) -> float:
    """Return what the mean loss of a row leaves out, because it was chosen; at least 0.

    The expected loss of choosing is the mean of what is chosen on drawn blocks, on the others. The
    loss of the row is taken on the same others.
    """
    n_blocks = losses.shape[1]
    draws = np.random.default_rng(SEED).integers(n_blocks, size=(DRAWS, n_blocks))
    out = np.ones((DRAWS, n_blocks), dtype=bool)
    np.put_along_axis(out, draws, values=False, axis=1)
    behind = losses[_chosen(losses, draws)] - losses[row]
    n_out = out.sum(axis=1)
    means = (behind * out).sum(axis=1)[n_out > 0] / n_out[n_out > 0]
    return max(0.0, float(means.mean())) if len(means) else 0.0


def of_same_dates(kept: Sequence[Sequence[float]]) -> Array | None:
    """Return the losses of trials as one array; None where they have other blocks, or too few."""
    lengths = {len(blocks) for blocks in kept}
    return np.array(kept, dtype=np.float64) if len(lengths) == 1 and min(lengths) > 1 else None
