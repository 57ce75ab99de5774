"""Answers of `sentiment`: a score and a class of a text."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.templates.answer_fields import Meaning
from pipelines.templates.answer_frames import chosen, constant, known_only, numbers, shares
from registry.decoder import Decoder

Class = Literal["negative", "neutral", "positive"]
CLASSES: tuple[Class, ...] = ("negative", "neutral", "positive")
NEGATIVE, NEUTRAL, POSITIVE = range(3)
NO_WORDS: Literal["no_known_words"] = "no_known_words"
ABSTAINED = "the answer is abstained"


@dataclass(frozen=True, slots=True)
class SentimentAnswer:
    """What a text says of a company or a market."""

    score: Annotated[float, Meaning("P(positive) - P(negative), -1 to 1; 0 when abstained")]
    class_: Annotated[Class, Meaning("the most probable class; `neutral` when abstained")]
    confidence: Annotated[
        float | None, Meaning("its calibrated probability", "fraction", ABSTAINED)
    ]
    probabilities: Annotated[
        Mapping[str, float] | None,
        Meaning("of negative, neutral and positive", "fraction", ABSTAINED),
    ]
    ece: Annotated[
        float | None,
        Meaning(
            "calibration error of the calibrator over all classes, on a fold it had not seen",
            "fraction",
            "there is no such fold yet",
        ),
    ]
    known_words: Annotated[
        int | None,
        Meaning("words that the lexicon knows", "words", "the model is a transformer"),
    ]
    coverage: Annotated[
        float | None,
        Meaning(
            "share of the text's words that the model knows (`words`: of its different words, "
            "those that training texts had)",
            "fraction",
            "the model is a transformer, or a request of feature rows does not say",
        ),
    ]
    abstained: Annotated[
        Literal["no_known_words"] | None,
        Meaning("why score and class say nothing", null="they do"),
    ]


def opinion(
    row: NDArray[np.float64], coverage: float, known: int | None, decoder: Decoder
) -> SentimentAnswer:
    """Return the answer of one text.

    Args:
        row: calibrated probabilities, (3,).
        coverage: NaN where nobody says.
        known: words of the lexicon; None where that is not known.
    """
    knows = known is None or known > 0 or coverage != 0
    best = int(row.argmax()) if knows else NEUTRAL
    return SentimentAnswer(
        score=float(row[POSITIVE] - row[NEGATIVE]) if knows else 0.0,
        class_=CLASSES[best],
        confidence=float(row[best]) if knows else None,
        probabilities=dict(zip(CLASSES, row.tolist(), strict=True)) if knows else None,
        ece=cast(float | None, decoder.facts["ece"]),
        known_words=known,
        coverage=None if np.isnan(coverage) else float(coverage),
        abstained=None if knows else NO_WORDS,
    )


def opinion_frame(
    rows: NDArray[np.float64],
    coverage: NDArray[np.float64],
    known: NDArray[np.int64] | None,
    decoder: Decoder,
) -> pl.DataFrame:
    """Return the answers of `opinion` as columns.

    Args:
        rows: calibrated probabilities, (n, 3).
        coverage: (n,), NaN where nobody says.
        known: words of the lexicon, (n,); None where that is not known.
    """
    n_rows = len(rows)
    knows = np.ones(n_rows, np.bool_) if known is None else (known > 0) | (coverage != 0)
    best = np.where(knows, rows.argmax(axis=1), NEUTRAL)
    words = constant("known_words", None, pl.Int64(), n_rows)
    return pl.DataFrame(
        [
            numbers("score", np.where(knows, rows[:, POSITIVE] - rows[:, NEGATIVE], 0.0)),
            chosen("class", CLASSES, best),
            numbers("confidence", np.where(knows, rows[np.arange(n_rows), best], np.nan)),
            known_only(shares("probabilities", CLASSES, rows), knows),
            constant("ece", decoder.facts["ece"], pl.Float64(), n_rows),
            words if known is None else pl.Series("known_words", known, pl.Int64()),
            numbers("coverage", coverage),
            known_only(constant("abstained", NO_WORDS, pl.String(), n_rows), ~knows),
        ]
    )
