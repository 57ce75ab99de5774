"""The platform's MLflow server: the one process that opens `DATA_DIR/mlflow.db`.

`python -m registry.tracking_server` checks the port, then becomes `mlflow server` with the
database and artifacts under the data directory, at the address that MLFLOW_TRACKING_URI names.
`check_reachable` asks any MLflow server whether it is there.
"""

import os
import socket
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

from registry.command_line import run
from registry.errors import (
    PortInUseError,
    RegistryUnavailableError,
    SettingValueError,
)
from registry.settings import TRACKING_URI_FILE, PlatformSettings, read_settings

# Without these MLflow starts a job runner of eight processes and looks up a telemetry host.
ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}

PROBE_TIMEOUT_SECONDS = 2


def check_reachable(uri: str) -> None:
    """Ask an MLflow server whether it is there; MLflow itself would retry for minutes.

    An HTTP error below 500 is an answer: a proxy may hide the health page.

    Raises:
        RegistryUnavailableError: no answer within two seconds. (A database URI is not asked.)
    """
    if not uri.startswith(("http://", "https://")):
        return
    try:
        page = f"{uri.rstrip('/')}/health"
        urlopen(page, timeout=PROBE_TIMEOUT_SECONDS).close()  # noqa: S310 - scheme checked
    except HTTPError as exc:
        if exc.code >= 500:
            raise RegistryUnavailableError(uri, f"HTTP {exc.code}") from exc
    except OSError as exc:
        raise RegistryUnavailableError(uri, str(getattr(exc, "reason", None) or exc)) from exc


def check_port(host: str, port: int, variable: str) -> None:
    """Refuse a port that another process listens on.

    Raises:
        PortInUseError: it is taken; `variable` is the setting to change.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            raise PortInUseError(port, variable) from exc


def address(tracking_uri: str) -> tuple[str, int]:
    """Return host and port of an http address.

    Raises:
        SettingValueError: not an http address with a port.
    """
    parts = urlsplit(tracking_uri)
    if parts.scheme != "http" or not parts.hostname or not parts.port:
        problem = "expected an address such as http://127.0.0.1:5000"
        raise SettingValueError("MLFLOW_TRACKING_URI", tracking_uri, problem)
    return parts.hostname, parts.port


def command(data_dir: Path, host: str, port: int) -> list[str]:
    """Return the command line of the server."""
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--host", host, "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{data_dir / 'mlflow.db'}"),
        *("--artifacts-destination", str(data_dir / "artifacts")),
    ]


def main() -> None:
    """Check the port and become the server."""
    settings = read_settings(PlatformSettings)
    host, port = address(settings.mlflow_tracking_uri)
    check_port(host, port, "MLFLOW_TRACKING_URI")
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    (settings.data_dir / TRACKING_URI_FILE).write_text(f"http://{host}:{port}\n")
    line = command(settings.data_dir, host, port)
    os.execve(line[0], line, os.environ | ENVIRONMENT)  # noqa: S606 - fixed command, no shell


if __name__ == "__main__":
    run(main)
