import asyncio
import contextlib
import json
import socket
import threading
import time

import pytest
import uvicorn

from serving.app import listen
from serving.connections import MAX_HEAD_BYTES, BoundedProtocol, allow_many_files

HEAD = b"GET / HTTP/1.1\r\nhost: x\r\n"


async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    body = b""
    while (message := await receive()).get("more_body") or message.get("body"):
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"read %d" % len(body)})


class Hasty(BoundedProtocol):
    head_seconds = 0.3


@pytest.fixture(scope="module")
def address():
    """Where a server with hasty connections listens."""
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(
            uvicorn.Config(application, http=Hasty, lifespan="off", log_level="critical")
        )
        server.install_signal_handlers = lambda: None
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        yield listener.getsockname()
        server.should_exit = True
        thread.join()


def ask(address, *parts, pause=0.0) -> bytes:
    """Send parts with a pause between them; return everything that comes back."""
    with socket.create_connection(address, timeout=5) as connection:
        for part in parts:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(part)
            time.sleep(pause)
        found = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(4096):
                found += chunk
        return found


def test_a_request_in_one_piece_and_in_many_is_answered(address):
    whole = HEAD + b"connection: close\r\n\r\n"
    assert b"read 0" in ask(address, whole)
    pieces = [whole[i : i + 8] for i in range(0, len(whole), 8)]
    assert b"read 0" in ask(address, *pieces, pause=0.01)


def test_a_head_that_never_ends_is_hung_up_on(address):
    began = time.monotonic()
    assert ask(address, HEAD) == b""
    assert 0.25 < time.monotonic() - began < 3


def test_a_head_that_trickles_is_hung_up_on_all_the_same(address):
    assert ask(address, HEAD, *[b"a: b\r\n"] * 12, pause=0.05) == b""


def test_nothing_at_all_is_hung_up_on(address):
    assert ask(address) == b""


def test_the_second_head_of_a_connection_has_the_same_time(address):
    found = ask(address, HEAD + b"\r\n", HEAD, *[b"a: b\r\n"] * 12, pause=0.05)
    assert found.count(b"HTTP/1.1 200") == 1


def test_a_body_may_take_longer_than_a_head(address):
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\nconnection: close\r\n\r\n"
    assert b"read 3" in ask(address, head, b"a", b"b", b"c", pause=0.2)


@pytest.mark.parametrize("n_bytes", [MAX_HEAD_BYTES + 5_000, 1_000_000])
def test_a_head_that_is_too_long_is_400(address, n_bytes):
    found = ask(address, HEAD + b"x: " + b"y" * n_bytes)
    assert found == b"" or b"400 Bad Request" in found


def test_a_long_body_is_no_long_head(address):
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 300000\r\nconnection: close\r\n\r\n"
    assert b"read 300000" in ask(address, head + b"z" * 300_000)


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"\r\n\r\n\x00"])
def test_what_is_no_request_is_400_in_the_one_shape(address, garbage):
    found = ask(address, garbage)
    assert b" 400 " in found
    assert set(json.loads(found.partition(b"\r\n\r\n")[2])) == {"error"}


def test_a_thousand_idle_connections_keep_nobody_from_an_answer(address):
    allow_many_files()
    with contextlib.ExitStack() as opened:
        for _ in range(1000):
            connection = opened.enter_context(socket.create_connection(address, timeout=5))
            connection.sendall(HEAD)
        began = time.monotonic()
        assert b"read 0" in ask(address, HEAD + b"connection: close\r\n\r\n")
        assert time.monotonic() - began < 2
