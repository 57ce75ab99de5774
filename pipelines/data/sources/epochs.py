"""Epochs: times as counts of seconds, milliseconds, microseconds or nanoseconds since 1970.

Each count has the unit that its number of digits shows, so that the unit may change inside a file.
"""

import re
from collections.abc import Sequence

import polars as pl

COUNT = r"^(\d{9,20})(?:\.(\d+))?$"
EPOCH_DIGITS = {9: "s", 10: "s", 12: "ms", 13: "ms", 15: "us", 16: "us", 18: "ns", 19: "ns"}
"""Digits -> unit of a count since 1970; the shorter one of each is before September 2001."""
DAY_MS = 86_400_000
DATED_NAME = re.compile(r"(\d{8})(?!\d)")
_FACTORS = {"s": 1_000_000, "ms": 1000, "us": 1}
_NOUNS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


def since_1970(
    texts: pl.Series, rows: Sequence[int] | pl.Series
) -> tuple[pl.Series, tuple[str, ...]] | None:
    """Return times counted from 1970, UTC, and what is to be said of them; None if these are none.

    Args:
        texts: one count per row, without nulls.
        rows: the rows' numbers in the file, for the notes.
    """
    parts = texts.str.extract_groups(COUNT).struct.unnest()
    counts, decimals = (parts[name] for name in parts.columns)
    if counts.null_count():
        return None
    units = counts.str.len_chars().replace_strict(EPOCH_DIGITS, default=None)
    units = units.alias("unit").cast(pl.String)
    if units.null_count() or decimals.filter((units != "s").fill_null(value=False)).count():
        return None
    whole = counts.cast(pl.Int64, strict=False)
    fraction = ("0." + decimals.fill_null("0")).cast(pl.Float64)
    frame = pl.DataFrame([units, whole.alias("n"), fraction.alias("fraction")])
    values = frame.select(
        pl.when(pl.col("unit") == "ns")
        .then(pl.col("n") // 1000)
        .otherwise(
            pl.col("n") * pl.col("unit").replace_strict(_FACTORS, default=1)
            + (pl.col("fraction") * 1_000_000).round().cast(pl.Int64)
        )
        .cast(pl.Datetime("us", "UTC"))
        .alias("timestamp")
    ).to_series()
    if values.null_count():
        return None
    return values, _changes(units, rows)


def _changes(units: pl.Series, rows: Sequence[int] | pl.Series) -> tuple[str, ...]:
    """Return one note where the unit of counts changes inside the file."""
    at = (units != units.shift()).fill_null(value=False)
    if not at.any():
        return ()
    first = int(at.arg_max() or 0)
    before, after = _NOUNS[units[first - 1]], _NOUNS[units[first]]
    times = f" (the unit changes {at.sum()} times)" if at.sum() > 1 else ""
    return (f"times are {before} since 1970, from row {rows[first]} on {after}{times}",)


def since_midnight(column: pl.Series, name: str) -> pl.Series | None:
    """Return naive times of milliseconds of the day that a file's name begins with, as Lean writes.

    None where the name begins with no day, or the column counts something else.
    """
    named = DATED_NAME.match(name)
    texts = column.cast(pl.String)
    counts = texts.str.extract(r"^(\d{1,8})$", 1).cast(pl.Int64)
    if named is None or counts.null_count() or not (counts < DAY_MS).all():
        return None
    days = pl.Series([named[1]]).str.to_datetime("%Y%m%d", time_unit="us", strict=False)
    is_dated = texts.str.to_date("%Y%m%d", strict=False).null_count() < len(texts)
    if is_dated or days.null_count():
        return None
    return pl.select(
        pl.lit(days[0]).cast(pl.Datetime("us")) + pl.lit(counts) * pl.duration(milliseconds=1)
    ).to_series()
