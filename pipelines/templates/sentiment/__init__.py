"""Template `sentiment`: what a text says of a company or a market, -1 (bad) to 1 (good).

Three classes, negative, neutral, positive; the score is P(positive) - P(negative) after
calibration. A text in which the model knows no word is answered with `abstained`, not with a
guess. Judged by log loss against the class shares of the training slice
(docs/templates/sentiment.md).
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.architectures import Objective
from pipelines.architectures.hyperparameters import Number, Space, Text
from pipelines.data.tables.table_columns import cleaned
from pipelines.data.texts.lexicon import FEATURE_NAMES
from pipelines.data.texts.words import WIDTH
from pipelines.method.metrics import log_loss
from pipelines.method.rows import LabelledRows, OutOfFold, known_to
from pipelines.templates import Arrays, Evaluation, Template
from pipelines.templates.classes.decoder import (
    by_fold,
    calibrated,
    fit_class_decoder,
    prior_of,
    shares,
)
from pipelines.templates.classes.quality import judge_classes, plausible_classes
from pipelines.templates.sentiment.answers import (
    CLASSES,
    NEGATIVE,
    NEUTRAL,
    POSITIVE,
    SentimentAnswer,
    opinion,
    opinion_frame,
)
from registry.contract import Json, ModelContract
from registry.decoder import Decoder
from registry.errors import ParameterError, TableError
from registry.gates import EXCESS

Array = NDArray[np.float64]

FEWEST_OF_A_CLASS = 10
KNOWN_WORDS = FEATURE_NAMES.index("known_words")

DEFAULTS: Mapping[str, Mapping[str, Json]] = MappingProxyType(
    {
        "logistic": {"scaling": "idf", "tol": 1e-4, "nthread": 1},
        "xgboost": {"min_child_weight": 1.0, "nthread": 1},
        "lightgbm": {"min_data_in_leaf": 5, "nthread": 1},
    }
)
"""Parameters for few rows and thousands of columns, most of them 0."""
OPTIONS: Space = {
    "text": Text("text"),
    "label": Text("label"),
    "time": Text(),
    "neutral_band": Number(0.25, 0.0, 1.0),
    "width": Number(WIDTH, 256, 65_536, is_integer=True),
}


class Sentiment(Template):
    """Three classes of a text; the answer is a score in [-1, 1]."""

    name = "sentiment"
    inputs = "texts"
    feature_set = ""
    """The encoder that fits the architecture; `feature_set=` may name another."""
    architectures: tuple[str, ...] = (
        "logistic",
        "lexicon",
        "pretrained_text",
        "xgboost",
        "lightgbm",
        "mlp",
    )
    parameters: ClassVar[Mapping[str, Mapping[str, Json]]] = DEFAULTS
    answer_kinds = (SentimentAnswer,)
    options: ClassVar[Space] = OPTIONS
    horizon_bars = 0
    loss_margin = 0.002
    search_metrics: ClassVar[Mapping[str, str]] = {
        "log_loss": "log_loss",
        "brier": "brier",
        "auc": "auc",
    }
    search_gaps: ClassVar[Mapping[str, tuple[str, str]]] = {
        "log_loss_prior": ("log_loss_prior", "log_loss")
    }
    untouched_times = 21
    is_action = False
    excess_gate = EXCESS.gate

    def objective(self, spec: Mapping[str, Json]) -> Objective:
        """Return log loss over three classes."""
        return Objective("softmax", len(CLASSES))

    def label_spec(
        self, horizon_bars: int | None, training: pl.DataFrame, options: Mapping[str, Json]
    ) -> dict[str, Json]:
        """Return the columns of text and label, and the neutral band; nothing is fitted.

        Raises:
            ParameterError: an option names a column that is not there.
            TableError: a label that cannot be read, or too few rows of a class.
        """
        for option in ("text", "label"):
            name = str(options[option])
            if name not in training.columns:
                shown = ", ".join(training.columns[1:])
                raise ParameterError(option, name, f"a column (options {option}=...): {shown}")
        spec: dict[str, Json] = {
            "kind": "sentiment",
            "classes": list(CLASSES),
            "text": options["text"],
            "label": options["label"],
            "neutral_band": options["neutral_band"],
            "horizon_bars": horizon_bars or 0,
        }
        y = read_labels(training[str(options["label"])], spec, "before the first test")
        count = np.bincount(y[np.isfinite(y)].astype(np.intp), minlength=len(CLASSES))
        for name, n in zip(CLASSES, count.tolist(), strict=True):
            if n < FEWEST_OF_A_CLASS:
                problem = f"class {name!r} has {n} texts before the first test"
                raise TableError(problem, "", f"at least {FEWEST_OF_A_CLASS} of each are needed")
        return spec

    def target(self, y: Array, context: Arrays) -> tuple[Array, NDArray[np.bool_]]:
        """Return the class numbers; every labelled text may be fitted."""
        return y, np.isfinite(y)

    def fit_decoder(self, oof: OutOfFold, training: LabelledRows) -> Decoder:
        """Fit calibrator and class shares."""
        return fit_class_decoder(known_to(training, oof), training, len(CLASSES))

    def decode(
        self,
        scores: NDArray[np.float32],
        features: NDArray[np.float32],
        context: Arrays,
        decoder: Decoder,
        contract: ModelContract,
        refusals: Sequence[str] = (),
    ) -> list[SentimentAnswer]:
        """Return one answer per text; its `coverage` comes from the context of that name."""
        probabilities = calibrated(scores, decoder)
        known = _known_words(features, contract.feature_set)
        coverage = context.get("coverage", np.full(len(scores), np.nan))
        counts = [None] * len(scores) if known is None else known.tolist()
        return [
            opinion(row, share, count, decoder)
            for row, share, count in zip(probabilities, coverage, counts, strict=True)
        ]

    def decode_frame(
        self,
        scores: NDArray[np.float32],
        features: NDArray[np.float32],
        context: Arrays,
        decoder: Decoder,
        contract: ModelContract,
        refusals: Sequence[str] = (),
    ) -> pl.DataFrame:
        """Return the same as columns."""
        known = _known_words(features, contract.feature_set)
        coverage = context.get("coverage", np.full(len(scores), np.nan))
        return opinion_frame(calibrated(scores, decoder), coverage, known, decoder)

    def names_in_answers(self, contract: ModelContract) -> tuple[str, ...]:
        """Return the classes."""
        return CLASSES

    def loss(self, rows: LabelledRows, scores: NDArray[np.float32], decoder: Decoder) -> Array:
        """Return the log loss of the calibrated probabilities."""
        return log_loss(calibrated(scores, decoder), rows.y)

    def baseline_loss(self, rows: LabelledRows, decoder: Decoder | None = None) -> Array:
        """Return the log loss of the training slice's class shares."""
        prior = shares(rows.y, len(CLASSES)) if decoder is None else decoder.arrays["prior"]
        return log_loss(np.tile(prior, (len(rows), 1)), rows.y)

    def evaluate(
        self,
        oof: OutOfFold,
        decoders: Mapping[int, Decoder],
        spec: Mapping[str, Json],
        interval: str,
    ) -> Evaluation:
        """Judge the probabilities against class shares; the gate is `quality.skill`."""
        probabilities = by_fold(oof, decoders, calibrated)
        prior = by_fold(oof, decoders, prior_of)
        horizon = int(cast(int, spec["horizon_bars"]))
        judged = judge_classes(oof.rows, probabilities, prior, CLASSES, horizon)
        return judged.with_gates(plausible_classes(oof.rows, probabilities, CLASSES, horizon))


def read_labels(values: pl.Series, spec: Mapping[str, Json], where: str) -> Array:
    """Return class numbers (n,), NaN where there is no label.

    A label is `negative`, `neutral` or `positive`, or a score from -1 to 1 (so -1, 0, 1 too):
    beyond the neutral band it is positive or negative.

    Raises:
        TableError: any other label.
    """
    known = cleaned(values)
    texts = known.cast(pl.String).str.to_lowercase()
    numbers = known.cast(pl.Float64, strict=False)
    named = texts.replace_strict(
        {name: i for i, name in enumerate(CLASSES)}, default=None, return_dtype=pl.Float64
    )
    bad = known.is_not_null() & named.is_null() & ~numbers.is_between(-1, 1).fill_null(value=False)
    if bad.any():
        row = int(bad.arg_max() or 0)
        problem = f"row {row + 1}: label {values.name!r} is {values[row]!r}"
        hint = f"write {', '.join(CLASSES)}, or a score from -1 to 1"
        raise TableError(problem, where, hint)
    band = float(cast(float, spec["neutral_band"]))
    score = numbers.fill_null(np.nan).to_numpy()
    by_score = np.where(score > band, POSITIVE, np.where(score < -band, NEGATIVE, NEUTRAL))
    name = named.fill_null(np.nan).to_numpy()
    found = np.where(np.isfinite(name), name, np.where(np.isfinite(score), by_score, np.nan))
    return np.asarray(found, dtype=np.float64)


def _known_words(features: NDArray[np.float32], feature_set: str) -> NDArray[np.int64] | None:
    """Return the words of each text that the lexicon knows, (n,); None where nobody counts them."""
    return None if feature_set == "tokens" else features[:, KNOWN_WORDS].astype(np.int64)


TEMPLATE = Sentiment()
