"""Jobs: durable work in the engine database.

A job is one row of `jobs`. A worker claims the job that is due with the highest priority, the
oldest first, holds it by a lease that it renews (heartbeat), and reports once. When a worker dies
its lease runs out and the job is queued again, so delivery is **at least once** and every entry
point must be idempotent. Each claim raises the row's `fence`; a report carries owner and fence and
is refused when the worker holds the job no longer, so a worker that was frozen cannot overwrite
its successor.

    queued -> leased -> done
       ^        |-----> queued (failed, attempts left; released by a stopping worker; lease ran out)
       |        |-----> failed (no attempt left)
    cancelled <-+       (cancelling a leased job makes its worker kill it)

A job that is not short is a training: of one model at most one is leased at a time, but for the
workers of searches.

Works on SQLite (one writer at a time) and PostgreSQL (claims take turns). Times come from the
callers' clocks: leases must be long against the difference between machines' clocks. A job that
was due when it was enqueued stays due, whatever a clock says later.
This module runs nothing; `pipelines/jobs/worker.py` does.
"""

import uuid
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, TypedDict, Unpack

import sqlalchemy as sa

from pipelines.jobs.job import OPEN_STATES, Job, append_event, job_of
from registry.contract import Json
from registry.database import insert_for, reading
from registry.errors import IdempotencyConflictError, JobNotFoundError
from registry.tables import jobs

MAX_ATTEMPTS = 3
SHORT_ENTRY_POINTS = frozenset({"advance", "drift", "refit", "schedule", "validate"})
"""What never waits behind a training; every other entry point counts as one."""


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
    job = job_of(added)
    if job.actor is not None:
        append_event(connection, job, "job_enqueued", job.actor, "asked for")
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
    known = job_of(connection.execute(sa.select(jobs).where(jobs.c.idempotency_key == key)).one())
    if digest is not None and known.request_sha256 != digest:
        raise IdempotencyConflictError(known.id)
    return known


def enqueue_once(engine: sa.Engine, entry_point: str) -> None:
    """Add a job without parameters, unless one of this entry point is waiting already."""
    if not list_jobs(engine, entry_point=entry_point, state="queued", limit=1):
        enqueue(engine, entry_point, {})


def cancel(engine: sa.Engine, job_id: str, *, actor: str, reason: str = "cancelled") -> Job:
    """Cancel a job that has not ended, as an event; its worker, if any, kills it within 2 s.

    A job that has ended is returned as it is.

    Raises:
        JobNotFoundError: no job has this id.
    """
    open_job = (jobs.c.id == job_id) & jobs.c.state.in_(OPEN_STATES)
    ended = {"state": "cancelled", "lease_until": None, "ended_at": datetime.now(UTC)}
    with engine.begin() as connection:
        row = connection.execute(
            sa.update(jobs).where(open_job).values(ended).returning(jobs)
        ).one_or_none()
        if row is not None:
            append_event(connection, job_of(row), "job_cancelled", actor, reason)
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
    return job_of(row)


def list_jobs(
    engine: sa.Engine,
    *,
    state: str | None = None,
    entry_point: str | None = None,
    model_id: str | None = None,
    model_ids: Collection[str] | None = None,
    limit: int = 100,
) -> list[Job]:
    """Return jobs, newest first; each filter that is given must match.

    Args:
        model_ids: only jobs of these models; None means all, those of no model included.
    """
    query = sa.select(jobs).order_by(jobs.c.created_at.desc(), jobs.c.id).limit(limit)
    for column, wanted in (
        (jobs.c.state, state),
        (jobs.c.kind, entry_point),
        (jobs.c.model_id, model_id),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    if model_ids is not None:
        query = query.where(jobs.c.model_id.in_(model_ids))
    with reading(engine) as connection:
        return [job_of(row) for row in connection.execute(query)]
