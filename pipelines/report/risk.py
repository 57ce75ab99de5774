"""Panels of value at risk: losses against the forecast, hits per year, the tests."""

import plotly.graph_objects as go
import polars as pl

from pipelines.report import Blocks, Chart, Evidence, Grid
from pipelines.report.style import (
    BLUE,
    GREY,
    ORANGE,
    RED,
    figure,
    line,
    numbers,
    percent,
    rule,
    times,
)

MAX_LOSSES = 4000
TESTS = (
    ("Kupiec: number of hits", "kupiec_p"),
    ("Christoffersen: hits come alone", "independence_p"),
    ("conditional coverage: both", "conditional_coverage_p"),
    ("Z2: depth of expected shortfall, 0 is right, below is too low", "z2"),
    ("Z2's 1 % critical value, simulated", "z2_critical"),
    ("Basel traffic light of the last 250 days: 0 green, 1 yellow, 2 red", "traffic_light"),
    ("pinball loss", "pinball"),
    ("pinball loss of historical VaR", "pinball_historical"),
    ("pinball loss of EWMA-normal VaR", "pinball_ewma_normal"),
)


def backtest(evidence: Evidence) -> Blocks:
    """Draw losses, forecast VaR and expected shortfall, and the days beyond VaR."""
    table = evidence.tables["var_over_time"].tail(MAX_LOSSES)
    x = times(table["timestamp"])
    fig = figure("decision time", "loss (fraction of the portfolio)")
    fig.add_trace(go.Scatter(x=x, y=numbers(table["loss"]), mode="lines", name="realised loss",
                             line={"color": GREY, "width": 0.7}))  # fmt: skip
    fig.add_trace(line(x, table["var"], "VaR", line={"color": BLUE}))
    fig.add_trace(line(x, table["shortfall"], "expected shortfall", line={"color": ORANGE}))
    hits = table.filter(pl.col("hit"))
    fig.add_trace(
        go.Scatter(x=times(hits["timestamp"]), y=numbers(hits["loss"]), mode="markers",
                   marker={"color": RED, "size": 6, "symbol": "x"}, name="beyond VaR")
    )  # fmt: skip
    percent(fig, digits=1)
    return Chart(fig, 420), Grid(tests(evidence))


def tests(evidence: Evidence) -> pl.DataFrame:
    """Return test and value of each backtest that was made."""
    known = [(t, evidence.metrics[n]) for t, n in TESTS if n in evidence.metrics]
    schema = {"test": pl.String(), "value": pl.Float64()}
    return pl.DataFrame(known, schema=schema, orient="row")


def hits(evidence: Evidence) -> Blocks:
    """Draw the share of days beyond VaR per year beside the promised one."""
    table = evidence.tables["hits_per_year"]
    fig = figure("year", "days beyond VaR")
    fig.add_trace(go.Bar(x=table["year"].to_list(), y=numbers(table["hit_rate"]), marker_color=BLUE,
                         name="measured"))  # fmt: skip
    for expected in table["expected_rate"].unique():
        rule(fig, expected, f"promised {expected:.1%}")
    percent(fig, digits=1)
    return Chart(fig, 280), Grid(table, {"hit_rate": ".2%", "expected_rate": ".1%"})
