"""Answers of `tabular`: a class or a number, whichever the target column is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.templates.answer_fields import Interval, Meaning
from pipelines.templates.answer_frames import (
    chosen,
    constant,
    marked_names,
    numbers,
    shares,
    struct,
)
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


Marks = tuple[Sequence[str], NDArray[np.bool_]]
"""Names of the features, and whether each is missing in each row, (n, n_features)."""
INTERVAL = pl.Struct({"lower": pl.Float64(), "upper": pl.Float64(), "level": pl.Float64()})


def class_frame(
    rows: NDArray[np.float64], classes: Sequence[str], gaps: Marks, decoder: Decoder
) -> pl.DataFrame:
    """Return the answers of `of_class` as columns; `rows` are probabilities (n, n_classes)."""
    return pl.DataFrame(
        [
            chosen("class", classes, rows.argmax(axis=1)),
            numbers("confidence", rows.max(axis=1)),
            shares("probabilities", classes, rows),
            constant("ece", decoder.facts["ece"], pl.Float64(), len(rows)),
            marked_names("missing", *gaps),
        ]
    )


def number_frame(values: NDArray[np.float64], gaps: Marks, decoder: Decoder) -> pl.DataFrame:
    """Return the answers of `of_number` as columns."""
    n_rows = len(values)
    half = cast(float | None, decoder.facts["half_width"])
    if half is None:
        interval = constant("interval", None, INTERVAL, n_rows)
    else:
        level = constant("level", decoder.facts["level"], pl.Float64(), n_rows)
        ends = [numbers("lower", values - half), numbers("upper", values + half)]
        interval = struct("interval", [*ends, level])
    mean = float(decoder.arrays["mean"][0])
    return pl.DataFrame(
        [
            numbers("value", values),
            interval,
            constant("baseline", mean, pl.Float64(), n_rows),
            marked_names("missing", *gaps),
        ]
    )
