"""Answers of `tabular`: a class or a number, whichever the target column is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, cast

import numpy as np
from numpy.typing import NDArray

from pipelines.templates.answer_fields import Interval, Meaning
from registry.decoder import Decoder

Gaps = Annotated[
    tuple[str, ...],
    Meaning("features of the row without a value (`codes` and `indicators` only)"),
]


@dataclass(frozen=True, slots=True)
class TabularClassAnswer:
    """A class of a row; given where the target has classes."""

    class_: Annotated[str, Meaning("the most probable class")]
    confidence: Annotated[float, Meaning("its calibrated probability", "fraction")]
    probabilities: Annotated[Mapping[str, float], Meaning("of every class", "fraction")]
    ece: Annotated[
        float | None,
        Meaning(
            "calibration error of the calibrator over all classes, on a fold it had not seen",
            "fraction",
            "there is no such fold yet",
        ),
    ]
    missing: Gaps


@dataclass(frozen=True, slots=True)
class TabularNumberAnswer:
    """A number for a row; given where the target is a number."""

    value: Annotated[float, Meaning("the forecast", "as the target")]
    interval: Annotated[
        Interval | None,
        Meaning(
            "split conformal on the absolute errors of earlier out-of-fold rows, so of one width "
            "for all rows",
            "as the target",
            "there are too few earlier rows",
        ),
    ]
    baseline: Annotated[float, Meaning("the training mean", "as the target")]
    missing: Gaps


TabularAnswer = TabularClassAnswer | TabularNumberAnswer


def of_class(
    row: NDArray[np.float64], classes: Sequence[str], missing: tuple[str, ...], decoder: Decoder
) -> TabularClassAnswer:
    """Return the answer of a row with the calibrated probabilities `row`, (n_classes,)."""
    return TabularClassAnswer(
        class_=classes[int(row.argmax())],
        confidence=float(row.max()),
        probabilities=dict(zip(classes, row.tolist(), strict=True)),
        ece=cast(float | None, decoder.facts["ece"]),
        missing=missing,
    )


def of_number(value: float, missing: tuple[str, ...], decoder: Decoder) -> TabularNumberAnswer:
    """Return the answer of a row with the forecast `value`."""
    half = cast(float | None, decoder.facts["half_width"])
    level = cast(float, decoder.facts["level"])
    return TabularNumberAnswer(
        value=value,
        interval=None if half is None else Interval(value - half, value + half, level),
        baseline=float(decoder.arrays["mean"][0]),
        missing=missing,
    )
