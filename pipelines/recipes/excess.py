"""Excess: how much more a recipe lost than its baseline out of fold, and how far that varies.

Monitoring compares what a version loses later with both (`monitoring/performance.py`): the mean,
and the standard deviation of means over 63 bar times, the stretch that monitoring looks at. So a
fall means the same for every template, whatever the unit of its loss is.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipelines.method.mean_tests import mean_test
from pipelines.method.rows import OutOfFold
from pipelines.recipes.score import out_of_fold_losses, per_time
from pipelines.templates import Template
from registry.decoder import Decoder
from registry.gates import EXCESS_BARS, VALIDATED_EXCESS, GateRow

LEAST_MEANS = 8
"""Fewest means whose own standard deviation is taken; with fewer it follows from the long run."""


def validated_excess_row(
    template: Template, oof: OutOfFold, decoders: Mapping[int, Decoder], horizon_bars: int
) -> GateRow:
    """Return the row `monitoring.excess`; no lock needs it.

    Its value is the mean of loss minus baseline loss per time. Its limit lies one standard
    deviation of means over 63 times above, so limit - value is that deviation.
    """
    loss, baseline = out_of_fold_losses(template, oof, decoders)
    _, means = per_time(oof.rows, loss, baseline)
    excess = means[0] - means[1]
    deviation = deviation_of_means(excess, horizon_bars)
    if deviation is None:
        why = f"{len(excess)} times are too few to say how far means over {EXCESS_BARS} vary"
        return GateRow(VALIDATED_EXCESS, None, "<=", 0.0, why)
    mean = float(excess.mean())
    note = (
        f"loss minus baseline loss per time, {len(excess)} times; the limit is one standard "
        f"deviation of means over {EXCESS_BARS} times above. Monitoring compares with both"
    )
    return GateRow(VALIDATED_EXCESS, mean, "<=", mean + deviation, note)


def deviation_of_means(excess: NDArray[np.float64], horizon_bars: int) -> float | None:
    """Return the standard deviation of means over 63 values that do not overlap, above 0.

    With fewer than eight of them it is the standard error of the whole mean, scaled to 63 values.
    None where that cannot be said either.
    """
    n = len(excess) // EXCESS_BARS
    if n >= LEAST_MEANS:
        blocks = excess[len(excess) - n * EXCESS_BARS :].reshape(n, EXCESS_BARS)
        found = float(blocks.mean(axis=1).std(ddof=1))
        return found if found > 0 else None
    error = mean_test(excess, horizon_bars).error
    return None if error is None else error * math.sqrt(len(excess) / EXCESS_BARS)
