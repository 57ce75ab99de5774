"""Executors: one thread per kind of work, with a limit on how many calls may wait for it.

The event loop only waits. Only one thread at a time may call a predictor, so predictions have an
executor of one thread. Loads have another, so that a slow load does not delay an answer.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

from registry.errors import OverloadedError

T = TypeVar("T")


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

    def close(self) -> None:
        """Finish what has begun, drop what waits."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _leave(self) -> None:
        with self._lock:
            self._waiting -= 1
