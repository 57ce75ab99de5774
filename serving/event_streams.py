"""Event streams: answers that stay open and send what changes, as server-sent events.

Their number is bounded, and all of them end together when the server stops. Each looks at its
subject once a second; while nothing changes a comment keeps proxies from hanging up.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from registry.errors import TooManyStreamsError

LOOK_SECONDS = 1.0
PING_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look found: `id` differs when something has changed; `data` is one line of JSON."""

    id: str
    event: str
    data: str
    is_last: bool


class EventStreams:
    """The open streams of one process; for one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._n_open = 0
        self.is_closing = False

    def close(self) -> None:
        """End every stream within a second; later ones end after their first event."""
        self.is_closing = True

    @property
    def n_open(self) -> int:
        """Number of streams that are open now."""
        return self._n_open

    def check_room(self) -> None:
        """Refuse a stream before its answer begins.

        Raises:
            TooManyStreamsError: as many as are allowed are open.
        """
        if self._n_open >= self._limit:
            raise TooManyStreamsError(self._limit)

    async def follow(
        self, look: Callable[[], Awaitable[Seen | None]], known: str | None = None
    ) -> AsyncIterator[bytes]:
        """Yield an event for each change, until the last one, or the server stops.

        Streams that pass `check_room` together and are too many end at once.

        Args:
            look: returns what is there now; None ends the stream.
            known: id of the event that the client has seen last.
        """
        if self._n_open >= self._limit:
            return
        self._n_open += 1
        try:
            async for chunk in self._chunks(look, known):
                yield chunk
        finally:
            self._n_open -= 1

    async def _chunks(
        self, look: Callable[[], Awaitable[Seen | None]], known: str | None
    ) -> AsyncIterator[bytes]:
        silent = 0.0
        while (seen := await look()) is not None:
            if seen.id != known:
                known, silent = seen.id, 0.0
                yield format_sse_event(data_str=seen.data, event=seen.event, id=seen.id)
            elif silent >= PING_SECONDS:
                silent = 0.0
                yield KEEPALIVE_COMMENT
            if seen.is_last or self.is_closing:
                return
            await asyncio.sleep(LOOK_SECONDS)
            silent += LOOK_SECONDS
