"""Executors: one thread per kind of work, with a limit on how many calls may wait for it.

The event loop only waits. Only one thread at a time may call a predictor, so predictions have an
executor of one thread. Loads have another, so that a slow load does not delay an answer.

Work that takes less time than its way to a thread and back is computed on the event loop, when the
thread is idle: two threads that want the interpreter in turn cost more than the work (`Pace`). It
waits for what the thread has begun or was given before it, and never for what came later.
"""

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from time import perf_counter, thread_time
from typing import Any, TypeVar

from registry import thread_priority
from registry.errors import OverloadedError

T = TypeVar("T")
QUICK_SECONDS = 0.003
"""Work that is expected to take longer never runs on the event loop."""
FORGOTTEN = 0.7
"""What remains of the slowest call at each quicker one after it."""
MOST_KINDS = 10_000


class Pace:
    """How long one piece of each kind of work takes: the slowest of late, slowly forgotten.

    A call has costs of its own, so a piece of many is cheaper than one alone: calls of about the
    same size (to a factor of two) are compared.

    An unknown kind counts as slow. So a call that was slow (new bars, a cold model) sends the next
    ones to the thread until quick calls have outweighed it.
    """

    def __init__(self) -> None:
        self._seconds: dict[Hashable, float] = {}

    def is_quick(self, kind: Hashable, n: int) -> bool:
        """Return whether `n` pieces are expected to take less than `QUICK_SECONDS`."""
        seconds = self._seconds.get((kind, n.bit_length()))
        return seconds is not None and seconds * n < QUICK_SECONDS

    def learn(self, kind: Hashable, n: int, seconds: float) -> None:
        """Take in how long `n` pieces took."""
        if len(self._seconds) >= MOST_KINDS:
            self._seconds.clear()
        kind = (kind, n.bit_length())
        before = self._seconds.get(kind, 0.0)
        self._seconds[kind] = max(seconds / max(1, n), FORGOTTEN * before)


class Executor:
    """One thread and the queue before it.

    Args:
        name: of the thread, for people who look at a running process.
        max_waiting: calls that may wait or run at once.
        is_behind: whether the event loop goes before it where both want to compute.
    """

    def __init__(self, name: str, max_waiting: int, *, is_behind: bool = False) -> None:
        begin = thread_priority.lower if is_behind else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name, initializer=begin)
        self._max_waiting, self._waiting, self._in_thread = max_waiting, 0, 0
        self._newest: Future[Any] | None = None  # what the thread was given last
        self._lock = Lock()  # guards the counts, which both sides of the queue change
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
        self._enter(1)
        future = self._newest = self._thread.submit(work)
        future.add_done_callback(lambda _: self._leave(1))
        return await asyncio.wrap_future(future)

    def is_ready(self, kind: Hashable, n: int) -> bool:
        """Return whether `run_here` may be called now: the work is quick, and nothing else runs."""
        return self._in_thread == 0 and self._pace.is_quick(kind, n)

    def run_here(self, work: Callable[[], T], kind: Hashable, n: int) -> T:
        """Compute `work` on the event loop, right after `is_ready` has said yes.

        Call it from one event loop only: that keeps it the only thread that computes here.
        """
        return self._timed(work, kind, n, perf_counter)  # what holds the loop up counts, disks too

    async def run_paced(self, work: Callable[[], T], kind: Hashable, n: int) -> T:
        """Compute quick `work` on the event loop as soon as nothing else runs; other work as `run`.

        Args:
            kind: what takes about the same time for each of the `n` pieces.

        Raises:
            OverloadedError: as `run`.
        """
        before = self._newest
        if self._in_thread and before is not None and self._pace.is_quick(kind, n):
            self._enter(0)
            try:
                await asyncio.wait([_end_of(before)])
            finally:
                self._leave(0)
        if self.is_ready(kind, n):
            return self.run_here(work, kind, n)
        # waiting for the interpreter does not count
        return await self.run(lambda: self._timed(work, kind, n, thread_time))

    def close(self) -> None:
        """Finish what has begun, drop what waits."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _timed(
        self, work: Callable[[], T], kind: Hashable, n: int, clock: Callable[[], float]
    ) -> T:
        began = clock()
        try:
            return work()
        finally:
            self._pace.learn(kind, n, clock() - began)

    def _enter(self, in_thread: int) -> None:
        with self._lock:
            if self._waiting >= self._max_waiting:
                raise OverloadedError(self._waiting, self._max_waiting)
            self._waiting += 1
            self._in_thread += in_thread

    def _leave(self, in_thread: int) -> None:
        with self._lock:
            self._waiting -= 1
            self._in_thread -= in_thread
            if self._in_thread == 0:
                self._newest = None  # and with it its result


def _end_of(future: "Future[Any]") -> "asyncio.Future[Any]":
    """Return what ends with `future`; its error is its caller's."""
    ended = asyncio.wrap_future(future)
    ended.add_done_callback(lambda done: done.cancelled() or done.exception())
    return ended
