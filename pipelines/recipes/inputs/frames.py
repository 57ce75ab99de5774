"""Frames: many rows as typed columns -> model inputs, or the error of each row that has none.

The counterpart of a request's rows (`serving/`), without an object per value. What is wrong with a
column is an error of the whole frame, what is wrong with a value that of its row. Here are the rows
of features; tables and texts read their own.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from registry.contract import ModelContract
from registry.errors import (
    ColumnTypeError,
    MissingColumnsError,
    MLEngineError,
    ShapeError,
    ValueRangeError,
)

FLOAT32_MAX = float(np.finfo(np.float32).max)
Schema = Mapping[str, pl.DataType]


@dataclass(frozen=True, slots=True)
class FrameInputs:
    """Model inputs of the rows of a frame.

    `rows` are the numbers of the rows that have inputs; `X` is float32 (n, n_features) or (n,
    window, n_features), `context` float64 (n,) each. `errors` is the number of each other row ->
    why it has none.
    """

    rows: NDArray[np.intp]
    X: NDArray[np.float32]
    context: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    errors: Mapping[int, MLEngineError] = field(default_factory=dict)


def is_number(kind: pl.DataType) -> bool:
    """Whether a column of this type holds numbers; one without any value may be anything."""
    return kind.is_numeric() or kind == pl.Null


def is_text(kind: pl.DataType) -> bool:
    """Whether a column of this type holds texts."""
    return kind in (pl.String, pl.Categorical, pl.Enum, pl.Null)


def check_present(needed_by: str, names: Sequence[str], available: Collection[str]) -> None:
    """Refuse data without one of the columns.

    Raises:
        MissingColumnsError: the names of all that are absent.
    """
    if missing := [name for name in names if name not in available]:
        raise MissingColumnsError(needed_by, missing)


def known_context(names: Sequence[str], available: Collection[str]) -> tuple[str, ...]:
    """Return the columns of the context that are there."""
    return tuple(name for name in names if name in available)


def check_features(contract: ModelContract, context: Sequence[str], schema: Schema) -> None:
    """Refuse columns of features or context that hold no numbers.

    Raises:
        ColumnTypeError: a column of another type; over a window, lists of numbers are expected.
    """
    for name in contract.feature_names:
        kind = schema[name]
        if contract.window > 1 and isinstance(kind, pl.List | pl.Array):
            kind = kind.inner if isinstance(kind.inner, pl.DataType) else kind.inner()
        elif contract.window > 1:
            expected = f"lists of {contract.window} numbers (the version's window)"
            raise ColumnTypeError(name, expected, str(kind))
        if not is_number(kind):
            raise ColumnTypeError(name, "numbers", str(schema[name]))
    for name in known_context(context, schema):
        if not is_number(schema[name]):
            raise ColumnTypeError(name, "numbers", str(schema[name]))


def feature_inputs(
    contract: ModelContract, context_names: Sequence[str], frame: pl.DataFrame
) -> FrameInputs:
    """Return the inputs of rows of features; columns as `check_features` takes them.

    A value that is missing, not finite or beyond float32 is its row's error.
    """
    names = contract.feature_names
    context = {name: _context(frame, name) for name in context_names}
    if contract.window > 1:
        return _window_inputs(contract, context, frame)
    values = frame.select(pl.col(names).cast(pl.Float64, strict=False)).to_numpy()
    fits = np.abs(values) <= FLOAT32_MAX  # false for NaN
    is_good = fits.all(axis=1)
    errors: dict[int, MLEngineError] = {}
    for row in np.flatnonzero(~is_good).tolist():
        column = int(np.flatnonzero(~fits[row])[0])
        errors[row] = ValueRangeError(f"{names[column]} (column {column})", values[row, column])
    rows = np.flatnonzero(is_good)
    X = np.ascontiguousarray(values[rows] if errors else values, dtype=np.float32)
    return FrameInputs(rows, X, {n: v[rows] for n, v in context.items()}, errors)


def _context(frame: pl.DataFrame, name: str) -> NDArray[np.float64]:
    if name not in frame.columns:
        return np.full(len(frame), np.nan)
    values = frame[name].cast(pl.Float64).to_numpy()
    return np.where(np.isfinite(values), values, np.nan)


def _window_inputs(
    contract: ModelContract, context: Mapping[str, NDArray[np.float64]], frame: pl.DataFrame
) -> FrameInputs:
    names, window = contract.feature_names, contract.window
    found: list[NDArray[np.float64]] = []
    rows: list[int] = []
    errors: dict[int, MLEngineError] = {}
    for row, lists in enumerate(frame.select(names).iter_rows()):
        try:
            found.append(_window(lists, names, window))
            rows.append(row)
        except MLEngineError as error:
            errors[row] = error
    shape = (len(rows), window, len(names))
    X = np.array(found, dtype=np.float32).reshape(shape)
    index = np.array(rows, dtype=np.intp)
    return FrameInputs(index, X, {n: v[index] for n, v in context.items()}, errors)


def _window(lists: Sequence[object], names: Sequence[str], window: int) -> NDArray[np.float64]:
    for name, steps in zip(names, lists, strict=True):
        if not isinstance(steps, list | tuple) or len(steps) != window:
            found = f"{len(steps)} steps" if isinstance(steps, list | tuple) else "none"
            raise ShapeError(name, f"{window} steps (the version's window)", found)
    values = np.array(lists, dtype=np.float64).T
    fits = np.abs(values) <= FLOAT32_MAX
    if not fits.all():
        step, column = np.argwhere(~fits)[0]
        raise ValueRangeError(f"{names[column]}[{step}]", values[step, column])
    return values
