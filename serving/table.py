"""Rows of a request to a model over a table -> features, or the row's own error.

A row is a list in the order of the version's columns, or an object by column name. Values are
numbers, true and false, texts for dates and categories, and null for a missing value. A category
that training never saw counts as missing and is listed in `ignored`. What is wrong with one row is
that row's error.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.data.tables.table_columns import (
    Column,
    encoded_rows,
    laid_out,
    ordered_row,
    read_columns,
)
from registry.errors import MLEngineError, ParameterError, ShapeError
from serving.forms import (
    Form,
    ModelInput,
    OnlineStore,
    Provenance,
    check_horizon,
    distinct,
    horizons_of,
)
from serving.loading import LoadedVersion
from serving.schemas import PredictRequest


def gather(
    request: PredictRequest, version: LoadedVersion, _online: OnlineStore, max_rows: int
) -> ModelInput:
    """Return the model's input of a request with `rows`; `symbols` may name them.

    Raises:
        ParameterError: no rows, or context, which a table does not have.
        ShapeError: too many rows, or another number of names.
    """
    if request.rows is None:
        raise ParameterError(
            "rows", None, f"rows of the table's columns, which {version.model_id} needs"
        )
    if request.context:
        raise ParameterError(
            "context", sorted(request.context)[0], "none, because a table has columns only"
        )
    if not 1 <= len(request.rows) <= max_rows:
        expected = f"1 to {max_rows} rows (MAX_BATCH_SIZE)"
        raise ShapeError("rows", expected, f"{len(request.rows)} rows")
    names = _names(request, max_rows)
    for asked in set(horizons_of(request, names).values()):
        check_horizon(asked, version)
    columns = read_columns(version.contract.label_spec)
    kept: list[list[Any]] = []
    keys: list[str] = []
    errors: dict[str, MLEngineError] = {}
    ignored: list[str] = []
    for i, (name, row) in enumerate(zip(names, request.rows, strict=True)):
        try:
            values = ordered_row(row, f"rows[{i}]", columns)
            encoded_rows([values], columns, f"rows {i}")
        except MLEngineError as error:
            errors[name] = error
            continue
        kept.append(values)
        keys.append(name)
        ignored += _unseen(values, i, columns)
    X = laid_out(encoded_rows(kept, columns), columns, version.contract.feature_set)
    provenance = (Provenance(),) * len(keys)
    return ModelInput(tuple(keys), X, {}, provenance, errors, tuple(ignored), "rows")


def _names(request: PredictRequest, max_rows: int) -> tuple[str, ...]:
    rows = request.rows or []
    if request.symbols is None:
        return tuple(str(i) for i in range(len(rows)))
    names = distinct(request.symbols, max_rows)
    if len(names) != len(rows):
        raise ShapeError("symbols", f"{len(rows)} names, one per row", str(len(names)))
    return names


def _unseen(values: Sequence[Any], number: int, columns: Sequence[Column]) -> list[str]:
    return [
        f"rows[{number}].{column.name}={value[:40]!r}: never seen in training, taken as missing"
        for value, column in zip(values, columns, strict=True)
        if column.kind == "category"
        and value is not None
        and np.isnan(encoded_rows([[value]], [column])[0, 0])
    ]


FORM = Form(gather)
