"""Samples of data: what `registry/trial_data.py` keeps, taken from bars or from rows.

A day of bars shorter than a day ends at midnight UTC: a bar that closes at 00:00 belongs to the day
before. Rows have digests of their values, whatever their columns are called and in whatever order
they stand. A column that tells rows apart (fractions, or texts, most of them different) has digests
of its own, so that a table with further columns is known again. The time of rows is left out: one
that is only their place in the file moves with every row before it.
"""

import hashlib
from collections.abc import Iterator
from itertools import islice

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.bars import parse_interval
from registry.trial_data import (
    Digests,
    SymbolSample,
    TrialData,
    hashed,
    sample_dates,
    sample_digests,
)

DAY = 86_400_000_000
TELLING = 0.9
"""Least share of different values of a column that tells rows apart: two columns of prices of two
decimals that repeat this little have few prices in common by chance."""
MOST_COLUMNS = 256


def sampled(frame: pl.DataFrame, interval: str, sha256: str) -> TrialData:
    """Return the sample of checked bars, or of rows where there is no interval.

    Args:
        frame: with a column `timestamp`, sorted; bars also have `symbol` and `close`.
        sha256: digest of the data.
    """
    times = frame["timestamp"].to_physical()
    first, last = int(times.min()), int(times.max())  # type: ignore[arg-type]
    if interval:
        symbols = tuple(_symbols(frame, is_short=_is_short(interval)))
        names = tuple(symbol.symbol for symbol in symbols)
        return TrialData(sha256, names, interval, first, last, symbols)
    rows = frame.drop("timestamp")
    digests = tuple(_digests(rows))
    return TrialData(sha256, tuple(sorted(rows.columns)), "", first, last, digests=digests)


def _is_short(interval: str) -> bool:
    return parse_interval(interval).total_seconds() < DAY / 1e6


def _symbols(frame: pl.DataFrame, *, is_short: bool) -> Iterator[SymbolSample]:
    parts = frame.select("symbol", "timestamp", "close").partition_by("symbol", as_dict=True)
    for (symbol,), rows in sorted(parts.items()):
        times, close = rows["timestamp"].to_physical().to_numpy(), rows["close"].to_numpy()
        days, last_bar = _days(times, is_short=is_short)
        daily = sample_dates(days, close[last_bar])
        bars = sample_dates(times, close) if is_short else None
        yield SymbolSample(str(symbol), int(days[0]), int(days[-1]), daily, bars)


def _days(
    times: NDArray[np.int64], *, is_short: bool
) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Return the days since 1970 that have bars, and the number of the last bar of each."""
    day = (times - 1 if is_short else times) // DAY
    last = np.flatnonzero(np.diff(day, append=day[-1:] + 1))
    return day[last], last


def _digests(rows: pl.DataFrame) -> Iterator[Digests]:
    """Yield the digests of whole rows, then those of each column that tells rows apart."""
    values = [_hashes(rows[name]) for name in rows.columns]
    with np.errstate(over="ignore"):  # a sum: the order of the columns does not count
        whole = sum(values, np.zeros(len(rows), dtype=np.uint64))
    yield sample_digests(_each_once(whole))
    telling = (
        sample_digests(found)
        for name, found in zip(rows.columns, values, strict=True)
        if _may_tell_rows_apart(rows[name])
    )
    most = TELLING * len(rows)
    yield from islice((found for found in telling if found.n_values >= most), MOST_COLUMNS)


def _hashes(column: pl.Series) -> NDArray[np.uint64]:
    """Return a hash per value: of numbers to float32, of texts without case and outer spaces."""
    if column.dtype.is_numeric():
        numbers = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
        with np.errstate(over="ignore"):
            rounded = numbers.astype(np.float32).astype(np.float64)
        return hashed(np.where(np.isnan(rounded), np.nan, rounded) + 0.0)
    texts = column.cast(pl.String, strict=False).fill_null("")
    plain = texts.str.strip_chars().str.to_lowercase()
    distinct = plain.unique().alias("text")
    digests = pl.Series("digest", [_digest(text) for text in distinct], dtype=pl.UInt64)
    found = (
        plain.alias("text")
        .to_frame()
        .join(pl.DataFrame([distinct, digests]), on="text", how="left", maintain_order="left")
    )
    return np.asarray(found["digest"].to_numpy(), dtype=np.uint64)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _each_once(digests: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return digests of which the second of two equal ones differs from the first."""
    order = np.argsort(digests, kind="stable")
    is_first = np.diff(digests[order], prepend=~digests[order[:1]]) != 0
    starts = np.flatnonzero(is_first)
    repeated = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    with np.errstate(over="ignore"):
        return hashed(digests[order] + hashed(repeated.astype(np.int64)))


def _may_tell_rows_apart(column: pl.Series) -> bool:
    """Whether a column holds fractions or texts."""
    if not column.dtype.is_float():
        return column.dtype == pl.String
    known = column.drop_nulls().drop_nans()
    return not (known == known.round(0)).all()
