"""Jobs: durable work and schedules in the engine database.

A job is one row of `jobs`. A worker claims the oldest job that is due, holds it by a lease that
it renews (heartbeat), and reports once. When a worker dies its lease runs out and another worker
claims the job, so delivery is **at least once** and every entry point must be idempotent. Each
claim raises the row's `fence`; a report carries owner and fence and is refused when another
worker holds the job by then, so a worker that was frozen cannot overwrite its successor.

    queued -> leased -> done
       ^        |-----> queued (failed, attempts left; or released by a stopping worker)
       |        |-----> failed (no attempt left)
    cancelled <-+       (cancelling a leased job makes its worker kill it)

Works on SQLite (one writer at a time) and PostgreSQL (`FOR UPDATE SKIP LOCKED`). Times come from
the callers' clocks: leases must be long against the difference between machines' clocks.
This module runs nothing; `pipelines/jobs/worker.py` does.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict, Unpack

import sqlalchemy as sa

from registry import events
from registry.contract import Json
from registry.database import insert_for, reading
from registry.errors import IdempotencyConflictError, JobNotFoundError, StaleLeaseError
from registry.tables import jobs, schedules

STATES = ("queued", "leased", "done", "failed", "cancelled")
OPEN_STATES = ("queued", "leased")
LEASE_SECONDS = 30.0
RETRY_SECONDS = 5.0
MAX_ATTEMPTS = 3
SHORT_ENTRY_POINTS = frozenset({"advance", "drift", "refit", "schedule", "validate"})
"""What never waits behind a training; every other entry point counts as one."""


@dataclass(frozen=True, slots=True)
class Job:
    """One row of `jobs`; `fence` is also the number of times it has been claimed.

    `progress` is 0 to 1, None while the job has not told; `stage` is what it does, in words.
    """

    id: str
    entry_point: str
    model_id: str | None
    payload: Mapping[str, Json]
    idempotency_key: str | None
    request_sha256: str | None
    actor: str | None
    priority: int
    is_short: bool
    state: str
    due_at: datetime
    owner: str | None
    fence: int
    lease_until: datetime | None
    max_attempts: int
    result: Mapping[str, Json] | None
    error: str | None
    stage: str | None
    progress: float | None
    log_tail: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class Options(TypedDict, total=False):
    """What may be said about a job beyond what it runs.

    model_id: the model that it is about; at most one training of a model runs at a time.
    actor: who asked for it; then its enqueueing and its end are events too.
    idempotency_key: at most 64 characters; a second job with the same key is not added.
    request_sha256: digest of the request that the key stands for; None compares nothing.
    priority: higher goes first; 0 unless said.
    is_short: whether it may use the slots kept for short jobs; None: as its entry point does.
    due_at: not before this time; None means now.
    max_attempts: how often it is tried; 3 unless said.
    """

    model_id: str | None
    actor: str | None
    idempotency_key: str | None
    request_sha256: str | None
    priority: int
    is_short: bool | None
    due_at: datetime | None
    max_attempts: int


def enqueue(
    engine: sa.Engine, entry_point: str, payload: Mapping[str, Json], **options: Unpack[Options]
) -> Job:
    """Add a job, or return the one that has this idempotency key already, whatever its state.

    Args:
        entry_point: MLproject entry point that the worker runs.
        payload: that entry point's parameters.

    Raises:
        IdempotencyConflictError: the key was used for another request.
    """
    with engine.begin() as connection:
        return enqueue_in(connection, entry_point, payload, **options)


def enqueue_in(
    connection: sa.Connection,
    entry_point: str,
    payload: Mapping[str, Json],
    **options: Unpack[Options],
) -> Job:
    """Add a job inside the caller's transaction; otherwise as `enqueue`."""
    added = connection.execute(
        insert_for(connection, jobs)
        .values(_new_row(entry_point, payload, options))
        .on_conflict_do_nothing(index_elements=["idempotency_key"])
        .returning(jobs)
    ).one_or_none()
    if added is None:
        return _known(connection, options)
    job = _job(added)
    if job.actor is not None:
        _append_event(connection, job, "job_enqueued", job.actor, "asked for")
    return job


def _new_row(entry_point: str, payload: Mapping[str, Json], options: Options) -> dict[str, Any]:
    now = datetime.now(UTC)
    is_short = options.get("is_short")
    return {
        "id": uuid.uuid4().hex,
        "kind": entry_point,
        "model_id": options.get("model_id"),
        "payload": dict(payload),
        "idempotency_key": options.get("idempotency_key"),
        "request_sha256": options.get("request_sha256"),
        "actor": options.get("actor"),
        "priority": options.get("priority", 0),
        "is_short": entry_point in SHORT_ENTRY_POINTS if is_short is None else is_short,
        "state": "queued",
        "due_at": options.get("due_at") or now,
        "fence": 0,
        "max_attempts": options.get("max_attempts", MAX_ATTEMPTS),
        "created_at": now,
    }


def _known(connection: sa.Connection, options: Options) -> Job:
    """Return the job that has the key already, if it was made by the same request."""
    key, digest = options.get("idempotency_key"), options.get("request_sha256")
    known = _job(connection.execute(sa.select(jobs).where(jobs.c.idempotency_key == key)).one())
    if digest is not None and known.request_sha256 != digest:
        raise IdempotencyConflictError(known.id)
    return known


def _append_event(connection: sa.Connection, job: Job, kind: str, actor: str, reason: str) -> None:
    events.append(
        connection,
        kind,
        actor=actor,
        reason=reason,
        model_id=job.model_id,
        facts={"job_id": job.id, "entry_point": job.entry_point},
    )


def enqueue_once(engine: sa.Engine, entry_point: str) -> None:
    """Add a job without parameters, unless one of this entry point is waiting already."""
    if not list_jobs(engine, entry_point=entry_point, state="queued", limit=1):
        enqueue(engine, entry_point, {})


def claim(
    engine: sa.Engine,
    owner: str,
    *,
    lease_seconds: float = LEASE_SECONDS,
    now: datetime | None = None,
) -> Job | None:
    """Lease the oldest job that is due, or whose lease has run out; None when there is none.

    A job whose lease ran out on its last attempt becomes `failed` instead.
    """
    now = now or datetime.now(UTC)
    lost = _is_lost(now)
    due = _is_queued(now) | lost
    oldest = sa.select(jobs.c.id).where(due).order_by(jobs.c.due_at, jobs.c.created_at).limit(1)
    if engine.dialect.name == "postgresql":
        oldest = oldest.with_for_update(skip_locked=True)
    with engine.begin() as connection:
        connection.execute(
            sa.update(jobs)
            .where(lost, jobs.c.fence >= jobs.c.max_attempts)
            .values(
                state="failed",
                ended_at=now,
                error=sa.literal("its worker died on the last attempt; see the worker's log"),
            )
        )
        row = connection.execute(
            sa.update(jobs)
            .where(jobs.c.id == oldest.scalar_subquery(), due)
            .values(
                state="leased",
                owner=owner,
                fence=jobs.c.fence + 1,
                lease_until=now + timedelta(seconds=lease_seconds),
            )
            .returning(jobs)
        ).one_or_none()
    return None if row is None else _job(row)


def is_any_due(engine: sa.Engine, *, now: datetime | None = None) -> bool:
    """Return whether `claim` would find a job."""
    now = now or datetime.now(UTC)
    query = sa.select(jobs.c.id).where(_is_queued(now) | _is_lost(now)).limit(1)
    with reading(engine) as connection:
        return connection.execute(query).first() is not None


def heartbeat(engine: sa.Engine, job: Job, *, lease_seconds: float = LEASE_SECONDS) -> datetime:
    """Renew the lease of a claimed job and return when it ends.

    Raises:
        StaleLeaseError: the job was cancelled, or another worker holds it.
    """
    until = datetime.now(UTC) + timedelta(seconds=lease_seconds)
    _report(engine, job, {"lease_until": until})
    return until


def finish(engine: sa.Engine, job: Job, result: Mapping[str, Json]) -> Job:
    """Report success of a claimed job.

    Raises:
        StaleLeaseError: the job was cancelled, or another worker holds it.
    """
    ended = {"state": "done", "result": dict(result), "error": None}
    return _report(engine, job, ended | {"lease_until": None, "ended_at": datetime.now(UTC)})


def fail(engine: sa.Engine, job: Job, error: str) -> Job:
    """Report failure of a claimed job: queued again with growing delay, or `failed` at last.

    The delay is 5 s after the first attempt and doubles with each.

    Raises:
        StaleLeaseError: the job was cancelled, or another worker holds it.
    """
    now = datetime.now(UTC)
    if job.fence >= job.max_attempts:
        failed = {"state": "failed", "error": error, "lease_until": None, "ended_at": now}
        return _report(engine, job, failed)
    due_at = now + timedelta(seconds=RETRY_SECONDS * 2 ** (job.fence - 1))
    again = {"state": "queued", "error": error, "lease_until": None, "owner": None}
    return _report(engine, job, again | {"due_at": due_at})


def release(engine: sa.Engine, job: Job) -> Job:
    """Give a claimed job back, as a stopping worker does; the attempt is not counted.

    Raises:
        StaleLeaseError: the job was cancelled, or another worker holds it.
    """
    again = {"state": "queued", "lease_until": None, "owner": None}
    return _report(engine, job, again | {"max_attempts": job.max_attempts + 1})


def cancel(engine: sa.Engine, job_id: str) -> Job:
    """Cancel a job that has not ended; its worker, if any, kills it at the next heartbeat.

    A job that has ended is returned as it is.

    Raises:
        JobNotFoundError: no job has this id.
    """
    open_job = (jobs.c.id == job_id) & jobs.c.state.in_(OPEN_STATES)
    ended = {"state": "cancelled", "lease_until": None, "ended_at": datetime.now(UTC)}
    with engine.begin() as connection:
        connection.execute(sa.update(jobs).where(open_job).values(ended))
    return get(engine, job_id)


def get(engine: sa.Engine, job_id: str) -> Job:
    """Return one job.

    Raises:
        JobNotFoundError: no job has this id.
    """
    with reading(engine) as connection:
        row = connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).one_or_none()
    if row is None:
        raise JobNotFoundError(job_id)
    return _job(row)


def list_jobs(
    engine: sa.Engine,
    *,
    state: str | None = None,
    entry_point: str | None = None,
    model_id: str | None = None,
    limit: int = 100,
) -> list[Job]:
    """Return jobs, newest first; each filter that is given must match."""
    query = sa.select(jobs).order_by(jobs.c.created_at.desc(), jobs.c.id).limit(limit)
    for column, wanted in (
        (jobs.c.state, state),
        (jobs.c.kind, entry_point),
        (jobs.c.model_id, model_id),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    with reading(engine) as connection:
        return [_job(row) for row in connection.execute(query)]


def schedule(
    engine: sa.Engine, name: str, interval_seconds: float, *, now: datetime | None = None
) -> None:
    """Make `name` due every `interval_seconds`, first one interval from now; 0 removes it.

    Calling it again with the same interval changes nothing, so a restart delays nothing.
    """
    now = now or datetime.now(UTC)
    named = schedules.c.name == name
    with engine.begin() as connection:
        if interval_seconds <= 0:
            connection.execute(sa.delete(schedules).where(named))
            return
        wanted = {
            "interval_seconds": interval_seconds,
            "next_due_at": now + timedelta(seconds=interval_seconds),
        }
        connection.execute(
            insert_for(connection, schedules)
            .values({"name": name} | wanted)
            .on_conflict_do_update(
                index_elements=["name"],
                set_=wanted,
                where=schedules.c.interval_seconds != interval_seconds,
            )
        )


def is_schedule_due(engine: sa.Engine, *, now: datetime | None = None) -> bool:
    """Return whether `claim_schedules` would find one."""
    late = schedules.c.next_due_at <= (now or datetime.now(UTC))
    with reading(engine) as connection:
        return (
            connection.execute(sa.select(schedules.c.name).where(late).limit(1)).first() is not None
        )


def claim_schedules(engine: sa.Engine, *, now: datetime | None = None) -> list[str]:
    """Return the schedules that are due and move each to its next time; one caller wins each.

    Times missed while nothing ran are made up for once, not one by one.
    """
    now = now or datetime.now(UTC)
    claimed = []
    with engine.begin() as connection:
        for row in connection.execute(sa.select(schedules).where(schedules.c.next_due_at <= now)):
            moved = connection.execute(
                sa.update(schedules)
                .where(schedules.c.name == row.name, schedules.c.next_due_at == row.next_due_at)
                .values(next_due_at=now + timedelta(seconds=row.interval_seconds))
            )
            if moved.rowcount == 1:
                claimed.append(str(row.name))
    return claimed


def _is_queued(now: datetime) -> sa.ColumnElement[bool]:
    return (jobs.c.state == "queued") & (jobs.c.due_at <= now)


def _is_lost(now: datetime) -> sa.ColumnElement[bool]:
    return (jobs.c.state == "leased") & (jobs.c.lease_until < now)


def _report(engine: sa.Engine, job: Job, values: Mapping[str, Any]) -> Job:
    held = (jobs.c.id == job.id) & (jobs.c.state == "leased")
    mine = (jobs.c.owner == job.owner) & (jobs.c.fence == job.fence)
    with engine.begin() as connection:
        row = connection.execute(
            sa.update(jobs).where(held & mine).values(dict(values)).returning(jobs)
        ).one_or_none()
    if row is None:
        raise StaleLeaseError(job.id, job.owner or "nobody")
    return _job(row)


def _job(row: sa.Row[Any]) -> Job:
    facts = row._asdict()
    return Job(entry_point=facts.pop("kind"), **facts)
