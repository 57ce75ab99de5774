"""Enqueueing: how a route that asks for work puts a job into the queue and answers 202.

A caller that sends `Idempotency-Key` may repeat a request without fear: the same key and request
get the same job. The key belongs to its caller, so the keys of two callers never meet.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Unpack

import sqlalchemy as sa
from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from pipelines.jobs import queue
from pipelines.jobs.job import Job
from pipelines.jobs.queue import Options
from registry.contract import Json
from registry.database import reading
from registry.errors import ConflictError, ParameterError
from registry.tables import jobs
from serving.security import principal_of
from serving.service import service_of
from serving.strict_json import parse

HEADER = "Idempotency-Key"
MAX_KEY_CHARS = 255
Beside = Callable[[sa.Connection], None]
NUL = r"\u0000"
"""How JSON writes it; the same letters in a text are refused too, which nobody misses."""


class JobAnswer(BaseModel):
    """A job that was asked for; the header `Location` has its address."""

    model_config = ConfigDict(protected_namespaces=())

    job_id: str
    state: str = Field(description="queued, unless the same request was sent before.")
    entry_point: str
    model_id: str | None


async def enqueued(
    request: Request,
    entry_point: str,
    payload: Mapping[str, Json],
    *,
    model_id: str | None = None,
    priority: int = 0,
    is_short: bool | None = None,
    beside: Beside | None = None,
    content_sha256: str = "",
) -> JobAnswer:
    """Enqueue a job for the sender of a request, once per `Idempotency-Key`.

    The route declares status 202; the answer gets the header `Location`.

    Args:
        is_short: whether it need not wait behind a training; None: as its entry point.
        beside: what is written in the job's transaction, once per job.
        content_sha256: of a body that the route has read as it came; empty reads it here.

    Raises:
        ForbiddenError: the sender's key does not allow the model.
        ParameterError: the header `Idempotency-Key` or a value of the payload cannot be used.
        IdempotencyConflictError: the key was sent before with another request.
    """
    principal, key = principal_of(request), _key_of(request)
    principal.check_model(model_id)
    _check_storable(payload)
    job = await asyncio.to_thread(
        _enqueue,
        service_of(request).database,
        beside,
        entry_point,
        payload,
        model_id=model_id,
        actor=principal.actor,
        idempotency_key=_digest([principal.actor, key]) if key else None,
        request_sha256=_digest(await _facts_of(request, content_sha256)) if key else None,
        priority=priority,
        is_short=is_short,
    )
    request.state.location = f"/jobs/{job.id}"
    return JobAnswer(
        job_id=job.id, state=job.state, entry_point=job.entry_point, model_id=job.model_id
    )


def _enqueue(
    database: sa.Engine,
    beside: Beside | None,
    entry_point: str,
    payload: Mapping[str, Json],
    **options: Unpack[Options],
) -> Job:
    """Add the job, and write `beside` with it unless its key stands for a job already."""
    key = options.get("idempotency_key")
    try:
        return _enqueue_once(database, beside, entry_point, payload, **options)
    except ConflictError:
        if key is None or not _is_known(database, key):
            raise  # else the same request won meanwhile
        return queue.enqueue(database, entry_point, payload, **options)


def _enqueue_once(
    database: sa.Engine,
    beside: Beside | None,
    entry_point: str,
    payload: Mapping[str, Json],
    **options: Unpack[Options],
) -> Job:
    key = options.get("idempotency_key")
    with database.begin() as connection:
        is_new = key is None or connection.execute(_with_key(key)).first() is None
        if beside is not None and is_new:
            beside(connection)
        return queue.enqueue_in(connection, entry_point, payload, **options)


def _is_known(database: sa.Engine, key: str) -> bool:
    with reading(database) as connection:
        return connection.execute(_with_key(key)).first() is not None


def _with_key(key: str) -> sa.Select[tuple[str]]:
    return sa.select(jobs.c.id).where(jobs.c.idempotency_key == key)


def _key_of(request: Request) -> str | None:
    """Return the client's key; None when it sent none."""
    sent = request.headers.getlist(HEADER)
    if not sent:
        return None
    is_plain = sent[0].isascii() and sent[0].isprintable() and bool(sent[0].strip())
    if len(sent) > 1 or not is_plain or len(sent[0]) > MAX_KEY_CHARS:
        raise ParameterError(HEADER, "...", f"one of 1 to {MAX_KEY_CHARS} printable characters")
    return sent[0]


def _check_storable(payload: Mapping[str, Json]) -> None:
    """Refuse what a database's JSON cannot hold: NUL, half of a surrogate pair, infinity."""
    for name, value in payload.items():
        try:
            text = json.dumps(value, allow_nan=False, ensure_ascii=False)
            text.encode()
        except ValueError:
            text = NUL
        if NUL in text:
            raise ParameterError(name, "...", "text without NUL, finite numbers")


async def _facts_of(request: Request, content_sha256: str) -> list[Json]:
    """Return what makes a request the same: method, address, and the body as JSON if it is."""
    if content_sha256:
        return [request.method, request.url.path, request.url.query, content_sha256]
    body = await request.body()
    try:
        content: Json = parse(body)
    except json.JSONDecodeError:  # empty, or a body that its route does not read
        content = hashlib.sha256(body).hexdigest()
    return [request.method, request.url.path, request.url.query, content]


def _digest(facts: list[Json]) -> str:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
