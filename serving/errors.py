"""The one table from error to HTTP status, and the one shape of every error.

`{"error": {"code", "message", "details"?}}`: `code` is stable and made from the error's class
name, `message` is one line for people, `details` are the error's facts. It is the shape of every
answer that is not 2xx, whatever raised it: a deliberate error, a schema, the router (404, 405),
or a bug (500, with the request id and without a traceback).

No answer repeats what was sent, but for plain names of fields, models and symbols.
"""

import errno
import json
import math
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Route

from pipelines.data.symbols import A_SYMBOL, SYMBOL_PATTERN
from registry import errors
from registry.database import AWAY, cause_of

log = structlog.get_logger("serving.errors")

# The first family that an error belongs to gives its status.
STATUS: tuple[tuple[type[errors.MLEngineError], int], ...] = (
    (errors.UnauthenticatedError, 401),
    (errors.ForbiddenError, 403),
    (errors.HostNotAllowedError, 403),
    (errors.TooManyRequestsError, 429),
    (errors.NotFoundError, 404),
    (errors.ConflictError, 409),
    (errors.InvalidInputError, 422),
    (errors.UnavailableError, 503),
    (errors.ArtifactError, 503),
    (errors.DeadlineError, 504),
    (errors.ConversionError, 500),
    (errors.SettingsError, 500),
    (errors.MLEngineError, 500),
)
IN_WORDS = {SYMBOL_PATTERN: A_SYMBOL}
"""Pattern -> what it asks for, where the pattern itself says nothing to people."""
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM)
"""What the system says when DATA_DIR cannot be written: somebody must mend it, no caller can."""
DATABASE_DISK = ("disk is full", "readonly database")
"""What SQLite says of the same."""
MAX_PROBLEMS = 20
MAX_TEXT_CHARS = 1000
MAX_DEPTH = 4


def status_of(error: errors.MLEngineError) -> int:
    """Return the HTTP status of a deliberate error."""
    return next(status for family, status in STATUS if isinstance(error, family))


def code_of(error: errors.MLEngineError) -> str:
    """Return the stable code of a deliberate error."""
    return error.code


def entry(code: str, message: str, details: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the inside of an error answer; it can always be written as JSON in UTF-8."""
    body: dict[str, Any] = {"code": code, "message": _text(" ".join(message.split()))}
    if details:
        body["details"] = {name: _plain(value) for name, value in details.items()}
    return body


def entry_of(error: errors.MLEngineError) -> dict[str, Any]:
    """Return the inside of a deliberate error's answer; also used per symbol."""
    return entry(code_of(error), error.for_callers, error.facts)


def response(
    status: int,
    code: str,
    message: str,
    details: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return an error answer in the one shape."""
    body = {"error": entry(code, message, details)}
    return JSONResponse(body, status, headers=dict(headers) if headers else None)


def install(app: FastAPI) -> None:
    """Make every error of `app` leave in the one shape (500s leave in `serving.envelope`)."""
    for family, handler in HANDLERS.items():
        app.add_exception_handler(family, handler)


async def _deliberate(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.MLEngineError)
    status = status_of(error)
    headers = None
    if status in (429, 503):
        headers = {"Retry-After": str(getattr(error, "retry_after_seconds", 5))}
    if status == 401:
        headers = {"WWW-Authenticate": "Bearer"}
    return response(status, code_of(error), error.for_callers, error.facts, headers)


async def _database(request: Request, error: Exception) -> JSONResponse:
    cause = cause_of(error)
    if any(said in cause for said in DATABASE_DISK):
        return await _deliberate(request, errors.DiskRefusedError(cause))
    url = request.app.state.service.database.url.render_as_string(hide_password=True)
    return await _deliberate(request, errors.DatabaseUnavailableError(url, cause))


async def _disk(request: Request, error: Exception) -> JSONResponse:
    """Say that the disk takes nothing; any other error of the system is a bug."""
    assert isinstance(error, OSError)
    if error.errno not in DISK:
        raise error
    log.warning("disk refused", path=request.url.path, error=str(error))
    cause = os.strerror(error.errno)
    return await _deliberate(request, errors.DiskRefusedError(cause))


async def _validation(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = error.errors()
    first = problems[0]
    if isinstance(first.get("input"), bytes):  # FastAPI parses a body that is declared as JSON
        text = "the body is not declared as JSON; send the header Content-Type: application/json"
        return response(415, "unsupported_media_type", text)
    if first["type"] == "json_invalid":
        reason = str(first.get("ctx", {}).get("error", first["msg"]))
        at = f"{reason} at character {first['loc'][-1]}"
        return response(400, "invalid_json", f"the body is not JSON: {at}")
    lines = [_problem_line(problem) for problem in problems[:MAX_PROBLEMS]]
    more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
    details = {"problems": lines, "n_problems": len(problems)}
    return response(422, "invalid_request", lines[0] + more, details)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_methods_of(request))
    message = {
        400: "the body cannot be read as JSON",
        404: "nothing is at this address; the addresses are listed at /openapi.json",
        405: f"this address takes only: {headers.get('Allow')}",
    }.get(error.status_code, str(error.detail))
    code = HTTPStatus(error.status_code).name.lower()
    return response(error.status_code, code, message, headers=headers)


def _methods_of(request: Request) -> list[str]:
    """Return every method that the address of a request takes, in each of its routes."""
    routes = (route for route in request.app.routes if isinstance(route, Route))
    matching = (route for route in routes if route.path_regex.match(request.url.path))
    methods = {method for route in matching for method in route.methods or ()}
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)


HANDLERS: Mapping[type[Any], Callable[[Request, Exception], Awaitable[JSONResponse]]] = {
    errors.MLEngineError: _deliberate,
    **dict.fromkeys(AWAY, _database),
    OSError: _disk,
    RequestValidationError: _validation,
    HTTPException: _http,
}


def _problem_line(problem: Mapping[str, Any]) -> str:
    place = ".".join(errors.named(str(part)) for part in problem["loc"] if part != "body")
    place = place or "body"
    rule = problem["type"]
    if rule == "extra_forbidden":
        return f"{place}: unknown field"
    if rule == "missing":
        return f"{place}: this field is required"
    if words := IN_WORDS.get(problem.get("ctx", {}).get("pattern")):
        return f"{place}: expected {words}"
    expected = str(problem["msg"]).removeprefix("Value error, ")
    return f"{place}: {expected[:1].lower()}{expected[1:]}"


def _text(text: str) -> str:
    """Return text that UTF-8 can hold: half of a surrogate pair becomes its escape."""
    short = text if len(text) <= MAX_TEXT_CHARS else f"{text[:MAX_TEXT_CHARS]}..."
    return short.encode("utf-8", "backslashreplace").decode()


def _plain(value: object, depth: int = 0) -> object:
    """Return `value` as JSON holds it; a number that is not finite becomes its text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool | int | float | None):
        return value
    if depth == MAX_DEPTH:
        return _text(errors.shown(value))
    if isinstance(value, Mapping):
        return {_text(str(name)): _plain(item, depth + 1) for name, item in value.items()}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
        return [_plain(item, depth + 1) for item in value]
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        return _text(errors.shown(value))
