"""Answer frames: answers as typed columns, one row per answer.

A column's type follows from its field: an interval is a struct, names are a list, and a mapping by
name is a struct of the version's names. What `as_json` gives of an answer is what its row holds, so
a number that is not finite is null.
"""

from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.templates.answer_fields import Answer, as_json, fields_of

Types = dict[str, pl.DataType]
PLAIN: Mapping[Any, Callable[[], pl.DataType]] = {
    float: pl.Float64,
    int: pl.Int64,
    bool: pl.Boolean,
    str: pl.String,
}


def types_of(kind: type[Answer], names: Sequence[str]) -> Types:
    """Return field -> type of the columns of a kind of answer, but for fields that are asked for.

    Args:
        names: entries of its mappings (classes, states).
    """
    closed = (field for field in fields_of(kind) if not field.is_open)
    return {field.name: type_of(field.type, names) for field in closed}


def frame_of(answers: Sequence[Answer], types: Types) -> pl.DataFrame:
    """Return answers as columns."""
    return pl.DataFrame([as_json(answer) for answer in answers], schema=pl.Schema(types))


def numbers(name: str, values: NDArray[np.floating[Any]]) -> pl.Series:
    """Return a column of numbers, null where they are not finite."""
    finite = np.where(np.isfinite(values), values, np.nan)
    return pl.Series(name, finite, dtype=pl.Float64(), nan_to_null=True)


def constant(name: str, value: Any, kind: pl.DataType, n_rows: int) -> pl.Series:
    """Return a column that says the same in each row."""
    return pl.Series(name, [value], dtype=kind).new_from_index(0, n_rows)


def chosen(name: str, names: Sequence[str], index: NDArray[np.intp]) -> pl.Series:
    """Return a column of names by their numbers."""
    return pl.Series(name, list(names), dtype=pl.String()).gather(index)


def struct(
    name: str, parts: Sequence[pl.Series], is_known: NDArray[np.bool_] | None = None
) -> pl.Series:
    """Return a column of structs, null where `is_known` is false."""
    whole = pl.DataFrame(list(parts)).to_struct(name)
    return whole if is_known is None else known_only(whole, is_known)


def known_only(column: pl.Series, is_known: NDArray[np.bool_]) -> pl.Series:
    """Return a column, null where `is_known` is false."""
    if bool(is_known.all()):
        return column
    known = pl.when(pl.Series(is_known)).then(column).otherwise(None)
    return pl.select(known.alias(column.name)).to_series()


def shares(name: str, names: Sequence[str], values: NDArray[np.float64]) -> pl.Series:
    """Return a column of structs with a number per name, (n, n_names)."""
    return struct(name, [numbers(n, values[:, i]) for i, n in enumerate(names)])


def marked_names(name: str, names: Sequence[str], marks: NDArray[np.bool_]) -> pl.Series:
    """Return a column of lists with the names that are marked in each row, (n, n_names)."""
    kind = pl.List(pl.String())
    if not marks.any():
        return constant(name, [], kind, len(marks))
    rows, columns = np.nonzero(marks)
    grouped = (
        pl.DataFrame({"row": rows, name: chosen(name, names, columns)})
        .group_by("row", maintain_order=True)
        .agg(name)
    )
    every = pl.DataFrame({"row": np.arange(len(marks))})
    found = every.join(grouped, on="row", how="left", maintain_order="left")
    return found.with_columns(pl.col(name).fill_null([]))[name].cast(kind)


def type_of(annotation: Any, names: Sequence[str]) -> pl.DataType:
    """Return the type of a column of a field's values; `names` are the entries of mappings."""
    origin = get_origin(annotation)
    if annotation in PLAIN:
        return PLAIN[annotation]()
    if origin in (Union, UnionType):
        (known,) = (part for part in get_args(annotation) if part is not NoneType)
        return type_of(known, names)
    if origin is Literal:
        return PLAIN[type(get_args(annotation)[0])]()
    if origin is tuple:
        return pl.List(type_of(get_args(annotation)[0], names))
    if origin is not None and issubclass(origin, Mapping):
        of = type_of(get_args(annotation)[1], names)
        return pl.Struct([pl.Field(name, of) for name in names])
    if hasattr(annotation, "__dataclass_fields__"):
        parts = types_of(cast(type[Answer], annotation), names)
        return pl.Struct([pl.Field(name, kind) for name, kind in parts.items()])
    raise TypeError(f"an answer's field of type {annotation} is no column")
