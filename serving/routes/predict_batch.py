"""POST /predict/batch: many rows, symbols, texts or portfolios in one request.

What is small is answered at once. More become a job (entry point `score`), whose answers
`serving.routes.batch_results` gives.
"""

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Annotated, Any

from fastapi import Query, Request, Response
from pydantic import Field

from pipelines.data import results
from pipelines.data.frame_checks import check
from pipelines.data.frame_files import FrameFile
from pipelines.data.results import Entries, ResultFolder
from pipelines.data.uploads import Arriving
from pipelines.jobs import queue
from pipelines.recipes.inputs import feature_rows
from pipelines.recipes.inputs.texts import text_entry
from pipelines.recipes.scored_rows import kept_frame, of_entries, of_frame
from registry.contract import Json
from registry.errors import (
    ParameterError,
    UnknownNameError,
)
from serving import examples
from serving.batch_answers import accepted, response
from serving.batch_inputs import Questions, of_portfolios, of_symbols
from serving.batch_questions import (
    CONTENT_TYPES,
    FILE_TYPES,
    JSON_TYPE,
    Named,
    entries_of,
    listed_portfolios,
    listed_request,
    read_json,
    request_of,
    type_of,
    write_body,
)
from serving.batches import ENTRY_POINT, PRIORITY, Answered, Asked, answerer_of
from serving.enqueueing import JobAnswer, enqueued
from serving.forms import check_horizon, distinct, horizons_of
from serving.loading import LoadedVersion
from serving.route_table import IDEMPOTENCY_KEY, LOCATION, Example, Route, Scope
from serving.router import choose
from serving.routes.batch_results import ANSWERS
from serving.schemas import ANY_HARDWARE, Name, PredictRequest
from serving.security import principal_of
from serving.service import Service, service_of

TAKEN = {
    "bars": ("rows", "symbols"),
    "table": ("rows",),
    "texts": ("texts",),
    "portfolio": ("portfolio",),
}
"""Kind of input -> the forms in which its versions are asked."""
NOTHING_TOLD: Mapping[str, list[str]] = {"ignored": [], "warnings": []}
JOBS_RUN_ON = "cpu"
PORTFOLIO = "portfolio"
"""Name of a portfolio that was not named."""
QUERY = ("model", "version", "alias", "keep", "hardware", "strict")
Keep = Annotated[
    str, Query(description="Of rows in a file: columns that the answers repeat, by commas.")
]


class BatchJob(JobAnswer):
    """The job that a large batch became; `results` is where its answers will be."""

    results: str
    ignored: list[str] = Field(
        default=[], description="Of symbols, what was given and is not used."
    )
    warnings: list[str] = Field(
        default=[], description="As in an answer; names beyond ten are counted."
    )


async def predict_batch(
    request: Request,
    model: Annotated[Name | None, Query(description="Registered model; JSON may name it.")] = None,
    version: Annotated[int | None, Query(ge=1)] = None,
    alias: Name | None = None,
    keep: Keep = "",
    hardware: Name | None = None,
    strict: bool = False,
) -> Response:
    """Ask a model about many rows, symbols, texts or portfolios.

    The body is JSON in a form of /predict or a list of `{"symbol", "features"}`, an Arrow IPC
    stream, or a Parquet file. The answer is JSON, Arrow or Parquet, as `Accept` says, with a row
    per row of the body and an `error` where there is no answer. More than BATCH_INLINE_ROWS
    become a job: 202.
    """
    if unknown := sorted(set(request.query_params) - set(QUERY)):
        raise UnknownNameError("query parameter", unknown[0], QUERY)
    kind, wanted = type_of(request), accepted(request)
    wanted_backend = None if hardware in ANY_HARDWARE else hardware
    named = Named(model or "", version, alias, wanted_backend, strict)
    _check_named(named)
    kept = tuple(dict.fromkeys(name.strip() for name in keep.split(",") if name.strip()))
    if kind == JSON_TYPE:
        found = await _of_json(request, named, kept)
    else:
        found = await _of_file(request, named, kept, FILE_TYPES[kind])
    return response(found.answers, found.facts, wanted) if isinstance(found, Answered) else found


# JSON ------------------------------------------------------------------------------------------


async def _of_json(request: Request, named: Named, keep: tuple[str, ...]) -> Answered | Response:
    service = service_of(request)
    content, digest = await read_json(request, int(service.settings.max_body_size))
    if keep:
        raise ParameterError("keep", ",".join(keep), "nothing: JSON rows are named by symbols")
    portfolios: dict[str, PredictRequest] = {}
    if isinstance(content, list):
        entries = entries_of(content)
        version = await _version(request, named)
        if version.template.inputs == "portfolio":
            portfolios = listed_portfolios(entries, named)
            asked = next(iter(portfolios.values()))
        else:
            asked = listed_request(entries, named, version)
    else:
        asked = request_of(content)
        named = _named_by(asked, named)
        version = await _version(request, named)
        if asked.portfolio is not None:
            portfolios = {PORTFOLIO: asked}
    _check_form(asked, version)
    if asked.rows is None and asked.texts is None:
        questions = _questions(service, asked, portfolios, version)
        return await _of_questions(request, questions, version, named, digest)
    entries_, most = _entries(asked, version), service.settings.batch_inline_rows
    if len(entries_.entries) > most:
        folder = await asyncio.to_thread(
            results.keep_entries, service.platform.results_dir, entries_
        )
        return await _job(request, folder, version, named, digest)
    rows = of_entries(
        answerer_of(version),
        entries_.entries,
        feature_rows.columns(asked.context or {}, version.context_names, len(entries_.entries))
        if asked.context
        else {},
        kept_frame(entries_.kept, entries_.entries),
    )
    kind, key = _kind(version), next(iter(entries_.kept), "")
    known_as = Asked(request.state.request_id, kind, key)
    return await service.batches.answer_rows(rows, version, named, known_as)


def _questions(
    service: Service,
    asked: PredictRequest,
    portfolios: Mapping[str, PredictRequest],
    version: LoadedVersion,
) -> Questions:
    if portfolios:
        return of_portfolios(portfolios, version, service.engine.online)
    return of_symbols(asked, version, service.engine.online)


async def _of_questions(
    request: Request, questions: Questions, version: LoadedVersion, named: Named, digest: str
) -> Answered | Response:
    """Answer symbols or portfolios, or make their inputs and a job."""
    service = service_of(request)
    if questions.rows.n_rows <= service.settings.batch_inline_rows:
        known_as = Asked(request.state.request_id, questions.kind, "symbol")
        return await service.batches.answer_questions(questions, version, named, known_as)
    _hardware_of_job(named, version)  # refuses before anything is made
    folder = await service.batches.prepare(questions, version)
    told = questions.notes.facts(version)
    return await _job(request, folder, version, named, digest, told=told)


def _kind(version: LoadedVersion) -> str:
    """Return the form of rows or texts as the prediction log calls it."""
    return "rows" if version.template.inputs == "bars" else version.template.inputs


def _check_form(asked: PredictRequest, version: LoadedVersion) -> None:
    """Refuse a form that versions of this kind of input are not asked in.

    Raises:
        ParameterError: texts of a model that reads none, rows of one that reads texts, ...
    """
    inputs = version.template.inputs
    form = asked.form if asked.form in ("rows", "texts", "portfolio") else "symbols"
    taken = TAKEN.get(inputs, ())
    if form not in taken:
        known = " or ".join(taken)
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
        return await _job(request, folder, version, named, digest, keep)
    frame = await asyncio.to_thread(checked.read)
    rows = of_frame(answerer, frame, keep)
    known_as = Asked(request.state.request_id, _kind(version))
    return await service.batches.answer_rows(rows, version, named, known_as)


# Jobs ------------------------------------------------------------------------------------------


async def _job(
    request: Request,
    folder: ResultFolder,
    version: LoadedVersion,
    named: Named,
    digest: str,
    keep: tuple[str, ...] = (),
    told: Mapping[str, list[str]] = NOTHING_TOLD,
) -> Response:
    """Enqueue the scoring of a folder; one that a job of the same request has already goes.

    Args:
        told: what was ignored and warned of when the inputs were made.
    """
    service = service_of(request)
    payload: dict[str, Json] = {
        "model_name": version.model_id,
        "version": version.number,
        "keep": ",".join(keep),
        "results": folder.name,
    }
    try:
        lines = [*told["warnings"], *_hardware_of_job(named, version)]
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
    answer = BatchJob(
        **found.model_dump(),
        results=f"/predict/results/{found.job_id}",
        ignored=told["ignored"],
        warnings=lines,
    )
    headers = {"Location": request.state.location}
    return Response(answer.model_dump_json(), 202, headers, media_type=JSON_TYPE)


def _hardware_of_job(named: Named, version: LoadedVersion) -> list[str]:
    """Return a warning where other hardware was asked for than jobs have.

    Raises:
        ParameterError: `strict`.
        UnknownNameError, BackendUnavailableError: as of an answer at once.
    """
    choose(version.options, 1, named.hardware, named.strict)
    if named.hardware in (None, JOBS_RUN_ON):
        return []
    if named.strict:
        expected = f"{JOBS_RUN_ON}, or few enough to be answered at once: this would be a job"
        raise ParameterError("hardware", named.hardware, expected)
    return [f"hardware: jobs run on {JOBS_RUN_ON}, not on {named.hardware}"]


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
)
