"""POST /predict/batch and its results: many rows, symbols or texts in one request.

What is small is answered at once. More rows or texts become a job (stage `score`), whose answers
GET /predict/results/{job_id} gives by pages or as a whole.
"""

import asyncio
from contextlib import ExitStack
from typing import Annotated, Any

from fastapi import Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from pipelines.data import results
from pipelines.data.frame_checks import check
from pipelines.data.frame_files import FrameFile
from pipelines.data.results import Entries, ResultFolder
from pipelines.data.uploads import Arriving
from pipelines.jobs import queue
from pipelines.jobs.job import OPEN_STATES, Job
from pipelines.recipes.inputs import feature_rows
from pipelines.recipes.inputs.texts import text_entry
from pipelines.recipes.scored_rows import kept_frame, of_entries, of_frame
from registry.contract import Json
from registry.errors import (
    JobNotFoundError,
    ParameterError,
    ResultGoneError,
    ResultNotReadyError,
    UnknownNameError,
)
from serving import examples
from serving.batch_answers import accepted, response
from serving.batch_questions import (
    ARROW_TYPE,
    CONTENT_TYPES,
    FILE_TYPES,
    JSON_TYPE,
    PARQUET_TYPE,
    Named,
    entries_of,
    listed_request,
    read_json,
    request_of,
    type_of,
    write_body,
)
from serving.batches import ENTRY_POINT, PRIORITY, Answered, answerer_of
from serving.enqueueing import JobAnswer, enqueued
from serving.forms import check_horizon, distinct, horizons_of
from serving.loading import LoadedVersion
from serving.route_table import IDEMPOTENCY_KEY, LOCATION, Example, Route, Scope
from serving.routes.jobs import public_error
from serving.schemas import Name, PredictRequest
from serving.security import principal_of
from serving.service import Service, service_of

MOST_PAGE_ROWS = 10_000
QUERY = ("model", "version", "alias", "keep", "hardware", "strict")
Keep = Annotated[
    str, Query(description="Of rows in a file: columns that the answers repeat, by commas.")
]


class BatchJob(JobAnswer):
    """The job that a large batch became; `results` is where its answers will be."""

    results: str


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


async def predict_batch(
    request: Request,
    model: Annotated[Name | None, Query(description="Registered model; JSON may name it.")] = None,
    version: Annotated[int | None, Query(ge=1)] = None,
    alias: Name | None = None,
    keep: Keep = "",
    hardware: Name | None = None,
    strict: bool = False,
) -> Response:
    """Ask a model about many rows, symbols or texts.

    The body is JSON in a form of /predict or a list of `{"symbol", "features"}`, an Arrow IPC
    stream, or a Parquet file. The answer is JSON, Arrow or Parquet, as `Accept` says, with a row
    per row of the body and an `error` where there is no answer. More than BATCH_INLINE_ROWS rows
    become a job: 202.
    """
    if unknown := sorted(set(request.query_params) - set(QUERY)):
        raise UnknownNameError("query parameter", unknown[0], QUERY)
    kind, wanted = type_of(request), accepted(request)
    named = Named(model or "", version, alias, hardware, strict)
    _check_named(named)
    kept = tuple(dict.fromkeys(name.strip() for name in keep.split(",") if name.strip()))
    if kind == JSON_TYPE:
        found = await _of_json(request, named, kept)
    else:
        found = await _of_file(request, named, kept, FILE_TYPES[kind])
    return response(found.answers, found.facts, wanted) if isinstance(found, Answered) else found


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


# JSON ------------------------------------------------------------------------------------------


async def _of_json(request: Request, named: Named, keep: tuple[str, ...]) -> Answered | Response:
    service = service_of(request)
    content, digest = await read_json(request, int(service.settings.max_body_size))
    if keep:
        raise ParameterError("keep", ",".join(keep), "nothing: JSON rows are named by symbols")
    if isinstance(content, list):
        entries = entries_of(content)
        version = await _version(request, named)
        asked = listed_request(entries, named, version)
    else:
        asked = request_of(content)
        named = _named_by(asked, named)
        version = await _version(request, named)
    if asked.portfolio is not None:
        expected = "rows, symbols or texts; a portfolio is asked about by /predict"
        raise ParameterError("portfolio", "given", expected)
    _check_form(asked, version)
    if asked.rows is None and asked.texts is None:
        asked = asked.model_copy(
            update={"model": named.model_id, "model_type": None, "hardware": named.hardware}
        )
        return await service.batches.answer_symbols(asked, version, request.state.request_id)
    entries_, most = _entries(asked, version), service.settings.batch_inline_rows
    if len(entries_.entries) > most:
        folder = await asyncio.to_thread(
            results.keep_entries, service.platform.results_dir, entries_
        )
        return await _job(request, folder, version, (), digest)
    rows = of_entries(
        answerer_of(version),
        entries_.entries,
        feature_rows.columns(asked.context or {}, version.context_names, len(entries_.entries))
        if asked.context
        else {},
        kept_frame(entries_.kept, entries_.entries),
    )
    return await service.batches.answer_rows(rows, version, named, request.state.request_id)


def _check_form(asked: PredictRequest, version: LoadedVersion) -> None:
    """Refuse a form that versions of this kind of input are not asked in.

    Raises:
        ParameterError: texts of a model that reads none, rows of one that reads texts, ...
    """
    inputs = version.template.inputs
    form = "texts" if asked.texts is not None else "rows" if asked.rows is not None else "symbols"
    taken = {"bars": ("rows", "symbols"), "table": ("rows",), "texts": ("texts",)}.get(inputs, ())
    if form not in taken:
        known = " or ".join(taken) or "a portfolio, by /predict"
        raise ParameterError(form, "given", f"none: {version.model_id} is asked about {known}")
    if form == "rows" and inputs == "table" and asked.context:
        raise ParameterError("context", "given", "none, because a table has columns only")


def _entries(asked: PredictRequest, version: LoadedVersion) -> Entries:
    """Return rows or texts with their context and names."""
    if asked.texts is not None:
        keys = [text_entry(entry, i)[0] for i, entry in enumerate(asked.texts)]
        seen: set[str] = set()
        for i, key in enumerate(keys):
            if key in seen:
                raise ParameterError(f"texts[{i}].id", key, "each id once")
            seen.add(key)
        return Entries(asked.texts, {}, {"id": keys})
    rows = asked.rows or []
    names = distinct(asked.symbols, len(rows)) if asked.symbols is not None else ()
    if asked.symbols is not None and len(names) != len(rows):
        raise ParameterError("symbols", len(names), f"{len(rows)} names, one per row")
    for horizon in set(horizons_of(asked, [str(i) for i in range(len(rows))]).values()):
        check_horizon(horizon, version)
    context: dict[str, list[float | None]] = {}
    if asked.context:
        feature_rows.columns(asked.context, version.context_names, len(rows))
        context = {name: list(values) for name, values in asked.context.items()}
    return Entries(rows, context, {"symbol": list(names)} if names else {})


def _named_by(asked: PredictRequest, named: Named) -> Named:
    """Return what a body names; the query may say the same, or nothing.

    Raises:
        ParameterError: it says something else.
    """
    if named.model_id not in ("", asked.model_id):
        raise ParameterError("model", named.model_id, "the model of the body, or nothing")
    for name in ("version", "alias", "hardware"):
        if getattr(named, name) is not None:
            raise ParameterError(name, "given", "nothing in the query: the body may say it")
    strict = asked.strict or named.strict
    return Named(asked.model_id, asked.version, asked.alias, asked.wanted_backend, strict)


# Files -----------------------------------------------------------------------------------------


async def _of_file(
    request: Request, named: Named, keep: tuple[str, ...], format: str
) -> Answered | Response:
    service = service_of(request)
    version = await _version(request, named)
    with ExitStack() as stack:
        root = service.platform.results_dir
        body = await asyncio.to_thread(results.arriving, root, format)
        stack.callback(body.close)
        await write_body(request, body)
        return await _looked_at(request, body, format, version, named, keep)


async def _looked_at(
    request: Request,
    body: Arriving,
    format: str,
    version: LoadedVersion,
    named: Named,
    keep: tuple[str, ...],
) -> Answered | Response:
    service, answerer = service_of(request), answerer_of(version)
    most, seconds = service.settings.batch_inline_rows, service.settings.default_timeout
    file = FrameFile(body.path, format)
    checked = await service.batches.looking.run(lambda: check(file, most, seconds))
    answerer.columns(checked.schema, keep)
    if checked.rows is None:
        digest = body.sha256
        folder = await asyncio.to_thread(results.keep, service.platform.results_dir, body)
        return await _job(request, folder, version, keep, digest)
    frame = await asyncio.to_thread(checked.read)
    rows = of_frame(answerer, frame, keep)
    return await service.batches.answer_rows(rows, version, named, request.state.request_id)


# Jobs ------------------------------------------------------------------------------------------


async def _job(
    request: Request,
    folder: ResultFolder,
    version: LoadedVersion,
    keep: tuple[str, ...],
    digest: str,
) -> Response:
    """Enqueue the scoring of a folder; one that a job of the same request has already goes."""
    service = service_of(request)
    payload: dict[str, Json] = {
        "model_name": version.model_id,
        "version": version.number,
        "keep": ",".join(keep),
        "results": folder.name,
    }
    try:
        found = await enqueued(
            request,
            ENTRY_POINT,
            payload,
            model_id=version.model_id,
            priority=PRIORITY,
            is_short=True,  # it is no training, and takes a slot only when nothing watches
            content_sha256=digest,
        )
        job = await asyncio.to_thread(queue.get, service.database, found.job_id)
    except BaseException:
        await asyncio.to_thread(folder.remove)
        raise
    if job.payload.get("results") != folder.name:
        await asyncio.to_thread(folder.remove)
    await asyncio.to_thread(service.batches.sweep)
    answer = BatchJob(**found.model_dump(), results=f"/predict/results/{found.job_id}")
    headers = {"Location": request.state.location}
    return Response(answer.model_dump_json(), 202, headers, media_type=JSON_TYPE)


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


async def _version(request: Request, named: Named) -> LoadedVersion:
    """Return the version asked for; the key is asked before anything is loaded."""
    if not named.model_id:
        raise ParameterError("model", "", "the name of a registered model")
    _check_named(named)
    principal_of(request).check_model(named.model_id)
    return await service_of(request).batches.resolve(named)


def _check_named(named: Named) -> None:
    if named.version is not None and named.alias is not None:
        raise ParameterError("alias", named.alias, "version or alias, not both")


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
ACCEPTED: dict[str, Any] = {
    "model": BatchJob,
    "description": "The job that it became.",
    "headers": {"Location": LOCATION},
}
LISTED = [
    {"symbol": "AAPL", "features": {"price_data": 150.25}},
    {"symbol": "MSFT", "features": {"price_data": 305.5}},
]
ROUTES = (
    Route(
        "POST",
        "/predict/batch",
        Scope.PREDICT,
        predict_batch,
        tag="predict",
        errors=(404, 409, 503, 504),
        is_upload=True,
        takes=CONTENT_TYPES,
        parameters=(IDEMPOTENCY_KEY,),
        responses={200: ANSWERS, 202: ACCEPTED},
        examples=(
            Example("the bars held of many symbols", body=examples.HELD),
            Example("feature rows, in a batch", body=examples.ROWS),
            Example(
                "symbols with what the caller knows of each",
                query={"model": "trading_signals"},
                body=LISTED,
            ),
        ),
    ),
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
