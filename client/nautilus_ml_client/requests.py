"""Requests as values, and calls as generators that yield them: nothing here sends anything.

A `Flow` is one call of the client, written once. It yields a `Request` and is sent the response, or
a `Pause`; what it returns is the call's answer. `Client` and `AsyncClient` run it, each with a
dozen lines of its own. A `Stream` yields `Item`s too, which the caller gets one by one.
"""

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote
from uuid import uuid4

import pydantic
from pydantic import BaseModel

from nautilus_ml_client.errors import InputError, UnexpectedAnswerError

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Args:
        path: with its parameters quoted (`address`).
        body: bytes, or a file that is read anew on every try.
        is_repeatable: sent twice it does what it does once, so a lost answer is asked for again.
        accepts: statuses beyond 2xx that are answers, not errors.
        is_upload: the answer may take as long as an upload.
        is_stream: the body of the answer is read piece by piece.
        save_to: the body of an answer of the type that `Accept` names goes to this file as it
            arrives, and is nowhere in memory; a try starts the file anew.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Path = b""
    is_repeatable: bool = False
    accepts: tuple[int, ...] = ()
    is_upload: bool = False
    is_stream: bool = False
    save_to: Path | None = None

    def is_saved(self, content_type: str) -> bool:
        """Whether an answer of this type goes to the file."""
        wanted = self.headers.get("Accept", "")
        return self.save_to is not None and content_type.partition(";")[0] == wanted


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait before the next step."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Piece:
    """Ask for the next bytes of the stream that was opened last; sent None at its end."""


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """Hand a value to the caller."""

    value: T


Step = Request | Pause
Flow = Generator[Step, Any, T]
Stream = Generator[Step | Piece | Item[T], Any, None]


def get(path: str, **query: object) -> Request:
    """Return a request that only looks; parameters that are None are left out."""
    return Request("GET", path, query=_query(query), is_repeatable=True)


def post(path: str, body: Any, *, is_repeatable: bool = False) -> Request:
    """Return a request with a JSON body."""
    return _with_json("POST", path, body, {}, is_repeatable)


def put(path: str, body: Any) -> Request:
    """Return a PUT with a JSON body."""
    return _with_json("PUT", path, body, {}, True)


def enqueue(path: str, body: Any, idempotency_key: str | None) -> Request:
    """Return a POST that makes one job however often it is sent.

    Args:
        idempotency_key: None makes one.
    """
    return _with_json("POST", path, body, idempotent(idempotency_key), True)


def idempotent(key: str | None) -> dict[str, str]:
    """Return the header by which a request makes one job; None makes a key.

    Raises:
        InputError: the key cannot stand in a header.
    """
    text = uuid4().hex if key is None else key
    if not (text.isascii() and text.isprintable() and text.strip() and len(text) <= 255):
        raise InputError("idempotency_key: expected 1 to 255 printable ASCII characters")
    return {"Idempotency-Key": text}


def delete(path: str, **query: object) -> Request:
    """Return a DELETE; a second one would find nothing, so it is not repeated."""
    return Request("DELETE", path, query=_query(query))


def address(template: str, **names: object) -> str:
    """Return a path with names filled in, each quoted.

    Raises:
        InputError: a name is empty, `.` or `..`, so it would make another address.
    """
    for name, value in names.items():
        if str(value) in ("", ".", ".."):
            raise InputError(f"{name}: expected a name, got {str(value)!r}")
    return template.format(**{name: quote(str(value), safe="") for name, value in names.items()})


def read(kind: type[M], content: bytes | str) -> M:
    """Return the answer that JSON holds.

    Raises:
        UnexpectedAnswerError: it is not what this client knows.
    """
    try:
        return kind.model_validate_json(content)
    except pydantic.ValidationError as exc:
        raise misread(kind.__name__, exc) from exc


def misread(name: str, cause: pydantic.ValidationError) -> UnexpectedAnswerError:
    """Return the error about an answer that does not fit its class."""
    first = cause.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "body"
    return UnexpectedAnswerError(
        f"the answer is no {name} ({place}: {first['msg']}); is this the engine, "
        "and not older than this client?"
    )


def answered(request: Request, kind: type[M]) -> Flow[M]:
    """Send a request and return its answer."""
    response = yield request
    return read(kind, response.content)


def given(**fields: Any) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def as_time(value: datetime | str | None) -> str | None:
    """Return a time as ISO 8601.

    Raises:
        InputError: it has no zone.
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InputError(f"expected a time with its zone, got {value.isoformat()}")
        return value.isoformat()
    return value


def encoded(body: Any) -> bytes:
    """Return a body as JSON.

    Raises:
        InputError: it holds NaN, infinity, or what JSON has no form for.
    """
    try:
        text = json.dumps(body, allow_nan=False, default=_plain, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError) as exc:
        raise InputError(f"the request cannot be written as JSON: {exc}") from exc


def _plain(value: Any) -> Any:
    """Return what JSON holds for a value it does not know."""
    if isinstance(value, datetime):
        return as_time(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if hasattr(value, "tolist"):  # an array or a scalar of numpy, or what looks like one
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _with_json(
    method: str, path: str, body: Any, headers: Mapping[str, str], is_repeatable: bool
) -> Request:
    return Request(
        method,
        path,
        headers={"Content-Type": JSON, **headers},
        body=encoded(body),
        is_repeatable=is_repeatable,
    )


def _query(parameters: Mapping[str, object]) -> dict[str, str]:
    found = {name: value for name, value in parameters.items() if value is not None}
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in found.items()
    }
