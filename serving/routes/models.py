"""GET /models and GET /models/{id}: what is registered, what answers, and why not.

Read from the engine database and this process's memory, so both work while MLflow is down.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import BaseModel, ConfigDict, Field

from pipelines.parameters import RecipeParameters
from registry import managed_models, version_rows
from registry.deployments import Deployment
from registry.golden_answers import said_of
from registry.managed_models import ManagedModel
from registry.version_rows import VersionLine
from serving.loading import LoadedVersion
from serving.route_table import Example, Route, Scope
from serving.routes.versions import VersionFacts, facts_of
from serving.schemas import Name
from serving.security import principal_of
from serving.service import Service, service_of


class _Answer(BaseModel):
    model_config = ConfigDict(protected_namespaces=())


class ModelLine(_Answer):
    """One model in the list."""

    model_id: str
    template: str
    serving_version: int | None
    aliases: dict[str, int]
    n_versions: int
    may_trade: bool | None = Field(description="Of the serving version; null when none serves.")
    problem: str | None = Field(
        description="Why it is not served, or why its alias names another version."
    )
    owner: str = ""
    tags: dict[str, str] = {}
    watched: bool = Field(default=True, description="Whether drift is looked for.")
    archived_at: datetime | None = Field(default=None, description="Null: it is not archived.")


class ModelList(_Answer):
    """Every model."""

    models: list[ModelLine]


class Curve(BaseModel):
    """Median milliseconds per call at each batch size, measured here at load."""

    flavor: str
    variant: str
    backend: str
    batch_sizes: list[int]
    latency_ms: list[float]


class Loaded(BaseModel):
    """A version in memory."""

    version: int
    role: str = Field(description="production, or on_demand.")
    loaded_at: datetime
    artifact_bytes: int
    artifacts: list[str] = Field(description="artifact/backend pairs that can answer.")
    absent: dict[str, str] = Field(description="artifact/backend -> why it cannot run here.")
    curves: list[Curve]
    answers: str = Field(
        default="", description="Whether this code answers as when the version was made."
    )


class ModelFacts(_Answer):
    """Everything about one model."""

    model_id: str
    description: str
    owner: str
    tags: dict[str, str]
    watched: bool = Field(description="Whether drift is looked for.")
    recipe: dict[str, Any] = Field(
        description="Parameters that train it; empty for a model that a stage made."
    )
    created_at: datetime | None = Field(
        description="When somebody first said something about it; null: nobody has."
    )
    archived_at: datetime | None = Field(description="Null: it is not archived.")
    aliases: dict[str, int]
    problem: str | None
    deployment: dict[str, Any] | None = Field(description="The champion and since when it serves.")
    request_aliases: list[str] = Field(
        description="Names of technical_indicators that the serving version takes."
    )
    context: list[str] = Field(description="Names that `context` may have beside `rows`.")
    loaded: list[Loaded]
    versions: list[VersionFacts]


async def list_models(request: Request, archived: Annotated[bool, Query()] = False) -> ModelList:
    """List every model that is not archived; `problem` says why one is not served.

    `archived=true` lists the archived ones too.
    """
    principal, service = principal_of(request), service_of(request)
    lines = await asyncio.to_thread(model_lines, service, archived)
    return ModelList(models=[line for line in lines if principal.allows(line.model_id)])


async def get_model(model_id: Name, request: Request) -> ModelFacts:
    """Show a model: what is said about it, versions with contract and gates, what is loaded."""
    return await asyncio.to_thread(model_facts, service_of(request), model_id)


def model_lines(service: Service, with_archived: bool = False) -> list[ModelLine]:
    """Return a line per model, in alphabetical order, from two queries and this process's memory.

    Archived models are left out unless they are asked for.
    """
    versions = version_rows.lines(service.database)
    managed = managed_models.list_models(service.database)
    names = sorted(versions.keys() | managed.keys())
    models = [managed.get(name, ManagedModel(name)) for name in names]
    shown = [model for model in models if with_archived or model.archived_at is None]
    serving, aliases = service.models.production(), service.models.aliases()
    return [
        _line(
            service,
            model,
            versions.get(model.model_id, ()),
            serving.get(model.model_id),
            aliases.get(model.model_id, {}),
        )
        for model in shown
    ]


def _line(
    service: Service,
    model: ManagedModel,
    versions: Sequence[VersionLine],
    serving: LoadedVersion | None,
    aliases: dict[str, int],
) -> ModelLine:
    answering = next((v for v in versions if serving and v.number == serving.number), None)
    return ModelLine(
        model_id=model.model_id,
        template=versions[-1].template if versions else template_of(model),
        serving_version=serving.number if serving else None,
        aliases=aliases,
        n_versions=len(versions),
        may_trade=answering.may_trade if answering else None,
        problem=problem_of(service, model, serving, has_version=bool(versions)),
        owner=model.said.owner,
        tags=dict(model.said.tags),
        watched=model.said.watched,
        archived_at=model.archived_at,
    )


def template_of(model: ManagedModel) -> str:
    """Return the template of a model without a version."""
    return str(model.recipe.get("template", RecipeParameters().template))


def problem_of(
    service: Service, model: ManagedModel, serving: LoadedVersion | None, *, has_version: bool
) -> str | None:
    """Return why a model is not served as its alias says; None when it is."""
    if model.archived_at is not None:
        return "it is archived"
    if not has_version:
        return "it has no version yet"
    problem = service.models.problem(model.model_id)
    if problem is not None:
        return problem.reason
    if serving is None:
        return "its production version has not been loaded yet"
    return None


def model_facts(service: Service, model_id: str) -> ModelFacts:
    """Return everything about a model.

    Raises:
        ModelNotFoundError: no such model.
    """
    managed_models.check_exists(service.database, model_id)
    model = managed_models.find(service.database, model_id)
    versions = service.registry.list_versions(model_id)
    serving = service.models.production().get(model_id)
    on_demand = [v for v in service.models.on_demand() if v.model_id == model_id]
    roles = [(serving, "production")] if serving else []
    roles += [(version, "on_demand") for version in on_demand]
    deployment = service.registry.find_deployment(model_id)
    return ModelFacts(
        model_id=model_id,
        description=model.said.description,
        owner=model.said.owner,
        tags=dict(model.said.tags),
        watched=model.said.watched,
        recipe=dict(model.recipe),
        created_at=model.created_at,
        archived_at=model.archived_at,
        aliases=service.models.aliases().get(model_id, {}),
        problem=problem_of(service, model, serving, has_version=bool(versions)),
        deployment=_deployment(deployment) if deployment else None,
        request_aliases=list(serving.aliases) if serving else [],
        context=list(serving.context_names) if serving else [],
        loaded=[_loaded(version, role) for version, role in roles],
        versions=[facts_of(version) for version in versions],
    )


def _loaded(version: LoadedVersion, role: str) -> Loaded:
    curves = [
        Curve(
            flavor=option.flavor,
            variant=option.artifact.variant,
            backend=option.backend,
            batch_sizes=list(option.curve.batch_sizes),
            latency_ms=[round(ms, 4) for ms in option.curve.latency_ms],
        )
        for option in version.options
        if option.curve is not None
    ]
    return Loaded(
        version=version.number,
        role=role,
        loaded_at=version.loaded_at,
        artifact_bytes=version.n_bytes,
        artifacts=[f"{option.artifact}/{option.backend}" for option in version.options],
        absent=dict(version.absent),
        curves=curves,
        answers=said_of(version.golden),
    )


def _deployment(deployment: Deployment) -> dict[str, Any]:
    return {
        "champion": deployment.champion,
        "challenger": deployment.challenger,
        "strategy": deployment.strategy,
        "generation": deployment.generation,
        "started_at": deployment.started_at,
    }


ROUTES = (
    Route(
        "GET",
        "/models",
        Scope.READ,
        list_models,
        tag="models",
        errors=(422, 503),
        examples=(
            Example("every model"),
            Example("archived ones too", query={"archived": "true"}),
        ),
    ),
    Route(
        "GET",
        "/models/{model_id}",
        Scope.READ,
        get_model,
        tag="models",
        errors=(404, 422, 503),
        examples=(Example("one model", path={"model_id": "volatility_forecast"}),),
    ),
)
