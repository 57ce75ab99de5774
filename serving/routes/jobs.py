"""/jobs: the work that was asked for, how far it is, and how to end it."""

import asyncio
import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from pipelines.jobs import queue
from pipelines.jobs.job import OPEN_STATES, Job
from pipelines.jobs.log_tail import Redaction
from serving.event_streams import Seen
from serving.job_streams import ENDED, STREAM, job_stream
from serving.mlflow_pages import run_page
from serving.route_table import Example, Route, Scope
from serving.schemas import Label, Name
from serving.security import principal_of
from serving.service import Service, service_of

State = Literal["queued", "leased", "done", "failed", "cancelled"]
LOG_FOLDER = re.compile(r"\(output: \S*/jobs/")
"""In errors of older releases; they named the folder on the disk."""
LEAST_PROGRESS = 0.01
"""Below it the time left cannot be told."""
UNSEEN = Redaction()


class JobLine(BaseModel):
    """One job in the list."""

    model_config = ConfigDict(protected_namespaces=())

    job_id: str
    entry_point: str
    model_id: str | None
    state: State = Field(description="leased: a worker runs it now.")
    stage: str | None = Field(description="What it does, in words; null: it has not said.")
    progress: float | None = Field(description="0 to 1, of the present attempt; null: not said.")
    eta_seconds: float | None = Field(
        description="Estimated from progress and started_at; null where that says nothing."
    )
    attempts: int
    max_attempts: int
    priority: int
    is_short: bool = Field(description="Whether it never waits behind a training.")
    actor: str | None = Field(description="Key that asked for it; null: the engine itself.")
    error: str | None
    run_id: str | None = Field(description="Its MLflow run, as soon as it has one.")
    run_url: str | None
    created_at: datetime
    due_at: datetime
    started_at: datetime | None = Field(description="Of the present or last attempt.")
    ended_at: datetime | None


class JobList(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobLine]


class JobFacts(JobLine):
    """Everything about one job."""

    payload: dict[str, Any] = Field(description="Parameters of the entry point.")
    log_tail: list[str] = Field(description="Last lines of its output, without secrets.")


class CancelRequest(BaseModel):
    """Why a job is cancelled."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: Label = "cancelled"


Limit = Annotated[int, Query(ge=1, le=1000)]


async def list_jobs(
    request: Request,
    state: State | None = None,
    model_id: Name | None = None,
    entry_point: Name | None = None,
    limit: Limit = 100,
) -> JobList:
    """List jobs, newest first, those of the key's models; each filter must match."""
    service, principal = service_of(request), principal_of(request)
    if model_id is not None:
        principal.check_model(model_id)
    found = await asyncio.to_thread(
        queue.list_jobs,
        service.database,
        state=state,
        entry_point=entry_point,
        model_id=model_id,
        model_ids=principal.model_ids,
        limit=limit,
    )
    return JobList(jobs=[JobLine(**line_of(service, job)) for job in found])


async def get_job(job_id: Name, request: Request) -> JobFacts:
    """Show a job: state, progress, time left, the end of its output, its run."""
    service = service_of(request)
    return _facts(service, await asyncio.to_thread(_allowed, service, request, job_id))


async def follow_job(job_id: Name, request: Request) -> Response:
    """Send a job's state and progress as server-sent events until it ends.

    Each event `job` has the fields of the list. The last one has `ended_at`. A client that comes
    back with the `Last-Event-ID` of the last one gets 204, which ends an EventSource.
    """
    service = service_of(request)
    return await job_stream(request, lambda: _seen(service, _allowed(service, request, job_id)))


async def cancel_job(job_id: Name, request: Request, body: CancelRequest | None = None) -> JobFacts:
    """Cancel a job; a running one is killed within 2 s, with everything that it started.

    A job that has ended is answered as it is.
    """
    service, actor = service_of(request), principal_of(request).actor
    reason = (body or CancelRequest()).reason

    def cancel() -> Job:
        _allowed(service, request, job_id)
        return queue.cancel(service.database, job_id, actor=actor, reason=reason)

    return _facts(service, await asyncio.to_thread(cancel))


def _allowed(service: Service, request: Request, job_id: str) -> Job:
    """Return a job that the key may see.

    Raises:
        JobNotFoundError: there is none.
        ForbiddenError: it is about a model that is not on the key's list.
    """
    job = queue.get(service.database, job_id)
    principal_of(request).check_model(job.model_id)
    return job


def _facts(service: Service, job: Job) -> JobFacts:
    tail = job.log_tail.split("\n") if job.log_tail else []
    return JobFacts(**line_of(service, job), payload=_shown(job.payload), log_tail=tail)


def line_of(service: Service, job: Job) -> dict[str, Any]:
    """Return the fields of a job's line."""
    uri, run_id = service.platform.mlflow_tracking_uri, (job.result or {}).get("run_id")
    names = ("entry_point", "model_id", "state", "stage", "max_attempts", "priority", "is_short")
    times = ("created_at", "due_at", "started_at", "ended_at")
    return {
        "job_id": job.id,
        "attempts": job.fence,
        "actor": job.actor,
        "progress": 1.0 if job.state == "done" else job.progress,
        "eta_seconds": _seconds_left(job),
        "error": public_error(job),
        "run_id": run_id,
        "run_url": run_page(uri, run_id) if isinstance(run_id, str) else None,
        **{name: getattr(job, name) for name in (*names, *times)},
    }


def public_error(job: Job) -> str | None:
    """Return why a job failed, without secrets and without the folder on the disk."""
    return job.error and UNSEEN.apply(LOG_FOLDER.sub("(output: DATA_DIR/jobs/", job.error))


def _seconds_left(job: Job) -> float | None:
    told = job.progress
    if job.state != "leased" or job.started_at is None or told is None or told < LEAST_PROGRESS:
        return None
    spent = max(0.0, (datetime.now(UTC) - job.started_at).total_seconds())
    return round(spent * (1 - told) / told, 1)


def _shown(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return a payload without the passwords of addresses and other secrets in its texts."""
    return {
        name: UNSEEN.apply(value) if isinstance(value, str) else value
        for name, value in payload.items()
    }


def _seen(service: Service, job: Job) -> Seen:
    line = JobLine(**line_of(service, job))
    changing = repr((job.state, job.fence, job.stage, line.progress, job.error))
    mark = hashlib.sha256(changing.encode()).hexdigest()[:16]
    return Seen(mark, "job", line.model_dump_json(), job.state not in OPEN_STATES)


ONE = {"job_id": "0123456789abcdef0123456789abcdef"}

ROUTES = (
    Route(
        "GET",
        "/jobs",
        Scope.READ,
        list_jobs,
        tag="jobs",
        errors=(422, 503),
        examples=(
            Example("every job"),
            Example("running trainings", query={"state": "leased", "entry_point": "main"}),
        ),
    ),
    Route(
        "GET",
        "/jobs/{job_id}",
        Scope.READ,
        get_job,
        tag="jobs",
        errors=(404, 422, 503),
        examples=(Example("one job", path=ONE),),
    ),
    Route(
        "GET",
        "/jobs/{job_id}/events",
        Scope.READ,
        follow_job,
        tag="jobs",
        errors=(404, 422, 503),
        examples=(Example("a job that has ended", path=ONE),),
        responses={200: STREAM, 204: ENDED},
        response_class=StreamingResponse,
    ),
    Route(
        "POST",
        "/jobs/{job_id}/cancel",
        Scope.MANAGE,
        cancel_job,
        tag="jobs",
        errors=(404,),
        examples=(
            Example("a wrong order", path=ONE, body={"reason": "wrong data"}),
            Example("without a reason", path=ONE),
        ),
    ),
)
