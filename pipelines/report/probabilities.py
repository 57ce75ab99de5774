"""Panels of stated probabilities and intervals: whether they come true as often as stated."""

import math

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy.typing import NDArray

from pipelines.report import Blocks, Chart, Evidence, Grid, Remark
from pipelines.report.style import (
    BLUE,
    CYCLE,
    GREY,
    INK,
    figure,
    label,
    line,
    numbers,
    percent,
    rule,
    second_axis,
    thin,
    times,
    translucent,
)

Z90 = 1.645
"""Two-sided 90 % of a normal distribution."""


def reliability(evidence: Evidence) -> Blocks:
    """Draw observed frequency against stated probability per bin, and the rows of each bin."""
    table = evidence.tables["reliability"]
    stated, observed = table["confidence"].to_numpy(), table["frequency"].to_numpy()
    counted = "n_rows" in table.columns
    fig = figure("stated probability", "how often it came true", hovermode="closest")
    low, high = (
        max(0.0, min(stated.min(), observed.min()) - 0.05),
        min(1.0, max(stated.max(), observed.max()) + 0.05),
    )
    fig.add_trace(
        go.Scatter(x=[low, high], y=[low, high], mode="lines", name="perfect",
                   line={"dash": "dash", "color": INK, "width": 1}, hoverinfo="skip")
    )  # fmt: skip
    extra = {}
    if counted:
        below, above = wilson(observed, table["n_rows"].to_numpy())
        extra["error_y"] = {
            "type": "data", "symmetric": False, "array": numbers(above - observed),
            "arrayminus": numbers(observed - below), "thickness": 1, "width": 3,
        }  # fmt: skip
        fig.add_trace(
            go.Bar(x=numbers(stated), y=table["n_rows"].to_list(), yaxis="y2", name="rows per bin",
                   marker_color=translucent(GREY, 0.35), hovertemplate="%{y:,} rows<extra></extra>")
        )  # fmt: skip
        largest = int(table["n_rows"].to_numpy().max())
        second_axis(fig, "rows", range=[0, 4 * max(largest, 1)])
    fig.add_trace(
        go.Scatter(x=numbers(stated), y=numbers(observed), mode="lines+markers", name="out of fold",
                   line={"color": BLUE, "width": 1.2}, marker_size=7, **extra)
    )  # fmt: skip
    fig.update_layout(xaxis_range=[low, high], yaxis_range=[low, high], bargap=0.2)
    words = (
        "Bars: 90 % Wilson interval of a bin, as if its rows were independent." if counted else ""
    )
    ece = evidence.metrics.get("ece")
    if ece is not None:
        bounds = [evidence.metrics.get(n) for n in ("ece_lower", "ece_upper")]
        between = (
            "" if None in bounds else f" (90 % block bootstrap {bounds[0]:.4f} to {bounds[1]:.4f})"
        )
        words += f" ECE {ece:.4f}{between}."
    return (Chart(fig, 380), *((Remark(words.strip()),) if words else ()))


def wilson(
    share: NDArray[np.float64], n: NDArray[np.int64], z: float = Z90
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lower and upper end of the Wilson (1927) score interval of a share."""
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.minimum(centre - half, share), np.maximum(centre + half, share)


def confusion(evidence: Evidence) -> Blocks:
    """Draw counts and shares of the realised class by the most probable class."""
    table = evidence.tables["confusion"]
    names = [c for c in table.columns if c != "realised"]
    counts = table.select(names).to_numpy().astype(np.float64)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    text = [
        [f"{int(n):,}<br>{s:.0%}" for n, s in zip(row, part, strict=True)]
        for row, part in zip(counts, share, strict=True)
    ]
    fig = figure("most probable class", "realised class", hovermode="closest")
    fig.add_trace(
        go.Heatmap(
            z=share.round(4).tolist(), x=[label(n) for n in names],
            y=[label(str(n)) for n in table["realised"]], text=text, texttemplate="%{text}",
            colorscale=[[0, "#ffffff"], [1, BLUE]], zmin=0, zmax=1, showscale=False, xgap=2, ygap=2,
            hovertemplate="realised %{y}, said %{x}: %{z:.1%} of the realised<extra></extra>",
        )
    )  # fmt: skip
    fig.update_layout(yaxis_autorange="reversed", xaxis_type="category", yaxis_type="category")
    return (Chart(fig, 320),)


def coverage(evidence: Evidence) -> Blocks:
    """Draw per fold the share of realised values inside the interval, with its binomial band."""
    table = evidence.tables["coverage"].drop_nulls("coverage")
    if not len(table):
        return ()
    fig = figure("fold", "realised values inside the interval", hovermode="closest")
    fig.add_trace(
        go.Scatter(x=table["fold"].to_list(), y=numbers(table["coverage"]), mode="markers+lines",
                   marker={"size": 8, "color": BLUE}, line={"width": 1, "dash": "dot"},
                   name="measured")
    )  # fmt: skip
    for nominal in table["nominal"].unique().sort():
        rule(fig, nominal, f"promised {nominal:.0%}")
    _nominal_band(fig, table)
    percent(fig)
    fig.update_layout(xaxis_dtick=max(1, len(table) // 15))
    return (Chart(fig, 300),)


def coverage_over_time(evidence: Evidence) -> Blocks:
    """Draw the rolling share of realised values inside the interval over time."""
    table = thin(evidence.tables["coverage_over_time"])
    known = [c for c in table.columns if c not in ("timestamp", "nominal", "n_rows", "alpha")]
    shares = [c for c in known if table[c].dtype.is_float() and c != "width"]
    fig = figure("decision time", "realised values inside the interval")
    x = times(table["timestamp"])
    for i, name in enumerate(shares):
        fig.add_trace(line(x, table[name], name, i, line={"color": CYCLE[i % len(CYCLE)]}))
    if "nominal" in table.columns:
        for nominal in table["nominal"].unique().drop_nulls().sort():
            rule(fig, nominal, f"promised {nominal:.0%}")
            fig.add_hrect(y0=nominal - 0.02, y1=nominal + 0.02, line_width=0,
                          fillcolor=translucent(GREY, 0.15))  # fmt: skip
    percent(fig)
    return Chart(fig, 320), Remark("Grey: promised ± 2 points, what the gate tolerates.")


def _nominal_band(fig: go.Figure, table: pl.DataFrame) -> None:
    """Shade what the promised coverage would give by chance in a fold of the mean size."""
    if "n_rows" not in table.columns or table["nominal"].n_unique() != 1:
        return
    nominal, n = float(table["nominal"][0]), float(table["n_rows"].to_numpy().mean())
    half = 1.96 * math.sqrt(nominal * (1 - nominal) / max(n, 1))
    fig.add_hrect(y0=nominal - half, y1=nominal + half, line_width=0,
                  fillcolor=translucent(GREY, 0.2))  # fmt: skip


def classes(evidence: Evidence) -> Blocks:
    """Tabulate the probability scores of the model beside the prior's."""
    lines = []
    pairs = (
        ("log loss", "log_loss", "log_loss_prior", "t_log_loss"),
        ("log loss of direction", "log_loss_direction", "log_loss_direction_prior", "t_direction"),
        ("Brier score", "brier", "brier_prior", "t_brier"),
    )
    for text, name, prior, t in pairs:
        if name in evidence.metrics:
            found = (evidence.metrics.get(n) for n in (name, prior, t))
            lines.append((text, *found))
    if not lines:
        return ()
    schema = {"score": pl.String(), "model": pl.Float64(), "prior": pl.Float64(), "t": pl.Float64()}
    frame = pl.DataFrame(lines, schema=schema, orient="row")
    parts = {
        n.removeprefix("signal_brier_"): evidence.metrics[n]
        for n in evidence.metrics
        if n.startswith("signal_brier_")
    }
    words = ", ".join(f"{name} {value:.4f}" for name, value in parts.items())
    said = f"Brier score of the emitted class (Murphy 1973): {words}." if words else ""
    spec = {"model": ".4f", "prior": ".4f", "t": ".2f"}
    return (Grid(frame, spec), *((Remark(said),) if said else ()))
