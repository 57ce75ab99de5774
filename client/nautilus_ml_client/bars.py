"""Bars and outcomes on their way to the server, from frames or anything that iterates."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from nautilus_ml_client import frames
from nautilus_ml_client.errors import InputError

COLUMNS = ("open", "high", "low", "close", "volume", "vwap", "spread")
Json = dict[str, Any]


def bars_of(data: Any, timezone: str | None = None) -> list[Json]:
    """Return bars with their symbols, in the order given.

    Args:
        data: a frame or mappings with `symbol`, `timestamp`, `close` and perhaps open, high, low,
            volume, vwap, spread. Other columns are left out. A date is 00:00 UTC of that day.
        timezone: IANA zone of times without one.

    Raises:
        InputError: a column is missing, or a time has no zone and none is given.
    """
    rows = frames.rows_of(data)
    return [_bar(row, i, timezone, ("symbol",)) for i, row in enumerate(rows)]


def history_of(data: Any, timezone: str | None = None) -> dict[str, list[Json]]:
    """Return symbol -> its bars, in the order given (the server wants the oldest first).

    Args:
        data: as `bars_of` takes it, or a mapping from symbol to the frame or bars of that symbol.
    """
    if not isinstance(data, Mapping):
        found: dict[str, list[Json]] = {}
        for bar in bars_of(data, timezone):
            symbol = bar.pop("symbol")
            found.setdefault(symbol, []).append(bar)
        return found
    return {
        str(symbol): [_bar(row, i, timezone) for i, row in enumerate(frames.rows_of(bars))]
        for symbol, bars in data.items()
    }


def portfolio_of(data: Any) -> Json:
    """Return a portfolio from symbol -> weight, positions, or a frame of them."""
    if isinstance(data, Mapping) and "positions" in data:
        return dict(data)
    if isinstance(data, Mapping):
        return {"positions": [{"symbol": str(s), "weight": w} for s, w in data.items()]}
    return {"positions": [_known(row) for row in frames.rows_of(data)]}


def outcomes_of(data: Any, timezone: str | None = None) -> list[Json]:
    """Return outcomes from mappings or a frame; None is left out, times get their zone."""
    return [
        {
            name: in_utc(value, timezone, f"row {i}: {name}") if name in TIMES else value
            for name, value in _known(row).items()
        }
        for i, row in enumerate(frames.rows_of(data))
    ]


TIMES = ("as_of", "known_at")


def chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Yield consecutive parts of at most `size` items."""
    if size < 1:
        raise InputError(f"batch_size: expected at least 1, got {size}")
    for start in range(0, len(items), size):
        yield items[start : start + size]


def in_utc(value: Any, timezone: str | None, where: str) -> str:
    """Return a time as ISO 8601 in UTC; text is passed on as it is.

    Raises:
        InputError: it has no zone and none is given, or it is no time.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time(), UTC)
    if not isinstance(value, datetime):
        raise InputError(f"{where}: expected a time, got {type(value).__name__}")
    if value.tzinfo is None:
        value = value.replace(tzinfo=_zone(timezone, where))
    at: datetime = value.astimezone(UTC)
    return at.isoformat().replace("+00:00", "Z")


def _zone(timezone: str | None, where: str) -> ZoneInfo:
    if timezone is None:
        raise InputError(f"{where}: the time has no zone; say timezone='UTC', or another one")
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise InputError("timezone: expected an IANA zone, such as Europe/Oslo") from None


def _bar(row: Mapping[str, Any], i: int, timezone: str | None, others: Iterable[str] = ()) -> Json:
    needed = (*others, "timestamp", "close")
    if missing := [name for name in needed if row.get(name) is None]:
        raise InputError(f"row {i}: {missing[0]} is missing; a bar needs {', '.join(needed)}")
    bar: Json = {name: str(row[name]) for name in others}
    bar["timestamp"] = in_utc(row["timestamp"], timezone, f"row {i}: timestamp")
    return bar | {name: row[name] for name in COLUMNS if row.get(name) is not None}


def _known(row: Mapping[str, Any]) -> Json:
    return {name: value for name, value in row.items() if value is not None}
