"""GET /predict/results/{job_id}: how far a batch job is; its answers, by pages or as a whole."""

import asyncio
from typing import Annotated, Any

from fastapi import Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from pipelines.data.results import ResultFolder
from pipelines.jobs import queue
from pipelines.jobs.job import OPEN_STATES, Job
from registry.errors import JobNotFoundError, ResultGoneError, ResultNotReadyError
from serving.batch_answers import accepted, response
from serving.batch_questions import ARROW_TYPE, JSON_TYPE, PARQUET_TYPE
from serving.batches import ENTRY_POINT
from serving.route_table import Example, Route, Scope
from serving.routes.jobs import public_error
from serving.schemas import Name
from serving.security import principal_of
from serving.service import Service, service_of

MOST_PAGE_ROWS = 10_000


class ResultState(BaseModel):
    """How far the job is whose answers were asked for."""

    model_config = ConfigDict(protected_namespaces=())

    job_id: str
    model_id: str | None
    model_version: int
    state: str = Field(description="queued, leased, done, failed or cancelled.")
    stage: str | None
    progress: float | None
    error: str | None


async def get_results(
    job_id: Name,
    request: Request,
    offset: Annotated[int, Query(ge=0, description="First row of the page.")] = 0,
    limit: Annotated[int | None, Query(ge=1, le=MOST_PAGE_ROWS)] = None,
) -> Response:
    """Return the state of a batch job, or its answers: by pages, or whole as Parquet.

    With `Accept` for Parquet all answers come as the file, unless `offset` or `limit` ask for a
    page; Arrow and JSON come by pages of 1,000 rows, or `limit`. Before the job is done the answer
    is its state, and 409 where a file is asked for.
    """
    service, wanted = service_of(request), accepted(request)
    job = await asyncio.to_thread(_allowed, service, request, job_id)
    if job.state != "done":
        if wanted != JSON_TYPE:
            raise ResultNotReadyError(job.id, job.state)
        return Response(_state(job).model_dump_json(), media_type=JSON_TYPE)
    folder = ResultFolder(service.platform.results_dir, str(job.payload["results"]))
    if not folder.result.is_whole:
        raise ResultGoneError(job.id)
    is_page = limit is not None or "offset" in request.query_params
    if wanted == PARQUET_TYPE and not is_page:
        name = f"{job.model_id}-{job.id}.parquet"
        return FileResponse(folder.result.path, media_type=PARQUET_TYPE, filename=name)
    answers = await asyncio.to_thread(folder.result.page, offset, limit or 1000)
    n_rows = await asyncio.to_thread(folder.result.n_rows)
    after = offset + len(answers)
    facts = _state(job).model_dump() | {
        "n_rows": n_rows,
        "offset": offset,
        "next_offset": after if after < n_rows else None,
    }
    return response(answers, facts, wanted)


def _allowed(service: Service, request: Request, job_id: str) -> Job:
    """Return a batch job that the key may see.

    Raises:
        JobNotFoundError: there is none.
        ForbiddenError: it is about a model that is not on the key's list.
    """
    job = queue.get(service.database, job_id)
    if job.entry_point != ENTRY_POINT or not job.payload.get("results"):
        raise JobNotFoundError(job_id)
    principal_of(request).check_model(job.model_id)
    return job


def _state(job: Job) -> ResultState:
    return ResultState(
        job_id=job.id,
        model_id=job.model_id,
        model_version=int(str(job.payload["version"])),
        state=job.state,
        stage=job.stage,
        progress=1.0 if job.state == "done" else job.progress,
        error=public_error(job) if job.state not in (*OPEN_STATES, "done") else None,
    )


BINARY = {"schema": {"type": "string", "format": "binary"}}
ANSWERS: dict[str, Any] = {
    "description": "A row per row of the body: its number, what was kept, the fields of the "
    "template's answer, `as_of`, `history_end`, `price_basis`, and `error` (code and message) "
    "where there is no answer.",
    "content": {
        JSON_TYPE: {"schema": {"type": "object"}},
        ARROW_TYPE: BINARY,
        PARQUET_TYPE: BINARY,
    },
}
ROUTES = (
    Route(
        "GET",
        "/predict/results/{job_id}",
        Scope.PREDICT,
        get_results,
        tag="predict",
        errors=(404, 409, 422, 503),
        responses={200: ANSWERS},
        examples=(Example("how far it is", path={"job_id": "fedcba9876543210fedcba9876543210"}),),
    ),
)
