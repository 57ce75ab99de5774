"""GET /models/{model_id}/versions: contract, files, gates and validations of each version."""

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

from fastapi import Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from pipelines.recipes.acceptance import LARGEST_NUMBER
from registry.contract import ModelContract
from registry.flavors.parity import gate_name
from registry.gates import GateRow
from registry.validations import Validation
from registry.version_files import artifacts
from registry.version_rows import Version
from serving.mlflow_pages import version_pages
from serving.model_bodies import Why
from serving.route_table import Example, Route, Scope
from serving.schemas import Name
from serving.security import principal_of
from serving.service import service_of

VersionNumber = Annotated[int, Path(ge=1, le=LARGEST_NUMBER)]


class _Answer(BaseModel):
    model_config = ConfigDict(protected_namespaces=())


class Gate(BaseModel):
    """One gate row of a version's record."""

    gate: str
    value: float | str | None = Field(description="A number that is not finite is text.")
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


class VersionLine(_Answer):
    """One version in the list."""

    version: int
    created_at: datetime
    architecture: str
    may_trade: bool
    serve_refusals: list[str]
    aliases: list[str]
    artifacts: list[str] = Field(description="Artifacts that it carries, such as onnx.fp32.")
    n_validations: int = Field(description="How often it was validated again.")


class VersionList(_Answer):
    """Every version of a model, oldest first."""

    model_id: str
    versions: list[VersionLine]


class ArtifactFacts(_Answer):
    """One artifact of a version."""

    artifact: str
    files: dict[str, str] = Field(description="Path -> SHA-256.")
    parity: list[Gate] = Field(description="How it compares with native.")


class ValidationFacts(_Answer):
    """One later validation; the record itself never changes."""

    at: datetime
    run_id: str
    champion: int | None
    data_sha256: str
    data_end: datetime
    gates: list[Gate]


class WholeVersion(VersionFacts):
    """Everything that is recorded of one version."""

    model_id: str
    aliases: list[str]
    artifacts: list[ArtifactFacts]
    digests: dict[str, str] = Field(description="Path -> SHA-256 of every file.")
    validations: list[ValidationFacts] = Field(description="Oldest first.")
    links: dict[str, str] = Field(description="Pages of MLflow: version, run, report.")


class Deleted(_Answer):
    """A version that is gone; its record stays in the event log."""

    model_id: str
    version: int


async def list_versions(model_id: Name, request: Request) -> VersionList:
    """List a model's versions with their locks, aliases and artifacts."""
    service = service_of(request)
    found = await asyncio.to_thread(service.registry.list_versions, model_id)
    aliases = service.models.aliases().get(model_id, {})
    return VersionList(
        model_id=model_id, versions=[_line(v, _naming(aliases, v.number)) for v in found]
    )


async def get_version(model_id: Name, number: VersionNumber, request: Request) -> WholeVersion:
    """Show a version: contract, artifacts with digests and parity, gates, validations, links."""
    service = service_of(request)
    version = await asyncio.to_thread(service.registry.get, model_id, number)
    uri = service.platform.mlflow_tracking_uri
    aliases = service.models.aliases().get(model_id, {})
    return WholeVersion(
        **facts_of(version).model_dump(),
        model_id=model_id,
        aliases=_naming(aliases, number),
        artifacts=_artifacts(version),
        digests=dict(version.digests),
        validations=[_validation(found) for found in version.validations],
        links=version_pages(uri, model_id, number, version.run_id),
    )


async def delete_version(
    model_id: Name, number: VersionNumber, reason: Annotated[Why, Query()], request: Request
) -> Deleted:
    """Delete a version for good; refused while an alias names it."""
    service, actor = service_of(request), principal_of(request).actor
    await service.managing.run(
        lambda: service.registry.delete(model_id, number, actor=actor, reason=reason)
    )
    return Deleted(model_id=model_id, version=number)


def facts_of(version: Version) -> VersionFacts:
    """Return what GET /models/{model_id} shows of a version."""
    return VersionFacts(
        version=version.number,
        created_at=version.created_at,
        run_id=version.run_id,
        may_trade=version.may_trade,
        serve_refusals=list(version.refusals("serve")),
        trade_refusals=list(version.refusals("trade")),
        gates=_gates(version.record),
        contract=_contract(version.contract),
    )


def _line(version: Version, aliases: list[str]) -> VersionLine:
    return VersionLine(
        version=version.number,
        created_at=version.created_at,
        architecture=version.contract.architecture,
        may_trade=version.may_trade,
        serve_refusals=list(version.refusals("serve")),
        aliases=aliases,
        artifacts=[str(artifact) for artifact in artifacts(version.digests)],
        n_validations=len(version.validations),
    )


def _naming(aliases: dict[str, int], number: int) -> list[str]:
    return sorted(alias for alias, named in aliases.items() if named == number)


def _artifacts(version: Version) -> list[ArtifactFacts]:
    return [
        ArtifactFacts(
            artifact=str(artifact),
            files={path: version.digests[path] for path in paths},
            parity=_gates(
                row
                for row in version.record
                if row.gate in (gate_name(artifact), f"parity.{artifact.flavor}")
                or row.gate.startswith(f"{gate_name(artifact)}.")
            ),
        )
        for artifact, paths in artifacts(version.digests).items()
    ]


def _validation(found: Validation) -> ValidationFacts:
    return ValidationFacts(
        at=found.created_at,
        run_id=found.run_id,
        champion=found.champion,
        data_sha256=found.data_sha256,
        data_end=found.data_end,
        gates=_gates(found.record),
    )


def _gates(rows: Iterable[GateRow]) -> list[Gate]:
    return [Gate(**row.to_json()) for row in rows]


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


ONE = {"model_id": "volatility_forecast", "number": "1"}
ROUTES = (
    Route(
        "GET",
        "/models/{model_id}/versions",
        Scope.READ,
        list_versions,
        tag="models",
        errors=(404, 422, 503),
        examples=(Example("every version", path={"model_id": "volatility_forecast"}),),
    ),
    Route(
        "GET",
        "/models/{model_id}/versions/{number}",
        Scope.READ,
        get_version,
        tag="models",
        errors=(404, 422, 503),
        examples=(Example("one version", path=ONE),),
    ),
    Route(
        "DELETE",
        "/models/{model_id}/versions/{number}",
        Scope.MANAGE,
        delete_version,
        tag="models",
        errors=(404, 409, 422, 503),
        examples=(Example("an old version", path=ONE, query={"reason": "obsolete"}),),
    ),
)
