"""Inputs `table`: the columns of CSV or Parquet files, one row per line, in the order of time.

The label spec says what each column is. A layout makes features of it that fit the architecture
(`pipelines/data/tables/table_columns.py`): an algorithm that takes missing values and category
numbers gets both; every other one gets indicators and medians.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.tables.leaks import suspicions
from pipelines.data.tables.row_data import (
    RowData,
    label_ends,
    microseconds,
    names_of_places,
    place_in_time,
    read_time,
)
from pipelines.data.tables.table_columns import (
    LAYOUTS,
    Column,
    categorical,
    cleaned,
    encoded,
    encoded_frame,
    encoded_rows,
    feature_names,
    fingerprint,
    laid_out,
    ordered_row,
    read_columns,
    takes,
    wanted,
)
from pipelines.data.tables.table_target import (
    REGRESSION,
    class_names,
    read_target,
    reported_target,
)
from pipelines.method.agreement import difference
from pipelines.method.rows import LabelledRows
from pipelines.recipes.inputs import Data, Dataset, Definition, Layout
from pipelines.recipes.inputs.frames import FrameInputs, Schema, check_present
from pipelines.recipes.inputs.origins import FromFiles
from pipelines.recipes.plausible_data import knowing_columns
from pipelines.recipes.recipe import Recipe
from pipelines.templates import Arrays
from registry.contract import Json, ModelContract
from registry.errors import ColumnTypeError, MLEngineError, ParameterError, TableError
from registry.gates import COMMON, GateRow

N_CHECKED = 64


class TableInputs(FromFiles):
    """Rows of the columns of a table."""

    name = "table"
    uploaded_as = "table"
    feature_sets = LAYOUTS
    may_miss = True

    def check(self, recipe: Recipe) -> None:
        """Refuse a layout that does not exist."""
        layout_of(recipe)

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
        t1 = label_ends(t0, int(cast(int, spec["horizon_bars"])), _ends(recipe, data))
        place, known = place_in_time(t0), np.isfinite(y)
        context = self.constants(spec, len(y))
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
            COMMON.row("causality", causal, "a row alone against the table"),
            COMMON.row(
                "feature_parity",
                parity,
                f"{len(cuts)} rows of the file against the same rows as a request",
            ),
        )

    def plausible_data(self, dataset: Dataset) -> tuple[GateRow, ...]:
        """Return the gate `plausibility.columns`: none may nearly be the target by itself."""
        frame, spec = dataset.data.frame, dataset.label_spec
        columns = read_columns(spec)
        y = read_target(frame[str(spec["target"])], spec, dataset.data.source)
        values, known = encoded(frame, columns, ""), np.isfinite(y)
        n_classes = 0 if spec["kind"] == REGRESSION else len(class_names(spec))
        names = [column.name for column in columns]
        lines = suspicions(values[known], names, y[known], n_classes)
        return (knowing_columns(lines, f"{len(names)} columns"),)

    def reported(self, contract: ModelContract, value: float | str) -> float:
        """Return the class number, or the number itself."""
        return reported_target(value, contract.label_spec)

    def constants(self, spec: Mapping[str, Json], n_rows: int) -> Arrays:
        """Return center and scale of a number."""
        names = ("center", "scale")
        return {name: np.full(n_rows, float(cast(float, spec[name]))) for name in names}

    def frame_columns(
        self, contract: ModelContract, definition: Definition, available: Collection[str]
    ) -> tuple[str, ...]:
        """Return the version's columns.

        Raises:
            MissingColumnsError: one is absent.
        """
        names = tuple(column.name for column in read_columns(contract.label_spec))
        check_present(contract.model_id, names, available)
        return names

    def check_frame(self, contract: ModelContract, definition: Definition, schema: Schema) -> None:
        """Refuse a column that holds something else than it did in training."""
        for column in read_columns(contract.label_spec):
            if not takes(column, schema[column.name]):
                raise ColumnTypeError(column.name, wanted(column), str(schema[column.name]))

    def frame_inputs(
        self, contract: ModelContract, definition: Definition, frame: pl.DataFrame
    ) -> FrameInputs:
        """Encode the columns; a value that is not what its column is makes its row's error."""
        columns = read_columns(contract.label_spec)
        values, errors = encoded_frame(frame, columns)
        rows = np.flatnonzero(~np.isin(np.arange(len(frame)), list(errors)))
        known = values[rows] if errors else values
        return FrameInputs(rows, laid_out(known, columns, contract.feature_set), {}, errors)

    def entry_inputs(
        self,
        contract: ModelContract,
        definition: Definition,
        entries: Sequence[Any],
        first: int = 0,
    ) -> FrameInputs:
        """Encode rows of the table's columns, as lists or objects."""
        columns = read_columns(contract.label_spec)
        values = np.empty((len(entries), len(columns)))
        errors: dict[int, MLEngineError] = {}
        for i, entry in enumerate(entries):
            try:
                row = ordered_row(entry, f"rows[{first + i}]", columns)
                values[i] = encoded_rows([row], columns, f"rows {first + i}")[0]
            except MLEngineError as error:
                errors[i] = error
        rows = np.array([i for i in range(len(entries)) if i not in errors], dtype=np.intp)
        X = laid_out(values[rows], columns, contract.feature_set)
        return FrameInputs(rows, X, {}, errors)

    def load(self, contract: ModelContract, read: Callable[[str], bytes]) -> Definition:
        """Return the fingerprint of the contract's own columns, from a fixed row."""
        columns = read_columns(contract.label_spec)
        return Definition(fingerprint(columns, contract.feature_set), columns)


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
    if recipe.architecture.takes_categories:
        return "codes"
    return "indicators" if recipe.architecture.takes_missing else "dense"


def _check_pair(recipe: Recipe, spec: dict[str, Json]) -> None:
    loss = recipe.template.objective(spec).loss
    if loss not in recipe.architecture.objectives:
        kind, name = spec["kind"], recipe.architecture.name
        raise ParameterError("architecture", name, f"one for {kind} (target {spec['target']!r})")


def _ends(recipe: Recipe, data: Data) -> NDArray[np.int64] | None:
    name = str(recipe.options.get("label_end", ""))
    if not name:
        return None
    rows = cast(RowData, data)
    ends, _ = read_time(rows.frame, name, rows.timezone, "label_end", rows.date_order)
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


KIND = TableInputs()
