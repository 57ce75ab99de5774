"""ISO times: text -> time, and never a Unix time in disguise."""

from datetime import UTC, datetime

from registry.errors import ParameterError


def read_iso(text: str) -> datetime:
    """Return the date or time written as ISO 8601, naive where it has no zone.

    More than the eight digits of a date are no ISO time that anybody writes: Python's parser reads
    milliseconds since 1970 as a minute of the year 1700.

    Raises:
        ValueError: it is not.
    """
    if len(text) > 8 and text.isdigit():
        raise ValueError(f"expected an ISO 8601 time, got {len(text)} digits")
    return datetime.fromisoformat(text)


def parse_time(name: str, text: str) -> datetime | None:
    """Return the UTC time written as ISO 8601; None when empty; no zone means UTC.

    Raises:
        ParameterError: not ISO 8601.
    """
    if not text:
        return None
    try:
        time = read_iso(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise ParameterError(name, text, "an ISO date or time such as 2006-12-31") from exc
