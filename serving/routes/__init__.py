"""The HTTP API, one file per heading; each has its rows of the route table as `ROUTES`."""

from serving.route_table import Route
from serving.routes import (
    automl,
    bars,
    batch_results,
    data,
    deployments,
    docs,
    front_page,
    health,
    history,
    hyperopt,
    jobs,
    keys,
    metrics,
    model_changes,
    model_jobs,
    model_status,
    models,
    outcomes,
    predict,
    predict_batch,
    status,
    versions,
)

ROUTES: tuple[Route, ...] = (
    *predict.ROUTES,
    *bars.ROUTES,
    *predict_batch.ROUTES,
    *batch_results.ROUTES,
    *front_page.ROUTES,
    *docs.ROUTES,
    *health.ROUTES,
    *metrics.ROUTES,
    *status.ROUTES,
    *models.ROUTES,
    *jobs.ROUTES,
    *automl.ROUTES,
    *hyperopt.ROUTES,
    *model_changes.ROUTES,
    *model_status.ROUTES,
    *model_jobs.ROUTES,
    *versions.ROUTES,
    *history.ROUTES,
    *deployments.ROUTES,
    *outcomes.ROUTES,
    *data.ROUTES,
    *keys.ROUTES,
)
"""Every address, those first that are called most: a request is matched with one after another.
A path with a parameter stands after the fixed paths that it would take."""
