"""Feature rows as JSON has them -> one float32 array, or one line saying which value is wrong.

Every number is checked here, before any model sees it: text, booleans, null, NaN, infinity and
numbers that do not fit into float32 are refused with their row and column.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.recipes.inputs.frames import FrameInputs
from registry.contract import ModelContract
from registry.errors import MLEngineError, ParameterError, ShapeError, ValueRangeError

FLOAT32_MAX = float(np.finfo(np.float32).max)
MAX_NAMES_SHOWN = 5


def matrix(rows: Sequence[Any], contract: ModelContract, max_rows: int) -> NDArray[np.float32]:
    """Return the inputs of `rows`: (n, n_features), or (n, window, n_features).

    Args:
        rows: each a list in the contract's order or an object by feature name; for a sequence
            model each row is a list of `window` such steps, oldest first.

    Raises:
        ShapeError: no rows, too many, or a row of another length.
        ParameterError: an object lacks a feature or has an unknown one.
        ValueRangeError: a value is not a finite number that fits into float32.
    """
    if not 1 <= len(rows) <= max_rows:
        raise ShapeError("rows", f"1 to {max_rows} rows (MAX_BATCH_SIZE)", f"{len(rows)} rows")
    names = contract.feature_names
    if contract.window == 1:
        steps = [_step(row, f"rows[{i}]", names) for i, row in enumerate(rows)]
        return _float32(steps)
    sequences = [_sequence(row, f"rows[{i}]", contract) for i, row in enumerate(rows)]
    flat = [step for sequence in sequences for step in sequence]
    return _float32(flat).reshape(len(rows), contract.window, len(names))


def each(entries: Sequence[Any], contract: ModelContract, first: int = 0) -> FrameInputs:
    """Return as `matrix`, what is wrong with one row as that row's error.

    Args:
        first: number of the first row, for messages.
    """
    found: list[NDArray[np.float32]] = []
    rows: list[int] = []
    errors: dict[int, MLEngineError] = {}
    for i, entry in enumerate(entries):
        try:
            found.append(_row(entry, f"rows[{first + i}]", contract))
            rows.append(i)
        except MLEngineError as error:
            errors[i] = error
    shape = (len(found), *(size or 0 for size in contract.inputs.shape[1:]))
    X = np.stack(found) if found else np.empty(shape, np.float32)
    return FrameInputs(np.array(rows, dtype=np.intp), np.ascontiguousarray(X), {}, errors)


def _row(entry: Any, where: str, contract: ModelContract) -> NDArray[np.float32]:
    if contract.window > 1:
        return _float32(_sequence(entry, where, contract))
    return _float32([_step(entry, where, contract.feature_names)]).reshape(-1)


def columns(
    given: Mapping[str, Sequence[Any]], names: Sequence[str], n_rows: int
) -> dict[str, NDArray[np.float64]]:
    """Return the context of `rows`: float64 (n_rows,) for every name, NaN where not given.

    Raises:
        ParameterError: a name the template does not know.
        ShapeError: a list of another length than `rows`.
        ValueRangeError: a value that is not a finite number or null.
    """
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ParameterError("context", unknown[0], f"one of {', '.join(sorted(names))}")
    filled = {name: np.full(n_rows, np.nan) for name in names}
    for name, values in given.items():
        if len(values) != n_rows:
            raise ShapeError(f"context.{name}", f"{n_rows} values", f"{len(values)}")
        filled[name] = np.array(
            [
                np.nan if value is None else finite(value, f"context.{name}[{i}]")
                for i, value in enumerate(values)
            ]
        )
    return filled


def finite(value: Any, name: str, low: float = -FLOAT32_MAX) -> float:
    """Return `value` as a float.

    Raises:
        ValueRangeError: not a number, not finite, beyond float32, or below `low`.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueRangeError(name, value)
    # Comparisons are false for NaN, and exact for integers of any size.
    if not -FLOAT32_MAX <= value <= FLOAT32_MAX:
        raise ValueRangeError(name, value if isinstance(value, float) else f"{str(value)[:40]}")
    if value < low:
        raise ValueRangeError(name, value, f"a number of at least {low:g}")
    return float(value)


def _sequence(row: Any, where: str, contract: ModelContract) -> list[list[float]]:
    if not isinstance(row, list) or len(row) != contract.window:
        expected = f"a list of {contract.window} steps (the version's window)"
        raise ShapeError(where, expected, _described(row))
    return [_step(s, f"{where}[{j}]", contract.feature_names) for j, s in enumerate(row)]


def _step(row: Any, where: str, names: tuple[str, ...]) -> list[float]:
    if isinstance(row, dict):
        row = _ordered(row, where, names)
    if not isinstance(row, list) or len(row) != len(names):
        expected = f"{len(names)} values ({_first(names)})"
        raise ShapeError(where, expected, _described(row))
    for column, value in enumerate(row):
        finite(value, f"{where}.{names[column]} (column {column})")
    return row


def _ordered(row: dict[str, Any], where: str, names: tuple[str, ...]) -> list[Any]:
    missing = [name for name in names if name not in row]
    if missing:
        raise ParameterError(where, _first(tuple(row)), f"the feature {missing[0]!r} too")
    unknown = sorted(set(row) - set(names))
    if unknown:
        raise ParameterError(where, unknown[0], f"only the version's features: {_first(names)}")
    return [row[name] for name in names]


def _float32(steps: list[list[float]]) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.array(steps, dtype=np.float64), dtype=np.float32)


def _first(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MAX_NAMES_SHOWN])
    return shown + (", ..." if len(names) > MAX_NAMES_SHOWN else "")


def _described(value: Any) -> str:
    return f"{len(value)} values" if isinstance(value, list) else type(value).__name__
