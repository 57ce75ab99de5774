"""Performance: how much worse the version has become, on labels that are complete by now.

The level of a loss moves with the market: a calm year is easier than a crisis. So the version is
compared with its template's baseline on the same rows: excess = loss - baseline loss, per bar time.
Performance fell when two things hold for the newest 63 labelled bar times: their mean excess lies
above that of validation by more than `performance_fall`, and the difference is not noise: the test
of `pipelines/method/mean_tests.py`, one-sided at 5 %. Labels that span more than seven bars need
more than 63 bar times for that test; then the report says so, and nothing fell.
"""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.method.mean_tests import mean_test
from registry.contract import Json
from registry.gates import SIGNIFICANT, GateRow

RECENT_BARS = 63
FEWEST_BARS = 21


def validated_excess(record: Sequence[GateRow], gate: str) -> float:
    """Return the excess at validation; without one 0, the baseline's own excess.

    Args:
        gate: the one whose value is that excess (`Template.excess_gate`).
    """
    values = [row.value for row in record if row.gate == gate and row.value is not None]
    return values[0] if values else 0.0


def realised_performance(
    per_time: pl.DataFrame,
    window_end: datetime,
    expected: float,
    fall: float,
    horizon_bars: int = 1,
) -> dict[str, Json]:
    """Return the performance part of a drift report.

    Args:
        per_time: `outcomes.per_time` of the version.
        window_end: only labels complete by then count.
        expected: excess at validation.
        fall: how much worse counts.
        horizon_bars: of the labels, which overlap by so much.

    Returns:
        n_times, loss, baseline_loss, excess, expected_excess, t (of excess against expected plus
        fall, as a normal quantile), fell: None where the labelled bar times are too few for the
        test, with the reason in `why`.
    """
    recent = per_time.filter(pl.col("known_at") <= window_end).tail(RECENT_BARS)
    facts: dict[str, Json] = {"n_times": len(recent), "expected_excess": expected, "fell": None}
    if len(recent) < FEWEST_BARS:
        return facts | {"why": f"{len(recent)} labelled bar times, {FEWEST_BARS} are needed"}
    loss: NDArray[np.float64] = recent["loss"].to_numpy()
    baseline: NDArray[np.float64] = recent["baseline_loss"].to_numpy()
    excess = loss - baseline
    test = mean_test(excess - expected - fall, horizon_bars)
    return facts | {
        "loss": float(loss.mean()),
        "baseline_loss": float(baseline.mean()),
        "excess": float(excess.mean()),
        "t": test.z,
        "fell": None if test.z is None else test.z > -SIGNIFICANT,
        "why": test.missing,
    }
