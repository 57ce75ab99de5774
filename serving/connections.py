"""Connections: limits on what comes before a request is a request.

uvicorn waits for ever for the end of a head, and takes one of any length. Here a head that is late
or long ends its connection, so that strangers cannot hold sockets and memory. Bodies have their own
limits (`serving.envelope`).
"""

import json
import resource
from asyncio import Transport

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0
MAX_HEAD_BYTES = 65_536
OPEN_FILES = 65_536


class BoundedProtocol(HttpToolsProtocol):
    """One connection whose heads come within `head_seconds` and `MAX_HEAD_BYTES`."""

    head_seconds = HEAD_SECONDS

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._is_in_head, self._head_bytes, self._n_heads = True, 0, 0
        self._late = self.loop.call_later(self.head_seconds, self._end)

    def data_received(self, data: bytes) -> None:
        """Take bytes; a head that began with them must end in time."""
        if self._is_in_head and self._late.cancelled():
            self._late = self.loop.call_later(self.head_seconds, self._end)
        head = self._n_heads if self._is_in_head else None
        super().data_received(data)
        is_same_head = self._is_in_head and head == self._n_heads
        self._head_bytes = self._head_bytes + len(data) if is_same_head else 0
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"the head is longer than {MAX_HEAD_BYTES} bytes")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._late.cancel()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """Stop waiting: the head is there."""
        self._is_in_head = False
        self._n_heads += 1
        self._late.cancel()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Expect the next head, whenever it begins."""
        self._is_in_head = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request, in the shape of every error, and hang up."""
        body = json.dumps({"error": {"code": "bad_request", "message": msg}}).encode()
        lines = (
            b"HTTP/1.1 400 Bad Request",
            b"content-type: application/json",
            b"content-length: %d" % len(body),
            b"connection: close",
        )
        self.transport.write(b"\r\n".join((*lines, b"", body)))
        self.transport.close()

    def _end(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


def allow_many_files() -> None:
    """Raise this process's limit of open files: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
