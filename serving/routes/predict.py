"""POST /predict: answers of a model, from rows, from bars, or from the bars held."""

from fastapi import Request

from serving import examples
from serving.route_table import Example, Route, Scope
from serving.schemas import PredictRequest, PredictResponse
from serving.service import service_of


async def predict(body: PredictRequest, request: Request) -> PredictResponse:
    """Ask a model.

    A request has one form: `rows` (features, or a table's columns), `bars` (the caller's own
    history), `symbols` (the bars that this engine holds), `texts` or `portfolio` (positions). With
    `bars` or `symbols`, `features` may say what the caller knows of the newest step. Every symbol
    has an entry in `predictions` or in `errors`. The status is 200 for every request that can be
    read, even when all entries are errors. Nothing of a request is stored.
    """
    return await service_of(request).engine.predict(body, request.state.request_id)


ROUTES = (
    Route(
        "POST",
        "/predict",
        Scope.PREDICT,
        predict,
        tag="predict",
        errors=(404, 503, 504),
        examples=tuple(Example(title, body=body) for title, body in examples.PREDICT.items()),
    ),
)
