"""Streams of one job: its state as server-sent events, until it has ended."""

import asyncio
from collections.abc import Callable

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from registry.database import AWAY
from registry.errors import JobNotFoundError
from serving.event_streams import Seen
from serving.security import principal_of
from serving.service import service_of

EVENTS = "text/event-stream"
STREAM = {"description": "Events until the job ends.", "content": {EVENTS: {}}}
ENDED = {"description": "The client has seen the end of the job."}


async def job_stream(request: Request, look: Callable[[], Seen]) -> Response:
    """Return a stream of what `look` sees of a job; 204 where the client has seen its end.

    Args:
        look: reads the job; called in a thread.

    Raises:
        TooManyStreamsError: as many as are allowed are open.
        MLEngineError: what the first look raises.
    """
    service, principal = service_of(request), principal_of(request)
    known = request.headers.get("last-event-id")
    seen = await asyncio.to_thread(look)
    if seen.is_last and seen.id == known:
        return Response(status_code=204)
    service.streams.check_room()

    async def look_again() -> Seen | None:
        if not service.security.is_valid(principal):  # revoked meanwhile
            return None
        try:
            return await asyncio.to_thread(look)
        except (JobNotFoundError, *AWAY):  # a client comes back for the rest
            return None

    return StreamingResponse(
        service.streams.follow(look_again, known),
        media_type=EVENTS,
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )
