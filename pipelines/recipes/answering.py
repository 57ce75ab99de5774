"""Answering: frames of many rows through one version, as typed columns.

The same inputs, model and decoder as a single prediction's. A row that has no answer has nulls and
its `error`. Used by stage `score` and by serving's batches; nothing here is held between frames, so
the rows of a frame do not depend on how the whole was cut.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.method.rows import newest_step
from pipelines.recipes.inputs import Definition, InputKind, kind_of
from pipelines.recipes.inputs.frames import FrameInputs, Schema
from pipelines.templates import Template
from registry.contract import ModelContract
from registry.decoder import Decoder
from registry.errors import ColumnTypeError, MLEngineError, ParameterError, ValueRangeError

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]

ROW = "row"
ERROR = "error"
ERROR_TYPE = pl.Struct({"code": pl.String(), "message": pl.String()})
TIME_TYPE = pl.Datetime("us", "UTC")
PROVENANCE = {"as_of": TIME_TYPE, "history_end": TIME_TYPE, "price_basis": pl.String()}
"""What every answer has beside its template's fields; null for rows and texts."""


@dataclass(frozen=True, slots=True)
class AnsweredRows:
    """Answers with what they were made from.

    `answers` has a row per row, with the columns of `Answerer.types`. `rows` are the numbers of
    those that have an answer (n,), `features` float32 (n, n_features) the newest step of their
    inputs, `scores` float32 (n, n_scores) what the model gave for them.
    """

    answers: pl.DataFrame
    rows: NDArray[np.intp]
    features: NDArray[np.float32]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Answerer:
    """One version as a function from frames to answers.

    `predict` is safe from one thread at a time. `asked` are the fields that the questions ask for,
    of a template whose answers have those that were asked for; without any the usual ones.
    """

    contract: ModelContract
    template: Template
    decoder: Decoder
    definition: Definition
    refusals: tuple[str, ...]
    predict: Predict
    asked: tuple[str, ...] = ()

    @property
    def kind(self) -> InputKind:
        """The version's kind of input."""
        return kind_of(self.template)

    def types(self) -> dict[str, pl.DataType]:
        """Return column -> type of the answers of `answers`."""
        return answer_columns(self.template, self.contract, self.asked)

    def columns(self, schema: Schema, keep: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the columns to read of data with this schema, those to keep included.

        Raises:
            MissingColumnsError, ColumnTypeError, ParameterError: it cannot be answered.
        """
        read = self.kind.frame_columns(self.contract, self.definition, schema)
        self.kind.check_frame(self.contract, self.definition, schema)
        check_kept(keep, schema, self.types())
        return tuple(dict.fromkeys((*read, *keep)))

    def answers(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return one row per row of a frame, with the columns of `types`."""
        return self.of_inputs(self.inputs(frame)).answers

    def inputs(self, frame: pl.DataFrame) -> FrameInputs:
        """Return the model's inputs of the rows of a frame."""
        return self.kind.frame_inputs(self.contract, self.definition, frame)

    def of_inputs(self, inputs: FrameInputs) -> AnsweredRows:
        """Return the answers of rows whose inputs have been made."""
        n_rows = len(inputs.rows) + len(inputs.errors)
        scores = self._scores(inputs.X)
        is_usable = np.isfinite(scores).all(axis=1)
        errors = dict(inputs.errors)
        for i in np.flatnonzero(~is_usable).tolist():
            expected = "finite scores"
            errors[int(inputs.rows[i])] = ValueRangeError("scores", scores[i].tolist(), expected)
        whole = bool(is_usable.all())
        chosen = slice(None) if whole else is_usable
        scores, rows = scores[chosen], inputs.rows[chosen]
        features = np.ascontiguousarray(newest_step(inputs.X[chosen]))
        answered = self.template.decode_frame(
            scores,
            features,
            {name: values[chosen] for name, values in inputs.context.items()},
            self.decoder,
            self.contract,
            self.refusals,
        )
        answers = spread(answered, rows, errors, n_rows, self.types())
        return AnsweredRows(answers, rows, features, scores)

    def _scores(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(X):
            return self.predict(X)
        return np.empty((0, self.contract.outputs.shape[1] or 0), dtype=np.float32)


def answer_columns(
    template: Template, contract: ModelContract, asked: Sequence[str] = ()
) -> dict[str, pl.DataType]:
    """Return column -> type of a version's answers, as every batch has them."""
    return {**template.answer_types(contract, asked), **PROVENANCE, ERROR: ERROR_TYPE}


def check_kept(keep: Sequence[str], schema: Schema, types: Schema) -> None:
    """Refuse to repeat columns that are not there, or would stand beside answers of their name.

    Raises:
        ParameterError: one of them.
        ColumnTypeError: a column of no plain type.
    """
    for name in keep:
        if name not in schema:
            raise ParameterError("keep", name, "columns that the rows have")
        if name in types or name == ROW:
            taken = ", ".join((ROW, *types))
            raise ParameterError("keep", name, f"no name that the answer has itself: {taken}")
        if schema[name].is_nested():
            raise ColumnTypeError(name, "numbers, texts or times", str(schema[name]))


def spread(
    answered: pl.DataFrame,
    rows: NDArray[np.intp],
    errors: Mapping[int, MLEngineError],
    n_rows: int,
    types: Mapping[str, pl.DataType],
) -> pl.DataFrame:
    """Return answers at their rows, nulls and the error at the others; columns of `types`."""
    fixed = {name: kind for name, kind in types.items() if name in PROVENANCE}
    whole = answered.drop(list(fixed), strict=False)
    if len(answered) < n_rows:
        index = np.full(n_rows, len(answered), dtype=np.int64)
        index[rows] = np.arange(len(answered))
        whole = pl.concat([whole, whole.clear(1)])[index]
    nothing = [pl.lit(None, dtype=kind).alias(name) for name, kind in fixed.items()]
    return whole.with_columns(*nothing, error_column(errors, n_rows)).select(list(types))


def error_column(errors: Mapping[int, MLEngineError], n_rows: int) -> pl.Series:
    """Return code and message of each row's error, null where there is none."""
    if not errors:
        return pl.Series(ERROR, [None], dtype=ERROR_TYPE).new_from_index(0, n_rows)
    told = {row: {"code": e.code, "message": e.for_callers} for row, e in errors.items()}
    return pl.Series(ERROR, [told.get(row) for row in range(n_rows)], dtype=ERROR_TYPE)


def n_errors(answers: pl.DataFrame) -> int:
    """Return the number of rows without an answer."""
    return int(answers[ERROR].is_not_null().sum())
