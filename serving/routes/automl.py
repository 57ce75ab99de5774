"""/automl: searches over the recipes of a template, what they found, and versions of winners."""

import asyncio

from fastapi import Request

from registry.errors import NothingFoundError, SearchNotEndedError
from serving.earlier_searches import NO_EFFECT, translated
from serving.route_table import ENQUEUES, Example, Route, Scope
from serving.schemas import Name
from serving.search_answers import (
    SearchResults,
    SearchStarted,
    SearchState,
    WinnerDeployment,
    results_of,
    state_of,
)
from serving.search_bodies import AskedSearch, DeployWinnerRequest, SearchRequest
from serving.searches import Searching, accepted, enqueued_search, open_workers, searching
from serving.service import service_of

IN_OUR_FORM = {
    "template": "return_forecast",
    "symbols": "AAPL,MSFT",
    "metric": "rmse",
    "trials": 20,
    "space": {
        "architectures": ["ridge", "lightgbm"],
        "feature_sets": ["returns", "close_only"],
        "parameters": {"ridge": {"alpha": {"low": 1e-4, "high": 1.0, "scale": "log"}}},
    },
}
IN_AN_EARLIER_FORM = {
    "search_space": {
        "model_types": ["xgboost", "lstm", "transformer"],
        "features": ["price", "volume", "technical", "sentiment"],
        "hyperparameters": {
            "learning_rate": [0.001, 0.01, 0.1],
            "hidden_layers": [1, 2],
            "dropout": [0.1, 0.2, 0.3],
        },
    },
    "validation_metric": "sharpe_ratio",
    "hardware": "neural_engine",
    "target_hardware": "neural_engine",
    "max_trials": 1000,
}


async def start(body: SearchRequest, request: Request) -> SearchStarted:
    """Search the recipes of one template, as a job.

    The fields are the parameters of the stage `tune`; everything that can be checked without
    reading the data is checked before this answer. The same study may be asked for again, with a
    larger budget, and goes on. `workers` asks for several jobs that search side by side.
    """
    asked = translated(body)
    return await started(request, body, asked.parameters, asked.ignored)


async def started(
    request: Request, body: AskedSearch, parameters: dict[str, object], ignored: list[str]
) -> SearchStarted:
    """Check and enqueue a search, and say what has no effect."""
    payload = await asyncio.to_thread(accepted, service_of(request), parameters)
    job = await enqueued_search(request, payload, body.workers or 1)
    workers = await asyncio.to_thread(lambda: list(open_workers(request, job.job_id)))
    study = str(payload["study"])
    return SearchStarted(**job.model_dump(), study=study, workers=workers, ignored=ignored)


async def status(job_id: Name, request: Request) -> SearchState:
    """Show how far a search is: trials done, the best so far, time left."""
    service = service_of(request)
    return state_of(service, await asyncio.to_thread(searching, service, request, job_id))


async def results(job_id: Name, request: Request) -> SearchResults:
    """Show what a search came to: whether its best trial is more than luck, and its leaderboard.

    Before it has ended `found` is null, and the other fields say how far it is.
    """
    service = service_of(request)
    return results_of(service, await asyncio.to_thread(searching, service, request, job_id))


async def deploy(
    job_id: Name, request: Request, body: DeployWinnerRequest | None = None
) -> WinnerDeployment:
    """Make a version of the winner of a search, as a job, through the stages and gates of `main`.

    A search that goes on, or found nothing, has nothing to deploy (409). A winner becomes one
    version, however often it is asked for.
    """
    asked = body or DeployWinnerRequest()
    found = await asyncio.to_thread(searching, service_of(request), request, job_id)
    _check_found(found)
    payload = {**found.job.payload, "deploy": True, "flavors": asked.flavors}
    payload["promote"] = asked.promote or bool(asked.production_ready)
    job = await enqueued_search(request, payload)
    ignored = []
    if asked.target_hardware is not None:
        ignored = [f"target_hardware ({NO_EFFECT['target_hardware']})"]
    return WinnerDeployment(**job.model_dump(), study=found.study, ignored=ignored)


def _check_found(found: Searching) -> None:
    """Refuse to deploy what there is not.

    Raises:
        SearchNotEndedError: it goes on, failed, or was cancelled.
        NothingFoundError: it ended without a winner.
    """
    if found.state != "done" or found.outcome is None:
        raise SearchNotEndedError(found.job.id, found.state)
    if not found.outcome["found"]:
        raise NothingFoundError(found.study, str(found.outcome["reason"]))


ONE = {"job_id": "5ea4c45ea4c45ea4c45ea4c45ea4c45e"}
ROUTES = (
    Route(
        "POST",
        "/automl/start",
        Scope.MANAGE,
        start,
        tag="tuning",
        errors=(404, 503),
        status=ENQUEUES,
        examples=(
            Example("two architectures", body=IN_OUR_FORM, status=ENQUEUES),
            Example("an earlier form", body=IN_AN_EARLIER_FORM, status=ENQUEUES),
        ),
    ),
    Route(
        "GET",
        "/automl/status/{job_id}",
        Scope.READ,
        status,
        tag="tuning",
        errors=(404, 422, 503),
        examples=(Example("a search", path=ONE),),
    ),
    Route(
        "GET",
        "/automl/results/{job_id}",
        Scope.READ,
        results,
        tag="tuning",
        errors=(404, 422, 503),
        examples=(Example("what it found", path=ONE),),
    ),
    Route(
        "POST",
        "/automl/deploy/{job_id}",
        Scope.MANAGE,
        deploy,
        tag="tuning",
        errors=(404, 503),
        status=ENQUEUES,
        examples=(
            Example("its winner", path=ONE, body={"flavors": "onnx"}, status=ENQUEUES),
            Example("into production", path=ONE, body={"promote": True}, status=ENQUEUES),
        ),
    ),
)
