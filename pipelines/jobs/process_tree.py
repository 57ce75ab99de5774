"""The processes that a run has started, found through their parents, and how they are ended.

A process group holds most of them. One that opened a session of its own has left the group, so the
tree of parents is read as well: from /proc on Linux, from `ps` elsewhere. A process is known by its
number and start, because numbers are used again.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Process:
    """One process; `start` tells it from another one with the same number."""

    pid: int
    parent: int
    start: str
    is_zombie: bool


def end_tree(leader: int, grace_seconds: float) -> None:
    """End the process group of `leader` and everything below it: asked first, killed after.

    `leader` itself may not lead its group yet, right after its start. Returns when nothing of it is
    left, or a second after the kill.
    """
    known = {process for process in (_of(leader),) if process is not None}
    for number, patience in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 1.0)):
        known |= set(below(leader))
        if not (_signal_group(leader, number) | _signal_strays(known, leader, number)):
            return
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and _is_any_left(leader, known):
            time.sleep(PAUSE_SECONDS)


def kill_own_tree() -> None:
    """Kill everything below the calling process, then its group, itself included."""
    _signal_strays(below(os.getpid()), os.getpgid(0), signal.SIGKILL)
    os.killpg(0, signal.SIGKILL)


def below(pid: int) -> Iterator[Process]:
    """Yield the processes below one, without it."""
    children: dict[int, list[Process]] = {}
    for process in _processes():
        children.setdefault(process.parent, []).append(process)
    waiting = [pid]
    while waiting:
        found = children.pop(waiting.pop(), [])
        waiting += [process.pid for process in found]
        yield from found


def _is_any_left(leader: int, known: Iterable[Process]) -> bool:
    return _signal_group(leader, 0) or any(_is_alive(process) for process in known)


def _signal_group(pid: int, number: int) -> bool:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):  # gone, or a reused number of someone else's
        return False
    return True


def _signal_strays(known: Iterable[Process], group: int, number: int) -> bool:
    """Signal the processes that have left the group; return whether there were any."""
    is_any = False
    for process in known:
        try:
            if _is_alive(process) and os.getpgid(process.pid) != group:
                os.kill(process.pid, number)
                is_any = True
        except (ProcessLookupError, PermissionError):  # it has just ended
            continue
    return is_any


def _is_alive(process: Process) -> bool:
    now = _of(process.pid)
    return now is not None and now.start == process.start and not now.is_zombie


def _processes() -> Iterator[Process]:
    if not PROC.is_dir():
        yield from _listed()
        return
    for folder in PROC.iterdir():
        if folder.name.isdigit() and (process := _of(int(folder.name))) is not None:
            yield process


def _of(pid: int) -> Process | None:
    if not PROC.is_dir():
        return next(_listed("-p", str(pid)), None)
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:  # it has ended
        return None
    fields = text.rpartition(")")[2].split()  # the name before may hold anything
    return Process(pid, int(fields[1]), fields[19], fields[0] == "Z")


def _listed(*which: str) -> Iterator[Process]:
    command = ["ps", *(which or ("-A",)), "-o", "pid=,ppid=,state=,lstart="]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for line in listed.splitlines():
        pid, parent, state, start = line.split(None, 3)
        yield Process(int(pid), int(parent), start, state.startswith("Z"))
