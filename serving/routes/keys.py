"""/keys: who may call; for keys with the scope `admin`."""

import asyncio
from datetime import datetime
from typing import Annotated

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from serving import keys
from serving.keys import Key, Rights
from serving.route_table import Example, Route, Scope
from serving.schemas import Label, Name
from serving.security import principal_of
from serving.service import service_of


class KeyRequest(BaseModel):
    """What a new key allows."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    scopes: list[Label] = Field(
        min_length=1, max_length=4, description="Some of predict, read, manage and admin."
    )
    model_ids: list[Name] | None = Field(
        default=None, min_length=1, max_length=1000, description="Absent: every model."
    )
    requests_per_minute: Annotated[int, Field(strict=True, ge=1, le=10_000_000)] | None = Field(
        default=None, description="Limit of each serving process; absent: none."
    )
    label: Label = Field(default="", description="What the key is for.")


class Reason(BaseModel):
    """Why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: Label


class KeyFacts(BaseModel):
    """A key without its secret."""

    model_config = ConfigDict(protected_namespaces=())

    id: str
    label: str
    scopes: list[str]
    model_ids: list[str] | None = Field(description="Null: every model.")
    requests_per_minute: int | None = Field(description="Null: no limit.")
    created_at: datetime
    revoked_at: datetime | None = Field(description="Null while it is valid.")


class NewKey(KeyFacts):
    """A key with its text, which is shown this once."""

    key: str = Field(description="`ID.SECRET`; keep it, it cannot be read again.")


class KeyList(BaseModel):
    """Every key that was made."""

    keys: list[KeyFacts]


async def list_keys(request: Request) -> KeyList:
    """List every key that was made, without secrets."""
    database = service_of(request).database
    found = await asyncio.to_thread(keys.list_keys, database)
    return KeyList(keys=[KeyFacts(**_facts(key)) for key in found])


async def make_key(body: KeyRequest, request: Request) -> NewKey:
    """Make a key and show it, this once.

    Every process knows it within 4 s, and this one at once.
    """
    service, actor = service_of(request), principal_of(request).actor
    models = None if body.model_ids is None else tuple(dict.fromkeys(body.model_ids))
    rights = Rights(tuple(dict.fromkeys(body.scopes)), models, body.requests_per_minute)

    def make() -> tuple[Key, str]:
        made = keys.make_key(service.database, rights, label=body.label, actor=actor)
        service.security.keys.load()
        return made

    key, text = await asyncio.to_thread(make)
    return NewKey(**_facts(key), key=text)


async def revoke_key(key_id: Name, body: Reason, request: Request) -> KeyFacts:
    """Revoke a key for good; every process refuses it within 4 s."""
    service, actor = service_of(request), principal_of(request).actor

    def revoke() -> Key:
        key = keys.revoke_key(service.database, key_id, actor=actor, reason=body.reason)
        service.security.keys.load()
        return key

    return KeyFacts(**_facts(await asyncio.to_thread(revoke)))


def _facts(key: Key) -> dict[str, object]:
    return {
        "id": key.id,
        "label": key.label,
        "scopes": sorted(key.scopes),
        "model_ids": None if key.model_ids is None else sorted(key.model_ids),
        "requests_per_minute": key.requests_per_minute,
        "created_at": key.created_at,
        "revoked_at": key.revoked_at,
    }


ROUTES = (
    Route(
        "GET",
        "/keys",
        Scope.ADMIN,
        list_keys,
        tag="keys",
        errors=(503,),
        examples=(Example("every key"),),
    ),
    Route(
        "POST",
        "/keys",
        Scope.ADMIN,
        make_key,
        tag="keys",
        errors=(503,),
        status=201,
        examples=(
            Example(
                "a key that asks one model",
                body={
                    "scopes": ["predict", "read"],
                    "model_ids": ["volatility_forecast"],
                    "requests_per_minute": 600,
                    "label": "order router",
                },
                status=201,
            ),
        ),
    ),
    Route(
        "POST",
        "/keys/{key_id}/revoke",
        Scope.ADMIN,
        revoke_key,
        tag="keys",
        errors=(404, 503),
        examples=(
            Example(
                "a key that was lost", path={"key_id": "3f1c0a9b2d4e"}, body={"reason": "lost"}
            ),
        ),
    ),
)
