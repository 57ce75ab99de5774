"""The route table: one `Route` per method and path, and the application built from it.

Who may call, what is answered and what is shown stand in one place. OpenAPI, the table of
docs/api.md and the tests read the same rows (`serving.routes.ROUTES`).
"""

from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.routing import BaseRoute
from starlette.types import Receive, Send
from starlette.types import Scope as Connection

from serving.answer_schemas import with_answers
from serving.schemas import ErrorResponse
from serving.strict_json import StrictRequest, read_body

MEANINGS = {
    400: "The body is not JSON, or the Host is not served here.",
    401: "No key, or one that is not valid (any more).",
    403: "The key's scopes or models do not allow it.",
    404: "No such thing.",
    405: "The address does not take this method.",
    408: "The body has not arrived within DEFAULT_TIMEOUT.",
    409: "The recorded state does not allow it.",
    413: "The body is longer than its limit.",
    415: "The body is not of a type that is taken here.",
    422: "The request does not fit; the message names the field and what was expected.",
    429: "The key's requests of this minute are used up; try again after Retry-After seconds.",
    500: "A bug; the log says more under the request id.",
    503: "Not loaded or not available now; try again after Retry-After seconds.",
    504: "The answer took longer than DEFAULT_TIMEOUT.",
}
TABLE_HEAD = "| address | scope | what it does |"
GUARD_STATUSES = (401, 403, 429)
BODY_STATUSES = (400, 408, 413, 415, 422)
WITH_BODY = ("POST", "PUT", "PATCH")
UPLOAD_TYPES = {
    "text/csv": "csv",
    "application/vnd.apache.parquet": "parquet",
    "application/x-parquet": "parquet",
    "application/octet-stream": "parquet",
}
"""Content types of an uploaded file, and the format that each means."""
ENQUEUES = 202
"""Status of every route that enqueues a job (`serving.enqueueing`)."""
ENQUEUE_STATUSES = (409, 422, 503)
LOCATION = {"description": "The job's address.", "schema": {"type": "string"}}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key and request get the same job; another request with it gets 409.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


class Scope(StrEnum):
    """What a caller must be allowed to do. Scopes do not include one another."""

    OPEN = "open"
    PREDICT = "predict"
    READ = "read"
    MANAGE = "manage"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Example:
    """A request that works: shown in OpenAPI, and sent by a test.

    `path` fills the path's parameters, `body` is sent as JSON, `content` as it is.
    """

    title: str
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    content: bytes = b""
    status: int = 200


@dataclass(frozen=True, slots=True)
class Route:
    """One address.

    Args:
        scope: what the caller's key must allow.
        endpoint: FastAPI function; its docstring is the description.
        errors: statuses beyond those that follow from scope and method.
        examples: at least one, except for pages.
        responses: declarations of answers that are not in the one error shape.
        open_on_loopback: needs no key where the server listens on loopback only.
        takes: content types of a body that the endpoint reads itself, where JSON is one of them.
        parameters: declarations of headers that the endpoint reads by other means.
        is_upload: the body is a file, with MAX_UPLOAD_SIZE and UPLOAD_TIMEOUT as its limits.
        is_page: for people; not part of OpenAPI.
        reads: the body's class, for an endpoint that takes `(body, request)` and gives a Response:
            it is called without FastAPI's injection, which takes longer than a prediction.

    Raises:
        ValueError: no scope, or no example. Raised at import, so that nothing starts.
    """

    method: str
    path: str
    scope: Scope
    endpoint: Callable[..., Any]
    tag: str = ""
    errors: tuple[int, ...] = ()
    examples: tuple[Example, ...] = ()
    status: int = 200
    responses: Mapping[int | str, dict[str, Any]] = field(default_factory=dict)
    response_class: type[Response] | None = None
    open_on_loopback: bool = False
    is_upload: bool = False
    takes: tuple[str, ...] = ()
    parameters: tuple[Mapping[str, Any], ...] = ()
    is_page: bool = False
    reads: type[BaseModel] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.scope, Scope):
            raise ValueError(f"{self.method} {self.path}: {self.scope!r} is not a valid Scope")  # noqa: TRY004 (a value of the table is wrong)
        if not self.examples and not self.is_page:
            raise ValueError(f"{self.method} {self.path} has no example")

    @property
    def statuses(self) -> tuple[int, ...]:
        """Every status of an error answer, sorted."""
        guard = () if self.scope is Scope.OPEN else GUARD_STATUSES
        body = BODY_STATUSES if self.method in WITH_BODY else ()
        enqueues = ENQUEUE_STATUSES if self.status == ENQUEUES else ()
        return tuple(sorted({*guard, *body, *enqueues, *self.errors, 500}))

    def summary(self) -> str:
        """Return the first sentence of the description."""
        first, _, _ = (self.endpoint.__doc__ or "").strip().partition("\n")
        return first.rstrip(".")


Guard = Callable[[Route, Connection], Coroutine[Any, Any, None]]
"""Called before anything of a request's body is read; raises to refuse it."""


def built(routes: Sequence[Route]) -> list[BaseRoute]:
    """Return FastAPI's routes, for any number of applications.

    Each stands behind the guard of the application that a request reaches (`app.state.guard`).
    """
    router = APIRouter()
    for route in routes:
        router.add_api_route(
            route.path,
            route.endpoint,
            methods=[route.method],
            status_code=route.status,
            tags=[route.tag] if route.tag else None,
            summary=f"{route.method} {route.path}",
            responses=dict(_declared(route)),
            response_class=route.response_class or JSONResponse,
            include_in_schema=not route.is_page,
            openapi_extra=_shown(route),
            route_class_override=_class_of(route),
        )
    return router.routes


SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "ID.SECRET"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def openapi_of(app: FastAPI) -> dict[str, Any]:
    """Return the application's OpenAPI document, with ways to send a key, answers by template.

    Callers share it and must not change it.
    """
    return _document(app.title, app.version, app.description, tuple(app.routes))


@cache
def _document(
    title: str, version: str, description: str, routes: tuple[BaseRoute, ...]
) -> dict[str, Any]:
    document = get_openapi(title=title, version=version, description=description, routes=routes)
    document["components"].setdefault("securitySchemes", SECURITY_SCHEMES)
    return with_answers(document)


def markdown(routes: Sequence[Route]) -> str:
    """Return the table of docs/api.md."""
    lines = [TABLE_HEAD, "|---|---|---|"]
    lines += [
        f"| `{route.method} {route.path}` | {route.scope} | {route.summary()} |"
        for route in routes
        if not route.is_page
    ]
    return "\n".join(lines)


class GuardedRoute(APIRoute):
    """FastAPI's route behind the guard, with strict JSON."""

    row: Route
    __hash__ = object.__hash__  # the document of the same routes is made once

    async def handle(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Answer a request that the guard lets pass."""
        row = self.row
        await scope["app"].state.guard(row, scope)
        if row.reads is None or scope["method"] != row.method:
            await super().handle(scope, receive, send)
            return
        request = StrictRequest(scope, receive)
        response = await row.endpoint(await read_body(request, row.reads), request)
        await response(scope, receive, send)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request by FastAPI's injection."""
        answer = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            response = await answer(StrictRequest(request.scope, request.receive))
            if self.row.status == ENQUEUES:
                response.headers["Location"] = request.state.location
            return response

        return strictly


def _class_of(route: Route) -> type[APIRoute]:
    return type("Guarded", (GuardedRoute,), {"row": route, "__doc__": GuardedRoute.__doc__})


def _declared(route: Route) -> Iterator[tuple[int | str, dict[str, Any]]]:
    for status in route.statuses:
        yield status, {"model": ErrorResponse, "description": MEANINGS[status]}
    if route.status == ENQUEUES:
        yield ENQUEUES, {"headers": {"Location": LOCATION}}
    yield from route.responses.items()


def _shown(route: Route) -> dict[str, Any]:
    """Return what OpenAPI says beyond the types: the scope, and the examples of the body."""
    shown: dict[str, Any] = {"x-scope": str(route.scope)}
    if route.scope is not Scope.OPEN:
        shown["security"] = [{"bearer": []}, {"header": []}]
    bodies = {
        example.title: {"summary": example.title.capitalize(), "value": example.body}
        for example in route.examples
        if example.body is not None
    }
    if route.status == ENQUEUES:
        shown["parameters"] = [IDEMPOTENCY_KEY]
    if route.parameters:
        shown["parameters"] = [dict(parameter) for parameter in route.parameters]
    if route.takes:
        file = {"schema": {"type": "string", "format": "binary"}}
        json = {"schema": {"type": ["object", "array"]}, "examples": bodies}
        content = {kind: json if kind == "application/json" else file for kind in route.takes}
        shown["requestBody"] = {"required": True, "content": content}
        return shown
    if route.is_upload:
        file = {"schema": {"type": "string", "format": "binary"}}
        shown["requestBody"] = {"required": True, "content": dict.fromkeys(UPLOAD_TYPES, file)}
    if bodies:
        shown["requestBody"] = {"content": {"application/json": {"examples": bodies}}}
    return shown
