"""Bars: the one checked frame of market data that everything downstream takes.

A frame has exactly the columns of `SCHEMA`, sorted by symbol and time, unique in both, with
positive finite prices and high >= low. A column that the source does not have is null, never
invented. `check_bars` makes such a frame or says in one line why it cannot; its rules are in
`pipelines/data/bar_rules.py`.

Times are UTC. A daily bar is labelled with 00:00 UTC of its date.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.adjustments import NO_ADJUSTMENTS, Adjustments
from pipelines.data.bar_rules import BAR_RULES, HISTORY_RULES, Ledger, is_faultless
from registry.errors import BarsError, MissingColumnsError, ParameterError, TooLittleHistoryError

TIMESTAMP = pl.Datetime("us", "UTC")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
PRICES = ("open", "high", "low", "close")
SCHEMA: dict[str, pl.DataType] = {
    "symbol": pl.String(),
    "timestamp": TIMESTAMP,
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),
    "volume": pl.Float64(),
    "vwap": pl.Float64(),
    "spread": pl.Float64(),
}


CONFORMING = {"row": pl.Int64(), **SCHEMA}
"""Columns of the frames that rules take."""


@dataclass(frozen=True, slots=True)
class BarSeries:
    """The bars of one symbol as arrays; a null is NaN.

    `timestamp` is int64 microseconds since the epoch (UTC, bar close); the others are float64,
    prices in quote currency, `spread` as a fraction of the mid price. All have length n. Series of
    one symbol and one `revision` continue each other; another one holds bars that were corrected.
    """

    symbol: str
    timestamp: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    vwap: NDArray[np.float64]
    spread: NDArray[np.float64]
    revision: int = 0

    def __len__(self) -> int:
        return len(self.timestamp)

    def slice(self, start: int, stop: int) -> "BarSeries":
        """Return the bars [start, stop) as views."""
        arrays = {c: getattr(self, c)[start:stop] for c in SCHEMA if c != "symbol"}
        return BarSeries(self.symbol, revision=self.revision, **arrays)

    @classmethod
    def from_frame(cls, symbol: str, frame: pl.DataFrame, revision: int = 0) -> "BarSeries":
        """Return one symbol's rows of a checked frame (already filtered, sorted by time)."""
        columns = {c.name: c for c in frame.get_columns()}  # asked one by one takes twice as long
        arrays = {  # `to_numpy` turns the nulls of a float column into NaN
            c: columns[c].to_numpy() for c in SCHEMA if c not in ("symbol", "timestamp")
        }
        stamps = columns["timestamp"].to_numpy().view(np.int64)
        return cls(symbol, stamps, **arrays, revision=revision)


@dataclass(frozen=True, slots=True)
class Bars:
    """A checked frame with what is known about it.

    `interval` is `1d`, `1h`, `5m`, ...; `price_basis` is `adjusted`, `raw`, `mid` or `unknown`;
    `note` is a warning that every report repeats (survivorship bias); `repairs` are one line per
    kind of repair that the policy allowed; `file_sha256` is of the upload they were read from.
    `instrument` is what the source declares its symbols to be (`equity`), empty where it does not
    know: costs depend on it.
    """

    frame: pl.DataFrame
    interval: str
    price_basis: str
    source: str
    note: str = ""
    repairs: tuple[str, ...] = ()
    file_sha256: str = ""
    instrument: str = ""

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols in alphabetical order."""
        return tuple(sorted(self.frame["symbol"].unique().to_list()))

    def times(self) -> pl.Series:
        """Return the time of each bar, symbol after symbol."""
        return self.frame["timestamp"]

    def series(self) -> Iterator[BarSeries]:
        """Yield one `BarSeries` per symbol, in alphabetical order."""
        for (symbol,), rows in sorted(self.frame.partition_by("symbol", as_dict=True).items()):
            yield BarSeries.from_frame(str(symbol), rows)

    def between(self, start: datetime | None, end: datetime | None) -> "Bars":
        """Return the bars with start <= timestamp <= end; None leaves a side open."""
        keep = pl.lit(True)
        if start is not None:
            keep = keep & (pl.col("timestamp") >= start)
        if end is not None:
            keep = keep & (pl.col("timestamp") <= end)
        return replace(self, frame=self.frame.filter(keep))

    def span(self) -> tuple[datetime, datetime]:
        """Return the first and the last bar close.

        Raises:
            TooLittleHistoryError: there are no bars at all.
        """
        first, last = self.frame["timestamp"].min(), self.frame["timestamp"].max()
        if not isinstance(first, datetime) or not isinstance(last, datetime):
            raise TooLittleHistoryError(f"source {self.source!r}", 1, 0, "widen start and end")
        return first, last

    def digest(self) -> str:
        """Return the SHA-256 of what the bars say: symbols, times, values, interval, price basis.

        Equal bars have equal digests whatever source, file format or row order they came from.
        """
        sha = hashlib.sha256(f"{self.interval}\n{self.price_basis}\n".encode())
        for series in self.series():
            sha.update(f"{series.symbol}\n{len(series)}\n".encode())
            sha.update(np.ascontiguousarray(series.timestamp, dtype="<i8").tobytes())
            for column in list(SCHEMA)[2:]:
                values = getattr(series, column)
                known = np.where(np.isnan(values), np.nan, values)  # one bit pattern for every NaN
                sha.update(np.ascontiguousarray(known, dtype="<f8").tobytes())
        return sha.hexdigest()


def check_bars(
    frame: pl.DataFrame,
    *,
    policy: str,
    where: str,
    is_history: bool = True,
    adjustments: Adjustments | None = NO_ADJUSTMENTS,
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the checked frame, and one line per kind of repair or notice.

    Columns of `SCHEMA` that are absent become null; others are dropped, but for `row`: where the
    bar stood in what was read (1, 2, ... if absent), which messages name. Naive times are UTC.
    Law: a checked frame passes unchanged, without repairs (notices may come again), unless
    adjustments are asked for again.

    Args:
        frame: at least symbol, timestamp and close.
        policy: `strict` (any problem is an error) or `repair` (duplicates dropped, disorder
            sorted, bad rows removed, each reported).
        where: what the bars were read from, as messages name it.
        is_history: whether this is all there is of its symbols; if false, volumes that are all
            zero, jumps, sessions and holes are not judged, and nothing is corrected.
        adjustments: what a person knows of a history; None judges neither jumps nor sessions, for
            bars of a request: nobody can wait until a crash is told from a split.

    Raises:
        MissingColumnsError: no symbol, timestamp or close.
        BarsError: a rule is broken and the policy does not allow a repair; no row is left.
    """
    ledger = Ledger(where, policy)
    frame = _conform(frame, where)
    if not is_history and len(frame) and is_faultless(frame):
        return pl.DataFrame([frame.get_column(c) for c in SCHEMA]), ()
    corrected = adjustments.rules() if adjustments is not None else ()
    for rule in (*BAR_RULES, *corrected, *HISTORY_RULES) if is_history else BAR_RULES:
        frame = rule(frame, ledger)
    if frame.is_empty():
        raise BarsError("there is no usable row", where)
    return frame.select(*SCHEMA), tuple(ledger.lines)


def _conform(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    missing = [c for c in ("symbol", "timestamp", "close") if c not in frame.columns]
    if missing:
        raise MissingColumnsError(where or "a bar frame", missing, f"it has {frame.columns}")
    if dict(frame.schema) == CONFORMING:
        return frame
    times = frame.schema["timestamp"]
    stamp = pl.col("timestamp")
    if isinstance(times, pl.Datetime) and times.time_zone is None:
        stamp = stamp.dt.replace_time_zone("UTC")
    try:
        return frame.select(
            pl.col("row") if "row" in frame.columns else pl.int_range(1, pl.len() + 1).alias("row"),
            stamp.cast(TIMESTAMP),
            *(
                (pl.col(c) if c in frame.columns else pl.lit(None)).cast(dtype).alias(c)
                for c, dtype in SCHEMA.items()
                if c != "timestamp"
            ),
        )
    except pl.exceptions.InvalidOperationError as exc:
        reason = str(exc).splitlines()[0]
        told = "a column has the wrong type"
        raise BarsError(f"{told} ({reason})", where, told=told) from exc


def to_microseconds(time: datetime) -> int:
    """Return microseconds since the epoch, exactly; `from_microseconds` is the inverse."""
    return (time - EPOCH) // MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """Return the UTC time of microseconds since the epoch."""
    return EPOCH + timedelta(microseconds=microseconds)


INTERVAL = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
LONGEST = timedelta(days=36_600)
"""A century: a bar that is longer is a mistake."""
UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


def parse_interval(interval: str) -> timedelta:
    """Return the length of an interval written like `30s`, `5m`, `1h`, `1d`, `1w`.

    Law: `parse_interval(format_interval(length)) == length` for whole seconds.

    Raises:
        ParameterError: it is not written so, or longer than `LONGEST`.
    """
    found = INTERVAL.fullmatch(interval)
    length = int(found[1]) * UNITS[found[2]] if found else timedelta(0)
    if not timedelta(0) < length <= LONGEST:
        raise ParameterError("interval", interval, "a number and s, m, h, d or w, like 1d or 5m")
    return length


def canonical_interval(interval: str) -> str:
    """Return an interval in the largest unit that divides it: `60m` is `1h`, `24h` is `1d`.

    Raises:
        ParameterError: as `parse_interval`.
    """
    return format_interval(parse_interval(interval))


def is_same_interval(one: str, other: str) -> bool:
    """Return whether two intervals are equally long; empty ones (of tables) are alike."""
    if one == other:
        return True
    return bool(one and other) and parse_interval(one) == parse_interval(other)


def format_interval(length: timedelta) -> str:
    """Return the interval with the largest unit that divides it."""
    for unit in ("w", "d", "h", "m"):
        if length % UNITS[unit] == timedelta(0):
            return f"{length // UNITS[unit]}{unit}"
    return f"{length // UNITS['s']}s"


def infer_interval(frame: pl.DataFrame) -> str:
    """Return the interval of a checked frame: the most frequent step between bars of a symbol.

    Nights, weekends and holes are rarer than the interval itself, so they do not count. Calendar
    months (steps of 28 to 31 days) are `30d`.

    Raises:
        TooLittleHistoryError: no symbol has two bars.
    """
    steps = frame.select(pl.col("timestamp").diff().over("symbol").drop_nulls().alias("step"))
    if steps.is_empty():
        raise TooLittleHistoryError("reading the interval off the bars", 2, 1, "give interval=")
    step: timedelta = steps["step"].mode().sort()[0]
    if timedelta(days=28) <= step <= timedelta(days=31):
        return "30d"
    return format_interval(max(step, UNITS["s"]))
