"""Searches as their jobs tell them: how far one is, what it found, who works on it.

Everything is read from the rows of `jobs`: a search tells with its heartbeats
(`pipelines.tuning.state`). Jobs of one study belong together; what the newest of them told counts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from fastapi import Request

from pipelines.jobs import queue
from pipelines.jobs.job import OPEN_STATES, TOLD, Job, job_of
from pipelines.jobs.leases import SEARCH
from pipelines.recipes.acceptance import grouped
from pipelines.tuning.acceptance import OF_TUNE, accept_search
from pipelines.tuning.asked import Asked
from registry import managed_models
from registry.contract import Json
from registry.database import reading
from registry.errors import NotASearchError
from registry.tables import jobs
from serving.enqueueing import JobAnswer, enqueued
from serving.security import principal_of
from serving.service import Service, service_of


@dataclass(frozen=True, slots=True)
class Searching:
    """A job that searches, and the other jobs of its study, newest first."""

    job: Job
    others: tuple[Job, ...]

    @property
    def study(self) -> str:
        return str(self.job.payload["study"])

    @property
    def workers(self) -> tuple[Job, ...]:
        """The jobs that search, this one first."""
        others = (job for job in self.others if not job.payload.get("deploy"))
        return (self.job, *others)

    @property
    def told(self) -> Mapping[str, Any]:
        """What the study told last: most trials ended, then decided, then deployed."""
        return max((told_by(job) for job in (self.job, *self.others)), key=_newness)

    @property
    def outcome(self) -> Mapping[str, Any] | None:
        """What the study came to; None before its decision."""
        return self.told.get("outcome")

    @property
    def state(self) -> str:
        """The job's state; a study that others go on with has not ended with this job."""
        goes_on = any(job.state in OPEN_STATES for job in self.workers[1:])
        is_open = self.job.state == "done" and self.outcome is None and goes_on
        return "leased" if is_open else self.job.state


def told_by(job: Job) -> Mapping[str, Any]:
    """Return what a job has told; empty before it did."""
    found = (job.result or {}).get(TOLD)
    return found if isinstance(found, Mapping) else {}


def _newness(told: Mapping[str, Any]) -> tuple[int, int, int]:
    outcome = told.get("outcome") or {}
    n_ended = told.get("n_ended", outcome.get("n_ended", 0))
    return int(n_ended), len(outcome) > 0, int(outcome.get("version") or 0)


def searching(service: Service, request: Request, job_id: str) -> Searching:
    """Return a search that the key may see.

    Raises:
        JobNotFoundError: no job has this id.
        NotASearchError: it is another kind of job.
        ForbiddenError: it is about a model that is not on the key's list.
    """
    job = queue.get(service.database, job_id)
    principal_of(request).check_model(job.model_id)
    if job.entry_point != SEARCH:
        raise NotASearchError(job.id, job.entry_point)
    return with_others(service.database, job)


def with_others(database: sa.Engine, job: Job) -> Searching:
    """Return a job that searches with the others of its study."""
    study = str(job.payload["study"])
    others = of_study(database, study, job.model_id)
    return Searching(job, tuple(other for other in others if other.id != job.id))


def of_study(database: sa.Engine, study: str, model_id: str | None) -> list[Job]:
    """Return the jobs of a study, newest first."""
    is_its = jobs.c.payload["study"].as_string() == study
    query = sa.select(jobs).where(jobs.c.kind == SEARCH, jobs.c.model_id == model_id, is_its)
    with reading(database) as connection:
        found = connection.execute(query.order_by(jobs.c.created_at.desc(), jobs.c.id))
        return [job_of(row) for row in found]


# Starting ----------------------------------------------------------------------------------------


def accepted(service: Service, parameters: Mapping[str, Any]) -> dict[str, Json]:
    """Return the payload of a search, checked by the stage's own code.

    Raises:
        MLEngineError: as `accept_search`.
        ModelArchivedError: the model that the winner would become is archived.
        StudyConflictError: a study of this name searches something else.
    """
    payload = accept_search(parameters, service.platform, service.database)
    model_id, study = str(payload["model_name"]), str(payload["study"])
    managed_models.check_not_archived(service.database, model_id)
    for job in of_study(service.database, study, model_id):
        if told_by(job):  # it made the study, or joined it
            asked_by(payload).joining(study, asked_by(job.payload))
            break
    return payload


def asked_by(payload: Mapping[str, Json]) -> Asked:
    """Return what a job's study is made of."""
    source, recipe, search, _ = grouped(OF_TUNE, payload)
    return Asked(source, recipe, search)


async def enqueued_search(
    request: Request, payload: Mapping[str, Json], n_workers: int = 1
) -> JobAnswer:
    """Enqueue a search as so many jobs, all or none, and answer with the first."""
    model_id, actor = str(payload["model_name"]), principal_of(request).actor

    def beside(connection: sa.Connection) -> None:
        for _ in range(n_workers - 1):
            queue.enqueue_in(connection, SEARCH, payload, model_id=model_id, actor=actor)

    return await enqueued(request, SEARCH, payload, model_id=model_id, beside=beside)


def open_workers(request: Request, job_id: str) -> Iterable[str]:
    """Yield the jobs that search the same study now, the given one first."""
    database = service_of(request).database
    yield job_id
    for job in with_others(database, queue.get(database, job_id)).workers[1:]:
        if job.state in OPEN_STATES:
            yield job.id
