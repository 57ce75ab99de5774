"""The journal of a study: one file below DATA_DIR that survives the workers that write it.

Optuna's own file backend holds its lock by a symbolic link, which a killed worker leaves behind,
and cannot read past a line that was cut off. Here the operating system holds the lock, so that it
ends with its holder, and a line cut off by a full disk or a power failure is removed before the
next is written. Lines are not forced to the disk one by one: a killed process loses none, a machine
that loses power may lose the newest.
"""

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages.journal import BaseJournalBackend

from registry.errors import StudyUnavailableError

LOCK_SECONDS = 60.0


class FileJournal(BaseJournalBackend):
    """Lines of JSON, appended under a lock; safe for several processes of one machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(f"{path}.lock", timeout=LOCK_SECONDS)
        path.touch()
        self._offset: dict[int, int] = {0: 0}
        """Number of a line -> where it begins, of the lines that were read."""

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Yield the whole lines from this number on."""
        number = log_number_from if log_number_from in self._offset else 0
        with self._usable(), self._path.open("rb") as file:
            file.seek(self._offset[number])
            for line in file:
                if not line.endswith(b"\n"):  # being written, or cut off
                    return
                self._offset[number + 1] = self._offset[number] + len(line)
                if number >= log_number_from:
                    yield json.loads(line)
                number += 1

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append lines, all or none of which are read later."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with self._usable(), self._lock, self._path.open("r+b") as file:
            _cut_after_last_line(file)
            file.write(lines.encode())

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


def _cut_after_last_line(file: Any) -> None:
    """Remove what follows the last line break, and stand at the end."""
    end = file.seek(0, 2)
    if not end:
        return
    file.seek(end - 1)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)
    file.seek(0, 2)
