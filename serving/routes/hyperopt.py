"""/hyperopt: the search over the parameters of one architecture, and how far a search is."""

import asyncio
import hashlib

from fastapi import Request, Response

from pipelines.jobs.job import OPEN_STATES
from registry.errors import ParameterError
from serving.earlier_searches import translated
from serving.event_streams import Seen
from serving.job_streams import ENDED, EVENTS, job_stream
from serving.route_table import ENQUEUES, Example, Route, Scope
from serving.routes.automl import ONE, started
from serving.schemas import Name
from serving.search_answers import SearchStarted, SearchState, state_of
from serving.search_bodies import HyperoptRequest
from serving.searches import searching
from serving.service import service_of


async def start(body: HyperoptRequest, request: Request) -> SearchStarted:
    """Search the parameters of one architecture, as a job; otherwise as POST /automl/start.

    `hyperparameters` are searched over; without them, the ranges that the architecture declares.
    """
    asked = translated(body)
    parameters = asked.parameters
    architecture = _architecture(parameters)
    if body.hyperparameters is not None:
        space = dict(parameters.get("space", {}))
        if "parameters" in space:
            expected = "hyperparameters or parameters in the space, not both"
            raise ParameterError("hyperparameters", body.hyperparameters, expected)
        parameters["space"] = space | {"parameters": {architecture: body.hyperparameters}}
    return await started(request, body, parameters, asked.ignored)


def _architecture(parameters: dict[str, object]) -> str:
    """Return the one architecture.

    Raises:
        ParameterError: none is named, or several are.
    """
    space = parameters.get("space")
    listed = space.get("architectures") if isinstance(space, dict) else None
    named = parameters.get("architecture") or listed
    names = [named] if isinstance(named, str) else named
    if not isinstance(names, list) or len(names) != 1:
        expected = "the one to search; POST /automl/start searches several"
        raise ParameterError("architecture", names, expected)
    return str(names[0])


async def progress(job_id: Name, request: Request) -> Response:
    """Show how far a search is, or follow it: as JSON, or as server-sent events.

    With `Accept: text/event-stream` an event `search` comes whenever something has changed, until
    the search has ended. A client that comes back with the `Last-Event-ID` of the last one gets
    204, which ends an EventSource.
    """

    def look() -> Seen:
        return _seen(state_of(service, searching(service, request, job_id)))

    service = service_of(request)
    if EVENTS in request.headers.get("accept", ""):
        return await job_stream(request, look)
    seen = await asyncio.to_thread(look)
    return Response(seen.data, media_type="application/json")


def _seen(state: SearchState) -> Seen:
    changing = (state.state, state.attempts, state.stage, state.progress, state.error)
    mark = hashlib.sha256(repr((*changing, state.n_ended, state.workers)).encode()).hexdigest()
    return Seen(mark[:16], "search", state.model_dump_json(), state.state not in OPEN_STATES)


FORMS = {
    "model": SearchState,
    "description": "How far it is; as events until the search ends.",
    "content": {EVENTS: {}},
}
ROUTES = (
    Route(
        "POST",
        "/hyperopt/start",
        Scope.MANAGE,
        start,
        tag="tuning",
        errors=(404, 503),
        status=ENQUEUES,
        examples=(
            Example(
                "its own ranges",
                body={"template": "volatility_forecast", "architecture": "lightgbm"},
                status=ENQUEUES,
            ),
            Example(
                "ranges of the caller",
                body={
                    "template": "return_forecast",
                    "architecture": "ridge",
                    "hyperparameters": {"alpha": {"low": 1e-4, "high": 1.0, "scale": "log"}},
                    "sampler": "random",
                    "trials": 20,
                },
                status=ENQUEUES,
            ),
        ),
    ),
    Route(
        "GET",
        "/hyperopt/progress/{job_id}",
        Scope.READ,
        progress,
        tag="tuning",
        errors=(404, 422, 503),
        responses={200: FORMS, 204: ENDED},
        examples=(
            Example("how far it is", path=ONE),
            Example("followed to its end", path=ONE, headers={"Accept": EVENTS}),
        ),
    ),
)
