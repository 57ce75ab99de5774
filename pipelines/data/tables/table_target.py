"""Table target: the column to predict, as class numbers or as a number. Numpy and polars only.

`fit_target` decides on the rows before the first test fold whether the target is classes or a
number. The decision is part of the label spec, and `read_target` applies it to any rows.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.tables.table_columns import cleaned
from registry.contract import Json
from registry.errors import TableError

Array = NDArray[np.float64]

CLASSIFICATION, REGRESSION = "classification", "regression"
MOST_CLASSES = 100
FEW_VALUES = 20
"""Whole numbers with at most this many different values are taken as classes by task=auto."""
LARGEST_WHOLE = 2**53
"""From here on a float64 does not tell whole numbers apart."""
FEWEST_ROWS, FEWEST_OF_A_CLASS = 30, 10


def fit_target(values: pl.Series, task: str) -> dict[str, Json]:
    """Decide whether a target is classes or a number; return kind, classes, center and scale.

    Args:
        values: the target on the rows before the first test fold.
        task: auto, classification or regression. `auto` takes texts, booleans and whole numbers
            with at most 20 values as classes.

    Center and scale are mean and standard deviation of a number (0 and 1 of classes): models fit
    (y - center) / scale.

    Raises:
        TableError: too few rows, one class, too few or too many of them, a constant, or texts
            where numbers were asked for.
    """
    known = cleaned(values).drop_nulls()
    name = values.name
    if len(known) < FEWEST_ROWS:
        problem = f"target {name!r} is known in {len(known)} rows before the first test"
        raise TableError(problem, "", f"at least {FEWEST_ROWS} are needed")
    if known.n_unique() == 1:
        problem = f"target {name!r} is {known[0]!r} in every row before the first test"
        raise TableError(problem, "", "there is nothing to learn; check the column and first_test")
    if task == CLASSIFICATION or (task == "auto" and _is_class(known)):
        return {"kind": CLASSIFICATION, "classes": _classes(known), "center": 0.0, "scale": 1.0}
    numbers = known.cast(pl.Float64, strict=False)
    if numbers.null_count():
        odd = known.filter(numbers.is_null())[0]
        problem = f"target {name!r} holds {odd!r}"
        raise TableError(problem, "", "give numbers, or task=classification")
    y = numbers.to_numpy()
    if not np.isfinite(y).all():
        raise TableError(f"target {name!r} is not finite in some row", "", "leave such rows out")
    return {
        "kind": REGRESSION,
        "classes": [],
        "center": float(y.mean()),
        "scale": float(y.std()),
    }


def _is_class(known: pl.Series) -> bool:
    if known.dtype in (pl.Boolean, pl.String) and known.cast(pl.Float64, strict=False).null_count():
        return True
    if known.dtype == pl.Boolean or known.dtype.is_integer():
        return known.n_unique() <= FEW_VALUES
    numbers = known.cast(pl.Float64, strict=False).to_numpy()
    is_whole = bool((numbers == np.round(numbers)).all())
    return is_whole and known.n_unique() <= FEW_VALUES


def _classes(known: pl.Series) -> list[Json]:
    names = as_names(known)
    counts = names.value_counts(name="n").sort(names.name)
    if len(counts) > MOST_CLASSES:
        problem = f"target {known.name!r} has {len(counts)} classes"
        raise TableError(problem, "", f"at most {MOST_CLASSES}; or is it task=regression?")
    rare = counts.filter(pl.col("n") < FEWEST_OF_A_CLASS)
    if len(rare):
        name, n = rare.row(0)
        problem = f"class {name!r} of target {known.name!r} has {n} rows before the first test"
        raise TableError(problem, "", f"at least {FEWEST_OF_A_CLASS}; merge rare classes")
    return list(counts[names.name].to_list())


def as_names(values: pl.Series) -> pl.Series:
    """Return the classes of rows as texts: `1` for 1 and 1.0 and "1", `true` for True."""
    values = cleaned(values)
    if values.dtype.is_float() and bool((values.drop_nulls() == values.drop_nulls().round()).all()):
        values = values.cast(pl.Int64)
    return values.cast(pl.String)


def read_target(values: pl.Series, spec: Mapping[str, Json], where: str) -> Array:
    """Return the target of each row, float64 (n,): class numbers or values; NaN where missing.

    Raises:
        TableError: a class that was not there before the first test, or a value that is no number.
    """
    if spec["kind"] == REGRESSION:
        known = cleaned(values)
        numbers = known.cast(pl.Float64, strict=False)
        _refuse(values, known.is_not_null() & numbers.is_null(), where, "expected a number")
        return np.asarray(numbers.fill_null(np.nan).to_numpy(), dtype=np.float64)
    names = as_names(values)
    numbers_of = {name: i for i, name in enumerate(class_names(spec))}
    found = names.replace_strict(numbers_of, default=None, return_dtype=pl.Float64)
    hint = f"not one of the classes before the first test ({', '.join(numbers_of)})"
    _refuse(values, names.is_not_null() & found.is_null(), where, hint)
    return np.asarray(found.fill_null(np.nan).to_numpy(), dtype=np.float64)


def reported_target(value: float | str, spec: Mapping[str, Json]) -> float:
    """Return the target of one value that a user reports, as `read_target` reads it in a column.

    Raises:
        TableError: no class of the spec, or a text where it is a number.
    """
    if spec["kind"] == REGRESSION:
        if isinstance(value, str):
            raise TableError("the target is a number", "", "send a number")
        return float(value)
    names = class_names(spec)
    is_readable = isinstance(value, str) or abs(value) < LARGEST_WHOLE
    name = as_names(pl.Series([value]))[0] if is_readable else None
    if name not in names:
        raise TableError("this is none of the classes", "", f"send one of {', '.join(names)}")
    return float(names.index(name))


def class_names(spec: Mapping[str, Json]) -> tuple[str, ...]:
    """Return the classes of a label spec, in the order of their numbers."""
    return tuple(cast(Sequence[str], spec["classes"]))


def _refuse(values: pl.Series, bad: pl.Series, where: str, hint: str) -> None:
    if bad.any():
        row = int(bad.arg_max() or 0)
        problem = f"row {row + 1}: target {values.name!r} is {values[row]!r}, {hint}"
        raise TableError(problem, where, "correct it, or choose another first_test")
