"""What surrounds every request: an id, a limit on the body, metrics, and the answer to a bug.

Plain ASGI, outside of all routes. Deliberate errors are answered inside (`serving.errors`); what
arrives here as an exception is a bug: it is logged with its traceback and answered 500 with the
request's id, never with the traceback.
"""

import asyncio
import os
import re
from dataclasses import dataclass
from time import perf_counter

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import response
from serving.metrics import Metrics

REQUEST_ID = re.compile(r"^[A-Za-z0-9_.\-]{1,64}$")
UNKNOWN_ROUTE = "none"
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
UNKNOWN_METHOD = "other"
"""Label of every other method, so that a caller cannot create time series."""

log = structlog.get_logger("serving")


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How long a body may be, and how long it may take; each with its setting's name."""

    max_bytes: int
    seconds: float
    bytes_setting: str = "MAX_BODY_SIZE"
    seconds_setting: str = "DEFAULT_TIMEOUT"


class Envelope:
    """ASGI middleware around the whole application.

    A body that is too long is answered 413, one that does not arrive in time 408. `limits` hold
    unless the guard put others into the request's state under `body_limits`.
    Takes `X-Request-Id` when it is plain (64 letters, digits, `._-`), makes one otherwise, and
    puts it on every answer.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, limits: BodyLimits) -> None:
        self._app, self._metrics, self._limits = app, metrics, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, request_id)
        started = perf_counter()
        try:
            await self._app(scope, self._limited(scope, receive), answer.send)
        except Exception:
            log.exception("bug", path=scope["path"], request_id=request_id)
            if answer.status is not None:
                raise
            text = f"internal error; the log says more under request id {request_id}"
            body = response(500, "internal_error", text, {"request_id": request_id})
            await body(scope, receive, answer.send)
        finally:
            self._count(scope, answer.status, perf_counter() - started)

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        read, is_whole, state = 0, False, scope["state"]
        started = asyncio.get_running_loop().time()

        async def limited() -> Message:
            nonlocal read, is_whole
            if is_whole:  # what comes now is the caller hanging up, whenever that is
                return await receive()
            limits: BodyLimits = state.get("body_limits", self._limits)
            try:
                async with asyncio.timeout_at(started + limits.seconds):
                    message = await receive()
            except TimeoutError:
                named = f"{limits.seconds:g} s ({limits.seconds_setting})"
                late = f"the body has not arrived after {named}"
                raise HTTPException(408, late, headers={"Connection": "close"}) from None
            read += len(message.get("body", b""))
            if read > limits.max_bytes:
                named = f"{limits.max_bytes} bytes ({limits.bytes_setting})"
                long = f"the body is longer than {named}"
                raise HTTPException(413, long, headers={"Connection": "close"})
            is_whole = not message.get("more_body", False)
            return message

        return limited

    def _count(self, scope: Scope, status: int | None, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", UNKNOWN_ROUTE)
        method = scope["method"] if scope["method"] in METHODS else UNKNOWN_METHOD
        self._metrics.requests(route, method, status or 499).inc()
        self._metrics.request_seconds(route).observe(seconds)
        self._metrics.traffic.count_request(route, status or 499)


class _Answer:
    """The way out: remembers the status and adds the request id."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self._request_id = send, request_id
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", []), (b"x-request-id", self._request_id.encode())]
            message = {**message, "headers": headers}
        await self._send(message)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and REQUEST_ID.match(text := str(value, "latin-1")):
            return text
    return os.urandom(16).hex()
