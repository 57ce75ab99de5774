"""Performance: how much worse the version has become, on labels that are complete by now.

The level of a loss moves with the market: a calm year is easier than a crisis. So the version is
compared with its template's baseline on the same rows: excess = loss - baseline loss, per bar time.
Performance fell when two things hold for the newest 63 labelled bar times. Their mean excess lies
above that of validation by more than `performance_fall` standard deviations of validation's own
means of 63 bar times. And it lies above validation beyond chance: the test of
`pipelines/method/mean_tests.py`, one-sided at 5 %. Labels that span more than seven bars need more
than 63 bar times for that test; then the report says so, and nothing fell.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.method.mean_tests import mean_test
from registry.contract import Json
from registry.gates import EXCESS_BARS, SIGNIFICANT, VALIDATED_EXCESS, GateRow

RECENT_BARS = EXCESS_BARS
FEWEST_BARS = 21
EARLIER_FALL = 0.05
"""What counts as a fall, in units of the loss, for versions whose validation did not measure how
far means of 63 bar times vary."""


@dataclass(frozen=True, slots=True)
class ValidatedExcess:
    """Mean excess at validation, and the standard deviation of its means over 63 bar times.

    `deviation` is None where validation did not measure it.
    """

    mean: float
    deviation: float | None = None

    def least_fall(self, performance_fall: float) -> float:
        """Return how far above `mean` a mean of 63 bar times counts as a fall."""
        return EARLIER_FALL if self.deviation is None else performance_fall * self.deviation


def validated_excess(record: Sequence[GateRow], gate: str) -> ValidatedExcess:
    """Return the excess at validation.

    Of versions from before it was recorded for every template, the value of the template's own gate
    (`Template.excess_gate`), or 0, the baseline's own excess.
    """
    for row in record:
        if row.gate == VALIDATED_EXCESS and row.value is not None and isinstance(row.limit, float):
            return ValidatedExcess(row.value, row.limit - row.value)
    values = [row.value for row in record if row.gate == gate and row.value is not None]
    return ValidatedExcess(values[0] if values else 0.0)


def realised_performance(
    per_time: pl.DataFrame,
    window_end: datetime,
    validated: ValidatedExcess,
    performance_fall: float,
    horizon_bars: int = 1,
) -> dict[str, Json]:
    """Return the performance part of a drift report.

    Args:
        per_time: `outcomes.per_time` of the version.
        window_end: only labels complete by then count.
        performance_fall: standard deviations of validation's means that count.
        horizon_bars: of the labels, which overlap by so much.

    Returns:
        n_times, loss, baseline_loss, excess, expected_excess, least_fall (excess above the expected
        one that counts), t (of excess against the expected one, as a normal quantile), fell: None
        where the labelled bar times are too few for the test, with the reason in `why`.
    """
    recent = per_time.filter(pl.col("known_at") <= window_end).tail(RECENT_BARS)
    expected, least = validated.mean, validated.least_fall(performance_fall)
    facts: dict[str, Json] = {"n_times": len(recent), "expected_excess": expected, "fell": None}
    if len(recent) < FEWEST_BARS:
        return facts | {"why": f"{len(recent)} labelled bar times, {FEWEST_BARS} are needed"}
    loss: NDArray[np.float64] = recent["loss"].to_numpy()
    baseline: NDArray[np.float64] = recent["baseline_loss"].to_numpy()
    excess = loss - baseline
    test = mean_test(excess - expected, horizon_bars)
    return facts | {
        "loss": float(loss.mean()),
        "baseline_loss": float(baseline.mean()),
        "excess": float(excess.mean()),
        "least_fall": least,
        "t": test.z,
        "fell": None if test.z is None else test.z > -SIGNIFICANT and test.mean > least,
        "why": test.missing,
    }
