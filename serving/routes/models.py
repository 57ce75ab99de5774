"""GET /models and GET /models/{id}: what is registered, what answers, and why not.

Read from the engine database and this process's memory, so both work while MLflow is down.
"""

import asyncio
from datetime import datetime
from typing import Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from registry.contract import ModelContract
from registry.deployments import Deployment
from registry.errors import ModelNotFoundError
from registry.version_rows import Version
from serving.loading import LoadedVersion
from serving.route_table import Example, Route, Scope
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


class ModelList(_Answer):
    """Every registered model."""

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


class Gate(BaseModel):
    """One gate row of a version's record."""

    gate: str
    value: float | None
    comparison: str
    limit: float | tuple[float, float]
    passed: bool
    applicable: bool
    note: str
    against: int | None = Field(description="The version it was compared with.")


class VersionFacts(_Answer):
    """One registered version."""

    version: int
    created_at: datetime
    run_id: str
    may_trade: bool
    serve_refusals: list[str] = Field(description="Gates that keep its serve lock shut.")
    trade_refusals: list[str] = Field(description="Gates that keep its trade lock shut.")
    gates: list[Gate]
    contract: dict[str, Any]


class ModelFacts(_Answer):
    """Everything about one model."""

    model_id: str
    aliases: dict[str, int]
    problem: str | None
    deployment: dict[str, Any] | None = Field(description="The champion and since when it serves.")
    request_aliases: list[str] = Field(
        description="Names of technical_indicators that the serving version takes."
    )
    context: list[str] = Field(description="Names that `context` may have beside `rows`.")
    loaded: list[Loaded]
    versions: list[VersionFacts]


async def list_models(request: Request) -> ModelList:
    """List every registered model; `problem` says why one is not served."""
    service = service_of(request)
    return ModelList(models=await asyncio.to_thread(model_lines, service))


async def get_model(model_id: str, request: Request) -> ModelFacts:
    """Show a model's versions with contract and gates, and the loaded ones with latencies."""
    return await asyncio.to_thread(_facts, service_of(request), model_id)


def model_lines(service: Service) -> list[ModelLine]:
    """Return a line per registered model, read from the engine database and memory."""
    serving, aliases = service.models.production(), service.models.aliases()
    lines = []
    for model_id in service.registry.model_ids():
        versions = service.registry.list_versions(model_id)
        by_number = {version.number: version for version in versions}
        loaded = serving.get(model_id)
        answering = by_number.get(loaded.number) if loaded else None
        lines.append(
            ModelLine(
                model_id=model_id,
                template=versions[-1].contract.template,
                serving_version=loaded.number if loaded else None,
                aliases=aliases.get(model_id, {}),
                n_versions=len(versions),
                may_trade=answering.may_trade if answering else None,
                problem=_problem(service, model_id, loaded),
            )
        )
    return lines


def _problem(service: Service, model_id: str, loaded: LoadedVersion | None) -> str | None:
    problem = service.models.problem(model_id)
    if problem is not None:
        return problem.reason
    if loaded is None:
        return "its production version has not been loaded yet"
    return None


def _facts(service: Service, model_id: str) -> ModelFacts:
    if model_id not in (known := service.registry.model_ids()):
        raise ModelNotFoundError(model_id, known)
    serving = service.models.production().get(model_id)
    on_demand = [v for v in service.models.on_demand() if v.model_id == model_id]
    roles = [(serving, "production")] if serving else []
    roles += [(version, "on_demand") for version in on_demand]
    deployment = service.registry.find_deployment(model_id)
    return ModelFacts(
        model_id=model_id,
        aliases=service.models.aliases().get(model_id, {}),
        problem=_problem(service, model_id, serving),
        deployment=_deployment(deployment) if deployment else None,
        request_aliases=list(serving.aliases) if serving else [],
        context=list(serving.context_names) if serving else [],
        loaded=[_loaded(version, role) for version, role in roles],
        versions=[_version(version) for version in service.registry.list_versions(model_id)],
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
    )


def _version(version: Version) -> VersionFacts:
    return VersionFacts(
        version=version.number,
        created_at=version.created_at,
        run_id=version.run_id,
        may_trade=version.may_trade,
        serve_refusals=list(version.refusals("serve")),
        trade_refusals=list(version.refusals("trade")),
        gates=[Gate(**row.to_json()) for row in version.record],
        contract=_contract(version.contract),
    )


def _contract(contract: ModelContract) -> dict[str, Any]:
    """Return the facts of the contract that a caller needs, as JSON values."""
    names = (
        *("template", "architecture", "feature_set", "feature_names", "window", "horizon"),
        *("horizon_bars", "interval", "min_history", "price_basis", "symbols", "trained_until"),
    )
    shapes = {
        "inputs": {"dtype": contract.inputs.dtype, "shape": contract.inputs.shape},
        "outputs": {"dtype": contract.outputs.dtype, "shape": contract.outputs.shape},
    }
    return {name: getattr(contract, name) for name in names} | shapes


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
        errors=(503,),
        examples=(Example("every model"),),
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
