"""The page: header, locks and gates first, then the panels that have something to show.

Everything that comes from data or parameters is escaped. plotly.js is inlined once, so the page
opens without a network; figures are JSON beside it.
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from functools import cache
from html import escape
from itertools import count
from pathlib import Path
from typing import Any

import plotly
import polars as pl

from pipelines.report import Block, Chart, Evidence, Grid, Panel
from pipelines.report.files import files
from pipelines.report.header import header, tiles
from pipelines.report.panels import KNOWN_TABLES, PANELS
from pipelines.report.sheet import SCRIPT, SHEET
from pipelines.report.style import label
from pipelines.report.verdict import gates_table, locks

MAX_ROWS = 400
"""Most rows of a table on the page."""


def render(evidence: Evidence) -> str:
    """Return the page as HTML: self-contained, about 4.6 MB of which are plotly.js."""
    shown = [(panel, panel.draw(evidence)) for panel in PANELS if panel.applies(evidence)]
    drawn = [(panel, blocks) for panel, blocks in shown if blocks]
    absent = [p for p in PANELS if p.name not in {panel.name for panel, _ in drawn}]
    ids = (f"chart{n}" for n in count())
    title = f"{evidence.contract.model_id}: validation report"
    return document(
        title,
        header(evidence),
        _navigation([panel for panel, _ in drawn]),
        "<main>",
        tiles(evidence),
        '<h2 id="verdict">Verdict</h2>',
        locks(evidence),
        gates_table(evidence),
        *_sections(drawn, ids),
        _others(evidence),
        files(evidence),
        _absent(absent),
        "</main>",
    )


def document(title: str, *parts: str) -> str:
    """Return a whole page of these parts, which are HTML, with its style, plotly.js and script."""
    return "".join(
        (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
            '</title><meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<style>{SHEET}</style></head><body>",
            *parts,
            f"<script>{_plotly()}</script><script>{SCRIPT}</script></body></html>",
        )
    )


@cache
def _plotly() -> str:
    return (Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_text("utf-8")


def _navigation(panels: Sequence[Panel]) -> str:
    sections = dict.fromkeys(panel.section for panel in panels)
    links = [("verdict", "Verdict"), *((_anchor(name), name) for name in sections)]
    shown = "".join(f'<a href="#{anchor}">{escape(name)}</a>' for anchor, name in links)
    return f'<nav><div class="in">{shown}</div></nav>'


def _sections(drawn: Sequence[tuple[Panel, Sequence[Block]]], ids: Iterator[str]) -> Iterator[str]:
    for section in dict.fromkeys(panel.section for panel, _ in drawn):
        yield f'<h2 id="{_anchor(section)}">{escape(section)}</h2><div class="grid">'
        for panel, blocks in drawn:
            if panel.section == section:
                width = " wide" if panel.is_wide else ""
                yield (
                    f'<section class="panel{width}" id="{panel.name}"><h3>{escape(panel.title)}'
                    f'</h3><p class="reading">{escape(panel.reading)}</p>'
                )
                yield from (shown_block(block, ids) for block in blocks)
                yield "</section>"
        yield "</div>"


def shown_block(block: Block, ids: Iterator[str]) -> str:
    """Return a chart, a table or a sentence as HTML; each chart takes one of the ids."""
    if isinstance(block, Chart):
        name = next(ids)
        content = block.figure.to_json().replace("</", "<\\/")
        return (
            f'<div class="chart" id="{name}" style="height:{block.height}px"></div>'
            f'<script type="application/json" data-chart="{name}">{content}</script>'
        )
    if isinstance(block, Grid):
        return _grid(block)
    return f'<p class="remark">{escape(block.text)}</p>'


def _grid(grid: Grid) -> str:
    frame = grid.frame.head(MAX_ROWS)
    texts = {c for c in frame.columns if frame[c].dtype in (pl.String, pl.Boolean)}
    heads = "".join(f"<th{_text(c in texts)}>{label(c)}</th>" for c in frame.columns)
    lines = []
    for row in frame.iter_rows(named=True):
        cells = (
            f'<td{_text(c in texts)} data-v="{escape("" if v is None else str(v))}">'
            f"{escape(shown(v, grid.formats.get(c, '')))}</td>"
            for c, v in row.items()
        )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    more = len(grid.frame) - len(frame)
    left_out = f'<p class="remark">{more:,} more rows are not shown.</p>' if more else ""
    return (
        f'<div class="scroll"><table class="sorted"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>{left_out}"
    )


def _text(is_text: bool) -> str:
    return ' class="text"' if is_text else ""


def shown(value: Any, spec: str = "") -> str:
    """Return a cell for people: four significant digits, dates without midnight, an en dash."""
    if value is None or (isinstance(value, float) and value != value):
        return "-"
    if spec and isinstance(value, int | float):
        return format(value, spec)
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d}" if value.hour == value.minute == 0 else f"{value:%Y-%m-%d %H:%M}"
    return f"{value:%Y-%m-%d}" if isinstance(value, date) else str(value)


def _others(evidence: Evidence) -> str:
    """Show the tables that no panel draws, so that the page leaves nothing out."""
    names = [n for n in evidence.tables if n not in KNOWN_TABLES and evidence.table(n) is not None]
    if not names:
        return ""
    panels = "".join(
        f'<section class="panel wide"><h3>{label(n)}</h3>'
        f"{_grid(Grid(evidence.tables[n]))}</section>"
        for n in names
    )
    return f'<h2 id="further-tables">Further tables</h2><div class="grid">{panels}</div>'


def _absent(panels: Sequence[Panel]) -> str:
    if not panels:
        return "<footer></footer>"
    listed = "; ".join(
        f"{escape(p.title)} (needs {' or '.join((*p.needs, *p.metrics))})" for p in panels
    )
    return f"<footer><b>Not applicable to this template:</b> {listed}.</footer>"


def _anchor(section: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in section.lower())
