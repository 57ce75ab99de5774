"""Worker: claims jobs and runs them as MLproject entry points (`python -m pipelines.worker`).

One job at a time: training uses every core, and more workers can be started beside this one. While
a job runs the worker renews its lease; if the lease is lost (cancelled, or taken over) it kills the
run. On the interval DRIFT_INTERVAL it enqueues `drift` for every model that has a production
version and new predictions, then `advance`; `advance` also follows every `main` and `drift` job.
On the interval REFIT_INTERVAL it enqueues `refit` for every production model of a portfolio.
The worker knows nothing about drift or retraining: both are entry points like any other.

SIGTERM and SIGINT stop it: the running job goes back to the queue and no process is left.
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

from pipelines import jobs
from pipelines.jobs import Job
from pipelines.project_run import Entry, Launcher, ProjectRun
from pipelines.stage import check_reachable
from pipelines.templates import TEMPLATES
from registry.database import open_engine, reading
from registry.errors import MLEngineError, RegistryUnavailableError, StaleLeaseError
from registry.settings import PlatformSettings, read_settings
from registry.tables import aliases, retraining_cycles, versions

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
FOLLOWED_BY_ADVANCE = ("main", "drift")
DRIFT, REFIT = "drift", "refit"
"""Schedules, and the entry points that they enqueue."""

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
        default=jobs.LEASE_SECONDS, gt=0, description="A dead worker's job is free after this."
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
        self._has_registry: bool | None = None
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Make `run` return soon; the running job goes back to the queue."""
        self._stopping.set()

    def run(self) -> None:
        """Claim and run jobs until `stop`; a database that is away is waited for."""
        jobs.schedule(self._engine, DRIFT, self._settings.drift_interval)
        jobs.schedule(self._engine, REFIT, self._settings.refit_interval)
        while not self._stopping.is_set():
            try:
                ran = self.run_once()
            except sa.exc.OperationalError as exc:
                log.warning("engine database does not answer", error=str(exc.orig))
                ran = False
            if not ran:
                self._stopping.wait(self._settings.worker_poll_seconds)

    def run_once(self) -> bool:
        """Enqueue what is due, then run the oldest job; False when there was none to run.

        While MLflow does not answer every job waits: starting one would only use up an attempt.
        """
        due = jobs.claim_schedules(self._engine)
        if DRIFT in due:
            enqueue_watch(self._engine, self._platform)
        if REFIT in due:
            enqueue_refits(self._engine)
        if not jobs.is_any_due(self._engine) or not self._registry_answers():
            return False
        lease_seconds = self._settings.job_lease_seconds
        job = jobs.claim(self._engine, self.owner, lease_seconds=lease_seconds)
        if job is None:
            return False
        log.info("job started", job=job.id, kind=job.kind, model=job.model_id, attempt=job.fence)
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
            entry_point=job.kind,
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
            jobs.release(self._engine, job)
            log.info("job released", job=job.id)
            return
        jobs.fail(self._engine, job, f"the run could not be started: {cause!r}")
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
            if self._stopping.is_set():
                run.kill()
                jobs.release(self._engine, job)
                log.info("job released", job=job.id)
                return
            outcome = run.wait(min(every, 0.2))
        if outcome.succeeded:
            jobs.finish(self._engine, job, {"run_id": outcome.run_id, "status": "FINISHED"})
        else:
            jobs.fail(self._engine, job, outcome.error)
        log.info("job ended", job=job.id, kind=job.kind, ok=outcome.succeeded, error=outcome.error)
        if job.kind in FOLLOWED_BY_ADVANCE:
            enqueue_advance(self._engine)

    def _beat(self, job: Job) -> None:
        try:
            jobs.heartbeat(self._engine, job, lease_seconds=self._settings.job_lease_seconds)
        except sa.exc.OperationalError as exc:
            log.warning("heartbeat missed", job=job.id, error=str(exc.orig))


def enqueue_watch(engine: sa.Engine, platform: PlatformSettings) -> None:
    """Enqueue `drift` for each production model with new predictions, then `advance` if needed.

    New means: logged after the model's newest drift job was created. `advance` is needed when any
    retraining cycle is open; after the drift jobs the worker adds it by itself.
    """
    with reading(engine) as connection:
        served = sa.select(aliases.c.model_id).where(
            aliases.c.alias == "production", aliases.c.number.is_not(None)
        )
        models = [str(row.model_id) for row in connection.execute(served)]
        open_cycle = sa.select(retraining_cycles.c.id).where(
            retraining_cycles.c.closed_at.is_(None)
        )
        is_open = connection.execute(open_cycle.limit(1)).first() is not None
    for model_id in models:
        latest = jobs.list_jobs(engine, kind="drift", model_id=model_id, limit=1)
        if latest and latest[0].state in ("queued", "leased"):
            continue
        logged_at = newest_prediction(platform, model_id)
        if logged_at is not None and (not latest or logged_at > latest[0].created_at):
            jobs.enqueue(engine, "drift", {"model_name": model_id}, model_id=model_id)
    if is_open:
        enqueue_advance(engine)


def enqueue_refits(engine: sa.Engine) -> None:
    """Enqueue `refit` for each production model of a portfolio, unless one is waiting already."""
    query = sa.select(aliases.c.model_id, versions.c.contract).join(
        versions,
        sa.and_(versions.c.model_id == aliases.c.model_id, versions.c.number == aliases.c.number),
    )
    with reading(engine) as connection:
        served = connection.execute(query.where(aliases.c.alias == "production")).all()
    for model_id, contract in served:
        name = contract["template"]
        if name not in TEMPLATES or TEMPLATES.get(name).inputs != "portfolio":
            continue
        latest = jobs.list_jobs(engine, kind=REFIT, model_id=model_id, limit=1)
        if not latest or latest[0].state not in ("queued", "leased"):
            jobs.enqueue(engine, REFIT, {"model_name": model_id}, model_id=model_id)


def enqueue_advance(engine: sa.Engine) -> None:
    """Enqueue `advance` unless one is waiting already."""
    if not jobs.list_jobs(engine, kind="advance", state="queued", limit=1):
        jobs.enqueue(engine, "advance", {})


def newest_prediction(platform: PlatformSettings, model_id: str) -> datetime | None:
    """Return when the model's prediction log was last written; None when there is none."""
    files = (platform.predictions_dir / model_id).rglob("*.parquet")
    written = [path.stat().st_mtime for path in files]
    return datetime.fromtimestamp(max(written), UTC) if written else None


def main() -> None:
    """Run a worker with the settings of the environment until SIGTERM or SIGINT."""
    platform, settings = read_settings(PlatformSettings), read_settings(WorkerSettings)
    worker = Worker(open_engine(platform), platform, settings)

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
