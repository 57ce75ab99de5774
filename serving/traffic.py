"""Traffic: how much was asked and answered in the last minutes, second by second.

Each count has one writer (the event loop, or the thread that predicts), so counting takes no lock;
a reader may miss what is being counted at that moment. The seconds are monotonic time: a clock that
jumps changes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

WINDOWS_MINUTES = (1, 5, 15)
N_SECONDS = 60 * max(WINDOWS_MINUTES)
POLLED = frozenset(
    {"/health", "/health/ready", "/metrics", "/system/status", "/hardware/utilization"}
)
"""Addresses that machines poll; they are not counted."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """What happened in the last minutes, or since the start where that is shorter.

    An error is a status of 500 or more; `error_rate` is their share of the requests, null without
    any request. `refused` counts 4xx, and callers that hung up. What machines poll (/health,
    /metrics, /system/status, /hardware/utilization) is left out.
    """

    seconds: float
    requests: int
    errors: int
    refused: int
    predictions: int
    requests_per_second: float
    predictions_per_second: float
    error_rate: float | None


class PerSecond:
    """Counts by second, for the last `N_SECONDS`. One thread adds; any may sum."""

    def __init__(self) -> None:
        self._slots = [(-1, 0)] * N_SECONDS  # (second, count); replaced whole, never half

    def add(self, second: int, count: int = 1) -> None:
        """Count something that happened in this second."""
        slot = second % N_SECONDS
        stamp, held = self._slots[slot]
        self._slots[slot] = (second, held + count if stamp == second else count)

    def sum(self, first: int, last: int) -> int:
        """Return what was counted from one second to another, both included."""
        return sum(count for second, count in self._slots if first <= second <= last)


class Traffic:
    """Requests and predictions of one process.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock, self._started = clock, clock()
        self._requests, self._errors, self._refused = PerSecond(), PerSecond(), PerSecond()
        self._predictions = PerSecond()

    @property
    def uptime_seconds(self) -> float:
        """Seconds since the process made this object."""
        return self._clock() - self._started

    def count_request(self, route: str, status: int) -> None:
        """Count an answer; for the event loop."""
        if route in POLLED:
            return
        second = int(self._clock())
        self._requests.add(second)
        if status >= 500:
            self._errors.add(second)
        elif status >= 400:
            self._refused.add(second)

    def count_predictions(self, n_rows: int) -> None:
        """Count rows that were answered; for the thread that predicts."""
        self._predictions.add(int(self._clock()), n_rows)

    def of_last(self, minutes: int) -> Throughput:
        """Return what happened in the last minutes (at most `max(WINDOWS_MINUTES)`)."""
        now = self._clock()
        first, last = int(now) - 60 * minutes + 1, int(now)
        seconds = max(1.0, min(60.0 * minutes, now - self._started))
        requests, errors = self._requests.sum(first, last), self._errors.sum(first, last)
        predictions = self._predictions.sum(first, last)
        return Throughput(
            seconds=round(seconds, 1),
            requests=requests,
            errors=errors,
            refused=self._refused.sum(first, last),
            predictions=predictions,
            requests_per_second=round(requests / seconds, 4),
            predictions_per_second=round(predictions / seconds, 4),
            error_rate=errors / requests if requests else None,
        )
