"""HEAD: what GET answers, without its body; at every address that takes GET."""

import asyncio
from collections.abc import Iterator

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadAsGet:
    """ASGI middleware around the whole application, which sees a GET instead of a HEAD.

    A stream that has begun is told that the caller has gone, so it ends at once.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        answer = _Bodyless(send)
        await self._app({**scope, "method": "GET"}, _nothing(answer.has_begun), answer.send)
        if answer.has_begun.is_set():
            await send({"type": "http.response.body", "body": b""})


class _Bodyless:
    """The way out: lets the head through and no byte of the body."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = asyncio.Event()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._send(message)
            self.has_begun.set()


def _nothing(has_begun: asyncio.Event) -> Receive:
    """Return the way in of a request without a body, whose caller leaves when he has the head."""
    messages: Iterator[Message] = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Message:
        if (message := next(messages, None)) is not None:
            return message
        await has_begun.wait()
        return {"type": "http.disconnect"}

    return receive
