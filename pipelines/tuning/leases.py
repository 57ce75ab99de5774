"""Leases: which workers of a study live, so that the trials of those that do not are given up.

Optuna's journal has no heartbeat: the trial of a killed worker would run for ever. Each worker
holds a lock on a file of its own as long as it lives; the operating system frees it however the
process ends, and no clock is asked. Whoever can take the lock of another knows that its holder is
gone. It holds on one machine, as the journal does.
"""

import uuid
from pathlib import Path

from filelock import FileLock, Timeout

SUFFIX = ".lease"


class Lease:
    """The lease of this worker, held from the start until `release` or the end of the process."""

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
