"""The answer of a model: typed predictions by symbol, row or text, and frames of them."""

from collections.abc import Mapping, Sequence
from functools import cache, reduce
from operator import or_
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import httpx
import pydantic
from pydantic import Field, TypeAdapter

from nautilus_ml_client import frames
from nautilus_ml_client.answer import Answer
from nautilus_ml_client.answers import (
    ANSWER_TYPES,
    ConfidenceInterval,
    ErrorEntry,
    RiskAssessment,
)
from nautilus_ml_client.errors import PredictionError, UnexpectedAnswerError
from nautilus_ml_client.requests import misread

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

A = TypeVar("A")
B = TypeVar("B", bound=Answer)


class Predictions(Answer, Generic[A]):
    """An answer or an error for each symbol (for each row number when there are no symbols).

    `answer["AAPL"]` is one prediction, of the class of the model's template. `of` names that class
    for a type checker.
    """

    model_id: str
    model_type: str
    """The template, which decides the class of the predictions."""
    model_version: int
    model_version_label: str
    predictions: dict[str, A]
    """Symbol, row number or id of a text -> its prediction."""
    errors: dict[str, ErrorEntry]
    """Symbol -> why there is no prediction for it."""
    ignored: list[str]
    """Values of the request that this version does not use."""
    warnings: list[str]
    """Differences between the bars of the answers and those of training."""
    processing_time_ms: float
    hardware_used: str
    flavor: str
    fallback: str | None
    """Why another backend answered than the one asked for; None if it did not."""
    request_id: str
    risk_assessment: RiskAssessment | None = Field(default=None)
    """Of a portfolio: five measures once more; None for every other model."""
    confidence_interval: ConfidenceInterval | None = Field(default=None)
    """Of a portfolio's return over the horizon; None for every other model."""

    def __getitem__(self, name: str) -> A:
        """Return the prediction of a symbol, row number or text.

        Raises:
            PredictionError: there is an error instead.
            KeyError: it was not asked for.
        """
        key = str(name)
        if key in self.errors:
            raise PredictionError(key, self.errors[key])
        return self.predictions[key]

    def __len__(self) -> int:
        return len(self.predictions) + len(self.errors)

    def of(self, kind: type[B]) -> "Predictions[B]":
        """Return itself, as one whose predictions are of this class.

        Raises:
            UnexpectedAnswerError: they are of another.
        """
        for found in self.predictions.values():
            if not isinstance(found, kind):
                raise UnexpectedAnswerError(
                    f"{self.model_id} answers with {type(found).__name__}, not {kind.__name__}"
                )
        return self  # type: ignore[return-value]

    def raise_for_errors(self) -> None:
        """Raise the first error, if a symbol has one.

        Raises:
            PredictionError: with its name and reason.
        """
        for name, entry in self.errors.items():
            raise PredictionError(name, entry)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a flat row per prediction and per error.

        `name` is its symbol, number or id; the fields of inner parts are `interval.lower` and so
        on; `error` is None, or the error's code and message.
        """
        rows = [
            {"name": name, "error": None, **dict(frames.flat(_fields(found)))}
            for name, found in self.predictions.items()
        ]
        return rows + [
            {"name": name, "error": f"{entry.code}: {entry.message}"}
            for name, entry in self.errors.items()
        ]

    def to_pandas(self) -> "pd.DataFrame":
        """Return `to_rows` as a pandas frame."""
        return frames.to_pandas(*self._columns())

    def to_polars(self) -> "pl.DataFrame":
        """Return `to_rows` as a polars frame."""
        return frames.to_polars(*self._columns())

    def to_arrow(self) -> "pa.Table":
        """Return `to_rows` as an Arrow table."""
        return frames.to_arrow(*self._columns())

    def _columns(self) -> tuple[list[dict[str, Any]], list[str]]:
        rows = self.to_rows()
        return rows, list(dict.fromkeys(name for row in rows for name in row))


def _fields(prediction: Any) -> Mapping[str, Any]:
    return prediction.model_dump(by_alias=True) if isinstance(prediction, Answer) else prediction


def predictions_of(response: httpx.Response) -> Predictions[Any]:
    """Return the answer of POST /predict, its predictions in the class of its `model_type`.

    The predictions of a template that this client does not know are plain `Answer`s.

    Raises:
        UnexpectedAnswerError: the response is none.
    """
    try:
        whole: Predictions[Any] = Predictions.model_validate_json(response.content)
        kind = _adapter(whole.model_type)
        typed = {name: kind.validate_python(found) for name, found in whole.predictions.items()}
    except pydantic.ValidationError as exc:
        raise misread("answer of /predict", exc) from exc
    return whole.model_copy(update={"predictions": typed})


def batch_of(response: httpx.Response, names: Sequence[str]) -> Predictions[Any]:
    """Return the answer of POST /predict/batch; row `i` of it is called `names[i]`.

    Raises:
        UnexpectedAnswerError: the response is none, or two rows have one name.
    """
    if len(set(names)) < len(names):
        raise UnexpectedAnswerError("two rows of the batch have one name")
    try:
        told = _Batch.model_validate_json(response.content)
        kind = _adapter(str(told["model_type"]))
        rows = {names[row.row]: row for row in told.answers}
        answered = {name: row for name, row in rows.items() if row.error is None}
        facts = told.model_dump(exclude={"answers"}) | {
            "predictions": {n: kind.validate_python(row.fields()) for n, row in answered.items()},
            "errors": {name: row.error for name, row in rows.items() if row.error is not None},
        }
        return Predictions.model_validate(facts)
    except pydantic.ValidationError as exc:
        raise misread("answer of /predict/batch", exc) from exc
    except (KeyError, IndexError) as exc:
        raise UnexpectedAnswerError(f"the answer of /predict/batch lacks {exc}") from exc


class _Row(Answer):
    row: int
    error: ErrorEntry | None

    def fields(self) -> dict[str, Any]:
        return {name: v for name, v in (self.model_extra or {}).items() if name not in NAMES}


class _Batch(Answer):
    answers: list[_Row]


NAMES = ("symbol", "id")
"""Columns of a batch's rows that repeat what was asked."""


@cache
def _adapter(template: str) -> TypeAdapter[Any]:
    return TypeAdapter(ANSWER_TYPES.get(template, Answer))


def merged(parts: "list[Predictions[Any]]") -> "Predictions[Any]":
    """Return the answers to the parts of one question as one answer.

    The times add up; hardware, flavor and request id are those of the last part.

    Raises:
        UnexpectedAnswerError: two parts have an answer of one name.
    """
    predictions: dict[str, Any] = reduce(or_, (part.predictions for part in parts))
    errors: dict[str, ErrorEntry] = reduce(or_, (part.errors for part in parts))
    n_answers = sum(len(part) for part in parts)
    if len(predictions.keys() | errors.keys()) != n_answers:
        raise UnexpectedAnswerError("two rows of the batch have one name")
    return parts[-1].model_copy(
        update={
            "predictions": predictions,
            "errors": errors,
            "ignored": _distinct(part.ignored for part in parts),
            "warnings": _distinct(part.warnings for part in parts),
            "processing_time_ms": sum(part.processing_time_ms for part in parts),
        }
    )


def _distinct(lists: Any) -> list[str]:
    return list(dict.fromkeys(text for texts in lists for text in texts))
