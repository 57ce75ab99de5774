"""Table columns: a file's columns as the numbers a model sees. Numpy and polars only.

`typed` decides once what each column is: number, boolean, date or category. It looks at the rows
before the first test fold. A category's vocabulary, the median of a number and whether values are
missing go into the version's label spec. `encoded` (frames) and `encoded_rows` (requests) apply
that to every later row; a category never seen before counts as missing.

A layout is the form that an architecture can take: `codes` (category numbers, NaN where missing),
`indicators` (a 0/1 column per frequent category, NaN where missing) or `dense` (indicators, medians
in place of missing numbers, and a 0/1 column that marks them).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC
from typing import Any, Literal, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.iso_times import read_iso
from pipelines.data.names import PANEL_KEYS, unique_names
from registry.contract import Json
from registry.errors import MLEngineError, ParameterError, ShapeError, TableError

Kind = Literal["number", "boolean", "date", "category"]
LAYOUTS = ("codes", "indicators", "dense")

MISSING_TEXTS = ("", "na", "n/a", "nan", "null", "none", "nil", "?", "-")
TRUE_TEXTS, FALSE_TEXTS = ("true", "yes", "t", "y"), ("false", "no", "f", "n")
MOST_CATEGORIES = 1000
MOST_INDICATORS = 30
"""Categories that get a column of their own in `indicators` and `dense`, most frequent first."""
NUMBER_SHARE = 0.9
"""With this share of numbers a text column is one of numbers; its other values are mistakes."""
DATE_FORMATS = (
    *("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"),
    *("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"),
)
ZONE = "%#z"
"""What may stand behind all but the first: Z, +01:00, +0100 or +01."""
DAY_US = 86_400_000_000
MAX_NAMES_SHOWN = 8
FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its type, and what was learned of it on the rows it was typed on.

    `vocabulary` are a category's texts, most frequent first (code 0); `median` of a number, a
    boolean (0 or 1) or a date (days since 1970) over the rows it was typed on; `has_missing` says
    whether some of those were missing.
    """

    name: str
    kind: Kind
    vocabulary: tuple[str, ...] = ()
    median: float = 0.0
    has_missing: bool = False

    def to_json(self) -> dict[str, Json]:
        """Return the column as JSON values."""
        return asdict(self) | {"vocabulary": list(self.vocabulary)}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> "Column":
        """Return the column that `to_json` wrote."""
        return cls(**{**facts, "vocabulary": tuple(facts["vocabulary"])})


def read_columns(spec: Mapping[str, Json]) -> tuple[Column, ...]:
    """Return the columns of a label spec (its entry `columns`)."""
    return tuple(Column.from_json(facts) for facts in cast("list[dict[str, Any]]", spec["columns"]))


# What a column is ------------------------------------------------------------------------------


def typed(frame: pl.DataFrame, where: str) -> tuple[Column, ...]:
    """Decide for each column of a frame what it is.

    Raises:
        TableError: a column without any value, with one value, with mixed numbers and texts, with
            a type no model takes, or with so many texts that they identify rows.
    """
    if not frame.columns:
        raise TableError("there is no column beside target and time", where, "add features")
    return tuple(_typed(frame[name], where) for name in frame.columns)


def _typed(raw: pl.Series, where: str) -> Column:
    values = cleaned(raw)
    known = values.drop_nulls()
    if known.is_empty():
        raise TableError(f"column {raw.name!r} has no value", where, _leave_out(raw.name))
    if known.n_unique() == 1 and not values.null_count():
        problem = f"column {raw.name!r} is {known[0]!r} in every row"
        raise TableError(problem, where, _leave_out(raw.name))
    kind = _kind(values, where)
    if kind == "category":
        vocabulary = _vocabulary(known, len(values), where)
        return Column(raw.name, kind, vocabulary, has_missing=bool(values.null_count()))
    numbers = _as_numbers(values, kind)
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        raise TableError(f"column {raw.name!r} has no finite number", where, _leave_out(raw.name))
    missing = len(finite) < len(numbers)
    return Column(raw.name, kind, (), float(np.median(finite)), missing)


def cleaned(values: pl.Series) -> pl.Series:
    """Return a column with texts stripped and those that mean "missing" (NA, null, ?) as null."""
    if values.dtype == pl.Categorical or isinstance(values.dtype, pl.Enum):
        values = values.cast(pl.String)
    if values.dtype == pl.String:
        texts = values.str.strip_chars()
        missing = texts.str.to_lowercase().is_in(MISSING_TEXTS).fill_null(value=True)
        return texts.set(missing, None)
    return values.fill_nan(None) if values.dtype.is_float() else values


def _kind(values: pl.Series, where: str) -> Kind:
    dtype = values.dtype
    if dtype == pl.Boolean:
        return "boolean"
    if dtype.is_numeric():
        return "number"
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        return "date"
    if dtype != pl.String:
        problem = f"column {values.name!r} holds {dtype}"
        raise TableError(problem, where, "give numbers, texts, booleans or dates")
    known = values.drop_nulls()
    if known.str.to_lowercase().is_in((*TRUE_TEXTS, *FALSE_TEXTS)).all():
        return "boolean"
    numeric = known.cast(pl.Float64, strict=False)
    if not numeric.null_count():
        return "number"
    if numeric.null_count() <= (1 - NUMBER_SHARE) * len(known):
        odd = known.filter(numeric.is_null())
        problem = (
            f"column {values.name!r} holds numbers and also {odd[0]!r} ({len(odd)} such values)"
        )
        raise TableError(problem, where, f"correct it or {_leave_out(values.name)}")
    return "date" if not _dates(known).null_count() else "category"


def _vocabulary(known: pl.Series, n_rows: int, where: str) -> tuple[str, ...]:
    counts = known.value_counts().sort(["count", known.name], descending=[True, False])
    if len(counts) > MOST_CATEGORIES or (len(counts) > 20 and len(counts) > 0.9 * n_rows):
        problem = (
            f"column {known.name!r} has {len(counts)} texts in {n_rows} rows, like a row's name"
        )
        raise TableError(problem, where, _leave_out(known.name))
    return tuple(counts[known.name].to_list())


def _leave_out(name: str) -> str:
    return f"leave it out: options drop={name}"


# Values ----------------------------------------------------------------------------------------


def encoded(frame: pl.DataFrame, columns: Sequence[Column], where: str) -> NDArray[np.float64]:
    """Return the columns as numbers (n_rows, n_columns): category codes, 0/1, days; NaN missing.

    Raises:
        TableError: a column is absent, or a value is not what the column is.
    """
    absent = [column.name for column in columns if column.name not in frame.columns]
    if absent:
        raise TableError(f"column {absent[0]!r} is not there", where, "give every column")
    parts = [_encoded(frame[column.name], column, where) for column in columns]
    return np.column_stack(parts)


def _encoded(raw: pl.Series, column: Column, where: str) -> NDArray[np.float64]:
    values = cleaned(raw)
    if column.kind == "category":
        return _codes(values, column)
    numbers = _as_numbers(values, column.kind)
    bad = np.flatnonzero(np.isnan(numbers) & values.is_not_null().to_numpy())
    if len(bad):
        first = int(bad[0])
        problem = f"row {first + 1}: {column.name!r} is {raw[first]!r}, expected {wanted(column)}"
        raise TableError(problem, where, "correct it or leave it empty")
    too_large = np.abs(numbers) > FLOAT32_MAX
    if too_large.any():
        first = int(np.flatnonzero(too_large)[0])
        problem = f"row {first + 1}: {column.name!r} is {raw[first]!r}, beyond float32"
        raise TableError(problem, where, "scale the column or leave the value empty")
    return numbers


def takes(column: Column, kind: pl.DataType) -> bool:
    """Whether a column of a file may be of this type; one without any value may be of each."""
    if kind == pl.Null:
        return True
    if column.kind == "category":
        return kind in (pl.String, pl.Categorical, pl.Enum)
    if column.kind == "date":
        return kind in (pl.Date, pl.String) or isinstance(kind, pl.Datetime)
    return kind == pl.Boolean if column.kind == "boolean" else kind.is_numeric()


def encoded_frame(
    frame: pl.DataFrame, columns: Sequence[Column]
) -> tuple[NDArray[np.float64], dict[int, MLEngineError]]:
    """Return the columns as `encoded` does, and the error of each row with a value it refuses."""
    values = np.empty((len(frame), len(columns)), order="F")
    errors: dict[int, MLEngineError] = {}
    for i, column in enumerate(columns):
        raw = frame[column.name]
        if column.kind == "category":
            values[:, i] = _codes(cleaned(raw), column)
            continue
        values[:, i], is_bad = _checked(raw, column)
        for row in np.flatnonzero(is_bad).tolist():
            errors.setdefault(row, ParameterError(column.name, raw[row], wanted(column)))
    return values, errors


def _checked(raw: pl.Series, column: Column) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return a column as numbers, NaN where missing, and which values it does not take."""
    if column.kind == "number" and raw.dtype.is_numeric():
        numbers = raw.cast(pl.Float64).to_numpy()
        return numbers, np.abs(numbers) > FLOAT32_MAX
    known = cleaned(raw)
    numbers = _as_numbers(known, column.kind)
    return numbers, ~(np.abs(numbers) <= FLOAT32_MAX) & known.is_not_null().to_numpy()


def _codes(values: pl.Series, column: Column) -> NDArray[np.float64]:
    codes = {text: code for code, text in enumerate(column.vocabulary)}
    texts = values.cast(pl.String)
    found = texts.replace_strict(codes, default=None, return_dtype=pl.Float64)
    return np.asarray(found.to_numpy(), dtype=np.float64)


def _as_numbers(values: pl.Series, kind: Kind) -> NDArray[np.float64]:
    """Return a cleaned column as float64, NaN where missing or not of its kind."""
    if kind == "number":
        numbers = values.cast(pl.Float64, strict=False)
    elif kind == "date":
        numbers = _dates(values).to_physical().cast(pl.Float64) / DAY_US
    elif values.dtype == pl.String:
        texts = values.str.to_lowercase()
        table = dict.fromkeys(TRUE_TEXTS, 1.0) | dict.fromkeys(FALSE_TEXTS, 0.0)
        numbers = texts.replace_strict(table, default=None, return_dtype=pl.Float64)
    else:
        numbers = values.cast(pl.Float64, strict=False)
    return np.asarray(numbers.to_numpy(), dtype=np.float64)


def _dates(values: pl.Series) -> pl.Series:
    """Return times as microseconds (UTC where a zone is written), null where they are none."""
    if values.dtype != pl.String:
        if isinstance(values.dtype, pl.Datetime) and values.dtype.time_zone:
            values = values.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return values.cast(pl.Datetime("us"), strict=False)
    best = pl.Series(values.name, [None] * len(values), dtype=pl.Datetime("us"))
    for form in (*DATE_FORMATS, *(f"{form}{ZONE}" for form in DATE_FORMATS[1:])):
        found = values.str.to_datetime(form, time_unit="us", strict=False)
        if form.endswith(ZONE):
            found = found.dt.replace_time_zone(None)  # read into UTC
        best = pl.select(pl.coalesce(pl.lit(best), pl.lit(found))).to_series()
    return best


def encoded_rows(
    rows: Sequence[Sequence[Any]], columns: Sequence[Column], where: str = "rows"
) -> NDArray[np.float64]:
    """Return JSON rows, values in the order of `columns`, as numbers (n_rows, n_columns).

    None is missing. Numbers must be numbers and booleans true or false; dates are ISO 8601 texts;
    a category is a text, and one that was not in the vocabulary is missing.

    Raises:
        ParameterError: a value of another kind.
    """
    values = np.empty((len(rows), len(columns)))
    for i, row in enumerate(rows):
        for j, (value, column) in enumerate(zip(row, columns, strict=True)):
            name = f"{where}[{i}].{column.name}"
            values[i, j] = np.nan if value is None else _number(value, column, name)
    return values


def _number(value: Any, column: Column, name: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if column.kind == "category" and isinstance(value, str):
        text = value.strip()
        codes = column.vocabulary
        return float(codes.index(text)) if text in codes else float("nan")
    if column.kind == "boolean" and isinstance(value, bool):
        return float(value)
    if column.kind == "number" and is_number and abs(value) <= FLOAT32_MAX:
        return float(value)
    if column.kind == "date" and isinstance(value, str):
        try:
            time = read_iso(value)
        except ValueError as exc:
            raise ParameterError(name, value, wanted(column)) from exc
        aware = time if time.tzinfo else time.replace(tzinfo=UTC)
        return aware.timestamp() * 1e6 / DAY_US
    raise ParameterError(name, value, f"{wanted(column)} or null")


def wanted(column: Column) -> str:
    """Return what a value of the column must be, in words."""
    return {
        "number": "a finite float32 number",
        "boolean": "true or false",
        "date": "an ISO date such as 2024-01-31",
        "category": "a text",
    }[column.kind]


def ordered_row(row: Any, where: str, columns: Sequence[Column]) -> list[Any]:
    """Return the values of a JSON row in the order of the columns.

    Raises:
        ParameterError: an object lacks a column or has an unknown one.
        ShapeError: a list of another length, or neither list nor object.
    """
    names = [column.name for column in columns]
    if isinstance(row, dict):
        if unknown := sorted(set(row) - set(names)):
            raise ParameterError(where, unknown[0], f"only the version's columns: {_shown(names)}")
        if missing := [name for name in names if name not in row]:
            expected = f"the column {missing[0]!r} too (null where it is not known)"
            raise ParameterError(where, ", ".join(sorted(row)), expected)
        return [row[name] for name in names]
    if not isinstance(row, list) or len(row) != len(names):
        found = f"{len(row)} values" if isinstance(row, list) else type(row).__name__
        raise ShapeError(where, f"{len(names)} values ({_shown(names)})", found)
    return row


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:MAX_NAMES_SHOWN]) + (", ..." if len(names) > MAX_NAMES_SHOWN else "")


# Layouts ---------------------------------------------------------------------------------------


def feature_names(columns: Sequence[Column], layout: str) -> tuple[str, ...]:
    """Return the names of the features that `laid_out` makes; `color=red`, `age=missing`.

    Each is there once, whatever the columns and texts are called (`pipelines.data.names`).
    """
    return unique_names(_composed_names(columns, layout), PANEL_KEYS)


def _composed_names(columns: Sequence[Column], layout: str) -> tuple[str, ...]:
    names: list[str] = []
    for column in columns:
        if column.kind == "category" and layout != "codes":
            names += [f"{column.name}={text}" for text in column.vocabulary[:MOST_INDICATORS]]
        else:
            names.append(column.name)
        if _says_missing(column, layout):
            names.append(f"{column.name}=missing")
    return tuple(names)


def laid_out(
    values: NDArray[np.float64], columns: Sequence[Column], layout: str
) -> NDArray[np.float32]:
    """Return the features (n_rows, n_features) of encoded columns (n_rows, n_columns)."""
    parts: list[NDArray[np.float64]] = []
    for column, numbers in zip(columns, values.T, strict=True):
        missing = np.isnan(numbers)
        if column.kind == "category" and layout != "codes":
            n_shown = min(len(column.vocabulary), MOST_INDICATORS)
            parts.append((numbers[:, None] == np.arange(n_shown)).astype(np.float64))
        elif layout == "dense":
            parts.append(np.where(missing, column.median, numbers)[:, None])
        else:
            parts.append(numbers[:, None])
        if _says_missing(column, layout):
            parts.append(missing.astype(np.float64)[:, None])
    return np.ascontiguousarray(np.concatenate(parts, axis=1, dtype=np.float32))


def categorical(columns: Sequence[Column], layout: str) -> tuple[int, ...]:
    """Return the positions of the features that hold category codes."""
    if layout != "codes":
        return ()
    return tuple(i for i, column in enumerate(columns) if column.kind == "category")


def fingerprint(columns: Sequence[Column], layout: str) -> str:
    """Return a digest of the features of two fixed rows: typical values, and nothing known."""
    typical = [float(i % 3) if c.kind == "category" else c.median for i, c in enumerate(columns)]
    values = np.array([typical, [np.nan] * len(columns)])
    features = laid_out(values, columns, layout)
    text = f"{_composed_names(columns, layout)}\n{features.tolist()}"  # as it always was
    return hashlib.sha256(text.encode()).hexdigest()


def _says_missing(column: Column, layout: str) -> bool:
    return layout == "dense" and column.has_missing and column.kind != "category"
