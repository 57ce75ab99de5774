"""Inputs `table`: the columns of CSV or Parquet files, one row per line, in the order of time.

What a column is stands in the label spec; how it becomes features is a layout that fits the
architecture (`pipelines/data/tables/table_columns.py`): boosters take missing values, LightGBM
category numbers too; everything else gets indicators and medians.
"""

from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.tables.row_data import (
    RowData,
    label_ends,
    microseconds,
    names_of_places,
    place_in_time,
    read_rows,
    read_time,
)
from pipelines.data.tables.table_columns import (
    LAYOUTS,
    Column,
    categorical,
    cleaned,
    encoded,
    encoded_rows,
    feature_names,
    fingerprint,
    laid_out,
    read_columns,
)
from pipelines.data.tables.table_target import read_target
from pipelines.method.agreement import CAUSALITY_LIMIT, FEATURE_PARITY_LIMIT, difference
from pipelines.method.rows import LabelledRows
from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes.inputs import Data, Dataset, Layout, spread
from pipelines.recipes.recipe import Recipe
from registry.contract import Json
from registry.errors import ParameterError, TableError
from registry.gates import GateRow
from registry.settings import PlatformSettings

NATIVE_CATEGORIES = ("lightgbm",)
MISSING_VALUES = ("xgboost", "catboost")
"""CatBoost's own treatment of categories is a hash that no other format carries."""
N_CHECKED = 64


class TableInputs:
    """The kind; see the module."""

    name = "table"

    def read(
        self, source: SourceParameters, wanted: RecipeParameters, settings: PlatformSettings
    ) -> RowData:
        """Read files; other sources hold bars.

        Raises:
            ParameterError: another source than `files`.
            TableError, BarsError: files that cannot be used.
        """
        if source.source != "files":
            raise ParameterError("source", source.source, "files (a CSV or Parquet file, path=...)")
        return read_rows(source.query(), str(wanted.changed_options().get("time", "")))

    def training(self, data: Data) -> pl.DataFrame:
        """Return the frame."""
        return data.frame

    def describe(self, recipe: Recipe, data: Data, spec: dict[str, Json]) -> Layout:
        """Return layout, names of features, and a digest of what they make of a fixed row."""
        layout, columns = layout_of(recipe), read_columns(spec)
        return Layout(layout, feature_names(columns, layout), fingerprint(columns, layout), 1)

    def rows(
        self, recipe: Recipe, data: Data, spec: dict[str, Json], *, keep_unlabelled: bool = False
    ) -> LabelledRows:
        """Return the rows with a target.

        Raises:
            ParameterError: the architecture does not fit the task.
            TableError: a value, a class or a label end that cannot be used.
        """
        _check_pair(recipe, spec)
        frame, columns, layout = data.frame, read_columns(spec), layout_of(recipe)
        y = read_target(frame[str(spec["target"])], spec, data.source)
        X = laid_out(encoded(frame, columns, data.source), columns, layout)
        t0 = microseconds(frame)
        t1 = label_ends(t0, int(cast(int, spec["horizon_bars"])), _ends(recipe, frame))
        place, known = place_in_time(t0), np.isfinite(y)
        context = {
            name: np.full(len(y), float(cast(float, spec[name]))) for name in ("center", "scale")
        }
        target, fit = recipe.template.target(y, context)
        rows = LabelledRows(
            X=X,
            y=y,
            target=target,
            context=context,
            outcome={},
            symbol=place,
            symbols=names_of_places(place),
            t0=t0,
            t1=np.where(known, t1, -1),
            fit=fit,
            spec=spec,
            categorical=categorical(columns, layout),
        )
        return rows if keep_unlabelled else rows.take(known)

    def sample(self, rows: LabelledRows, n_rows: int) -> NDArray[np.float32]:
        """Return inputs of rows spread over time."""
        return spread(rows, n_rows)

    def checks(self, recipe: Recipe, dataset: Dataset) -> tuple[GateRow, ...]:
        """Recompute rows from cut tables, and as a server reads them from a request."""
        frame, spec = dataset.data.frame, dataset.label_spec
        columns, layout = read_columns(spec), layout_of(recipe)
        X = laid_out(encoded(frame, columns, ""), columns, layout)
        cuts = np.unique(np.linspace(1, len(frame), min(N_CHECKED, len(frame))).astype(int))
        causal = max(
            difference(X[n - 1], laid_out(encoded(frame[:n], columns, ""), columns, layout)[-1])
            for n in cuts[:: max(1, len(cuts) // 8)]
        )
        asked = _as_request(frame[(cuts - 1).tolist()], columns)
        parity = difference(X[cuts - 1], laid_out(encoded_rows(asked, columns), columns, layout))
        return (
            GateRow("causality", causal, "<=", CAUSALITY_LIMIT, "a row alone against the table"),
            GateRow(
                "feature_parity",
                parity,
                "<=",
                FEATURE_PARITY_LIMIT,
                f"{len(cuts)} rows of the file against the same rows as a request",
            ),
        )


def layout_of(recipe: Recipe) -> str:
    """Return the layout asked for, or the one that fits the architecture.

    Raises:
        ParameterError: no such layout.
    """
    asked = recipe.feature_set
    if asked and asked not in LAYOUTS:
        raise ParameterError("feature_set", asked, f"one of {', '.join(LAYOUTS)}")
    if asked:
        return asked
    if recipe.architecture.name in NATIVE_CATEGORIES:
        return "codes"
    return "indicators" if recipe.architecture.name in MISSING_VALUES else "dense"


def _check_pair(recipe: Recipe, spec: dict[str, Json]) -> None:
    loss = recipe.template.objective(spec).loss
    if loss not in recipe.architecture.objectives:
        kind, name = spec["kind"], recipe.architecture.name
        raise ParameterError("architecture", name, f"one for {kind} (target {spec['target']!r})")


def _ends(recipe: Recipe, frame: pl.DataFrame) -> NDArray[np.int64] | None:
    name = str(recipe.options.get("label_end", ""))
    if not name:
        return None
    ends = read_time(frame, name, "UTC", "label_end")
    if ends.null_count():
        raise TableError(f"column {name!r} has rows without a time", "label_end", "fill them in")
    return np.asarray(ends.to_physical().to_numpy(), dtype=np.int64)


def _as_request(frame: pl.DataFrame, columns: tuple[Column, ...]) -> list[list[Any]]:
    """Return rows as JSON would carry them: numbers, true and false, texts, null."""
    plain = frame.select(cleaned(frame[column.name]) for column in columns)
    return [
        [_json_value(value, column) for value, column in zip(row, columns, strict=True)]
        for row in plain.iter_rows()
    ]


def _json_value(value: Any, column: Column) -> Any:
    if value is None:
        return None
    if column.kind == "number":
        return float(value)
    if column.kind == "boolean":
        return value if isinstance(value, bool) else str(value).lower() in ("true", "yes", "t", "y")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


INPUTS = TableInputs()
