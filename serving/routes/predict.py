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

    Forms: `rows` (feature rows), `bars` (the caller's own history), or `symbols` (the bars held by
    this engine), the last two optionally with `features`, the newest step as the caller sees it;
    `portfolio` (positions) for a model of risk. Every symbol is answered in `predictions` or in
    `errors`; a request that can be read is answered 200 even when no symbol could be. Nothing is
    stored.
    """
    return await service_of(request).engine.predict(body, request.state.request_id)
