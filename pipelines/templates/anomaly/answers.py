"""Answers of `anomaly`: a verdict at the stated rate of false alarms, and what is unusual."""

from dataclasses import dataclass
from typing import Annotated, cast

import numpy as np
from numpy.typing import NDArray

from pipelines.templates.answer_fields import Meaning
from registry.decoder import Decoder

Array = NDArray[np.float64]

N_FEATURES = 3
"""Most unusual features that an answer names."""
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


def p_values(value: Array, decoder: Decoder) -> Array:
    """Return (1 + number of earlier scores at least as large) / (n + 1).

    Law: p <= false_alarm_rate exactly where the score exceeds the conformal threshold.
    """
    earlier = decoder.arrays["scores"]
    at_least = len(earlier) - np.searchsorted(earlier, value, side="left")
    return np.asarray((1 + at_least) / (len(earlier) + 1), dtype=np.float64)


def _unusual(z: Array, names: tuple[str, ...]) -> tuple[UnusualFeature, ...]:
    """Return the features farthest from their training median; those not known come last."""
    order = np.argsort(-np.nan_to_num(np.abs(z), nan=-1.0), kind="stable")[:N_FEATURES]
    return tuple(UnusualFeature(names[i], float(z[i])) for i in order if np.isfinite(z[i]))
