"""POST, PUT and DELETE of models: made by name, described, archived and restored."""

import asyncio
from typing import Annotated

import sqlalchemy as sa
from fastapi import Query, Request

from pipelines.recipes.acceptance import accept
from registry import managed_models
from serving.enqueueing import JobAnswer, enqueued
from serving.model_bodies import ModelChange, ModelRequest, Short
from serving.model_recipes import changed_recipe
from serving.route_table import ENQUEUES, Example, Route, Scope
from serving.routes.models import ModelFacts, model_facts
from serving.schemas import Name
from serving.security import principal_of
from serving.service import Service, service_of

MADE_OF_STORE = {
    "model_id": "desk_volatility",
    "template": "volatility_forecast",
    "source": "sample",
    "symbols": "AAPL,MSFT",
    "end": "2006-12-31",
    "description": "Five-day volatility for the desk.",
    "owner": "risk@desk.example",
    "tags": {"desk": "equities"},
}
MADE_OF_A_TABLE = {
    "model_id": "churn",
    "template": "tabular",
    "source": "data",
    "path": "customers",
    "options": {"target": "churned"},
}


async def create_model(body: ModelRequest, request: Request) -> JobAnswer:
    """Make a model by name and train its first version, as a job.

    Everything that can be checked without reading the data is checked before this answer. The
    model is there at once, without a version. Its parameters are those of the entry point `main`;
    they stay with the model, and POST /models/{model_id}/train repeats them.
    """
    service, principal = service_of(request), principal_of(request)
    principal.check_model(body.model_id)
    wanted = body.given() | {"model_name": body.model_id}
    recipe = await asyncio.to_thread(accept, wanted, service.platform, service.database)

    def create(connection: sa.Connection) -> None:
        managed_models.create_in(
            connection, body.model_id, body.said(), recipe, actor=principal.actor
        )

    job = await enqueued(request, "main", recipe, model_id=body.model_id, beside=create)
    service.follower.wake()
    return job


async def change_model(model_id: Name, body: ModelChange, request: Request) -> ModelFacts:
    """Change what is said about a model, its recipe, and whether it is watched or archived.

    A field that is absent stays. `archived: false` restores an archived model. A recipe is checked
    as in POST /models; what is trained already stays as it is.
    """
    service, actor = service_of(request), principal_of(request).actor

    def change() -> ModelFacts:
        service.registry.check_exists(model_id)
        if body.recipe is not None:
            recipe = changed_recipe(service, model_id, body.recipe.given())
            managed_models.change_recipe(service.database, model_id, recipe, actor=actor)
        if body.archived is True:
            service.registry.archive(model_id, actor=actor, reason="")
        if body.archived is False:
            managed_models.restore(service.database, model_id, actor=actor)
        if said := body.said():
            managed_models.describe(service.database, model_id, said, actor=actor)
        return _after(service, model_id)

    return await service.managing.run(change)


async def archive_model(
    model_id: Name, request: Request, reason: Annotated[Short, Query()] = ""
) -> ModelFacts:
    """Archive a model: it is hidden, not watched, not trained, and does not answer.

    Refused (409) while an alias other than staging, or an open deployment, names it: POST
    /models/{model_id}/withdraw first. PUT /models/{model_id} with `{"archived": false}` undoes it;
    versions, events and what is said about it stay.
    """
    service, actor = service_of(request), principal_of(request).actor

    def archive() -> ModelFacts:
        service.registry.archive(model_id, actor=actor, reason=reason)
        return _after(service, model_id)

    return await service.managing.run(archive)


def _after(service: Service, model_id: str) -> ModelFacts:
    service.follower.wake()
    return model_facts(service, model_id)


ONE = {"model_id": "volatility_forecast"}
ROUTES = (
    Route(
        "POST",
        "/models",
        Scope.MANAGE,
        create_model,
        tag="models",
        errors=(404, 503),
        status=ENQUEUES,
        examples=(
            Example("of the sample bars", body=MADE_OF_STORE, status=ENQUEUES),
            Example("of an uploaded table", body=MADE_OF_A_TABLE, status=ENQUEUES),
        ),
    ),
    Route(
        "PUT",
        "/models/{model_id}",
        Scope.MANAGE,
        change_model,
        tag="models",
        errors=(404, 409, 503),
        examples=(
            Example("who answers for it", path=ONE, body={"owner": "risk@desk.example"}),
            Example("other symbols", path=ONE, body={"recipe": {"symbols": "AAPL,MSFT,KO"}}),
            Example("no drift is looked for", path=ONE, body={"watched": False}),
            Example("back from the archive", path=ONE, body={"archived": False}),
        ),
    ),
    Route(
        "DELETE",
        "/models/{model_id}",
        Scope.MANAGE,
        archive_model,
        tag="models",
        errors=(404, 409, 422, 503),
        examples=(Example("out of use", path=ONE, query={"reason": "replaced by desk_vol"}),),
    ),
)
