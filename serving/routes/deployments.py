"""Deployments: a version is put into production, returned to the one before, or withdrawn.

The gates decide as for everybody (docs/promotion.md). MLflow's aliases are moved in the executor
for management, and the follower is woken: this process serves the version as soon as it is loaded,
others after their poll interval.
"""

from collections.abc import Callable

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from registry.alias_rows import PRODUCTION
from registry.errors import VersionNotFoundError
from serving.model_bodies import DeployRequest, Reasoned, WithdrawRequest
from serving.route_table import Example, Route, Scope
from serving.schemas import Name
from serving.security import principal_of
from serving.service import Service, service_of


class Deployed(BaseModel):
    """Where the alias stands now."""

    model_config = ConfigDict(protected_namespaces=())

    model_id: str
    alias: str
    version: int | None = Field(description="Null: nothing serves under it.")
    generation: int = Field(description="Grows with every move; `expected_generation` of the next.")


async def deploy(model_id: Name, body: DeployRequest, request: Request) -> Deployed:
    """Put a version into production, if its gates allow it.

    Of two at once one wins; the other is told (409). A refusal (409) names each gate.
    """
    actor = principal_of(request).actor

    def move(service: Service) -> None:
        number = body.version or _number_of(service, model_id, body.alias or "")
        service.registry.promote(
            model_id,
            number,
            actor=actor,
            reason=body.reason,
            expected_generation=body.expected_generation,
        )

    return await _moved(request, model_id, PRODUCTION, move)


async def roll_back(model_id: Name, body: Reasoned, request: Request) -> Deployed:
    """Return production to the champion before the present one.

    Versions that were themselves rolled back, withdrawn or deleted are passed over.
    """
    actor = principal_of(request).actor

    def move(service: Service) -> None:
        service.registry.roll_back(
            model_id,
            actor=actor,
            reason=body.reason,
            expected_generation=body.expected_generation,
        )

    return await _moved(request, model_id, PRODUCTION, move)


async def withdraw(model_id: Name, body: WithdrawRequest, request: Request) -> Deployed:
    """Take an alias away: nothing serves the model under it.

    It is how a model in production is put out of use, before it is archived.
    """
    actor = principal_of(request).actor

    def move(service: Service) -> None:
        service.registry.withdraw(
            model_id,
            actor=actor,
            reason=body.reason,
            alias=body.alias,
            expected_generation=body.expected_generation,
        )

    return await _moved(request, model_id, body.alias, move)


async def _moved(
    request: Request, model_id: str, alias: str, move: Callable[[Service], None]
) -> Deployed:
    service = service_of(request)

    def moved() -> Deployed:
        service.registry.check_exists(model_id)
        move(service)
        state = service.registry.alias_state(model_id, alias)
        return Deployed(
            model_id=model_id, alias=alias, version=state.number, generation=state.generation
        )

    try:
        return await service.managing.run(moved)
    finally:
        service.follower.wake()


def _number_of(service: Service, model_id: str, alias: str) -> int:
    number = service.registry.resolve_alias(model_id, alias).number
    if number is None:
        known = service.models.aliases().get(model_id, {})
        raise VersionNotFoundError(model_id, f"alias {alias!r}", known)
    return number


ONE = {"model_id": "volatility_forecast"}
ROUTES = (
    Route(
        "POST",
        "/models/{model_id}/deploy",
        Scope.MANAGE,
        deploy,
        tag="deployments",
        errors=(404, 409, 503),
        examples=(
            Example("a version", path=ONE, body={"version": 1, "reason": "reviewed"}),
            Example(
                "what staging names, unless production has moved",
                path=ONE,
                body={"alias": "staging", "reason": "reviewed", "expected_generation": 1},
            ),
        ),
    ),
    Route(
        "POST",
        "/models/{model_id}/rollback",
        Scope.MANAGE,
        roll_back,
        tag="deployments",
        errors=(404, 409, 503),
        examples=(Example("back", path=ONE, body={"reason": "errors since noon"}),),
    ),
    Route(
        "POST",
        "/models/{model_id}/withdraw",
        Scope.MANAGE,
        withdraw,
        tag="deployments",
        errors=(404, 409, 503),
        examples=(Example("out of production", path=ONE, body={"reason": "obsolete"}),),
    ),
)
