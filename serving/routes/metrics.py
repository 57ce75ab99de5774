"""GET /metrics: the process in Prometheus' text format."""

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from serving.metrics import CONTENT_TYPE
from serving.routes import errors
from serving.service import service_of

router = APIRouter(tags=["watch"])


@router.get("/metrics", response_class=Response, responses=errors(404, 500))
async def metrics(request: Request) -> Response:
    """Return counters, histograms and gauges; 404 when METRICS_ENABLED is false."""
    service = service_of(request)
    if not service.settings.metrics_enabled:
        raise HTTPException(404)
    return Response(service.metrics.text(), media_type=CONTENT_TYPE)
