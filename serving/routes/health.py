"""GET /health: whether this process answers, and what it depends on."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Literal

import sqlalchemy as sa
from fastapi import Request, Response
from pydantic import BaseModel, Field

from registry.database import reading
from serving.route_table import Example, Route, Scope
from serving.service import Service, service_of

CHECK_SECONDS = 2.0


class Dependency(BaseModel):
    """One thing this process uses; `ok` is null while it has not been asked yet."""

    ok: bool | None
    detail: str
    checked_at: datetime | None = None


class Health(BaseModel):
    """State of the process.

    `ready` is true when it answers /predict and /bars. `degraded` means that it answers, but a
    dependency does not, or a model is not served in the version that its alias names.
    """

    status: Literal["ok", "degraded", "starting"]
    live: Literal[True] = True
    ready: bool
    access: str = Field(description="Whether a key is needed.")
    dependencies: dict[str, Dependency]
    loaded: dict[str, int] = Field(description="Model -> version that answers.")
    problems: dict[str, str] = Field(description="Model -> why its alias names another version.")


async def health(request: Request, response: Response) -> Health:
    """Tell whether this process can serve: 503 while it starts, 200 from then on.

    Serving goes on while MLflow is away; `dependencies` says so.
    """
    service = service_of(request)
    database, store = await asyncio.gather(
        _checked(lambda: _ask_database(service)), _checked(lambda: _ask_store(service))
    )
    dependencies = {
        "mlflow": _registry(service),
        "database": database,
        "store": store,
        "prediction_log": _log(service),
    }
    loaded = {name: version.number for name, version in service.models.production().items()}
    problems = service.models.problems()
    is_ready = service.follower.is_ready
    is_whole = not problems and all(d.ok is not False for d in dependencies.values())
    response.status_code = 200 if is_ready else 503
    return Health(
        status="starting" if not is_ready else "ok" if is_whole else "degraded",
        ready=is_ready,
        access=service.security.access,
        dependencies=dependencies,
        loaded=loaded,
        problems={name: problem.reason for name, problem in problems.items()},
    )


async def _checked(ask: Callable[[], str]) -> Dependency:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return Dependency(ok=True, detail=await asyncio.to_thread(ask))
    except (OSError, sa.exc.SQLAlchemyError) as exc:
        reason = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        return Dependency(ok=False, detail=reason)


def _ask_database(service: Service) -> str:
    with reading(service.database) as connection:
        connection.execute(sa.text("SELECT 1"))
    return service.database.url.render_as_string(hide_password=True)


def _ask_store(service: Service) -> str:
    held = {name: len(service.history.symbols(name)) for name in service.history.intervals()}
    return ", ".join(f"{n} symbols at {name}" for name, n in held.items()) or "no bars yet"


def _registry(service: Service) -> Dependency:
    status = service.follower.registry_status
    return Dependency(ok=status.is_reachable, detail=status.detail, checked_at=status.at)


def _log(service: Service) -> Dependency:
    dropped = service.log.dropped
    return Dependency(ok=dropped == 0, detail=f"{dropped} predictions dropped")


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
)
