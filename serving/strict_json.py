"""Strict JSON: bodies of requests as `registry.plain_json` reads them."""

import json
from email.message import Message
from typing import Any, NoReturn, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from registry import plain_json

JSON = "application/json"
Body = TypeVar("Body", bound=BaseModel)


class StrictRequest(Request):
    """A request whose JSON body is parsed strictly."""

    async def json(self) -> Any:
        """Return the parsed body.

        Raises:
            json.JSONDecodeError: it is not JSON, or its objects repeat a name, or it is nested too
                deeply to be read.
        """
        if not hasattr(self, "_json"):
            self._json = parse(await self.body())
        return self._json


async def read_body(request: StrictRequest, kind: type[Body]) -> Body:
    """Return the JSON body of a request, checked: what FastAPI does, without its other work.

    Raises:
        RequestValidationError: it is not JSON, not declared as JSON, or does not fit.
        HTTPException: the caller hung up.
    """
    try:
        content = await request.body()
        if not content:
            _refuse("missing", "Field required", None)
        if not _is_json(request.headers.get("content-type", "")):
            _refuse("model_attributes_type", "expected JSON", content)
        return kind.model_validate(await request.json(), from_attributes=True)  # as FastAPI
    except ClientDisconnect as exc:
        raise HTTPException(400) from exc
    except json.JSONDecodeError as exc:
        _refuse("json_invalid", "JSON decode error", {}, (exc.pos,), {"error": exc.msg})
    except ValidationError as exc:
        found = exc.errors(include_url=False)
        problems = [{**problem, "loc": ("body", *problem["loc"])} for problem in found]
        raise RequestValidationError(problems) from exc


def _refuse(
    rule: str,
    text: str,
    given: Any,
    at: tuple[int, ...] = (),
    facts: dict[str, str] | None = None,
) -> NoReturn:
    problem = {"type": rule, "loc": ("body", *at), "msg": text, "input": given, "ctx": facts or {}}
    raise RequestValidationError([problem])


def _is_json(content_type: str) -> bool:
    if content_type == JSON:
        return True
    message = Message()
    message["content-type"] = content_type
    kind = message.get_content_subtype()
    is_application = bool(content_type) and message.get_content_maintype() == "application"
    return is_application and (kind == "json" or kind.endswith("+json"))


def parse(body: bytes) -> Any:
    """Return parsed JSON; raises json.JSONDecodeError as `StrictRequest.json` does."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise json.JSONDecodeError("not UTF-8", "", exc.start) from None
    return plain_json.parse(text)
