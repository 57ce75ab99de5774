"""The past of a model: its events, and which version was in production at a time."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import Query, Request
from pydantic import BaseModel, ConfigDict, Field

from registry import events, managed_models
from registry.errors import ParameterError
from registry.events import Event
from registry.production_history import Production, production_at
from serving.route_table import Example, Route, Scope
from serving.schemas import Name, Time
from serving.security import principal_of
from serving.service import Service, service_of

CLOCKS_DIFFER = timedelta(minutes=1)
LARGEST_ID = 2**31 - 1


AfterId = Annotated[int, Query(ge=0, le=LARGEST_ID)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Order = Literal["oldest", "newest"]


class EventFacts(BaseModel):
    """One thing that happened."""

    model_config = ConfigDict(protected_namespaces=())

    id: int
    at: datetime
    event: str
    model_id: str | None = Field(description="Null for what belongs to no model: keys, data, bars.")
    version: int | None
    actor: str = Field(description="A key's id, a person or a process.")
    reason: str
    run_id: str | None
    facts: dict[str, Any]


class EventList(BaseModel):
    """A page of events."""

    model_config = ConfigDict(protected_namespaces=())

    model_id: str | None = Field(description="Null: of everything.")
    events: list[EventFacts]
    next_after_id: int | None = Field(description="`after_id` of the next page; null: the last.")


class Move(BaseModel):
    """What put a version into production, or took it away."""

    event: str = Field(description="promoted, rolled_back, withdrawn or alias_moved_outside.")
    at: datetime
    actor: str = Field(description="By whom.")
    reason: str = Field(description="Why.")
    run_id: str | None


class ProductionAnswer(BaseModel):
    """What was in production at a time."""

    model_config = ConfigDict(protected_namespaces=())

    model_id: str
    at: datetime
    version: int | None = Field(description="Null: nothing was.")
    since: datetime | None = Field(description="Null before the first promotion.")
    until: datetime | None = Field(description="Null while it lasts.")
    began: Move | None
    ended: Move | None
    load_failures: list[str] = Field(
        description="Why a serving process could not load the version; the one before went on."
    )


async def list_events(
    model_id: Name,
    request: Request,
    after_id: AfterId = 0,
    limit: Limit = 100,
    order: Order = "oldest",
) -> EventList:
    """List what happened to a model, oldest or newest first.

    `after_id` is the last id of the page before; 0 begins.
    """
    await asyncio.to_thread(_check_known, service_of(request), model_id)
    return await _page(request, model_id, after_id, limit, order)


async def list_all_events(
    request: Request, after_id: AfterId = 0, limit: Limit = 100, order: Order = "oldest"
) -> EventList:
    """List what happened to everything: models, keys, data, bars, jobs.

    `after_id` is the last id of the page before; 0 begins. A key with a list of models is refused.
    """
    principal_of(request).check_model(None)
    return await _page(request, None, after_id, limit, order)


async def _page(
    request: Request, model_id: str | None, after_id: int, limit: int, order: Order
) -> EventList:
    database, is_newest = service_of(request).database, order == "newest"
    found = await asyncio.to_thread(
        events.read, database, model_id, after_id, limit + 1, newest=is_newest
    )
    page = found[:limit]
    return EventList(
        model_id=model_id,
        events=[_event(event) for event in page],
        next_after_id=page[-1].id if len(found) > limit else None,
    )


async def get_production(
    model_id: Name, request: Request, at: Annotated[Time | None, Query()] = None
) -> ProductionAnswer:
    """Tell which version was in production at a time, since when, why, by whom, until when.

    `at` is absent: now. The answer has `version` null where nothing was in production.
    """
    service, now = service_of(request), datetime.now(UTC)
    if at is not None and at > now + CLOCKS_DIFFER:
        raise ParameterError("at", at.isoformat(), "a time that has passed")

    def read() -> Production:
        _check_known(service, model_id)
        return production_at(service.database, model_id, at or now)

    found = await asyncio.to_thread(read)
    return ProductionAnswer(
        model_id=model_id,
        at=at or now,
        version=found.version,
        since=found.since,
        until=found.until,
        began=_move(found.began),
        ended=_move(found.ended),
        load_failures=[event.reason for event in found.load_failures],
    )


def _check_known(service: Service, model_id: str) -> None:
    """Refuse a model that nothing ever happened to; one whose versions are gone has its past."""
    if not events.read(service.database, model_id, limit=1):
        managed_models.check_exists(service.database, model_id)


def _event(event: Event) -> EventFacts:
    return EventFacts(
        id=event.id,
        at=event.at,
        event=event.kind,
        model_id=event.model_id,
        version=event.number,
        actor=event.actor,
        reason=event.reason,
        run_id=event.run_id,
        facts=dict(event.facts),
    )


def _move(event: Event | None) -> Move | None:
    if event is None:
        return None
    return Move(
        event=event.kind,
        at=event.at,
        actor=event.actor,
        reason=event.reason,
        run_id=event.run_id,
    )


ONE = {"model_id": "volatility_forecast"}
ROUTES = (
    Route(
        "GET",
        "/events",
        Scope.READ,
        list_all_events,
        tag="watch",
        errors=(422, 503),
        examples=(Example("the newest ten", query={"order": "newest", "limit": "10"}),),
    ),
    Route(
        "GET",
        "/models/{model_id}/events",
        Scope.READ,
        list_events,
        tag="models",
        errors=(404, 422, 503),
        examples=(
            Example("from the first on", path=ONE),
            Example("the newest two", path=ONE, query={"order": "newest", "limit": "2"}),
        ),
    ),
    Route(
        "GET",
        "/models/{model_id}/production",
        Scope.READ,
        get_production,
        tag="deployments",
        errors=(404, 422, 503),
        examples=(
            Example("now", path=ONE),
            Example("at a time", path=ONE, query={"at": "2026-01-01T12:00:00Z"}),
        ),
    ),
)
