"""Leases: how a worker holds a job, tells of it, and reports its end; once, or not at all.

A report carries owner and fence and is refused when the worker holds the job no longer
(`pipelines/jobs/queue.py` draws the states). Times come from the callers' clocks: leases must be
long against the difference between machines' clocks.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from pipelines.jobs.job import Job, Told, append_event, job_of, told_of
from registry.contract import Json
from registry.database import reading
from registry.errors import StaleLeaseError
from registry.tables import jobs

LEASE_SECONDS = 30.0
RETRY_SECONDS = 5.0
SEARCH = "tune"
"""Entry point of which several may run about one model."""
UNTOLD: dict[str, Any] = {
    "stage": None,
    "progress": None,
    "log_tail": None,
    "result": sa.null(),  # of a column of JSON; None would be the JSON value null
}
CLAIMS_LOCK = 0x6A6F6273
"""Number of PostgreSQL's advisory lock that claims hold one after the other ("jobs" in ASCII)."""


def claim(
    engine: sa.Engine,
    owner: str,
    *,
    takes_training: bool = True,
    lease_seconds: float = LEASE_SECONDS,
    now: datetime | None = None,
) -> Job | None:
    """Lease the job that is due with the highest priority, the oldest first; None without one.

    A job whose lease ran out is queued again before, or becomes `failed` after its last attempt.
    What an earlier attempt told of its progress is forgotten.

    Args:
        takes_training: False takes short jobs only.
    """
    now = now or datetime.now(UTC)
    order = (jobs.c.priority.desc(), jobs.c.due_at, jobs.c.created_at)
    free = _is_queued(now) & _may_run(now, takes_training)
    first = sa.select(jobs.c.id).where(free).order_by(*order).limit(1)
    with engine.begin() as connection:
        _take_turn(connection)
        _requeue_lost(connection, now)
        row = connection.execute(
            sa.update(jobs)
            .where(jobs.c.id == first.scalar_subquery(), jobs.c.state == "queued")
            .values(
                state="leased",
                owner=owner,
                fence=jobs.c.fence + 1,
                lease_until=now + timedelta(seconds=lease_seconds),
                started_at=now,
                **UNTOLD,
            )
            .returning(jobs)
        ).one_or_none()
    return None if row is None else job_of(row)


def is_any_due(
    engine: sa.Engine, *, takes_training: bool = True, now: datetime | None = None
) -> bool:
    """Return whether `claim` would find a job, or one whose lease has run out."""
    now = now or datetime.now(UTC)
    free = (_is_queued(now) | _is_lost(now)) & _may_run(now, takes_training)
    with reading(engine) as connection:
        return connection.execute(sa.select(jobs.c.id).where(free).limit(1)).first() is not None


def lost(engine: sa.Engine, *, now: datetime | None = None) -> list[Job]:
    """Return the jobs whose worker has died, with what they told last; `claim` takes them back."""
    with reading(engine) as connection:
        rows = connection.execute(sa.select(jobs).where(_is_lost(now or datetime.now(UTC)))).all()
    return [job_of(row) for row in rows]


def _take_turn(connection: sa.Connection) -> None:
    """Let one claim at a time look at what runs; on SQLite every writer takes its turn anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(CLAIMS_LOCK)))


def _requeue_lost(connection: sa.Connection, now: datetime) -> None:
    """Queue the jobs whose lease has run out again; those on their last attempt have failed."""
    lost, is_last = _is_lost(now), jobs.c.fence >= jobs.c.max_attempts
    reason = "its worker died on the last attempt; see the worker's log"
    failed = {"state": "failed", "ended_at": now, "error": reason, "lease_until": None}
    query = sa.update(jobs).where(lost, is_last).values(failed).returning(jobs)
    for row in connection.execute(query).all():
        _append_end(connection, job_of(row))
    again = {"state": "queued", "owner": None, "lease_until": None}
    connection.execute(sa.update(jobs).where(lost).values(again))


def heartbeat(
    engine: sa.Engine,
    job: Job,
    told: Told | None = None,
    *,
    lease_seconds: float = LEASE_SECONDS,
) -> datetime:
    """Renew the lease of a claimed job, write what its run has told, return when the lease ends.

    Raises:
        StaleLeaseError: the job was cancelled, or another worker holds it.
    """
    until = datetime.now(UTC) + timedelta(seconds=lease_seconds)
    _report(engine, job, (told.columns() if told else {}) | {"lease_until": until})
    return until


def finish(engine: sa.Engine, job: Job, result: Mapping[str, Json]) -> Job:
    """Report success of a claimed job.

    Raises:
        StaleLeaseError: the job was cancelled, or another worker holds it.
    """
    done = {"state": "done", "result": dict(result), "error": None, "progress": 1.0}
    return _report(engine, job, done | {"lease_until": None, "ended_at": datetime.now(UTC)})


def fail(
    engine: sa.Engine,
    job: Job,
    error: str,
    run_id: str | None = None,
    facts: Mapping[str, Json] = MappingProxyType({}),
) -> Job:
    """Report failure of a claimed job: queued again with growing delay, or `failed` at last.

    The delay is 5 s after the first attempt and doubles with each. `run_id` is the MLflow run that
    failed, `facts` are what it had told.

    Raises:
        StaleLeaseError: the job was cancelled, or another worker holds it.
    """
    now = datetime.now(UTC)
    said: dict[str, Any] = {"error": error, "lease_until": None}
    if run_id is not None:
        said["result"] = {"run_id": run_id, "status": "FAILED", **told_of(facts)}
    if job.fence >= job.max_attempts:
        return _report(engine, job, said | {"state": "failed", "ended_at": now})
    due_at = now + timedelta(seconds=RETRY_SECONDS * 2 ** (job.fence - 1))
    return _report(engine, job, said | {"state": "queued", "owner": None, "due_at": due_at})


def release(engine: sa.Engine, job: Job) -> Job:
    """Give a claimed job back, as a stopping worker does; the attempt is not counted.

    Raises:
        StaleLeaseError: the job was cancelled, or another worker holds it.
    """
    again = {"state": "queued", "lease_until": None, "owner": None}
    return _report(engine, job, again | UNTOLD | {"max_attempts": job.max_attempts + 1})


def _is_queued(now: datetime) -> sa.ColumnElement[bool]:
    is_due = (jobs.c.due_at <= now) | (jobs.c.due_at <= jobs.c.created_at)
    return (jobs.c.state == "queued") & is_due


def _is_lost(now: datetime) -> sa.ColumnElement[bool]:
    return (jobs.c.state == "leased") & (jobs.c.lease_until < now)


def _may_run(now: datetime, takes_training: bool) -> sa.ColumnElement[bool]:
    """Return whether a job is short, or a training of a model that no other training holds.

    Searches of one model hold each other off no more than those of two: a study is theirs together.
    """
    is_short = jobs.c.is_short
    if not takes_training:
        return is_short
    other = jobs.alias("other")
    holds = (other.c.model_id == jobs.c.model_id) & (other.c.id != jobs.c.id) & ~other.c.is_short
    runs = (other.c.state == "leased") & (other.c.lease_until >= now)
    are_searches = (jobs.c.kind == SEARCH) & (other.c.kind == SEARCH)
    return is_short | ~sa.exists().where(holds & runs & ~are_searches)


def _report(engine: sa.Engine, job: Job, values: Mapping[str, Any]) -> Job:
    held = (jobs.c.id == job.id) & (jobs.c.state == "leased")
    mine = (jobs.c.owner == job.owner) & (jobs.c.fence == job.fence)
    with engine.begin() as connection:
        row = connection.execute(
            sa.update(jobs).where(held & mine).values(dict(values)).returning(jobs)
        ).one_or_none()
        if row is None:
            raise StaleLeaseError(job.id, job.owner or "nobody")
        reported = job_of(row)
        if reported.ended_at is not None:
            _append_end(connection, reported)
    return reported


def _append_end(connection: sa.Connection, job: Job) -> None:
    """Append the end of a job that a person asked for."""
    if job.actor is not None:
        reason = job.error or "it ended well"
        append_event(connection, job, f"job_{job.state}", job.owner or "worker", reason)
