"""The platform's MLflow server: address, port check, command."""

import socket
from pathlib import Path

import pytest

from registry.errors import PortInUseError, SettingValueError
from registry.tracking_server import address, check_port, command


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
