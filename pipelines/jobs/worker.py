"""Worker: claims jobs and runs them as MLproject entry points (`python -m pipelines.jobs.worker`).

It runs up to MAX_PARALLEL_JOBS jobs at a time, each supervised by a thread; one slot is kept for
short jobs, so that watching never waits behind a training. More workers can be started beside it.
It starts the entry point `schedule` beside the jobs whenever a schedule is due (DRIFT_INTERVAL,
REFIT_INTERVAL; `pipelines/jobs/scheduler.py`), and enqueues `advance` after every `main` and
`drift` job. The worker knows them by name only. SIGTERM and SIGINT stop it: the running jobs go
back to the queue and no process is left.
"""

import os
import signal
import socket
import threading
import time
from datetime import UTC, datetime
from types import FrameType
from typing import Annotated

import sqlalchemy as sa
import structlog
from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipelines.jobs import leases, queue, schedules, workers
from pipelines.jobs.project_run import Launcher
from pipelines.jobs.scheduler import Scheduler
from pipelines.jobs.supervision import Supervision, end_left_open
from registry.command_line import run
from registry.database import AWAY, cause_of, opened_engine
from registry.errors import RegistryUnavailableError
from registry.settings import PlatformSettings, read_settings
from registry.tracking_server import check_reachable

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
FOLLOWED_BY_ADVANCE = ("main", "drift")
SHORT_SLOTS = 1
"""Slots that no training takes."""
SEEN_SECONDS = 5.0
"""Pause between two notes that the worker is alive."""

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
        default=leases.LEASE_SECONDS, gt=0, description="A dead worker's job is free after this."
    )
    worker_poll_seconds: float = Field(
        default=0.5, gt=0, description="Pause between looks at an empty queue."
    )
    max_parallel_jobs: int = Field(
        default=2,
        ge=SHORT_SLOTS + 1,
        le=64,
        description="Jobs that a worker runs at once; one slot is kept for short jobs, which never "
        "wait behind a training.",
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
        self._running: dict[Supervision, threading.Thread] = {}
        self._stopping = threading.Event()
        self._ended = threading.Event()
        """Set when a job has ended, so that its slot is filled at once."""
        self._next_note = 0.0

    def stop(self) -> None:
        """Make `run` return soon; the running jobs go back to the queue."""
        self._stopping.set()

    def run(self) -> None:
        """Claim and run jobs until `stop`; a database that is away is waited for."""
        try:
            self._keep_schedules()
            while not self._stopping.is_set():
                if not self._look_or_wait():
                    self._ended.wait(self._settings.worker_poll_seconds)
        finally:
            self._leave()

    def _keep_schedules(self) -> None:
        while not self._stopping.is_set():
            try:
                schedules.keep(self._engine, "drift", self._settings.drift_interval)
                schedules.keep(self._engine, "refit", self._settings.refit_interval)
            except AWAY as exc:
                log.warning("engine database does not answer", error=cause_of(exc))
                self._stopping.wait(self._settings.worker_poll_seconds)
            else:
                return

    def _look_or_wait(self) -> bool:
        try:
            self._note_alive()
            return self.look()
        except AWAY as exc:
            log.warning("engine database does not answer", error=cause_of(exc))
            return False

    def _note_alive(self) -> None:
        if time.monotonic() >= self._next_note:
            self._next_note = time.monotonic() + SEEN_SECONDS
            workers.note_alive(self._engine, self.owner, self._settings.max_parallel_jobs)

    def look(self) -> bool:
        """Start the schedules that are due and one job, if a slot is free; return whether it did.

        While MLflow does not answer, or is not this database's, everything waits: starting a job
        would only use up an attempt.
        """
        self._ended.clear()
        self._forget_ended()
        is_job_due = self._has_slot() and leases.is_any_due(
            self._engine, takes_training=self._takes_training()
        )
        is_work = is_job_due or schedules.is_any_due(self._engine)
        if is_work and not self._registry_answers():
            return False
        self._scheduler.look()
        # `claim` writes, and an idle worker must not lock the database
        if not is_job_due:
            return False
        self._end_lost_runs()
        return self._claim()

    def join(self) -> None:
        """Wait until the jobs that run now have ended."""
        for thread in list(self._running.values()):
            thread.join()
        self._forget_ended()

    def _has_slot(self) -> bool:
        """Return whether a job may be claimed.

        Not while a lease of our own seems to have run out, as after a sleep of the machine or a
        jump of its clock: the job's own thread renews it first.
        """
        now = datetime.now(UTC)
        is_current = all(supervision.lease_until >= now for supervision in self._running)
        return is_current and len(self._running) < self._settings.max_parallel_jobs

    def _takes_training(self) -> bool:
        n_trainings = sum(not supervision.job.is_short for supervision in self._running)
        return n_trainings < self._settings.max_parallel_jobs - SHORT_SLOTS

    def _end_lost_runs(self) -> None:
        """End in MLflow what dead workers have left open, before their jobs run again."""
        for job in leases.lost(self._engine):
            log_path = self._platform.data_dir / "jobs" / f"{job.id}.log"
            run_id = (job.result or {}).get("run_id")
            named = [str(run_id)] if run_id else []
            end_left_open(self._launcher, self._platform.mlflow_tracking_uri, log_path, named)

    def _claim(self) -> bool:
        job = leases.claim(
            self._engine,
            self.owner,
            takes_training=self._takes_training(),
            lease_seconds=self._settings.job_lease_seconds,
        )
        if job is None:
            return False
        log.info(
            "job started",
            job=job.id,
            entry_point=job.entry_point,
            model=job.model_id,
            attempt=job.fence,
        )
        supervision = Supervision(
            job, self._engine, self._platform, self._settings.job_lease_seconds, self._stopping
        )
        thread = threading.Thread(target=self._supervise, args=(supervision,), name=job.id)
        self._running[supervision] = thread
        thread.start()
        return True

    def _supervise(self, supervision: Supervision) -> None:
        try:
            supervision.run(self._launcher, self._settings.mlproject_uri)
            is_followed = supervision.job.entry_point in FOLLOWED_BY_ADVANCE
            if is_followed and not self._stopping.is_set():
                queue.enqueue_once(self._engine, "advance")
        except AWAY as exc:
            log.warning("advance not enqueued", error=cause_of(exc))
        finally:
            supervision.is_over = True
            self._ended.set()

    def _forget_ended(self) -> None:
        self._running = {each: run for each, run in self._running.items() if not each.is_over}

    def _registry_answers(self) -> bool:
        try:
            check_reachable(self._platform.mlflow_tracking_uri)
        except RegistryUnavailableError as exc:
            return self._note_registry(str(exc))
        if self._has_registry:
            return True
        try:
            return self._note_registry(self._launcher.pair_problem(self._platform))
        except (EOFError, OSError) as exc:  # a signal to the whole group ends the fork server too
            return self._note_registry(f"MLflow was not asked: {exc!r}")

    def _note_registry(self, problem: str) -> bool:
        """Note whether jobs can run, and say once why they cannot; return whether they can."""
        if problem and self._has_registry is not False:
            log.warning("jobs wait", error=problem)
        self._has_registry = not problem
        return self._has_registry

    def _leave(self) -> None:
        """Give every job back, end the schedules' run, and leave the list of workers."""
        self._stopping.set()
        self._scheduler.stop()
        self.join()
        try:
            workers.forget(self._engine, self.owner)
        except AWAY as exc:
            log.warning("engine database does not answer", error=cause_of(exc))


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
    run(main)
