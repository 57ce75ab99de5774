"""The HTTP API, one file per heading; each has its rows of the route table as `ROUTES`."""

from serving.route_table import Route
from serving.routes import (
    bars,
    data,
    docs,
    front_page,
    health,
    jobs,
    keys,
    metrics,
    models,
    outcomes,
    predict,
    status,
)

ROUTES: tuple[Route, ...] = (
    *front_page.ROUTES,
    *docs.ROUTES,
    *health.ROUTES,
    *metrics.ROUTES,
    *status.ROUTES,
    *models.ROUTES,
    *jobs.ROUTES,
    *predict.ROUTES,
    *bars.ROUTES,
    *outcomes.ROUTES,
    *data.ROUTES,
    *keys.ROUTES,
)
"""Every address. A path with a parameter stands after the fixed paths that it would take."""
