"""GET /models/{model_id}/status: one model at a glance, for dashboards and scripts that wait."""

import asyncio
from datetime import datetime
from typing import Literal

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from monitoring import cycles, reports
from monitoring.cycles import State
from pipelines.jobs import queue
from registry import alias_rows, managed_models, version_rows
from registry.alias_rows import AliasState
from registry.managed_models import ManagedModel
from serving.route_table import Example, Route, Scope
from serving.routes.models import problem_of
from serving.schemas import Name
from serving.service import Service, service_of


class _Answer(BaseModel):
    model_config = ConfigDict(protected_namespaces=())


class AliasFacts(_Answer):
    """Where an alias stands."""

    version: int | None
    generation: int = Field(description="`expected_generation` of the next move.")
    pending: bool = Field(description="Whether a move is under way.")
    outside: int | None = Field(
        description="Where somebody moved it in MLflow, when that is not followed."
    )


class NewestJob(_Answer):
    """The newest job of the model."""

    job_id: str
    entry_point: str
    state: str
    stage: str | None
    progress: float | None = Field(description="0 to 1; null while it has not said.")
    error: str | None
    created_at: datetime


class DriftFacts(_Answer):
    """The newest window that was judged."""

    version: int
    window_end: datetime
    verdict: str
    drifted_share: float | None


class RetrainingFacts(_Answer):
    """Where retraining stands; OBSERVE when no cycle is open."""

    state: str
    champion: int | None = None
    challenger: int | None = None
    trigger: str | None = None
    reason: str | None = None
    cooldown_until: datetime | None = None


class ModelStatus(_Answer):
    """One model at a glance."""

    model_id: str
    state: Literal["serving", "not_serving", "no_version", "archived"]
    serving_version: int | None = Field(description="What this process answers with.")
    newest_version: int | None
    aliases: dict[str, AliasFacts]
    problem: str | None
    watched: bool
    archived_at: datetime | None
    job: NewestJob | None
    drift: DriftFacts | None
    retraining: RetrainingFacts


async def get_status(model_id: Name, request: Request) -> ModelStatus:
    """Show at a glance what serves, what its aliases name, the newest job, drift, retraining."""
    return await asyncio.to_thread(_status, service_of(request), model_id)


def _status(service: Service, model_id: str) -> ModelStatus:
    managed_models.check_exists(service.database, model_id)
    model = managed_models.find(service.database, model_id)
    numbers = version_rows.numbers(service.database, model_id)
    serving = service.models.production().get(model_id)
    return ModelStatus(
        model_id=model_id,
        state=_state(model, bool(numbers), serving is not None),
        serving_version=serving.number if serving else None,
        newest_version=numbers[-1] if numbers else None,
        aliases=_aliases(service, model_id),
        problem=problem_of(service, model, serving, has_version=bool(numbers)),
        watched=model.said.watched,
        archived_at=model.archived_at,
        job=_job(service, model_id),
        drift=_drift(service, model_id),
        retraining=_retraining(service, model_id),
    )


def _state(
    model: ManagedModel, has_version: bool, is_serving: bool
) -> Literal["serving", "not_serving", "no_version", "archived"]:
    if model.archived_at is not None:
        return "archived"
    if is_serving:
        return "serving"
    return "not_serving" if has_version else "no_version"


def _aliases(service: Service, model_id: str) -> dict[str, AliasFacts]:
    """Return the aliases that this engine moves, and those that only MLflow has."""
    known = alias_rows.of_model(service.database, model_id)
    for alias, number in service.models.aliases().get(model_id, {}).items():
        known.setdefault(alias, AliasState(model_id, alias, number, 0))
    return {
        alias: AliasFacts(
            version=state.number,
            generation=state.generation,
            pending=state.pending is not None,
            outside=state.outside,
        )
        for alias, state in sorted(known.items())
    }


def _job(service: Service, model_id: str) -> NewestJob | None:
    for job in queue.list_jobs(service.database, model_id=model_id, limit=1):
        return NewestJob(
            job_id=job.id,
            entry_point=job.entry_point,
            state=job.state,
            stage=job.stage,
            progress=job.progress,
            error=job.error,
            created_at=job.created_at,
        )
    return None


def _drift(service: Service, model_id: str) -> DriftFacts | None:
    for report in reports.newest(service.database, model_id, limit=1):
        return DriftFacts(
            version=report.number,
            window_end=report.window_end,
            verdict=report.verdict,
            drifted_share=report.drifted_share,
        )
    return None


def _retraining(service: Service, model_id: str) -> RetrainingFacts:
    cycle = cycles.find_open(service.database, model_id)
    if cycle is None:
        return RetrainingFacts(state=State.OBSERVE)
    return RetrainingFacts(
        state=cycle.state,
        champion=cycle.champion,
        challenger=cycle.challenger,
        trigger=cycle.trigger,
        reason=cycle.reason,
        cooldown_until=cycle.cooldown_until,
    )


ROUTES = (
    Route(
        "GET",
        "/models/{model_id}/status",
        Scope.READ,
        get_status,
        tag="models",
        errors=(404, 422, 503),
        examples=(Example("at a glance", path={"model_id": "volatility_forecast"}),),
    ),
)
