"""Repeated hours: which of two instants a wall-clock time means when clocks go back.

Rows in order of time show it: where the clock of a symbol's rows goes back, the rows before it are
daylight time and those after it standard time. Where it does not (an hour is missing, rows are out
of order), a time is taken as the later instant: a bar may be known too late by it, never too early.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

Ints = NDArray[np.int64]

APART_US = 12 * 3_600_000_000
"""Steps between two changes of the clocks are longer, and within one they are shorter."""


def is_earlier(frame: pl.DataFrame, is_repeated: pl.Series, *, is_unique: bool) -> pl.Series:
    """Return which repeated wall-clock times surely are the earlier instant.

    Args:
        frame: `symbol`, naive `timestamp` and the rows' other values, in the order of the file.
        is_repeated: whether a row's time stands for two instants.
        is_unique: whether a symbol has one row per instant, so that a time that stands twice is
            both; a row that repeats another in all values is one with it.
    """
    sure = np.zeros(len(frame), dtype=np.bool_)
    times = frame["timestamp"].dt.cast_time_unit("us").to_physical().to_numpy()
    repeated = is_repeated.to_numpy()
    values = frame.drop("row", strict=False)
    copies = (
        ~values.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()
        if is_unique
        else np.zeros(len(frame), dtype=np.bool_)
    )
    symbols = frame["symbol"]
    for symbol in symbols.filter(is_repeated).drop_nulls().unique().to_list():
        own = np.flatnonzero(
            symbols.eq_missing(pl.Series([symbol], dtype=symbols.dtype)).to_numpy()
        )
        own = own[~copies[own]]
        order = _in_time(own, times[own[~repeated[own]]])
        if order is not None:
            asked = order[repeated[order]]
            sure[asked] = _before_the_turn(times[asked], is_unique)
    if copies.any():
        sure = _as_their_first(values, sure)
    return pl.Series(sure)


def _in_time(rows: NDArray[np.intp], known: Ints) -> NDArray[np.intp] | None:
    """Return rows in order of time, as times that are known show it; None where none do."""
    steps = np.diff(known)
    if not steps.any():
        return None
    if (steps >= 0).all():
        return rows
    return rows[::-1] if (steps <= 0).all() else None


def _before_the_turn(times: Ints, is_unique: bool) -> NDArray[np.bool_]:
    """Return which rows come before the clock goes back, once, in their change of clocks."""
    steps = np.diff(times)
    blocks = np.split(np.arange(len(times)), np.flatnonzero(np.abs(steps) > APART_US) + 1)
    sure = np.zeros(len(times), dtype=np.bool_)
    for block in blocks:
        own = np.diff(times[block])
        turns = np.flatnonzero((own <= 0) if is_unique else (own < 0)) + 1
        if len(turns) == 1:
            sure[block[: turns[0]]] = True
    return sure


def _as_their_first(values: pl.DataFrame, sure: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return what is sure of copies as it is of the row that they repeat."""
    marked = values.select(pl.struct(pl.all()).alias("row")).with_columns(sure=pl.Series(sure))
    return marked.select(pl.col("sure").first().over("row")).to_series().to_numpy()
