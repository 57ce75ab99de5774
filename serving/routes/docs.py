"""GET /docs: the API's documentation as one page, made from the OpenAPI description.

It loads nothing from other hosts, so it works offline and behind a firewall. `/swagger` shows the
same and sends requests from the browser; its scripts come from a public network.
"""

import json
from html import escape
from typing import Any

from fastapi import Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse

from serving.pages import page, table
from serving.route_table import Route, Scope, openapi_of

JSON = "application/json"
Node = dict[str, Any]
"""A node of the OpenAPI document."""
SCHEMAS = "#/components/schemas/"


async def docs(request: Request) -> HTMLResponse:
    """Show every address with its bodies, answers and examples."""
    address = str(request.base_url).rstrip("/")
    return HTMLResponse(render(openapi_of(request.app), address))


async def openapi(request: Request) -> JSONResponse:
    """Describe every address for programs."""
    return JSONResponse(openapi_of(request.app))


async def swagger(request: Request) -> HTMLResponse:
    """Show every address, to try it out in a browser."""
    return get_swagger_ui_html(openapi_url="/openapi.json", title=request.app.title)


def render(openapi: Node, address: str) -> str:
    """Return an OpenAPI document as HTML.

    Args:
        address: where the service listens, for the examples.
    """
    info = openapi["info"]
    every = [
        (method, path, operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]
    index: list[tuple[str, ...]] = [
        (
            f'<a href="#{_anchor(method, path)}"><code>{escape(_name(method, path))}</code></a>',
            escape(operation.get("x-scope", "")),
            _code(escape(operation.get("description", "").partition("\n")[0])),
        )
        for method, path, operation in every
    ]
    operations = [_operation(*one, address) for one in every]
    schemas = [
        f'<h3 id="{escape(name)}">{escape(name)}</h3>{_prose(schema.get("description", ""))}'
        f"{_fields(schema)}"
        for name, schema in openapi["components"]["schemas"].items()
    ]
    body = (
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>{_prose(info['description'])}"
        '<p class="note">For programs: <a href="/openapi.json">/openapi.json</a>. '
        'To try out: <a href="/swagger">/swagger</a> (its scripts come from cdn.jsdelivr.net; '
        'without that network its page stays empty). <a href="/">Back</a></p>'
        f"<h2>Addresses</h2>{table(('address', 'scope', 'what it does'), index)}"
        f"{''.join(operations)}<h2>Bodies and answers</h2>{''.join(schemas)}"
    )
    return page(f"{info['title']}: API", body)


def _operation(method: str, path: str, operation: Node, address: str) -> str:
    statuses: list[tuple[str, ...]] = [
        (f"<code>{status}</code>", _body(answer), escape(answer["description"]))
        for status, answer in operation["responses"].items()
    ]
    scope = operation.get("x-scope", "open")
    needed = "<p>No key.</p>" if scope == "open" else f"<p>Scope: <code>{escape(scope)}</code></p>"
    return (
        f'<h2 id="{_anchor(method, path)}"><code>{escape(_name(method, path))}</code></h2>'
        f"{_prose(operation.get('description', ''))}{needed}{_request(operation)}"
        f"{_examples(operation, method.upper(), address + path)}"
        f"{table(('status', 'answer', 'when'), statuses)}"
    )


def _name(method: str, path: str) -> str:
    return f"{method.upper()} {path}"


def _anchor(method: str, path: str) -> str:
    return escape(f"{method}-{path.strip('/')}")


def _request(operation: Node) -> str:
    body = operation.get("requestBody")
    return f"<p>Body: {_body(body)}</p>" if body else ""


def _examples(operation: Node, method: str, address: str) -> str:
    """Return one command per example, or the plain request of an address without a body."""
    chosen = "" if method in ("GET", "POST") else f"-X {method} "
    key = "" if operation.get("x-scope", "open") == "open" else '-H "X-API-Key: $KEY" '
    command = f"curl -s {escape(key)}{chosen}{escape(address)}"
    if "requestBody" not in operation:
        return f"<pre>{command}</pre>"
    media = operation["requestBody"]["content"]
    if JSON not in media:
        return f"<pre>{command} -H 'Content-Type: {next(iter(media))}' --data-binary @FILE</pre>"
    return "".join(
        f"<p>{escape(example.get('summary', name))}:</p>"
        f"<pre>{command} -H 'Content-Type: {JSON}' \\\n"
        f"  -d '{escape(_json(example['value']))}'</pre>"
        for name, example in media[JSON].get("examples", {}).items()
    )


def _json(value: Any) -> str:
    """Return JSON with one line per field."""
    if not isinstance(value, dict):
        return json.dumps(value)
    fields = (f"  {json.dumps(name)}: {json.dumps(field)}" for name, field in value.items())
    return "{\n" + ",\n".join(fields) + "\n}"


def _body(holder: Node) -> str:
    """Return the types that a request or an answer may have."""
    contents: Node = holder.get("content", {})
    types = (_type(c["schema"]) for c in contents.values() if c.get("schema"))
    return " or ".join(dict.fromkeys(types))


def _fields(schema: Node) -> str:
    if choices := schema.get("oneOf"):
        return f"<p>One of {', '.join(_type(choice) for choice in choices)}</p>"
    required = schema.get("required", ())
    named = schema.get("properties", {}) | schema.get("patternProperties", {})
    rows: list[tuple[str, ...]] = [
        (
            f"<code>{escape(name)}</code>{' (required)' if name in required else ''}",
            _type(field),
            escape(field.get("description", "")),
        )
        for name, field in named.items()
    ]
    return table(("field", "type", "meaning"), rows) if rows else ""


def _type(schema: Node) -> str:
    """Return a schema's type in words, with links to the ones that have a name."""
    if target := schema.get("$ref"):
        name = escape(target.removeprefix(SCHEMAS))
        return f'<a href="#{name}">{name}</a>'
    if choices := schema.get("anyOf", schema.get("oneOf")):
        return " or ".join(_type(choice) for choice in choices)
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    if values := schema.get("enum"):
        return " or ".join(f"<code>{escape(str(value))}</code>" for value in values)
    json_type = schema.get("type", "any")
    if json_type == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if json_type == "object":
        named = {"": schema.get("additionalProperties"), **schema.get("patternProperties", {})}
        inner = [_type(value) for value in named.values() if isinstance(value, dict)]
        return f"object of {inner[0]}" if inner else "object"
    return escape(str(schema.get("format", json_type)))


def _prose(text: str) -> str:
    """Return paragraphs; what stands between backticks becomes code."""
    blocks = (block for block in text.strip().split("\n\n") if block)
    return "".join(f"<p>{_code(escape(block))}</p>" for block in blocks)


def _code(text: str) -> str:
    parts = text.split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))


ROUTES = (
    Route("GET", "/docs", Scope.OPEN, docs, is_page=True, response_class=HTMLResponse),
    Route("GET", "/openapi.json", Scope.OPEN, openapi, is_page=True),
    Route("GET", "/swagger", Scope.OPEN, swagger, is_page=True, response_class=HTMLResponse),
)
