"""POST /predict: answers of a model, from rows, from bars, or from the bars held.

`/predict/HARDWARE` is the same with `hardware` set by the address.
"""

from typing import Any

from fastapi import Request, Response

from registry.errors import ParameterError
from serving import examples
from serving.route_table import Example, Route, Scope
from serving.schemas import PredictRequest, PredictResponse
from serving.security import principal_of
from serving.service import service_of


async def predict(body: PredictRequest, request: Request) -> Response:
    """Ask a model.

    A request has one form: `rows` (features, or a table's columns), `bars` (the caller's own
    history), `symbols` (the bars that this engine holds), `texts` or `portfolio` (positions). With
    `bars` or `symbols`, `features` may say what the caller knows of the newest step. Every symbol
    has an entry in `predictions` or in `errors`. The status is 200 for every request that can be
    read, even when all entries are errors. Nothing of a request is stored.
    """
    principal_of(request).check_model(body.model_id)
    answer = await service_of(request).engine.predict(body, request.state.request_id)
    return Response(answer.model_dump_json(), media_type="application/json")


async def predict_neural_engine(body: PredictRequest, request: Request) -> Response:
    """Ask a model on Apple's Neural Engine.

    The body of /predict. Where the hardware is absent another one answers and `fallback` says why;
    with `strict` that is 503.
    """
    return await predict(_on("neural_engine", body), request)


async def predict_metal_gpu(body: PredictRequest, request: Request) -> Response:
    """Ask a model on Apple's GPU; see /predict/neural-engine."""
    return await predict(_on("metal_gpu", body), request)


async def predict_cuda_gpu(body: PredictRequest, request: Request) -> Response:
    """Ask a model on an NVIDIA GPU; see /predict/neural-engine."""
    return await predict(_on("cuda_gpu", body), request)


async def predict_hybrid(body: PredictRequest, request: Request) -> Response:
    """Ask a model on whichever hardware is fastest for the size of the batch.

    That is also what /predict does when its body names no hardware.
    """
    return await predict(_on("hybrid", body), request)


def _on(hardware: str, body: PredictRequest) -> PredictRequest:
    """Return the body with the hardware of the address.

    Raises:
        ParameterError: the body names other hardware.
    """
    for field in ("hardware", "backend"):
        if (named := getattr(body, field)) not in (None, hardware):
            expected = f"{hardware}, as the address says, or nothing"
            raise ParameterError(field, named, expected)
    return body.model_copy(update={"hardware": hardware, "backend": None})


ERRORS = (404, 503, 504)
ANSWERED: dict[int | str, dict[str, Any]] = {
    200: {"model": PredictResponse, "description": "An answer or an error for each symbol or row."}
}
"""Declared and not checked at run time: answers of a thousand rows are written as they are."""
HARDWARE = {
    "/predict/neural-engine": predict_neural_engine,
    "/predict/metal-gpu": predict_metal_gpu,
    "/predict/cuda-gpu": predict_cuda_gpu,
    "/predict/hybrid": predict_hybrid,
}
ROUTES = (
    Route(
        "POST",
        "/predict",
        Scope.PREDICT,
        predict,
        tag="predict",
        errors=ERRORS,
        responses=ANSWERED,
        reads=PredictRequest,
        examples=tuple(Example(title, body=body) for title, body in examples.PREDICT.items()),
    ),
    *(
        Route(
            "POST",
            path,
            Scope.PREDICT,
            endpoint,
            tag="predict",
            errors=ERRORS,
            responses=ANSWERED,
            reads=PredictRequest,
            examples=(Example("the bars held", body=examples.HELD),),
        )
        for path, endpoint in HARDWARE.items()
    ),
)
