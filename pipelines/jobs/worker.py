"""Worker: claims jobs and runs them as MLproject entry points (`python -m pipelines.jobs.worker`).

It runs one job at a time, because training uses every core; more workers can be started beside it.
While a job runs the worker renews its lease. If the lease is lost (cancelled, or taken over), it
kills the run. It starts the entry point `schedule` beside the job whenever a schedule is due
(DRIFT_INTERVAL, REFIT_INTERVAL; `pipelines/jobs/scheduler.py`), and enqueues `advance` after every
`main` and `drift` job. The worker knows them by name only. SIGTERM and SIGINT stop it: the running
job goes back to the queue and no process is left.
"""

import os
import signal
import socket
import threading
import time
from types import FrameType
from typing import Annotated

import sqlalchemy as sa
import structlog
from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipelines.jobs import queue
from pipelines.jobs.project_run import Entry, Launcher, ProjectRun
from pipelines.jobs.queue import Job
from pipelines.jobs.scheduler import Scheduler
from registry.database import opened_engine
from registry.errors import MLEngineError, RegistryUnavailableError, StaleLeaseError
from registry.settings import PlatformSettings, read_settings
from registry.tracking_server import check_reachable

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
FOLLOWED_BY_ADVANCE = ("main", "drift")

log = structlog.get_logger(__name__)


def read_interval(value: object) -> float:
    """Return the seconds of `900`, `15m`, `1h`, `1d`; 0 means never.

    Raises:
        ValueError: anything else.
    """
    text = str(value).strip()
    number, unit = (text[:-1], text[-1]) if text[-1:] in UNITS else (text, "s")
    try:
        seconds = float(number) * UNITS[unit]
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError("expected seconds or a number with s, m, h or d, such as 1h; 0 for never")
    return seconds


class WorkerSettings(BaseSettings):
    """Variables of the worker; the field name in capitals is the variable's name."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    drift_interval: Annotated[float, BeforeValidator(read_interval)] = Field(
        default=3600.0, description="How often drift is judged: seconds or 15m, 1h; 0 is never."
    )
    refit_interval: Annotated[float, BeforeValidator(read_interval)] = Field(
        default=86_400.0,
        description="How often models of risk are fitted anew where there are newer bars, at most "
        "once a day each: seconds or 15m, 1d; 0 is never.",
    )
    job_lease_seconds: float = Field(
        default=queue.LEASE_SECONDS, gt=0, description="A dead worker's job is free after this."
    )
    worker_poll_seconds: float = Field(
        default=0.5, gt=0, description="Pause between looks at an empty queue."
    )
    mlproject_uri: str = Field(default=".", description="The MLproject whose entry points run.")


class Worker:
    """Runs jobs until it is stopped; `stop` may be called from a signal handler or a thread."""

    def __init__(
        self, engine: sa.Engine, platform: PlatformSettings, settings: WorkerSettings
    ) -> None:
        self.owner = f"{socket.gethostname()}:{os.getpid()}"
        self._engine = engine
        self._platform = platform
        self._settings = settings
        self._launcher = Launcher()
        uri = settings.mlproject_uri
        self._scheduler = Scheduler(engine, platform, self._launcher, uri)
        self._has_registry: bool | None = None
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Make `run` return soon; the running job goes back to the queue."""
        self._stopping.set()

    def run(self) -> None:
        """Claim and run jobs until `stop`; a database that is away is waited for."""
        queue.schedule(self._engine, "drift", self._settings.drift_interval)
        queue.schedule(self._engine, "refit", self._settings.refit_interval)
        try:
            while not self._stopping.is_set():
                if not self._run_once_or_wait():
                    self._stopping.wait(self._settings.worker_poll_seconds)
        finally:
            self._scheduler.stop()

    def _run_once_or_wait(self) -> bool:
        try:
            return self.run_once()
        except sa.exc.OperationalError as exc:
            log.warning("engine database does not answer", error=str(exc.orig))
            return False

    def run_once(self) -> bool:
        """Start the schedules that are due, then run the oldest job; False when there was none.

        While MLflow does not answer everything waits: starting a job would only use up an attempt.
        """
        is_job_due = queue.is_any_due(self._engine)
        is_work = is_job_due or queue.is_schedule_due(self._engine)
        if is_work and not self._registry_answers():
            return False
        self._scheduler.look()
        if not is_job_due:  # `claim` writes, and an idle worker must not lock the database
            return False
        lease_seconds = self._settings.job_lease_seconds
        job = queue.claim(self._engine, self.owner, lease_seconds=lease_seconds)
        if job is None:
            return False
        log.info(
            "job started",
            job=job.id,
            entry_point=job.entry_point,
            model=job.model_id,
            attempt=job.fence,
        )
        try:
            self._run_job(job)
        except StaleLeaseError as exc:
            log.warning("job lost", job=job.id, error=str(exc))
        return True

    def _registry_answers(self) -> bool:
        try:
            check_reachable(self._platform.mlflow_tracking_uri)
        except RegistryUnavailableError as exc:
            if self._has_registry is not False:
                log.warning("jobs wait", error=str(exc))
            self._has_registry = False
            return False
        self._has_registry = True
        return True

    def _run_job(self, job: Job) -> None:
        entry = Entry(
            uri=self._settings.mlproject_uri,
            entry_point=job.entry_point,
            parameters=job.payload,
            experiment=job.model_id or "operations",
            environment=os.environ | {"MLFLOW_TRACKING_URI": self._platform.mlflow_tracking_uri},
            log_path=self._platform.data_dir / "jobs" / f"{job.id}.log",
        )
        try:
            run = self._launcher.start(entry)
        except (EOFError, OSError) as exc:  # a signal to the whole group ends the fork server too
            self._give_up(job, exc)
            return
        try:
            self._attend(job, run)
        finally:
            run.kill()

    def _give_up(self, job: Job, cause: Exception) -> None:
        if self._stopping.is_set():
            queue.release(self._engine, job)
            log.info("job released", job=job.id)
            return
        queue.fail(self._engine, job, f"the run could not be started: {cause!r}")
        log.error("job not started", job=job.id, error=repr(cause))

    def _attend(self, job: Job, run: ProjectRun) -> None:
        """Renew the lease until the run ends, then report; returns early when stopping.

        Raises:
            StaleLeaseError: the lease was lost; the caller kills the run.
        """
        every = self._settings.job_lease_seconds / 6
        outcome, next_beat = None, 0.0
        while outcome is None:
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + every
                self._beat(job)
                self._look_at_schedules()
            if self._stopping.is_set():
                run.kill()
                queue.release(self._engine, job)
                log.info("job released", job=job.id)
                return
            outcome = run.wait(min(every, 0.2))
        if outcome.succeeded:
            queue.finish(self._engine, job, {"run_id": outcome.run_id, "status": "FINISHED"})
        else:
            queue.fail(self._engine, job, outcome.error)
        log.info(
            "job ended",
            job=job.id,
            entry_point=job.entry_point,
            ok=outcome.succeeded,
            error=outcome.error,
        )
        if job.entry_point in FOLLOWED_BY_ADVANCE:
            queue.enqueue_once(self._engine, "advance")

    def _look_at_schedules(self) -> None:
        try:
            self._scheduler.look()
        except sa.exc.OperationalError as exc:
            log.warning("schedules not looked at", error=str(exc.orig))

    def _beat(self, job: Job) -> None:
        try:
            queue.heartbeat(self._engine, job, lease_seconds=self._settings.job_lease_seconds)
        except sa.exc.OperationalError as exc:
            log.warning("heartbeat missed", job=job.id, error=str(exc.orig))


def main() -> None:
    """Run a worker with the settings of the environment until SIGTERM or SIGINT."""
    platform, settings = read_settings(PlatformSettings), read_settings(WorkerSettings)
    with opened_engine(platform) as engine:
        worker = Worker(engine, platform, settings)

        def stop(_number: int, _frame: FrameType | None) -> None:
            worker.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        log.info("worker started", owner=worker.owner, drift_interval=settings.drift_interval)
        worker.run()
        log.info("worker stopped", owner=worker.owner)


if __name__ == "__main__":
    try:
        main()
    except MLEngineError as exc:
        raise SystemExit(f"error: {exc}") from None
