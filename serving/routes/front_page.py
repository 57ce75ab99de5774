"""GET /: a page for a person who opens the address in a browser; needs nothing from elsewhere."""

import asyncio
from html import escape

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from serving.routes import errors
from serving.routes.models import ModelLine, model_lines
from serving.service import service_of

router = APIRouter()

STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .8rem .3rem 0;
border-bottom:1px solid #ccc;vertical-align:top}code{background:#eee;padding:0 .2rem}"""
ADDRESSES = (
    ("GET /health", "/health", "is it serving, and what it depends on"),
    ("GET /models", "/models", "registered models, versions, gates"),
    ("POST /predict", "/docs#/predict", "ask a model"),
    ("POST /bars", "/docs#/bars", "give it bars"),
    ("GET /metrics", "/metrics", "Prometheus"),
    ("/openapi.json", "/openapi.json", "the reference, complete and offline"),
    ("/docs", "/docs", "the same to try out (its scripts come from the network)"),
)


@router.get("/", include_in_schema=False, responses=errors(500))
async def front_page(request: Request) -> HTMLResponse:
    """Show the addresses and the models."""
    lines = await asyncio.to_thread(model_lines, service_of(request))
    links = "".join(
        f'<tr><td><a href="{href}"><code>{name}</code></a></td><td>{text}</td></tr>'
        for name, href, text in ADDRESSES
    )
    rows = "".join(_row(line) for line in lines) or (
        '<tr><td colspan="5">none yet: run <code>make demo</code></td></tr>'
    )
    head = "<tr><th>model</th><th>serves</th><th>aliases</th><th>may trade</th><th></th></tr>"
    return HTMLResponse(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Nautilus ML Engine</title>'
        f"<style>{STYLE}</style><h1>Nautilus ML Engine</h1><table>{links}</table>"
        f"<h2>Models</h2><table>{head}{rows}</table></html>"
    )


def _row(line: ModelLine) -> str:
    name = escape(line.model_id)
    aliases = ", ".join(f"{alias} {number}" for alias, number in sorted(line.aliases.items()))
    trade = {None: "", True: "yes", False: "no"}[line.may_trade]
    cells = (
        f'<a href="/models/{name}">{name}</a>',
        f"version {line.serving_version}" if line.serving_version else "nothing",
        escape(aliases),
        trade,
        escape(line.problem or ""),
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
