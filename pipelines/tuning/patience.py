"""Patience with what a search needs: asked again for a minute where it does not answer."""

from collections.abc import Callable
from time import monotonic, sleep
from typing import TypeVar

PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = (0.5, 5.0)
"""Before the second attempt, and at most; it doubles."""

T = TypeVar("T")


def patiently(work: Callable[[], T], *away: type[Exception]) -> T:
    """Return what `work` returns; asked again while it raises one of `away`, for a minute.

    It must be idempotent: an attempt that raised may have done its work.
    """
    deadline, pause = monotonic() + PATIENCE_SECONDS, PAUSE_SECONDS[0]
    while True:
        try:
            return work()
        except away:
            if monotonic() + pause > deadline:
                raise
        sleep(pause)
        pause = min(2 * pause, PAUSE_SECONDS[1])
