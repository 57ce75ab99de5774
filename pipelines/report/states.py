"""Panels of states and alarms: regimes, their transitions, unusual rows."""

import numpy as np
import plotly.graph_objects as go
import polars as pl

from pipelines.report import Blocks, Chart, Evidence, Grid, Remark
from pipelines.report.style import (
    BLUE,
    GREY,
    ORANGE,
    RED,
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

SCALE = ("#0072b2", "#56b4e9", "#e6c15a", "#d98c00", "#c0392b", "#7b1fa2", "#4a148c", "#22303a")
"""Colours from calm to wild: states come in the order of their variance."""


def shade(k: int, n: int) -> str:
    """Return the colour of the k-th of n states."""
    return SCALE[round(k * 4 / max(n - 1, 1))] if n <= 5 else SCALE[k % len(SCALE)]


def regimes(evidence: Evidence) -> Blocks:
    """Draw the probability of each regime over time, the market coloured by the likeliest."""
    table = evidence.tables["regime_probabilities"]
    names = [c for c in table.columns if c != "timestamp"]
    kept = thin(table)
    fig = figure("decision time", "filtered probability (mean over symbols)")
    for k, name in enumerate(names):
        fig.add_trace(
            go.Scatter(x=times(kept["timestamp"]), y=numbers(kept[name]), name=label(name),
                       stackgroup="one", mode="lines",
                       line={"width": 0.3, "color": shade(k, len(names))},
                       fillcolor=translucent(shade(k, len(names)), 0.75))
        )  # fmt: skip
    fig.update_layout(yaxis_range=[0, 1])
    percent(fig)
    market = _coloured_market(evidence, table, names)
    known = evidence.table("regimes")
    return (*market, Chart(fig, 320), *((Grid(known),) if known is not None else ()))


def _coloured_market(evidence: Evidence, table: pl.DataFrame, names: list[str]) -> Blocks:
    market = evidence.table("market")
    if market is None:
        return ()
    likeliest = table.select(names).to_numpy().argmax(axis=1)
    stated = table.select("timestamp").with_columns(pl.Series("state", likeliest))
    joined = thin(market.join(stated, on="timestamp", how="inner").sort("timestamp"))
    x, y = times(joined["timestamp"]), np.exp(joined["log_index"].to_numpy())
    fig = figure("decision time", "equal-weight index, log scale")
    fig.add_trace(go.Scatter(x=x, y=numbers(y), mode="lines", line={"color": GREY, "width": 0.8},
                             showlegend=False, hoverinfo="skip"))  # fmt: skip
    for k, name in enumerate(names):
        mine = joined["state"].to_numpy() == k
        fig.add_trace(
            go.Scatter(x=[t for t, m in zip(x, mine, strict=True) if m], y=numbers(y[mine]),
                       mode="markers", marker={"size": 4, "color": shade(k, len(names))},
                       name=label(name))
        )  # fmt: skip
    fig.update_yaxes(type="log")
    fig.update_layout(hovermode="closest")
    return (Chart(fig, 340),)


def transitions(evidence: Evidence) -> Blocks:
    """Draw how often each regime was followed by each."""
    table = evidence.tables["transitions"]
    names = [c for c in table.columns if c != "regime"]
    fig = figure("next", "regime", hovermode="closest")
    fig.add_trace(
        go.Heatmap(z=table.select(names).to_numpy().round(4).tolist(), x=[label(n) for n in names],
                   y=[label(n) for n in table["regime"]], texttemplate="%{z:.1%}", zmin=0, zmax=1,
                   colorscale=[[0, "#ffffff"], [1, BLUE]], showscale=False, xgap=2, ygap=2)
    )  # fmt: skip
    fig.update_layout(yaxis_autorange="reversed", xaxis_type="category", yaxis_type="category")
    return (Chart(fig, 300),)


def alarms(evidence: Evidence) -> Blocks:
    """Draw the lowest p-value per date and the share of symbols flagged, over the market."""
    table = evidence.tables["alarms_over_time"]
    kept = thin(table, lowest=["lowest_p_value"], highest=["share"])
    x = times(kept["timestamp"])
    fig = figure("decision time", "symbols flagged")
    steps = {"color": RED, "shape": "hv"}
    fig.add_trace(line(x, kept["share"], "share", line=steps, fill="tozeroy",
                       fillcolor=translucent(RED, 0.25)))  # fmt: skip
    percent(fig)
    market = evidence.table("market")
    if market is not None:
        index = thin(market)
        fig.add_trace(line(times(index["timestamp"]), np.exp(index["log_index"].to_numpy()),
                           "market", yaxis="y2", line={"color": GREY, "width": 1}))  # fmt: skip
        second_axis(fig, "equal-weight index", type="log")
    lowest = figure("decision time", "lowest p-value of a date")
    lowest.add_trace(
        go.Scatter(x=x, y=numbers(kept["lowest_p_value"]), mode="markers",
                   marker={"size": 3, "color": BLUE}, name="lowest p-value")
    )  # fmt: skip
    lowest.update_layout(yaxis_type="log", hovermode="closest")
    unusual = evidence.table("most_unusual")
    listed: Blocks = () if unusual is None else (Remark("Lowest p-values:"), Grid(unusual))
    return Chart(fig, 320), Chart(lowest, 240), *listed


def alarm_rate(evidence: Evidence) -> Blocks:
    """Draw the rate of alarms per year beside the stated one."""
    table = evidence.tables["alarms_per_year"]
    fig = figure("year", "rows flagged")
    fig.add_trace(go.Bar(x=table["year"].to_list(), y=numbers(table["rate"]), marker_color=ORANGE,
                         name="measured"))  # fmt: skip
    for stated in table["stated"].unique():
        rule(fig, stated, f"stated {stated:.2%}")
    percent(fig, digits=1)
    return Chart(fig, 280), Grid(table, {"rate": ".2%", "stated": ".2%"})
