"""Real servers of the tests here: a PostgreSQL cluster, moto's S3, the commands of services."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from urllib.request import urlopen

T = TypeVar("T")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def postgres_tools() -> Path | None:
    """Return the folder of initdb and pg_ctl, None where PostgreSQL's server is not installed."""
    if on_path := shutil.which("initdb"):
        return Path(on_path).resolve().parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


class PostgresServer:
    """A cluster with passwords, below a folder that another user may own."""

    password = "of-the-superuser"

    def __init__(self, tools: Path, folder: Path) -> None:
        self._tools, self.folder, self.port = tools, folder, free_port()
        folder.mkdir(parents=True)
        (folder / "password").write_text(self.password)
        for path in (folder, folder / "password"):
            path.chmod(0o777 if path.is_dir() else 0o644)
        authentication = ["--auth=scram-sha-256", "--pwfile=password", "--username=postgres"]
        self._run("initdb", "-D", "data", *authentication)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-h 127.0.0.1 -p {self.port} -k {self.folder} -c fsync=off"
        self._run("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", f"'{options}'", "start")

    def stop(self, how: str = "fast") -> None:
        """Stop it and cut every connection; `immediate` is a crash."""
        self._run("pg_ctl", "-D", "data", "-w", "-m", how, "stop")

    def url(self, database: str) -> str:
        """Return the superuser's address of a database."""
        return f"postgresql+psycopg://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def run_sql(self, path: Path, variables: Mapping[str, str]) -> None:
        """Run a file as the superuser, as the image does with an empty volume."""
        address = ["--host", "127.0.0.1", "--port", str(self.port), "--username", "postgres"]
        subprocess.run(
            [shutil.which("psql") or self._tools / "psql", *address, "-f", str(path)],
            env=os.environ | variables | {"PGPASSWORD": self.password},
            check=True,
            capture_output=True,
        )

    def _run(self, tool: str, *arguments: str) -> None:
        """Run a tool in the folder, not as root: PostgreSQL refuses that.

        The other user must reach the folder; a pytest that starts meanwhile shuts it again.
        """
        for parent in self.folder.parents[:4]:
            with suppress(PermissionError):
                parent.chmod(parent.stat().st_mode | 0o011)
        line = " ".join([str(self._tools / tool), *arguments])
        as_user = ["su", "postgres", "-s", "/bin/sh", "-c"] if os.getuid() == 0 else ["sh", "-c"]
        with (self.folder / "tools.log").open("ab") as said:
            subprocess.run(
                [*as_user, f"cd '{self.folder}' && {line}"], check=True, stdout=said, stderr=said
            )


class S3Server:
    """moto's server; what it holds is gone when it stops, so an outage freezes it instead."""

    def __init__(self, log: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_for(f"{self.url}/moto-api/", self._process)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Processes:
    """Started commands, each with its output in a file; stopped together."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> "subprocess.Popen[bytes]":
        """Start a command, which is looked for in the PATH that is given."""
        with (self._logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                ["env", *command],
                cwd=folder,
                env=dict(environment),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running[name] = process
        return process

    def said(self, name: str) -> str:
        return (self._logs / f"{name}.log").read_text(errors="replace")

    def stop(self) -> dict[str, int]:
        """Ask all to end, as a container engine does; return their exit codes."""
        for process in self._running.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        codes = {}
        for name, process in self._running.items():
            try:
                codes[name] = process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                codes[name] = process.wait()
        return codes


def wait_for(url: str, process: "subprocess.Popen[bytes]", seconds: float = 90) -> None:
    """Wait until an address answers 200; fail when its process ends before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{process.args} ended with {process.returncode}"
        try:
            with urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} did not answer within {seconds} s")


def wait_until(ask: Callable[[], T], seconds: float = 60) -> T:
    """Wait until something is true, and return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := ask():
            return found
        time.sleep(0.3)
    raise AssertionError("it did not happen")
