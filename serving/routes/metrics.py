"""GET /metrics: the process in Prometheus' text format."""

import asyncio

from fastapi import Request, Response
from starlette.exceptions import HTTPException

from serving.metrics import CONTENT_TYPE
from serving.route_table import Example, Route, Scope
from serving.service import service_of


async def metrics(request: Request) -> Response:
    """Return counters, histograms and gauges; 404 when METRICS_ENABLED is false."""
    service = service_of(request)
    if not service.settings.metrics_enabled:
        raise HTTPException(404)
    system = service.system
    await asyncio.gather(system.database.answer(), system.store.answer(), system.backlog.answer())
    return Response(service.metrics.text(), media_type=CONTENT_TYPE)


ROUTES = (
    Route(
        "GET",
        "/metrics",
        Scope.READ,
        metrics,
        tag="watch",
        errors=(404,),
        examples=(Example("everything that is counted"),),
        response_class=Response,
        open_on_loopback=True,
    ),
)
