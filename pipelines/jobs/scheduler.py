"""Scheduler: starts the entry point `schedule` when a schedule is due, beside the running job.

The entry point claims what is due and enqueues it; the scheduler does not know what the schedules
mean. At most one such run is alive at a time in one DATA_DIR: a lock says so, which ends with its
holder. Whoever takes it next ends in MLflow what a killed holder has left open. A run that fails is
started again after `RETRY_SECONDS`, because the schedules that it did not claim are still due.
"""

import os
import time
from pathlib import Path

import sqlalchemy as sa
import structlog
from filelock import FileLock, Timeout

from pipelines.jobs import schedules
from pipelines.jobs.project_run import Entry, Launcher, ProjectRun
from pipelines.jobs.supervision import end_left_open
from registry.settings import PlatformSettings

ENTRY_POINT = "schedule"
RETRY_SECONDS = 30.0

log = structlog.get_logger(__name__)


class Scheduler:
    """Looks for due schedules; called by one worker, from one thread."""

    def __init__(
        self, engine: sa.Engine, platform: PlatformSettings, launcher: Launcher, mlproject_uri: str
    ) -> None:
        self._engine = engine
        self._launcher = launcher
        self._entry = Entry(
            uri=mlproject_uri,
            entry_point=ENTRY_POINT,
            parameters={},
            experiment="operations",
            environment=os.environ | {"MLFLOW_TRACKING_URI": platform.mlflow_tracking_uri},
            log_path=Path(platform.data_dir) / "jobs" / f"{ENTRY_POINT}.log",
        )
        self._tracking_uri = platform.mlflow_tracking_uri
        self._run: ProjectRun | None = None
        self._lock = FileLock(self._entry.log_path.with_suffix(".lock"))
        self._not_before = 0.0

    def look(self) -> None:
        """Notice a run that has ended; start one when a schedule is due."""
        self._reap()
        if self._run is not None or time.monotonic() < self._not_before:
            return
        if not schedules.is_any_due(self._engine) or not self._take_lock():
            return
        self._not_before = time.monotonic() + RETRY_SECONDS
        log_path = self._entry.log_path
        end_left_open(self._launcher, self._tracking_uri, log_path, ())
        log_path.unlink(missing_ok=True)  # that of the newest run is kept
        try:
            self._run = self._launcher.start(self._entry)
        except (EOFError, OSError) as exc:  # a signal to the whole group ends the fork server too
            self._lock.release(force=True)
            log.warning("schedules not started", error=repr(exc))

    def stop(self) -> None:
        """End a run that is alive; what it has not claimed is due at the next start."""
        if self._run is not None:
            self._run.kill()
            self._run = None
            self._lock.release(force=True)

    def _take_lock(self) -> bool:
        """Return whether no other worker's run is alive; hold the lock from then on."""
        self._entry.log_path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            return False
        return True

    def _reap(self) -> None:
        if self._run is None or (outcome := self._run.wait(0)) is None:
            return
        self._run.kill()
        self._run = None
        self._lock.release(force=True)
        if outcome.succeeded:
            self._not_before = 0.0
        else:
            log.error("schedules failed", error=outcome.error)
