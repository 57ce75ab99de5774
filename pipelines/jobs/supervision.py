"""Supervision of one claimed job: start its run, renew the lease, tell of it, report its end.

Runs in a thread of its own, one per job. If the lease is lost (cancelled, or taken over) the run
and everything that it started is killed. What the run tells (`pipelines/progress.py`) and the end
of its output are written into the job's row with every heartbeat.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
import structlog

from pipelines import progress
from pipelines.jobs import dead_runs, leases
from pipelines.jobs.job import Job, Told, told_of
from pipelines.jobs.log_tail import LogTail, Redaction
from pipelines.jobs.project_run import Entry, Launcher, Outcome, ProjectRun
from registry.contract import Json
from registry.database import AWAY, cause_of
from registry.errors import StaleLeaseError
from registry.settings import PlatformSettings

BEAT_SECONDS = 1.0
"""Longest time between two heartbeats: a cancelled job is killed within it."""
SIGNAL_SECONDS = 1.0
LOOK_SECONDS = 0.2

log = structlog.get_logger(__name__)


def end_left_open(
    launcher: Launcher, tracking_uri: str, log_path: Path, named: Iterable[str | None]
) -> None:
    """End the runs of a job whose process is gone: those named, and those in its output."""
    run_ids = {run_id for run_id in named if run_id} | dead_runs.told_in(log_path)
    try:
        problem = launcher.end_runs(tracking_uri, run_ids)
    except (EOFError, OSError) as exc:  # a signal to the whole group ends the fork server too
        problem = repr(exc)
    if problem:
        log.warning("runs left open", runs=sorted(run_ids), error=problem)


class Supervision:
    """One claimed job on its way to its end; `run` blocks until then, from any thread."""

    def __init__(
        self,
        job: Job,
        engine: sa.Engine,
        platform: PlatformSettings,
        lease_seconds: float,
        stopping: threading.Event,
    ) -> None:
        self.job = job
        self.lease_until = job.lease_until or datetime.now(UTC)
        self.is_over = False
        self._engine = engine
        self._lease_seconds = lease_seconds
        self._stopping = stopping
        self._log_path = platform.data_dir / "jobs" / f"{job.id}.log"
        self._progress_path = self._log_path.with_suffix(".progress")
        self._tracking_uri = platform.mlflow_tracking_uri
        self._redaction = Redaction.of(os.environ, {"DATA_DIR": platform.data_dir})
        self._tail = LogTail(self._log_path, self._redaction)
        self._facts: Mapping[str, Json] = {}

    def run(self, launcher: Launcher, mlproject_uri: str) -> None:
        """Run the job to its end, and report that.

        The job goes back to the queue when the worker stops. When the database does not answer for
        as long as a lease, its end is not reported, and it runs again.
        """
        self._progress_path.unlink(missing_ok=True)
        try:
            self._start_and_attend(launcher, self._entry(mlproject_uri))
        except StaleLeaseError as exc:
            log.warning("job lost", job=self.job.id, error=str(exc))
        except AWAY as exc:
            log.warning("end of job not reported", job=self.job.id, error=cause_of(exc))
        except Exception:
            log.exception("bug beside a job", job=self.job.id)
        finally:
            self._progress_path.unlink(missing_ok=True)

    def _entry(self, mlproject_uri: str) -> Entry:
        said = {
            "MLFLOW_TRACKING_URI": self._tracking_uri,
            progress.VARIABLE: str(self._progress_path),
        }
        return Entry(
            uri=mlproject_uri,
            entry_point=self.job.entry_point,
            parameters=self.job.payload,
            experiment=self.job.model_id or "operations",
            environment=os.environ | said,
            log_path=self._log_path,
        )

    def _start_and_attend(self, launcher: Launcher, entry: Entry) -> None:
        if self._stopping.is_set():
            self._release()
            return
        try:
            run = launcher.start(entry)
        except (EOFError, OSError) as exc:  # a signal to the whole group ends the fork server too
            self._give_up(exc)
            return
        try:
            outcome = self._attend(run)
        except StaleLeaseError:
            run.kill()
            self._end_runs(launcher, None)
            raise
        finally:
            run.kill()
        if outcome is None or not outcome.succeeded:
            self._end_runs(launcher, outcome)
        if outcome is None:
            self._release()
        else:
            self._end(outcome)

    def _end_runs(self, launcher: Launcher, outcome: Outcome | None) -> None:
        """End what the killed or failed process has left open in MLflow."""
        told = progress.read(self._progress_path)
        named = {told.run_id if told else None, outcome.run_id if outcome else None}
        end_left_open(launcher, self._tracking_uri, self._log_path, named)

    def _give_up(self, cause: Exception) -> None:
        if self._stopping.wait(SIGNAL_SECONDS):  # the same signal, which this process takes later
            self._release()
            return
        error = f"the run could not be started: {cause!r}"
        leases.fail(self._engine, self.job, error)
        log.error("job not started", job=self.job.id, error=repr(cause))

    def _attend(self, run: ProjectRun) -> Outcome | None:
        """Renew the lease until the run ends; None when the worker stops before.

        Raises:
            StaleLeaseError: the lease was lost; the caller kills the run.
        """
        every = min(self._lease_seconds / 6, BEAT_SECONDS)
        outcome, next_beat = None, 0.0
        while outcome is None and not self._stopping.is_set():
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + every
                self._beat()
            outcome = run.wait(min(every, LOOK_SECONDS))
        if outcome is not None and not outcome.succeeded and outcome.run_id is None:
            # it died before MLflow knew of it: of a signal that this process takes later, maybe
            return None if self._stopping.wait(SIGNAL_SECONDS) else outcome
        return outcome

    def _beat(self) -> None:
        try:
            self.lease_until = leases.heartbeat(
                self._engine, self.job, self._told(), lease_seconds=self._lease_seconds
            )
        except AWAY as exc:
            log.warning("heartbeat missed", job=self.job.id, error=cause_of(exc))

    def _told(self) -> Told:
        tail = self._tail.read()
        if (reported := progress.read(self._progress_path)) is None:
            return Told(None, None, tail)
        self._facts = {name: self._redaction.within(v) for name, v in reported.facts.items()}
        return Told(reported.stage, reported.fraction, tail, reported.run_id, self._facts)

    def _end(self, outcome: Outcome) -> None:
        self._beat()  # what was told since the last one
        error = self._redaction.apply(outcome.error)
        told, run_id = self._facts, outcome.run_id
        result = {"run_id": run_id, "status": "FINISHED", **told_of(told)}
        if outcome.succeeded:
            self._report(lambda: leases.finish(self._engine, self.job, result))
        else:
            self._report(lambda: leases.fail(self._engine, self.job, error, run_id, told))
        log.info(
            "job ended",
            job=self.job.id,
            entry_point=self.job.entry_point,
            ok=outcome.succeeded,
            error=error,
        )

    def _release(self) -> None:
        self._report(lambda: leases.release(self._engine, self.job))
        log.info("job released", job=self.job.id)

    def _report(self, report: Callable[[], object]) -> None:
        """Report an end; wait for a database that is away for as long as the lease may last."""
        deadline = time.monotonic() + self._lease_seconds
        while True:
            try:
                report()
            except AWAY as exc:
                if self._stopping.is_set() or time.monotonic() >= deadline:
                    raise
                log.warning("job's end waits", job=self.job.id, error=cause_of(exc))
                self._stopping.wait(BEAT_SECONDS)
            else:
                return
