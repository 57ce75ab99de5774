"""GET /: a page for people who open the address in a browser; it loads nothing from elsewhere."""

import asyncio
from html import escape

from fastapi import Request
from fastapi.responses import HTMLResponse

from pipelines.templates import TEMPLATES
from serving.pages import page, table
from serving.route_table import Route, Scope
from serving.routes.models import ModelLine, model_lines
from serving.security import principal_of
from serving.service import service_of

ADDRESSES = (
    ("/docs", "/docs", "the API: every address with bodies, answers, examples"),
    ("POST /predict", "/docs#post-predict", "ask a model"),
    ("POST /bars", "/docs#post-bars", "give it bars"),
    ("GET /models", "/models", "registered models, and what answers for each"),
    ("POST /models", "/docs#post-models", "make a model; deploy, validate, archive it"),
    ("PUT /data/{name}", "/docs#put-data/{name}", "give it a table, texts or bars by name"),
    ("GET /jobs", "/jobs", "what runs, how far it is, and what waits"),
    ("GET /system/status", "/system/status", "versions, settings, workers, queues, traffic"),
    ("GET /health", "/health", "is it serving, and what it depends on"),
    ("GET /metrics", "/metrics", "counters and latencies for Prometheus"),
    ("/openapi.json", "/openapi.json", "the API for programs"),
)
WITH_A_KEY = "<p>Shown to keys with the scope <code>read</code>.</p>"
HEADS = ("model", "template", "serves", "aliases", "versions", "may trade", "problem")


async def front_page(request: Request) -> HTMLResponse:
    """Show the addresses and the models."""
    shown = await _models(request) if principal_of(request).may(Scope.READ) else WITH_A_KEY
    links: list[tuple[str, ...]] = [
        (f'<a href="{href}"><code>{name}</code></a>', text) for name, href, text in ADDRESSES
    ]
    return HTMLResponse(
        page(
            "Nautilus ML Engine",
            "<h1>Nautilus ML Engine</h1><p>Serving: answers of registered models.</p>"
            f"{table(('address', 'what it is'), links)}<h2>Models</h2>{shown}",
        )
    )


async def _models(request: Request) -> str:
    found = await asyncio.to_thread(model_lines, service_of(request))
    lines = [line for line in found if principal_of(request).allows(line.model_id)]
    if not lines:
        return "<p>None yet: run <code>make demo</code>, or train one as README shows.</p>"
    return table(HEADS, [_row(line) for line in lines])


def _row(line: ModelLine) -> tuple[str, ...]:
    name = escape(line.model_id)
    aliases = (f"{escape(alias)} {number}" for alias, number in sorted(line.aliases.items()))
    problem = f'<span class="bad">{escape(line.problem)}</span>' if line.problem else ""
    return (
        f'<a href="/models/{name}">{name}</a>',
        escape(line.template),
        f"version {line.serving_version}" if line.serving_version else "nothing",
        "<br>".join(aliases),
        str(line.n_versions),
        _may_trade(line),
        problem,
    )


def _may_trade(line: ModelLine) -> str:
    if line.may_trade is None:
        return ""
    if line.template in TEMPLATES and not TEMPLATES.get(line.template).is_action:
        return "answers are no actions"
    return "yes" if line.may_trade else "no: trade lock shut"


ROUTES = (Route("GET", "/", Scope.OPEN, front_page, is_page=True, response_class=HTMLResponse),)
