"""The platform's MLflow server: whether it answers, address, port check, command."""

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from registry import tracking_server
from registry.errors import PortInUseError, RegistryUnavailableError, SettingValueError
from registry.tracking_server import address, check_port, check_reachable, command


@pytest.fixture
def answers(request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of a server that answers every request with the status of the parameter."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(request.param)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_dead_mlflow_is_reported_within_two_seconds() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(RegistryUnavailableError, match="does not answer"):
        check_reachable(f"http://127.0.0.1:{port}")
    assert time.monotonic() - started < 2.5


def test_an_mlflow_that_accepts_and_keeps_silent_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracking_server, "PROBE_TIMEOUT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(RegistryUnavailableError, match="timed out"):
            check_reachable(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("answers", [200, 401, 404], indirect=True)
def test_an_error_below_500_is_an_answer(answers: str) -> None:
    check_reachable(answers)


@pytest.mark.parametrize("answers", [503], indirect=True)
def test_a_server_that_fails_does_not_answer(answers: str) -> None:
    with pytest.raises(RegistryUnavailableError, match="HTTP 503"):
        check_reachable(answers)


def test_a_database_address_is_not_asked() -> None:
    check_reachable("sqlite:////nowhere/at/all.db")


def test_address_reads_host_and_port() -> None:
    assert address("http://127.0.0.1:5000") == ("127.0.0.1", 5000)


@pytest.mark.parametrize("uri", ["sqlite:///x.db", "http://127.0.0.1", "5000", "file:///tmp"])
def test_address_refuses_what_is_no_http_address(uri: str) -> None:
    with pytest.raises(SettingValueError, match="MLFLOW_TRACKING_URI"):
        address(uri)


def test_check_port_names_the_setting_of_a_taken_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=f"port {port} is already in use.*ML_ENGINE_PORT"):
            check_port("127.0.0.1", port, "ML_ENGINE_PORT")
    check_port("127.0.0.1", port, "ML_ENGINE_PORT")


def test_command_keeps_everything_under_the_data_directory(tmp_path: Path) -> None:
    line = " ".join(command(tmp_path, "127.0.0.1", 5000))
    assert f"sqlite:///{tmp_path}/mlflow.db" in line
    assert f"--artifacts-destination {tmp_path}/artifacts" in line
