"""POST /bars: bars to keep, on disk before they are acknowledged."""

import asyncio
from time import perf_counter

from fastapi import Request

from pipelines.data.sources.store import AppendReport
from registry.errors import MLEngineError, TimeLimitError
from serving import examples
from serving.bar_frames import frame_of
from serving.route_table import Example, Route, Scope
from serving.schemas import BarsRequest, BarsResponse
from serving.security import principal_of
from serving.service import Service, service_of


async def post_bars(body: BarsRequest, request: Request) -> BarsResponse:
    """Keep bars.

    When one bar breaks a rule, none is kept and the message names it. Sending the same bars again
    changes nothing; they are counted in `duplicates`. A bar that differs from the one held for its
    time is not stored; it is named in `conflicts`. The next /predict sees the new bars.
    """
    service, started = service_of(request), perf_counter()
    limit = service.settings.default_timeout
    try:
        async with asyncio.timeout(limit):
            report = await service.writing.run(lambda: _append(service, body))
    except TimeoutError as exc:
        if isinstance(exc, MLEngineError):
            raise
        raise TimeLimitError("storing the bars", limit, "DEFAULT_TIMEOUT") from exc
    _count(service, report)
    service.posted_bars.count(
        principal_of(request).actor,
        body.interval,
        frozenset(bar.symbol for bar in body.bars),
        report.accepted,
        len(report.conflicts),
    )
    return BarsResponse(
        accepted=report.accepted,
        duplicates=report.duplicates,
        conflicts=list(report.conflicts),
        processing_time_ms=round((perf_counter() - started) * 1e3, 3),
        request_id=request.state.request_id,
    )


def _append(service: Service, body: BarsRequest) -> AppendReport:
    frame = frame_of((bar.symbol, bar) for bar in body.bars)
    return service.history.append(frame, body.interval, body.price_basis)


def _count(service: Service, report: AppendReport) -> None:
    bars = service.metrics.bars
    bars.labels("accepted").inc(report.accepted)
    bars.labels("duplicate").inc(report.duplicates)
    bars.labels("conflict").inc(len(report.conflicts))


ROUTES = (
    Route(
        "POST",
        "/bars",
        Scope.PREDICT,
        post_bars,
        tag="bars",
        errors=(409, 503, 504),
        examples=(Example("two daily bars", body=examples.BARS),),
    ),
)
