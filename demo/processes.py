"""The three processes of one machine, started from the Procfile and stopped together.

`make up` runs them under honcho with their output on the terminal; the demo runs the same lines
with their output in files, so that its own account stays readable.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from registry.errors import UnavailableError

ROOT = Path(__file__).resolve().parent.parent
STOP_SECONDS = 10


class ProcessDiedError(UnavailableError):
    """A process of the Procfile ended when it should run."""

    def __init__(self, name: str, status: int, log: Path) -> None:
        self.name, self.status, self.log = name, status, log
        lines = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        super().__init__(f"{name} ended with status {status}: {lines[-1]} (see {log})")


class NotReadyError(UnavailableError):
    """A process did not answer in time."""

    def __init__(self, url: str, seconds: float) -> None:
        self.url, self.seconds = url, seconds
        super().__init__(f"{url} did not answer within {seconds:g} s")


def procfile() -> dict[str, str]:
    """Return process name -> command line."""
    lines = (ROOT / "Procfile").read_text().splitlines()
    return {name: line.strip() for name, _, line in (text.partition(":") for text in lines if text)}


@contextmanager
def running(
    environment: Mapping[str, str], log_dir: Path
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Start every process of the Procfile; stop them all, with their children, on leaving."""
    log_dir.mkdir(parents=True, exist_ok=True)
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, line in procfile().items():
            with (log_dir / f"{name}.log").open("wb") as log:
                started[name] = subprocess.Popen(
                    line.split(),
                    cwd=ROOT,
                    env=os.environ | environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        yield started
    finally:
        stop(started)


@contextmanager
def streaming(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Start a command with its output in a pipe; end it, with its children, on leaving."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            stop({command[0]: process})


def stop(processes: Mapping[str, subprocess.Popen[Any]]) -> None:
    """Ask every process group to end, then kill what is left."""
    for process in processes.values():
        _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes.values():
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            continue
    for process in processes.values():
        _signal(process, signal.SIGKILL)
        process.wait()


def wait_for(
    url: str,
    seconds: float,
    processes: Mapping[str, subprocess.Popen[bytes]],
    log_dir: Path,
) -> None:
    """Wait until `url` answers 200.

    Raises:
        ProcessDiedError: a process ended meanwhile; its last line says why.
        NotReadyError: no answer in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for name, process in processes.items():
            if (status := process.poll()) is not None:
                raise ProcessDiedError(name, status, log_dir / f"{name}.log")
        try:
            if httpx.get(url, timeout=2).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise NotReadyError(url, seconds)


def _signal(process: subprocess.Popen[Any], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
