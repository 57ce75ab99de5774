"""One prediction at the socket: latencies of a running server, asked by a raw client.

The server has one core, the client another (Linux): whole HTTP/1.1 requests prepared as bytes, on
connections that stay open. Every answer must be 200 and without an error inside. A version is
trained and served in a temporary directory.
"""

import argparse
import json
import os
import selectors
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import numpy as np

from bench.figures import Figure, report
from bench.loop import MAIN, MODEL, environment_of, mlflow_run, process
from demo.market import Replay
from registry.command_line import run

N_WARM, N_ALONE, N_TOGETHER = 500, 2_000, 5_000
CONNECTIONS, CLIENTS = 10, 100
CHUNK = 20_000
OK = b"HTTP/1.1 200 "


@dataclass(slots=True)
class Connection:
    """A socket with one request under way."""

    socket: socket.socket
    sent_at: float = 0.0
    answer: bytearray = field(default_factory=bytearray)

    def send(self, request: bytes) -> None:
        """Send a request and forget the answer before."""
        self.answer.clear()
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Read what has come; return whether the answer is whole."""
        chunk = self.socket.recv(262_144)
        if not chunk:
            raise ConnectionError("the server hung up")
        self.answer += chunk
        head, end, body = self.answer.partition(b"\r\n\r\n")
        if not end:
            return False
        at = head.lower().index(b"content-length:") + 15
        return len(body) >= int(head[at:].split(b"\r\n", 1)[0])

    @property
    def is_good(self) -> bool:
        """Whether the answer is 200 and has no error inside."""
        return self.answer.startswith(OK) and b'"errors":{}' in self.answer


class Server:
    """The address of a server and the requests that are sent to it."""

    def __init__(self, url: str, symbols: Sequence[str]) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 8400)
        self.one = self.predict(symbols[:1])
        self.twenty = self.predict(symbols)
        self.each = [self.predict([symbol]) for symbol in symbols]

    def predict(self, symbols: Sequence[str]) -> bytes:
        """Return the bytes of a request for the bars held."""
        return self.post("/predict", {"model": MODEL, "symbols": list(symbols)})

    def post(self, path: str, body: object) -> bytes:
        """Return the bytes of a request."""
        content = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content

    def connect(self) -> Connection:
        """Open a connection."""
        opened = socket.create_connection(self._address, timeout=60)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Connection(opened)


def alone(server: Server, request: bytes, n: int) -> list[float]:
    """Return the milliseconds of `n` requests, one after another on one connection."""
    connection, found = server.connect(), []
    for _ in range(n):
        connection.send(request)
        while not connection.receive():
            pass
        found.append((time.perf_counter() - connection.sent_at) * 1e3)
        if not connection.is_good:
            raise ValueError(bytes(connection.answer[:500]))
    connection.socket.close()
    return found


def together(server: Server, n_connections: int, n: int) -> tuple[list[float], int]:
    """Return the milliseconds of `n` requests on several connections at once, and the failures.

    Each connection asks about a symbol of its own while there are as many, and sends its next
    request as soon as it has its answer.
    """
    selector, found, n_failed, n_sent = selectors.DefaultSelector(), [], 0, 0
    for i in range(n_connections):
        connection, request = server.connect(), server.each[i % len(server.each)]
        selector.register(connection.socket, selectors.EVENT_READ, (connection, request))
        connection.send(request)
        n_sent += 1
    while len(found) + n_failed < n_sent:
        for key, _ in selector.select(60):
            connection, request = key.data
            if not connection.receive():
                continue
            found.append((time.perf_counter() - connection.sent_at) * 1e3)
            n_failed += not connection.is_good
            if n_sent < n:
                connection.send(request)
                n_sent += 1
            else:
                selector.unregister(connection.socket)
                connection.socket.close()
    return found, n_failed


@contextmanager
def posting(server: Server, requests: Sequence[bytes]) -> Iterator[list[float]]:
    """Post bars while the block runs, each 20 ms after the answer to the one before.

    Yields the milliseconds of each post, which grow while the block runs.
    """
    stop, found = threading.Event(), list[float]()

    def post() -> None:
        connection = server.connect()
        for request in requests:
            if stop.wait(0.02):
                return
            connection.send(request)
            while not connection.receive():
                pass
            found.append((time.perf_counter() - connection.sent_at) * 1e3)

    thread = threading.Thread(target=post)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def measure(server: Server, bars: Sequence[bytes]) -> Iterator[Figure]:
    """Yield the figures."""
    alone(server, server.one, N_WARM)
    one = alone(server, server.one, N_ALONE)
    yield from _of("1_held", one, "one held symbol, one connection")
    yield from _of("20_held", alone(server, server.twenty, N_ALONE // 2), "twenty held symbols")
    began = time.perf_counter()
    with posting(server, bars) as posts:
        busy = alone(server, server.one, N_ALONE)
        seconds, n_posts = time.perf_counter() - began, len(posts)
    added = float(np.quantile(busy, 0.99) - np.quantile(one, 0.99))
    yield from _of("1_held_while_posting", busy, "20 bars posted again and again beside it")
    yield Figure("posts_beside_it_per_s", n_posts / seconds, "1/s", "20 ms after each answer")
    yield Figure("posts_beside_it_p50_ms", float(np.median(posts)), "ms", "20 bars, on disk")
    yield Figure("posting_adds_to_p99_ms", added, "ms", "")
    many, _ = together(server, CONNECTIONS, N_TOGETHER)
    yield from _of(f"1_held_{CONNECTIONS}_connections", many, "closed loop")
    crowd, n_failed = together(server, CLIENTS, CLIENTS * 20)
    yield from _of(f"1_held_{CLIENTS}_connections", crowd, "closed loop")
    yield Figure("errors_of_100_clients", n_failed, "", f"of {len(crowd)}")


def _of(name: str, found: list[float], what: str) -> Iterator[Figure]:
    note = f"{what}; median of {len(found)}"
    yield Figure(f"{name}_p50_ms", float(np.median(found)), "ms", note)
    yield Figure(f"{name}_p99_ms", float(np.quantile(found, 0.99)), "ms", "")


def _pin(core: int) -> None:
    with suppress(AttributeError, OSError):  # not Linux, or one core alone
        os.sched_setaffinity(0, {core})


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser("python -m bench.serving", description=__doc__)
    parser.parse_args()
    with TemporaryDirectory() as folder:
        environment = environment_of(Path(folder))
        tracking = environment["MLFLOW_TRACKING_URI"]
        url = f"http://127.0.0.1:{environment['ML_ENGINE_PORT']}"
        with process("registry.tracking_server", environment, Path(folder), f"{tracking}/health"):
            mlflow_run("main", MAIN, environment)
            _pin(0)  # the server inherits it
            with process("serving.app", environment, Path(folder), f"{url}/health"):
                _pin(1)
                figures = list(_asked(url))
    report("serving", figures, {"n_alone": N_ALONE, "n_together": N_TOGETHER})


def _asked(url: str) -> list[Figure]:
    print("asking", file=sys.stderr, flush=True)
    replay = Replay.of_sample()
    history = replay.history(MAIN["end"])
    server = Server(url, sorted({str(bar["symbol"]) for bar in history}))
    connection = server.connect()
    for at in range(0, len(history), CHUNK):
        _send(connection, _bars(server, history[at : at + CHUNK]))
    deadline = time.monotonic() + 60
    while not _send(connection, server.one).startswith(OK):
        if time.monotonic() > deadline:
            sys.exit(f"serving does not answer: {bytes(connection.answer[:500])!r}")
        time.sleep(0.2)
    days = replay.days("2007-01-01", "2008-12-31")
    return list(measure(server, [_bars(server, bars) for _, bars in days]))


def _send(connection: Connection, request: bytes) -> bytearray:
    connection.send(request)
    while not connection.receive():
        pass
    return connection.answer


def _bars(server: Server, bars: Sequence[object]) -> bytes:
    return server.post("/bars", {"bars": bars, "interval": "1d", "price_basis": "adjusted"})


if __name__ == "__main__":
    run(main)
