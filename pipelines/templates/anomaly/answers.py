"""Answers of `anomaly`: a verdict at the stated rate of false alarms, and what is unusual."""

from dataclasses import dataclass
from typing import Annotated, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.templates.answer_fields import Meaning
from pipelines.templates.answer_frames import chosen, constant, known_only, numbers, struct
from registry.decoder import Decoder

Array = NDArray[np.float64]

N_FEATURES = 3
"""Most unusual features that an answer names."""
UNUSUAL = "most_unusual_features"
TOO_FEW = "there are too few earlier out-of-fold rows for the stated rate"


@dataclass(frozen=True, slots=True)
class UnusualFeature:
    """A feature far from its training median."""

    feature: Annotated[str, Meaning("name")]
    deviations: Annotated[
        float, Meaning("distance from the training median, signed", "robust standard deviations")
    ]


@dataclass(frozen=True, slots=True)
class AnomalyAnswer:
    """How unlike all earlier rows this row is."""

    score: Annotated[float, Meaning("larger is more unusual; its unit is the architecture's")]
    is_anomaly: Annotated[
        bool | None, Meaning("whether the score exceeds the threshold", null=TOO_FEW)
    ]
    threshold: Annotated[
        float | None, Meaning("conformal quantile of earlier scores", "as the score", TOO_FEW)
    ]
    p_value: Annotated[
        float | None,
        Meaning(
            "(1 + earlier rows at least as unusual) / (n + 1); an alarm is a p-value of at most "
            "the rate",
            "fraction",
            TOO_FEW,
        ),
    ]
    false_alarm_rate: Annotated[
        float, Meaning("the stated rate, the option of that name", "fraction")
    ]
    move_ratio: Annotated[
        float | None,
        Meaning(
            "typical size of the next bar's move after scores like this, relative to its usual "
            "size in units of EWMA volatility; measured on earlier rows in four groups of scores "
            "(up to the median, 90 %, 99 %, above)",
            "ratio",
            TOO_FEW,
        ),
    ]
    most_unusual_features: Annotated[
        tuple[UnusualFeature, ...],
        Meaning("up to three features farthest from their training median"),
    ]


def verdict(
    score: float, variance: float, z: Array, names: tuple[str, ...], decoder: Decoder
) -> AnomalyAnswer:
    """Return the answer of one row.

    Args:
        variance: of the next bar's move in the score's group.
        z: (n_features,) distances from the training medians, NaN where not known.
    """
    facts = decoder.facts
    threshold = cast(float | None, facts["threshold"])
    known = threshold is not None
    overall = float(cast(float, facts["move_variance"]))
    return AnomalyAnswer(
        score=score,
        is_anomaly=score > threshold if threshold is not None else None,
        threshold=threshold,
        p_value=float(p_values(np.array([score]), decoder)[0]) if known else None,
        false_alarm_rate=cast(float, facts["false_alarm_rate"]),
        move_ratio=float(np.sqrt(variance / overall)) if known else None,
        most_unusual_features=_unusual(z, names),
    )


def verdict_frame(
    score: Array, variance: Array, z: Array, names: tuple[str, ...], decoder: Decoder
) -> pl.DataFrame:
    """Return the answers of `verdict` as columns, of (n,) each; `z` is (n, n_features)."""
    facts, n_rows = decoder.facts, len(score)
    threshold = cast(float | None, facts["threshold"])
    known = np.full(n_rows, threshold is not None)
    limit = np.inf if threshold is None else threshold
    overall = float(cast(float, facts["move_variance"]))
    return pl.DataFrame(
        [
            numbers("score", score),
            known_only(pl.Series("is_anomaly", score > limit), known),
            constant("threshold", threshold, pl.Float64(), n_rows),
            numbers("p_value", np.where(known, p_values(score, decoder), np.nan)),
            constant("false_alarm_rate", facts["false_alarm_rate"], pl.Float64(), n_rows),
            numbers("move_ratio", np.where(known, np.sqrt(variance / overall), np.nan)),
            _unusual_lists(z, names),
        ]
    )


def p_values(value: Array, decoder: Decoder) -> Array:
    """Return (1 + number of earlier scores at least as large) / (n + 1).

    Law: p <= false_alarm_rate exactly where the score exceeds the conformal threshold.
    """
    earlier = decoder.arrays["scores"]
    at_least = len(earlier) - np.searchsorted(earlier, value, side="left")
    return np.asarray((1 + at_least) / (len(earlier) + 1), dtype=np.float64)


def _unusual(z: Array, names: tuple[str, ...]) -> tuple[UnusualFeature, ...]:
    """Return the features farthest from their training median; those not known are left out."""
    order = _farthest(z[None])[0]
    return tuple(UnusualFeature(names[i], float(z[i])) for i in order if np.isfinite(z[i]))


def _farthest(z: Array) -> NDArray[np.intp]:
    """Return the places of the farthest values of each row, (n, up to 3), farthest first.

    Of equal ones the first; those not known come last. Finding three is quicker than sorting.
    """
    far = np.nan_to_num(np.abs(z), nan=-1.0)
    rows, found = np.arange(len(far)), []
    for _ in range(min(N_FEATURES, far.shape[1])):
        found.append(far.argmax(axis=1))
        far[rows, found[-1]] = -2.0
    return np.stack(found, axis=1)


def _unusual_lists(z: Array, names: tuple[str, ...]) -> pl.Series:
    """Return the same as a column of lists."""
    order = _farthest(z)
    values = np.take_along_axis(z, order, axis=1)
    is_known = np.isfinite(values)
    features = chosen("feature", names, order[is_known])
    flat = struct(UNUSUAL, [features, numbers("deviations", values[is_known])])
    if is_known.all() and len(z):
        return flat.reshape((len(z), order.shape[1])).arr.to_list()
    rows = pl.Series("row", np.nonzero(is_known)[0])
    grouped = pl.DataFrame([rows, flat]).group_by("row", maintain_order=True).agg(UNUSUAL)
    every = pl.DataFrame({"row": np.arange(len(z))})
    found = every.join(grouped, on="row", how="left", maintain_order="left")
    return found[UNUSUAL].fill_null([]).cast(pl.List(flat.dtype))
