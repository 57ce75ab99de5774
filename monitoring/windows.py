"""Windows: the stretches of a prediction log that are judged.

A window is the newest `length` bar times up to its end. Ends follow each other by a fixed number of
bar times, so that judging every day or once a year finds the same windows. The first end is the
`start` asked for, else the first time with a whole window before it.

Windows a few bars apart are nearly the same window. So for the k-of-n rule only those count that
share less than half of their bar times with the one counted before them (`is_apart`).
"""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime


def window_ends(
    times: Sequence[datetime],
    length: int,
    step: int,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    last_end: datetime | None = None,
) -> list[datetime]:
    """Return the ends of the windows to judge, oldest first.

    Args:
        times: distinct bar times of the log, ascending.
        length: bar times per window.
        step: bar times from one end to the next.
        start, end: only ends in this span (both included); None leaves a side open.
        last_end: end of the newest window judged before; without `start` the next end is `step`
            bar times later. Without both, only the newest window is judged.
    """
    usable = [t for t in times[length - 1 :] if end is None or t <= end]
    if start is not None:
        return [t for t in usable if t >= start][::step]
    if last_end is not None:
        return [t for t in usable if t > last_end][step - 1 :: step]
    return usable[-1:]


def window_start(times: Sequence[datetime], length: int, end: datetime) -> datetime:
    """Return the first bar time of the window that ends at `end`."""
    return times[times.index(end) - length + 1]


def is_apart(times: Sequence[datetime], length: int, earlier: datetime, end: datetime) -> bool:
    """Return whether windows of `length` bar times share less than half of them.

    Args:
        times: distinct bar times, ascending; those before the earlier window may be missing.
        earlier, end: the ends of the two windows.
    """
    return bisect_right(times, end) - bisect_right(times, earlier) > length // 2
