"""/bars: bars to keep, and corrections of bars held; on disk before they are acknowledged."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Annotated, TypeVar

from fastapi import Query, Request, Response

from pipelines.data.sources.corrections import Author, Correction, Removal
from pipelines.data.sources.store import AppendReport
from registry.errors import MLEngineError, ParameterError, TimeLimitError
from serving import examples
from serving.bar_frames import frame_of
from serving.route_table import Example, Route, Scope
from serving.schemas import (
    BarsRequest,
    BarsResponse,
    CorrectionResponse,
    Interval,
    Label,
    PutBarsRequest,
    Symbol,
    Time,
)
from serving.security import principal_of
from serving.service import Service, service_of

T = TypeVar("T")


async def post_bars(body: BarsRequest, request: Request) -> Response:
    """Keep bars.

    When one bar breaks a rule, none is kept and the message names it. Sending the same bars again
    changes nothing; they are counted in `duplicates`. A bar that differs from the one held for its
    time is not stored; it is named in `conflicts`. One that cannot be believed is not stored
    either; it is named in `refused`. The next /predict sees the new bars.
    """
    service, started = service_of(request), perf_counter()
    report = await _written(service, lambda: _append(service, body))
    _count(service, report)
    service.posted_bars.count(
        principal_of(request).actor,
        body.interval,
        frozenset(bar.symbol for bar in body.bars),
        report.accepted,
        len(report.conflicts),
        len(report.refused),
    )
    answer = BarsResponse(
        accepted=report.accepted,
        duplicates=report.duplicates,
        conflicts=list(report.conflicts),
        refused=list(report.refused),
        processing_time_ms=round((perf_counter() - started) * 1e3, 3),
        request_id=request.state.request_id,
    )
    return Response(answer.model_dump_json(), media_type="application/json")


def _append(service: Service, body: BarsRequest) -> AppendReport:
    frame = frame_of((bar.symbol, bar) for bar in body.bars)
    return service.history.append(frame, body.interval, body.price_basis)


def _count(service: Service, report: AppendReport) -> None:
    bars = service.metrics.bars
    bars.labels("accepted").inc(report.accepted)
    bars.labels("duplicate").inc(report.duplicates)
    bars.labels("conflict").inc(len(report.conflicts))
    bars.labels("refused").inc(len(report.refused))


async def put_bars(body: PutBarsRequest, request: Request) -> CorrectionResponse:
    """Hold bars instead of those of their times, whatever those are.

    They must keep the rules of every bar; nothing else is asked. The event `bars_corrected` keeps
    what was held before. The next /predict is answered as if the bars before had never been there.
    Putting what is held already changes nothing.
    """
    service, author = service_of(request), _author(request, body.reason)

    def put() -> Correction | None:
        store = service.history.store
        basis = body.price_basis or store.held(body.interval).price_basis or "unknown"
        frame = frame_of((bar.symbol, bar) for bar in body.bars)
        return store.put(frame, body.interval, basis, author, service.database)

    return await _corrected(request, put)


async def delete_bars(
    request: Request,
    interval: Annotated[Interval, Query()],
    symbol: Annotated[Symbol, Query()],
    reason: Annotated[Label, Query(min_length=1, description="Why, for the event log.")],
    first: Annotated[Time | None, Query(description="Time of the first bar to remove.")] = None,
    last: Annotated[Time | None, Query(description="Time of the last bar to remove.")] = None,
    *,
    whole_symbol: Annotated[
        bool, Query(description="Remove every bar of the symbol, instead of first and last.")
    ] = False,
) -> CorrectionResponse:
    """Hold some bars of a symbol no more: those from `first` to `last`, both included.

    The event `bars_removed` keeps what was held. A bar of the same time can be posted again.
    """
    service, author = service_of(request), _author(request, reason)
    if whole_symbol == (first is not None or last is not None):
        expected = "first, last or both; or whole_symbol=true without them"
        raise ParameterError("whole_symbol", whole_symbol, expected)
    removal, store = Removal(symbol, first, last), service.history.store
    return await _corrected(
        request, lambda: store.remove(interval, removal, author, service.database)
    )


async def _corrected(request: Request, work: Callable[[], Correction | None]) -> CorrectionResponse:
    service, started = service_of(request), perf_counter()
    found = await _written(service, work)
    n_before, n_after = (len(found.was), len(found.now)) if found else (0, 0)
    replaced = len(found.was.join(found.now, on=("symbol", "timestamp"))) if found else 0
    changed = {"replaced": replaced, "added": n_after - replaced, "removed": n_before - replaced}
    for outcome, n_bars in changed.items():
        service.metrics.bars.labels(outcome).inc(n_bars)
    return CorrectionResponse(
        correction=found.id if found else None,
        **changed,
        processing_time_ms=round((perf_counter() - started) * 1e3, 3),
        request_id=request.state.request_id,
    )


def _author(request: Request, reason: str) -> Author:
    principal = principal_of(request)
    principal.check_model(None)
    return Author(principal.actor, reason)


async def _written(service: Service, work: Callable[[], T]) -> T:
    """Return what work in the executor of writers gives.

    Raises:
        TimeLimitError: it takes longer than DEFAULT_TIMEOUT; it may still happen.
    """
    limit = service.settings.default_timeout
    try:
        async with asyncio.timeout(limit):
            return await service.writing.run(work)
    except TimeoutError as exc:
        if isinstance(exc, MLEngineError):
            raise
        raise TimeLimitError("storing the bars", limit, "DEFAULT_TIMEOUT") from exc


ONE_BAR = {
    "interval": "1d",
    "symbol": "M&M.NS",
    "first": "2007-01-03T00:00:00Z",
    "last": "2007-01-03T00:00:00Z",
    "reason": "a holiday",
}
ROUTES = (
    Route(
        "POST",
        "/bars",
        Scope.PREDICT,
        post_bars,
        tag="bars",
        errors=(409, 503, 504),
        responses={200: {"model": BarsResponse}},
        reads=BarsRequest,
        examples=(Example("two daily bars", body=examples.BARS),),
    ),
    Route(
        "PUT",
        "/bars",
        Scope.MANAGE,
        put_bars,
        tag="bars",
        errors=(409, 503, 504),
        examples=(Example("another close", body=examples.PUT_BARS),),
    ),
    Route(
        "DELETE",
        "/bars",
        Scope.MANAGE,
        delete_bars,
        tag="bars",
        errors=(422, 503, 504),
        examples=(Example("one bar", query=ONE_BAR),),
    ),
)
