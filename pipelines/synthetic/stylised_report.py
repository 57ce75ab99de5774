"""The page that compares synthetic with real returns: one HTML file, plotly.js inside."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.io import to_html

from pipelines.report.style import BLUE, GREY, RED, figure
from pipelines.synthetic.stylised_facts import (
    LEVERAGE_LAGS,
    Comparison,
    autocorrelations,
    correlation,
)

Returns = NDArray[np.float64]

N_LAGS = 40
STYLE = (
    "body{font-family:Inter,'Helvetica Neue',Arial,sans-serif;color:#22303a;max-width:60rem;"
    "margin:2rem auto;padding:0 1rem}table{border-collapse:collapse}td,th{padding:.3rem .8rem;"
    "border-bottom:1px solid #e8ecee;text-align:right}td:first-child,th:first-child{"
    "text-align:left}"
    ".warning{background:#fdecea;border-left:4px solid #c0392b;padding:.6rem 1rem}"
)
EXPLAINED = {
    "excess_kurtosis": "fat tails: above 0",
    "hill_index": "tail index of the largest 5 %: 2 to 5 is usual",
    "linear_autocorrelation": "mean |autocorrelation| of returns: near 0",
    "absolute_autocorrelation": "volatility clusters: above 0",
    "squared_autocorrelation": "volatility clusters: above 0",
    "leverage": "falls stir volatility: below 0",
    "excess_kurtosis_5": "sums over 5 bars: thinner tails",
    "excess_kurtosis_20": "sums over 20 bars: nearer to normal",
}


def render(
    note: str,
    rows: Sequence[Comparison],
    real: Mapping[str, Returns],
    synthetic: Mapping[str, Returns],
) -> str:
    """Return the page; the figures show the first symbol of each side.

    Args:
        real, synthetic: log returns per symbol, (n,).
    """
    sides = (
        ("real", GREY, next(iter(real.values()))),
        ("synthetic", BLUE, next(iter(synthetic.values()))),
    )
    figures = (
        ("Path of the log price", _paths(sides)),
        ("Distribution of standardised returns", _densities(sides)),
        ("Autocorrelation of returns", _autocorrelation(sides, is_absolute=False)),
        ("Autocorrelation of |returns|", _autocorrelation(sides, is_absolute=True)),
        ("Leverage: correlation of a return with later |returns|", _leverage(sides)),
    )
    drawn = "".join(
        f"<h2>{escape(title)}</h2>"
        + to_html(shown, full_html=False, include_plotlyjs=(i == 0), div_id=f"figure{i}")
        for i, (title, shown) in enumerate(figures)
    )
    whose = f"{next(iter(real))} and {next(iter(synthetic))}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>Stylised facts</title><style>{STYLE}</style></head><body>"
        f'<h1>Stylised facts</h1><p class="warning">{escape(note)}</p>'
        f"{_table(rows)}<p>Figures show {escape(whose)}.</p>{drawn}</body></html>"
    )


def _table(rows: Sequence[Comparison]) -> str:
    head = "<tr><th>fact</th><th>real</th><th>range of real pieces</th><th>synthetic</th><th></th>"
    body = "".join(
        f"<tr><td>{escape(row.fact.replace('_', ' '))}<br><small>{escape(EXPLAINED[row.fact])}"
        f"</small></td><td>{row.real:.3f}</td><td>{row.low:.3f} to {row.high:.3f}</td>"
        f"<td>{row.synthetic:.3f}</td><td>{'met' if row.is_met else 'not met'}</td></tr>"
        for row in rows
    )
    return f"<table>{head}</tr>{body}</table>"


Sides = Sequence[tuple[str, str, Returns]]


def _paths(sides: Sides) -> go.Figure:
    shown = figure("bar", "log price from 0")
    for name, shade, returns in sides:
        shown.add_scatter(y=np.cumsum(returns).round(5).tolist(), name=name, line_color=shade)
    return shown


def _densities(sides: Sides) -> go.Figure:
    shown = figure("standard deviations", "density", yaxis_type="log")
    edges = np.linspace(-8, 8, 65)
    middle = (edges[1:] + edges[:-1]) / 2
    for name, shade, returns in sides:
        z = (returns - returns.mean()) / returns.std()
        density, _ = np.histogram(z, edges, density=True)
        found = density > 0
        shown.add_scatter(
            x=middle[found].tolist(), y=density[found].tolist(), name=name, line_color=shade
        )
    normal = np.exp(-(middle**2) / 2) / np.sqrt(2 * np.pi)
    seen = normal > 1e-5
    shown.add_scatter(
        x=middle[seen].tolist(),
        y=normal[seen].tolist(),
        name="normal",
        line={"dash": "dot", "color": RED},
    )
    return shown


def _autocorrelation(sides: Sides, *, is_absolute: bool) -> go.Figure:
    shown = figure("lag, bars", "autocorrelation")
    for name, shade, returns in sides:
        values = np.abs(returns) if is_absolute else returns
        _add_bars(shown, name, shade, range(1, N_LAGS + 1), autocorrelations(values, N_LAGS))
    return shown


def _leverage(sides: Sides) -> go.Figure:
    shown = figure("lag, bars", "correlation")
    for name, shade, returns in sides:
        size = np.abs(returns)
        found = np.array([correlation(returns[:-k], size[k:]) for k in LEVERAGE_LAGS])
        _add_bars(shown, name, shade, LEVERAGE_LAGS, found)
    return shown


def _add_bars(shown: go.Figure, name: str, shade: str, lags: range, values: Any) -> None:
    shown.add_bar(x=list(lags), y=np.round(values, 5).tolist(), name=name, marker_color=shade)
