"""HEAD where GET is, and the one shape of every answer that is not 2xx."""

import asyncio
import json
import socket
import threading
import time

import pytest
import uvicorn
from fastapi.responses import StreamingResponse

from registry import events
from serving.app import server_config
from serving.keys import Rights, make_key
from serving.routes import ROUTES
from serving.settings import ServingSettings
from tests.waiting import wait_for

GETS = [route for route in ROUTES if route.method == "GET" and "{" not in route.path]


@pytest.fixture
def address(app):
    """A real server on a free port."""
    config = server_config(app, ServingSettings(log_level="ERROR"))
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listener.getsockname()
        server.should_exit = True
        thread.join(10)


def ask(address, request: bytes) -> bytes:
    with socket.create_connection(address, 5) as connection:
        connection.sendall(request)
        found = b""
        while data := connection.recv(65_536):
            found += data
        return found


def head(path: str, method: str = "HEAD", more: str = "") -> bytes:
    lines = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{more}\r\n"
    return lines.encode()


@pytest.mark.parametrize("path", [route.path for route in GETS])
def test_head_answers_what_get_does(client, path):
    wait_for(lambda: client.get("/health/ready").status_code == 200)  # else it may change between
    asked, answered = client.get(path), client.request("HEAD", path)
    assert answered.status_code == asked.status_code
    assert answered.content == b""
    assert answered.headers["content-type"] == asked.headers["content-type"]


def test_a_head_has_no_body_on_the_wire_and_a_stream_ends(address, engine):
    with engine.begin() as connection:
        events.append(connection, "promoted", actor="t", reason="r", model_id="m")
    for path, status in (("/docs", 200), ("/models/m/events", 200), ("/nope/", 404)):
        answer = ask(address, head(path))
        line, _, rest = answer.partition(b"\r\n")
        assert line.split()[1] == str(status).encode()
        assert rest.partition(b"\r\n\r\n")[2] == b""
        assert b"content-length: " in rest.lower()


def test_a_stream_of_events_ends_with_its_head(client):
    ended = []

    async def endless():
        try:
            while True:
                yield b"data: 1\n\n"
                await asyncio.sleep(0.01)
        finally:
            ended.append(True)

    async def stream(request):
        return StreamingResponse(endless(), media_type="text/event-stream")

    client.app.add_route("/stream", stream, methods=["GET"])
    answer = client.request("HEAD", "/stream")
    assert (answer.status_code, answer.content, ended) == (200, b"", [True])


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/bars", "DELETE, POST, PUT"),
        ("/data/x", "DELETE, GET, HEAD, PUT"),
        ("/health", "GET, HEAD"),
        ("/predict", "POST"),
        ("/models/x", "DELETE, GET, HEAD, PUT"),
    ],
)
def test_a_405_names_every_method_of_the_address(client, engine, path, allowed):
    _, text = make_key(engine, Rights(("manage", "read", "predict")), actor="test")
    client.app.state.service.security.keys.load()
    for method in ("TRACE", "BREW"):
        answer = client.request(method, path, headers={"x-api-key": text})
        assert answer.status_code == 405
        assert answer.headers["allow"] == allowed
        message = f"this address takes only: {allowed}"
        assert answer.json() == {"error": {"code": "method_not_allowed", "message": message}}


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (head("/health/", "GET"), 404),
        (head("/docs/", "GET"), 404),
        (head("/swagger/oauth2-redirect", "GET"), 404),
        (head("/bars/", "POST"), 404),
        (head("/%ff", "GET"), 404),
        (head("/health", "OPTIONS"), 405),
        (head("/health", "BREW"), 400),
        (head("/predict", "POST", "Content-Length: x\r\n"), 400),
        (head("/predict", "POST", "Transfer-Encoding: chunked\r\n") + b"zz\r\n", 400),
        (head("/" + "a" * 70_000, "GET"), 400),
        (b"GET /docs HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 403),
        (head("/docs", "GET", "Upgrade: websocket\r\nConnection: Upgrade\r\n"), 200),
        (b"GET /health HTTP/9.9\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
)
def test_every_refusal_on_the_wire_has_the_one_shape(address, request_, status):
    answer = ask(address, request_)
    line, _, rest = answer.partition(b"\r\n")
    assert line.split()[1] == str(status).encode(), answer[:300]
    if status != 200:
        found = json.loads(rest.partition(b"\r\n\r\n")[2])
        assert set(found["error"]) <= {"code", "message", "details"}
