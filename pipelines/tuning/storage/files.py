"""A study in a folder of one machine: a journal that survives the workers that write it.

Optuna's own file backend holds its lock by a symbolic link, which a killed worker leaves behind,
and cannot read past a line that was cut off. Here the operating system holds every lock, so that it
ends with its holder, and no clock is asked. Lines are Optuna's, so its tools read them. Of changes
that belong together each line says how many follow; where the last ones are missing (a full disk, a
power failure) the others are not read, and removed before the next are written. Lines are not
forced to the disk one by one: a killed process loses none, a machine that loses power may lose the
newest.
"""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipelines.tuning.storage import LOCK_SECONDS, Journal, Log
from registry.errors import DamagedStudyError, StudyUnavailableError

JOURNAL, LEASES, DECISION_LOCK = "journal.log", "workers", "decision.lock"
MORE = "more"
"""In a line: how many lines of the same change follow."""
SUFFIX = ".lease"


class FileStorage:
    """A study's folder; made with the first look at it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.journal: Journal = FileJournal(folder / JOURNAL)

    def lease(self) -> "FileLease":
        """Begin to be a worker."""
        return FileLease(self._folder / LEASES)

    def deciding(self) -> FileLock:
        """Hold the right to decide, for as long as that takes."""
        return FileLock(self._folder / DECISION_LOCK)


class FileJournal(Journal):
    """Lines of JSON in a file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._lock = FileLock(f"{path}.lock", timeout=LOCK_SECONDS)
        path.touch()
        self._begins = [0]
        """Where each line begins that was read, and the one after them."""

    def _stored(self, first: int) -> Iterator[Log]:
        """Yield the lines from this number on, up to the last change that is whole.

        Raises:
            DamagedStudyError: a line before the last one is no JSON.
        """
        number = min(first, len(self._begins) - 1)
        with self._usable(), self._path.open("rb") as file:
            file.seek(self._begins[number])
            for logs, ends in self._changes(file, number):
                for log, end in zip(logs, ends, strict=True):
                    number += 1
                    if number == len(self._begins):
                        self._begins.append(end)
                    if number > first:
                        yield log

    def _changes(self, file: Any, number: int) -> Iterator[tuple[list[Log], list[int]]]:
        """Yield each whole change as its lines, and where they end."""
        logs: list[Log] = []
        ends: list[int] = []
        end = self._begins[number]
        for line in file:
            if not line.endswith(b"\n"):  # being written, or cut off
                return
            end += len(line)
            logs.append(self._read(line, number + len(logs) + 1))
            ends.append(end)
            if not logs[-1].pop(MORE, 0):
                yield logs, ends
                number += len(logs)
                logs, ends = [], []

    def _read(self, line: bytes, number: int) -> Log:
        try:
            log = json.loads(line)
        except ValueError:
            log = None
        if not isinstance(log, dict):
            raise DamagedStudyError(self._path.parent.name, str(self._path), number)
        return log

    def _store(self, logs: Sequence[Mapping[str, Any]]) -> None:
        numbered = [{**log, MORE: len(logs) - i} for i, log in enumerate(logs[:-1], 1)]
        lines = (json.dumps(log, separators=(",", ":")) + "\n" for log in [*numbered, logs[-1]])
        for _ in self._stored(len(self._begins) - 1):  # what others have written
            continue
        with self._usable(), self._path.open("r+b", buffering=0) as file:
            end = self._begins[-1]
            file.truncate(end)
            file.seek(end)
            _write_all(file, "".join(lines).encode(), end)

    @contextmanager
    def _held(self) -> Iterator[None]:
        with self._usable():
            self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Say in one line that the disk is away or full, or the lock is not given back.

        Raises:
            StudyUnavailableError: one of them.
        """
        try:
            yield
        except OSError as exc:  # a lock's time-out is one too
            raise StudyUnavailableError(self._path.parent.name, str(exc)) from exc


def _write_all(file: Any, content: bytes, end: int) -> None:
    """Write everything, or leave the file as it was."""
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) :]
    except OSError:
        file.truncate(end)
        raise


class FileLease:
    """A lock on a file of its own, which ends with the process.

    Whoever can take the lock of another knows that its holder is gone.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.worker = uuid.uuid4().hex[:12]
        self._folder = folder
        self._lock = FileLock(folder / f"{self.worker}{SUFFIX}")
        self._lock.acquire(timeout=0)

    def others(self) -> set[str]:
        """Return the other workers that live; what dead ones left is removed."""
        names = (path.name.removesuffix(SUFFIX) for path in self._folder.glob(f"*{SUFFIX}"))
        return {name for name in names if name != self.worker and self._is_held(name)}

    def release(self) -> None:
        """End the lease."""
        path = self._folder / f"{self.worker}{SUFFIX}"
        path.unlink(missing_ok=True)
        self._lock.release()

    def _is_held(self, worker: str) -> bool:
        path = self._folder / f"{worker}{SUFFIX}"
        try:
            with FileLock(path, timeout=0):
                path.unlink(missing_ok=True)
        except Timeout:
            return True
        return False
