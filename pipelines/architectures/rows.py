"""Rows for the classic algorithms: checked, with one row of features or one window each."""

from pipelines.architectures import Architecture, Objective, TrainingRows, check_rows
from registry.errors import ParameterError, ShapeError


def checked_rows(
    architecture: Architecture, rows: TrainingRows, objective: Objective
) -> TrainingRows:
    """Return the rows when the architecture can fit them for the objective.

    Raises:
        ParameterError: an objective that the architecture does not take.
        ShapeError: no rows, rows of unequal length, or rows with a window where the architecture
            wants none (and the other way round).
        ValueRangeError: a target outside the objective's domain, an infinite feature, a weight
            that is not above 0.
    """
    if objective.loss not in architecture.objectives:
        expected = f"one of {', '.join(architecture.objectives)} for {architecture.name}"
        raise ParameterError("objective", objective.loss, expected)
    check_rows(rows, objective)
    is_windowed = architecture.default_window > 1
    if rows.X.ndim != (3 if is_windowed else 2):
        wanted = "(n, n_features), so window=1"
        if is_windowed:
            wanted = "(n, window, n_features), so window of at least 2"
        raise ShapeError(f"{architecture.name} rows", wanted, str(rows.X.shape))
    return rows
