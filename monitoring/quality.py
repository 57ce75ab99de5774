"""Quality: is a window the market or a broken feed? Asked before drift is.

A window that fails here is `bad_data`: an incident for a person, never a reason to retrain, because
a model fitted on a broken feed would be fitted to the fault.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.recipes.reference import feature_columns
from registry.contract import Json

MAX_NULL_RATE = 0.02
MAX_OUT_OF_RANGE = 0.05
RANGE_WIDENING = 10.0
UNIT_FACTORS = (100.0, 1000.0, 1e4, 1e6)
UNIT_TOLERANCE = 2.0
MAX_FROZEN_RATE = 0.5
MAX_AGE_BARS = 5
UNLIKELY = 1e-6


@dataclass(frozen=True, slots=True)
class Check:
    """One question about a window; `detail` names the columns or numbers behind a failure."""

    name: str
    passed: bool
    detail: str = ""


def check_window(current: pl.DataFrame, reference: pl.DataFrame) -> tuple[Check, ...]:
    """Return every check of a window.

    Args:
        current: symbol, timestamp and the window's features.
        reference: symbol, timestamp, one float column per feature; the version's training rows.

    The checks: `schema` (same features, each a number), `nulls` (no column is missing or not
    finite in over 2 % more of the rows than in the reference), `range` (at most 5 % of a column
    outside the reference's range widened ten times its width on each side), `constant` (no column
    is one value in the window that in the reference would be so less than once in a million
    windows), `frozen` (at most half the rows repeat the symbol's previous row in
    every column), `unit` (no column's typical size is 100, 1,000, 10,000 or 1,000,000 times the
    reference's, or that fraction), `fresh` (no symbol is more than 5 bars behind the newest).
    """
    names = feature_columns(reference)
    if (missing := [n for n in names if n not in current.columns]) or current.is_empty():
        return (Check("schema", False, f"missing: {', '.join(missing) or 'every row'}"),)
    values = {n: _numbers(current[n]) for n in names}
    before = {n: _numbers(reference[n]) for n in names}
    known = {n: _finite(v) for n, v in before.items()}
    return (
        Check("schema", True),
        _nulls(values, before),
        _range(values, known),
        _constant(values, known),
        _frozen(current, names),
        _unit(values, known),
        _fresh(current),
    )


def failures(checks: Sequence[Check]) -> str:
    """Return the failed checks in one line; empty when all passed."""
    return "; ".join(f"{check.name}: {check.detail}" for check in checks if not check.passed)


def to_json(checks: Sequence[Check]) -> dict[str, Json]:
    """Return the checks as they are stored in `drift_reports.quality`."""
    return {check.name: {"passed": check.passed, "detail": check.detail} for check in checks}


Columns = Mapping[str, NDArray[np.float64]]


def _numbers(column: pl.Series) -> NDArray[np.float64]:
    return np.asarray(column.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy())


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(values[np.isfinite(values)])


def _verdict(name: str, bad: Sequence[str]) -> Check:
    return Check(name, not bad, ", ".join(bad))


def _nulls(values: Columns, before: Columns) -> Check:
    rates = {n: float(np.mean(~np.isfinite(v))) for n, v in values.items()}
    usual = {n: float(np.mean(~np.isfinite(v))) for n, v in before.items()}
    bad = [f"{n} {r:.0%}" for n, r in rates.items() if r > usual[n] + MAX_NULL_RATE]
    return _verdict("nulls", bad)


def _range(values: Columns, known: Columns) -> Check:
    bad = []
    for name, column in values.items():
        low, high = known[name].min(), known[name].max()
        room = RANGE_WIDENING * max(float(high - low), 1e-12)
        found = _finite(column)
        outside = float(np.mean((found < low - room) | (found > high + room))) if len(found) else 0
        if outside > MAX_OUT_OF_RANGE:
            bad.append(f"{name} {outside:.0%} outside [{low:.3g}, {high:.3g}]")
    return _verdict("range", bad)


def _constant(values: Columns, known: Columns) -> Check:
    bad = []
    for name, column in values.items():
        found = _finite(column)
        if len(found) < 2 or np.ptp(found) > 0 or np.ptp(known[name]) == 0:
            continue
        usual = float(np.mean(known[name] == found[0]))
        if usual ** len(found) < UNLIKELY:
            bad.append(f"{name} is {found[0]:.6g} in every row")
    return _verdict("constant", bad)


def _frozen(current: pl.DataFrame, names: Sequence[str]) -> Check:
    moved = [pl.col(n) != pl.col(n).shift(1).over("symbol") for n in names]
    later = pl.col("timestamp").shift(1).over("symbol").is_not_null()
    rows = current.sort("symbol", "timestamp").select(
        later.alias("later"), pl.any_horizontal(moved).fill_null(True).alias("moved")
    )
    compared = rows.filter("later")
    rate = 0.0 if compared.is_empty() else 1 - float(np.mean(compared["moved"].to_numpy()))
    return Check("frozen", rate <= MAX_FROZEN_RATE, f"{rate:.0%} of rows repeat the one before")


def _unit(values: Columns, known: Columns) -> Check:
    bad = []
    for name, column in values.items():
        found = _finite(column)
        size, usual = _size(found), _size(known[name])
        if not size or not usual:
            continue
        ratio = max(size / usual, usual / size)
        close = [f for f in UNIT_FACTORS if f / UNIT_TOLERANCE < ratio < f * UNIT_TOLERANCE]
        if close:
            bad.append(f"{name} is {size / usual:.3g} times its usual size")
    return _verdict("unit", bad)


def _size(values: NDArray[np.float64]) -> float:
    return float(np.median(np.abs(values))) if len(values) else 0.0


def _fresh(current: pl.DataFrame) -> Check:
    times = sorted(current["timestamp"].unique().to_list())
    allowed = times[-min(len(times), MAX_AGE_BARS + 1)]
    newest = current.group_by("symbol").agg(pl.col("timestamp").max()).sort("symbol")
    stale = newest.filter(pl.col("timestamp") < allowed)["symbol"].to_list()
    return _verdict("fresh", [f"{symbol} stopped" for symbol in stale])
