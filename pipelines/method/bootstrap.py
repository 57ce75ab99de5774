"""Stationary bootstrap of a loss difference, by `arch` (Politis and Romano 1994).

It answers the question of champion against challenger: how likely the challenger is worse, and by
how much at most. Not imported by templates; `arch` loads on the first call.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from registry.errors import TooLittleHistoryError

MINIMUM_PERIODS = 10


@dataclass(frozen=True, slots=True)
class LossComparison:
    """Challenger minus champion, in units of the loss; lower is better.

    `p_worse` is the bootstrap probability that the mean difference is not below 0 (an equal
    challenger is not a better one), `upper` its one-sided upper bound at `level`, `block` the mean
    block length in periods.
    """

    mean: float
    p_worse: float
    upper: float
    level: float
    block: int
    n_periods: int


def compare_losses(
    difference: NDArray[np.float64],
    *,
    seed: int,
    level: float = 0.95,
    repetitions: int = 2000,
    block: int | None = None,
    least_block: int = 1,
) -> LossComparison:
    """Bootstrap the mean of a loss difference.

    Args:
        difference: challenger's loss minus champion's, one value per timestamp in time order,
            averaged over symbols (`statistics.mean_per_date`).
        block: mean block length; None takes the optimal one (Politis and White 2004).
        least_block: no shorter blocks than this: labels of h bars overlap, so that neighbouring
            losses share h - 1 returns whatever a short sample estimates. At most half the sample.

    `upper` is the basic (reflected) bound 2*mean - quantile(1 - level), which corrects the
    bootstrap's own bias.

    Raises:
        TooLittleHistoryError: fewer than 10 timestamps.
    """
    from arch.bootstrap import StationaryBootstrap, optimal_block_length

    n = len(difference)
    if n < MINIMUM_PERIODS:
        raise TooLittleHistoryError("a bootstrap of losses", MINIMUM_PERIODS, n)
    mean = float(difference.mean())
    if block is None and difference.std() > 0:
        block = math.ceil(optimal_block_length(difference)["stationary"].iloc[0])
    length = min(max(block or 1, least_block), n // 2)
    resampler = StationaryBootstrap(length, difference, seed=np.random.default_rng(seed))
    means = resampler.apply(np.mean, repetitions)[:, 0]
    upper = 2 * mean - float(np.quantile(means, 1 - level))
    return LossComparison(mean, float((means >= 0).mean()), upper, level, length, n)
