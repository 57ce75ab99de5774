"""GET /health and /health/ready: whether this process answers, and what it depends on."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from time import monotonic, perf_counter
from typing import Any, Literal, TypeVar

from fastapi import Request, Response
from pydantic import BaseModel, Field

from registry.golden_answers import N_SHOWN, AnswerChange, command, n_answers
from serving.dependencies import Answer, masked
from serving.loading import LoadedVersion
from serving.route_table import Example, Route, Scope
from serving.security import Principal, principal_of
from serving.service import Service, service_of

T = TypeVar("T")
LOST_SECONDS = 60.0
"""The prediction log counts as failing for this long after a loss, unless it has written since."""


class Dependency(BaseModel):
    """One thing this process uses; `ok` is null while it has not been asked yet."""

    ok: bool | None
    detail: str = Field(description="Empty for those who may not read.")
    checked_at: datetime | None = None


class ChangedAnswer(BaseModel):
    """A field of a golden answer, when the version was made and by this code."""

    answer: int = Field(description="Number of the golden answer, from 0.")
    field: str = Field(description="Path of the field, like `interval.lower`.")
    old: Any = Field(description="When the version was made, or as somebody accepted later.")
    new: Any = Field(description="By this code; null where the field is gone.")


class ChangedAnswers(BaseModel):
    """What this code changes in the answers of a version that serves."""

    version: int
    n_answers: int = Field(description="Golden answers of the version.")
    n_changed: int = Field(description="Those that are different now.")
    examples: list[ChangedAnswer] = Field(description="The first fields that differ.")
    accept: str = Field(description="The command by which a person accepts them.")


class Health(BaseModel):
    """State of the process.

    `ready` is true when it answers /predict and /bars. `degraded` means that it answers, but
    somebody must mend something: a dependency does not answer, a model is not served in the version
    that its alias names, or this code gives other answers for a version than when it was made. A
    model of which nothing was promoted yet is none of these.
    """

    status: Literal["ok", "degraded", "starting"]
    healthy: bool = Field(description="Whether `status` is ok.")
    live: Literal[True] = True
    ready: bool
    access: str = Field(description="Whether a key is needed.")
    dependencies: dict[str, Dependency]
    loaded: dict[str, int] = Field(description="Model -> version that answers.")
    problems: dict[str, str] = Field(description="Model -> why its alias names another version.")
    changed_answers: dict[str, ChangedAnswers] = Field(
        default={},
        description="Model -> what this code changes in its answers and nobody has accepted.",
    )
    response_time_ms: float = Field(description="How long this answer took to make.")


class Readiness(BaseModel):
    """Whether requests may be sent here."""

    ready: bool


async def health(request: Request, response: Response) -> Health:
    """Tell whether this process can serve: 503 while it starts, 200 from then on.

    Serving goes on while MLflow is away; `dependencies` says so. A dependency that hangs delays
    this answer by half a second at most. Names of models, addresses and reasons are told to those
    who may read.
    """
    service, started, principal = service_of(request), perf_counter(), principal_of(request)
    dependencies = await ask_dependencies(service)
    serving, changed = service.models.production(), service.models.changed_answers()
    loaded = {name: version.number for name, version in serving.items()}
    found = service.models.problems()
    problems = {name: problem.reason for name, problem in found.items() if problem.is_fault}
    is_ready = service.follower.is_ready
    is_whole = (
        not problems and not changed and all(d.ok is not False for d in dependencies.values())
    )
    status = _status(is_ready, is_whole)
    response.status_code = 200 if is_ready else 503
    return Health(
        status=status,
        healthy=status == "ok",
        ready=is_ready,
        access=service.security.access,
        dependencies={
            name: told if principal.may(Scope.READ) else told.model_copy(update={"detail": ""})
            for name, told in dependencies.items()
        },
        loaded=_told(loaded, principal),
        problems=_told(problems, principal),
        changed_answers=_told(
            {m: _changed(serving[m], found) for m, found in changed.items() if m in serving},
            principal,
        ),
        response_time_ms=round((perf_counter() - started) * 1e3, 3),
    )


async def ready(request: Request, response: Response) -> Readiness:
    """Tell a balancer whether to send requests here: 200, or 503 while the process starts.

    It asks nobody, so it answers at once whatever hangs. The database and MLflow do not count:
    predictions go on without them.
    """
    is_ready = service_of(request).follower.is_ready
    response.status_code = 200 if is_ready else 503
    return Readiness(ready=is_ready)


async def ask_dependencies(service: Service) -> dict[str, Dependency]:
    """Return the state of everything this process uses; waits half a second at most."""
    system = service.system
    database, store, disk = await asyncio.gather(
        system.database.answer(), system.store.answer(), system.disk.answer()
    )
    return {
        "mlflow": _registry(service),
        "database": _of(database),
        "store": _of(store),
        "disk": _of(disk),
        "prediction_log": _log(service),
    }


def _status(is_ready: bool, is_whole: bool) -> Literal["ok", "degraded", "starting"]:
    if not is_ready:
        return "starting"
    return "ok" if is_whole else "degraded"


def _told(by_model: Mapping[str, T], principal: Principal) -> dict[str, T]:
    """Return what is told of models to this caller."""
    may_read = principal.may(Scope.READ)
    return {name: told for name, told in by_model.items() if may_read and principal.allows(name)}


def _changed(version: LoadedVersion, found: Sequence[AnswerChange]) -> ChangedAnswers:
    return ChangedAnswers(
        version=version.number,
        n_answers=len(version.golden.recorded) if version.golden else 0,
        n_changed=n_answers(found),
        examples=[
            ChangedAnswer(answer=c.answer, field=c.field, old=c.old, new=c.new)
            for c in found[:N_SHOWN]
        ],
        accept=command(version.model_id, version.number),
    )


def _of(answer: Answer[str]) -> Dependency:
    if answer.problem is not None:
        return Dependency(ok=False, detail=answer.problem, checked_at=answer.at)
    return Dependency(ok=True, detail=answer.value or "", checked_at=answer.at)


def _registry(service: Service) -> Dependency:
    status = service.follower.registry_status
    return Dependency(ok=status.is_reachable, detail=masked(status.detail), checked_at=status.at)


def _log(service: Service) -> Dependency:
    logs = (service.log, service.batches.log)
    dropped = sum(log.dropped for log in logs)
    is_losing = any(monotonic() - log.lost_at < LOST_SECONDS for log in logs)
    return Dependency(ok=not is_losing, detail=f"{dropped} predictions dropped")


ROUTES = (
    Route(
        "GET",
        "/health",
        Scope.OPEN,
        health,
        tag="watch",
        examples=(Example("how it is"),),
        responses={503: {"model": Health, "description": "Starting."}},
    ),
    Route(
        "GET",
        "/health/ready",
        Scope.OPEN,
        ready,
        tag="watch",
        examples=(Example("whether to send requests here"),),
        responses={503: {"model": Readiness, "description": "Starting."}},
    ),
)
