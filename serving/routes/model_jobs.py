"""POST /models/{model_id}/train and /validate: work on a model that exists, as jobs."""

import asyncio

from fastapi import Request

from registry import managed_models, version_rows
from registry.contract import Json
from serving.enqueueing import JobAnswer, enqueued
from serving.model_bodies import TrainRequest, ValidateRequest
from serving.model_recipes import changed_recipe
from serving.route_table import ENQUEUES, Example, Route, Scope
from serving.schemas import Name
from serving.service import Service, service_of


async def train(model_id: Name, body: TrainRequest, request: Request) -> JobAnswer:
    """Train a new version of a model, as a job.

    The recipe is the model's own (POST /models), or that of its newest version if a stage made it;
    each field of the body replaces a parameter. The new version is compared with `champion`.
    """
    service = service_of(request)
    payload = await asyncio.to_thread(_training, service, model_id, body)
    return await enqueued(request, "main", payload, model_id=model_id)


async def validate(model_id: Name, body: ValidateRequest, request: Request) -> JobAnswer:
    """Validate a version again on the newest data, or against a champion, as a job.

    The result is kept beside the version's record, which never changes: a gate that fails keeps
    the version out of production from then on, and a comparison allows a promotion that lacked it.
    """
    service = service_of(request)
    payload = await asyncio.to_thread(_validation, service, model_id, body)
    # its folds are fitted again: it waits behind trainings as one of them
    return await enqueued(request, "validate", payload, model_id=model_id, is_short=False)


def _training(service: Service, model_id: str, body: TrainRequest) -> dict[str, Json]:
    managed_models.check_exists(service.database, model_id)
    managed_models.check_not_archived(service.database, model_id)
    champion = service.registry.champion(model_id) if body.champion is None else body.champion
    if champion:
        version_rows.get(service.database, model_id, champion)
    decided: dict[str, Json] = {"champion": champion or 0, "trigger": body.trigger}
    return changed_recipe(service, model_id, body.given(), decided)


def _validation(service: Service, model_id: str, body: ValidateRequest) -> dict[str, Json]:
    managed_models.check_exists(service.database, model_id)
    managed_models.check_not_archived(service.database, model_id)
    for number in filter(None, (body.version, body.champion)):
        version_rows.get(service.database, model_id, number)
    payload: dict[str, Json] = {
        "model_name": model_id,
        "version": body.version,
        "champion": body.champion,
        "trigger": body.trigger,
        "read_from": body.read_from,
    }
    if body.challenge_bars is not None:
        payload["challenge_bars"] = body.challenge_bars
    return payload


ONE = {"model_id": "volatility_forecast"}
ROUTES = (
    Route(
        "POST",
        "/models/{model_id}/train",
        Scope.MANAGE,
        train,
        tag="models",
        errors=(404, 503),
        status=ENQUEUES,
        examples=(
            Example("the same recipe again", path=ONE, body={}, status=ENQUEUES),
            Example("on other data", path=ONE, body={"end": "2007-12-31"}, status=ENQUEUES),
        ),
    ),
    Route(
        "POST",
        "/models/{model_id}/validate",
        Scope.MANAGE,
        validate,
        tag="models",
        errors=(404, 503),
        status=ENQUEUES,
        examples=(Example("on the newest data", path=ONE, body={"version": 1}, status=ENQUEUES),),
    ),
)
