"""Executors: one thread per kind of work, with a limit on how many calls may wait for it.

The event loop only waits. Only one thread at a time may call a predictor, so predictions have an
executor of one thread. Loads have another, so that a slow load does not delay an answer.

Work that takes less time than its way to a thread and back is computed on the event loop, when the
thread is idle: two threads that want the interpreter in turn cost more than the work (`Pace`).
"""

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from time import perf_counter, thread_time
from typing import TypeVar

from registry.errors import OverloadedError

T = TypeVar("T")
QUICK_SECONDS = 0.003
"""Work that is expected to take longer never runs on the event loop."""
FORGOTTEN = 0.9
"""What remains of the slowest call at each quicker one after it."""
MOST_KINDS = 10_000


class Pace:
    """How long one piece of each kind of work takes: the slowest of late, slowly forgotten.

    An unknown kind counts as slow. So a call that was slow (new bars, a cold model) sends the next
    ones to the thread until quick calls have outweighed it.
    """

    def __init__(self) -> None:
        self._seconds: dict[Hashable, float] = {}

    def is_quick(self, kind: Hashable, n: int) -> bool:
        """Return whether `n` pieces are expected to take less than `QUICK_SECONDS`."""
        seconds = self._seconds.get(kind)
        return seconds is not None and seconds * n < QUICK_SECONDS

    def learn(self, kind: Hashable, n: int, seconds: float) -> None:
        """Take in how long `n` pieces took."""
        if len(self._seconds) >= MOST_KINDS:
            self._seconds.clear()
        before = self._seconds.get(kind, 0.0)
        self._seconds[kind] = max(seconds / max(1, n), FORGOTTEN * before)


class Executor:
    """One thread and the queue before it.

    Args:
        name: of the thread, for people who look at a running process.
        max_waiting: calls that may wait or run at once.
    """

    def __init__(self, name: str, max_waiting: int) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._max_waiting, self._waiting = max_waiting, 0
        self._lock = Lock()  # guards `_waiting`, which both sides of the queue change
        self._pace = Pace()

    @property
    def waiting(self) -> int:
        """Calls that wait or run now."""
        return self._waiting

    async def run(self, work: Callable[[], T]) -> T:
        """Compute `work` in the executor's thread and return its result.

        A caller that is cancelled while it waits takes its work out of the queue; work that has
        begun runs to its end.

        Raises:
            OverloadedError: `max_waiting` calls wait or run already.
        """
        with self._lock:
            if self._waiting >= self._max_waiting:
                raise OverloadedError(self._waiting, self._max_waiting)
            self._waiting += 1
        future = self._thread.submit(work)
        future.add_done_callback(lambda _: self._leave())
        return await asyncio.wrap_future(future)

    async def run_paced(self, work: Callable[[], T], kind: Hashable, n: int) -> T:
        """Compute `work` at once if it is known to be quick and nothing else runs, else as `run`.

        Call it from one event loop only: that keeps it the only thread that computes here.

        Args:
            kind: what takes about the same time for each of the `n` pieces.
        """

        def timed(clock: Callable[[], float]) -> T:
            began = clock()
            try:
                return work()
            finally:
                self._pace.learn(kind, n, clock() - began)

        if self._waiting == 0 and self._pace.is_quick(kind, n):
            return timed(perf_counter)  # whatever holds the event loop up counts, disks too
        return await self.run(lambda: timed(thread_time))  # waiting for the interpreter does not

    def close(self) -> None:
        """Finish what has begun, drop what waits."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _leave(self) -> None:
        with self._lock:
            self._waiting -= 1
