"""Panels of forecasts of a number: losses against rivals, outcome, rank correlation."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl

from pipelines.method.information import DECAY_TABLE
from pipelines.report import Blocks, Chart, Evidence, Grid, Remark
from pipelines.report.style import (
    BLUE,
    GREY,
    RED,
    colour,
    figure,
    label,
    line,
    numbers,
    percent,
    rule,
    thin,
    times,
)
from pipelines.templates import TEMPLATES

ORDER = ("model", "forecast", "champion", "challenger", "ewma", "scaled_ewma", "har", "garch")
MEASURES = ("qlike", "mase", "loss", "log_loss", "log_likelihood", "error", "mse", "mae", "rmse")
PER_YEAR = ("qlike_per_year", "error_per_year", "likelihood_per_year")
GROUPED = ("forecast_groups", "by_forecast")
HIGHER = ("log_likelihood",)
"""Measures that are better when they are larger."""


def per_year(evidence: Evidence) -> Blocks:
    """Draw the loss of each model per calendar year; lower is better."""
    name = next(n for n in PER_YEAR if evidence.table(n) is not None)
    table = evidence.tables[name]
    measure = next((c for c in table.columns if c in MEASURES), table.columns[-1])
    better = "higher" if measure in HIGHER else "lower"
    shown = "QLIKE" if measure == "qlike" else label(measure)
    fig = figure("year", f"{shown} ({better} is better)")
    for i, model in enumerate(sorted(table["model"].unique().to_list(), key=_place)):
        rows = table.filter(pl.col("model") == model).sort("year")
        fig.add_trace(
            go.Bar(x=rows["year"].to_list(), y=numbers(rows[measure]), name=label(model),
                   marker_color=colour(model, i))
        )  # fmt: skip
    n_years = table["year"].n_unique()
    fig.update_layout(bargap=0.25, xaxis_dtick=1 if n_years <= 16 else 2)
    wide = table.pivot("model", index="year", values=measure, aggregate_function="first")
    return Chart(fig, 330), Grid(wide.sort("year"), {c: ".4f" for c in wide.columns if c != "year"})


def over_time(evidence: Evidence) -> Blocks:
    """Draw forecast and outcome over time."""
    table = thin(evidence.tables["forecast_vs_realised"])
    names = sorted((c for c in table.columns if c != "timestamp"), key=_place, reverse=True)
    fig = figure("decision time", "value per bar (mean over symbols)")
    x = times(table["timestamp"])
    for i, name in enumerate(names):
        width = 0.8 if name == "realised" else 1.4
        fig.add_trace(line(x, table[name], name, i, line={"width": width}))
    if shown_as := TEMPLATES.get(evidence.contract.template).forecast_shown_as:
        fig.update_yaxes(title_text=shown_as)
        percent(fig, digits=1)
    fig.update_layout(xaxis_rangeslider={"visible": True, "thickness": 0.07})
    return (Chart(fig, 430),)


def scatter(evidence: Evidence) -> Blocks:
    """Draw outcome against forecast, in bins of equal size of the forecast."""
    table = evidence.tables["forecast_vs_realised"]
    name = next((c for c in ("forecast", "model") if c in table.columns), None)
    if name is None or "realised" not in table.columns or len(table) < 20:
        return ()
    pairs = table.select(name, "realised").drop_nulls().drop_nans().sort(name)
    n_bins = min(20, len(pairs) // 10)
    means = (
        pairs.with_columns((pl.int_range(pl.len()) * n_bins // pl.len()).alias("bin"))
        .group_by("bin", maintain_order=True)
        .agg(pl.col(name).mean(), pl.col("realised").mean(),
             pl.col("realised").quantile(0.1).alias("low"),
             pl.col("realised").quantile(0.9).alias("high"))
    )  # fmt: skip
    fig = figure("forecast (mean of a bin)", "realised", hovermode="closest")
    x = means[name]
    low, high = _range(x), _range(x, top=True)
    fig.add_trace(
        go.Scatter(x=[low, high], y=[low, high], mode="lines", name="perfect", hoverinfo="skip",
                   line={"dash": "dash", "color": GREY, "width": 1})
    )  # fmt: skip
    fig.add_trace(
        go.Scatter(
            x=numbers(x), y=numbers(means["realised"]), mode="markers", name="mean realised",
            marker={"color": BLUE, "size": 8},
            error_y={"type": "data", "symmetric": False, "thickness": 1, "width": 3,
                     "array": numbers(means["high"] - means["realised"]),
                     "arrayminus": numbers(means["realised"] - means["low"])},
        )
    )  # fmt: skip
    return Chart(fig, 380), Remark(
        "Bars: from the 10 % to the 90 % quantile of the realised value."
    )


def rivals(evidence: Evidence) -> Blocks:
    """Tabulate each rival's loss and the Diebold-Mariano t of the model against it."""
    measured = evidence.metrics
    tests = {n.removeprefix("dm_t_"): v for n, v in measured.items() if n.startswith("dm_t_")}
    known = evidence.table("rivals")
    if not tests:
        return () if known is None else (Grid(known),)
    names = [name for name in MEASURES if name in measured]
    lines: list[dict[str, Any]] = [{"model": f"this model ({evidence.contract.architecture})"}]
    lines[0] |= {name: measured[name] for name in names} | {"dm_t": None}
    for rival, t in tests.items():
        losses = {name: measured.get(f"{name}_{rival}") for name in names}
        lines.append({"model": label(rival)} | losses | {"dm_t": t})
    frame = pl.DataFrame(lines, infer_schema_length=None)
    shades = [BLUE if t < -1.645 else RED if t > 0 else GREY for t in tests.values()]
    fig = figure("Diebold-Mariano t (negative: the model's loss is lower)", "")
    fig.add_trace(
        go.Bar(x=list(tests.values()), y=[label(n) for n in tests], orientation="h",
               marker_color=shades)
    )  # fmt: skip
    fig.add_vline(x=-1.645, line_dash="dash", line_width=1, annotation_text="5 %",
                  annotation_position="bottom right")  # fmt: skip
    fig.update_layout(hovermode="closest", yaxis_type="category", yaxis_autorange="reversed")
    spec = dict.fromkeys(names, ".4f") | {"dm_t": ".2f"}
    grid = Grid(frame, spec) if known is None else Grid(known)
    return Chart(fig, 110 + 34 * len(tests)), grid


def challenge(evidence: Evidence) -> Blocks:
    """Draw cumulated loss beyond the baseline's, champion and challenger on the same days."""
    table = evidence.tables["challenge"]
    fig = figure("decision time", "cumulated loss minus the baseline's (lower is better)")
    baseline = table["baseline"].to_numpy()
    x = times(table["timestamp"])
    for name in ("champion", "challenger"):
        fig.add_trace(line(x, np.cumsum(table[name].to_numpy() - baseline), name))
    rule(fig, 0.0, "baseline")
    rows = [row for row in evidence.record if row.gate.startswith("champion.")]
    return Chart(fig, 340), *(Remark(row.line()) for row in rows)


def decay(evidence: Evidence) -> Blocks:
    """Draw the information coefficient by horizon."""
    table = evidence.tables[DECAY_TABLE]
    over = table.columns[0]
    fig = figure(label(over), "mean coefficient", hovermode="closest")
    for i, name in enumerate(c for c in ("ic", "rank_ic") if c in table.columns):
        fig.add_trace(
            go.Scatter(x=table[over].to_list(), y=numbers(table[name]), name=label(name),
                       mode="lines+markers", line_color=colour(name, i))
        )  # fmt: skip
    rule(fig, 0.0)
    formats = dict.fromkeys(("ic", "rank_ic"), ".4f") | dict.fromkeys(("icir", "ic_t"), ".2f")
    return Chart(fig, 300), Grid(table, formats)


def groups(evidence: Evidence) -> Blocks:
    """Draw mean forecast and mean outcome of groups of equal size by forecast."""
    name = next(n for n in GROUPED if evidence.table(n) is not None)
    table = evidence.tables[name]
    fig = figure("group by forecast, lowest first", "mean", hovermode="closest")
    for i, column in enumerate(c for c in ("forecast", "realised") if c in table.columns):
        fig.add_trace(
            go.Bar(x=list(range(1, len(table) + 1)), y=numbers(table[column]), name=label(column),
                   marker_color=colour(column, i))
        )  # fmt: skip
    return Chart(fig, 300), Grid(table)


def _place(name: str) -> int:
    return ORDER.index(name) if name in ORDER else len(ORDER)


def _range(values: pl.Series, *, top: bool = False) -> float:
    found = values.max() if top else values.min()
    return float(found) if isinstance(found, int | float) else 0.0
