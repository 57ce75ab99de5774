"""ISO times: text -> time, and never a Unix time in disguise."""

from datetime import datetime


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
