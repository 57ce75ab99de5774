"""POST /predict: answers of a model, from rows, from bars, or from the bars held."""

from typing import Annotated

from fastapi import APIRouter, Body, Request

from serving import examples
from serving.routes import errors
from serving.schemas import PredictRequest, PredictResponse
from serving.service import service_of

router = APIRouter(tags=["predict"])
BODY = Body(
    openapi_examples={
        name: {"summary": name.capitalize(), "value": value}
        for name, value in examples.PREDICT.items()
    }
)


@router.post("/predict", responses=errors(400, 404, 408, 413, 415, 422, 500, 503, 504))
async def predict(body: Annotated[PredictRequest, BODY], request: Request) -> PredictResponse:
    """Ask a model.

    A request has one form: `rows` (features, or a table's columns), `bars` (the caller's own
    history), `symbols` (the bars that this engine holds), `texts` or `portfolio` (positions). With
    `bars` or `symbols`, `features` may say what the caller knows of the newest step. Every symbol
    has an entry in `predictions` or in `errors`. The status is 200 for every request that can be
    read, even when all entries are errors. Nothing of a request is stored.
    """
    return await service_of(request).engine.predict(body, request.state.request_id)
