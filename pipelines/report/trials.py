"""Panels of multiple testing: how many recipes were tried, and what luck alone would reach.

Formulas: Bailey and Lopez de Prado 2012 (PSR, MinTRL) and 2014 (DSR); Bailey, Borwein, Lopez de
Prado and Zhu 2017 (PBO, from ten distinguishable recipes on). Sharpe ratios are per bar here, never
annualised.
"""

import math
from statistics import NormalDist

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy.typing import NDArray

from pipelines.method import statistics
from pipelines.report import Blocks, Chart, Evidence, Grid, Remark
from pipelines.report.style import BLUE, GREY, RED, figure, numbers, translucent

NORMAL = NormalDist()
CHOICES, LOGITS = "choice_loss", "pbo"


def deflated(evidence: Evidence) -> Blocks:
    """Draw the Sharpe ratio's sampling distribution, the hurdle of N trials, and the trials."""
    measured, returns = evidence.metrics, evidence.returns
    facts: list[tuple[str, str]] = []
    trials = evidence.table("trials")
    n_trials = measured.get("n_trials")
    if n_trials is not None:
        facts.append(("N, recipes tried on these data", f"{n_trials:,.0f}"))
    if (effective := measured.get("n_effective_trials")) is not None:
        facts.append(("N_eff = rho + (1 - rho)*N, for information", f"{effective:.2f}"))
    if trials is not None and len(trials) > 1:
        spread = float(np.std(trials["sharpe_per_period"].to_numpy(), ddof=1))
        facts.append(("standard deviation of their Sharpe ratios, per bar", f"{spread:.5f}"))
        if returns is not None and len(returns):
            floor = f"{1 / math.sqrt(len(returns)):.5f}"
            facts.append(("and what it counts as at least, 1 / sqrt(T)", floor))
    blocks: list[Chart | Grid | Remark] = []
    if returns is not None and len(returns) >= 4:
        facts += _of_returns(evidence)
        blocks.append(Chart(_distribution(evidence, trials), 300))
    blocks.append(Grid(pl.DataFrame(facts, schema=["measure", "value"], orient="row")))
    return tuple(blocks)


def _of_returns(evidence: Evidence) -> list[tuple[str, str]]:
    returns, hurdle = evidence.returns, _hurdle(evidence)
    assert returns is not None
    sharpe = statistics.sharpe_ratio(returns)
    skew, kurt = statistics.skewness(returns), statistics.kurtosis(returns)
    psr = statistics.probabilistic_sharpe(sharpe, len(returns), skew, kurt)
    dsr = evidence.metrics.get("deflated_sharpe")
    track = statistics.minimum_track_record(sharpe, skew, kurt)
    bars = f"{track:,.0f}" if math.isfinite(track) else "infinite: the Sharpe ratio is not above 0"
    return [
        ("T, bars of active returns", f"{len(returns):,}"),
        ("active Sharpe ratio, per bar", f"{sharpe:.5f}"),
        ("skew, kurtosis (3 is normal)", f"{skew:.2f}, {kurt:.2f}"),
        ("PSR = P(true SR > 0)", f"{psr:.2%}"),
        ("hurdle E[max SR | N], per bar", "not computed" if hurdle is None else f"{hurdle:.5f}"),
        ("DSR = P(true SR > hurdle)", "not computed" if dsr is None else f"{dsr:.2%}"),
        ("MinTRL, bars needed to say SR > 0 at 95 %", bars),
    ]


def _hurdle(evidence: Evidence) -> float | None:
    return evidence.metrics.get("expected_max_sharpe")


def _distribution(evidence: Evidence, trials: pl.DataFrame | None) -> go.Figure:
    """Draw the density of the estimated Sharpe ratio around its estimate, hurdle and trials."""
    returns = evidence.returns
    assert returns is not None
    sharpe = statistics.sharpe_ratio(returns)
    skew, kurt = statistics.skewness(returns), statistics.kurtosis(returns)
    variance = max(1 - skew * sharpe + (kurt - 1) / 4 * sharpe**2, 1e-12)
    error = math.sqrt(variance / (len(returns) - 1))
    x = np.linspace(sharpe - 4 * error, sharpe + 4 * error, 161)
    density = np.exp(-0.5 * ((x - sharpe) / error) ** 2)
    fig = figure("active Sharpe ratio per bar", "", hovermode="closest")
    fig.add_trace(
        go.Scatter(x=numbers(x), y=numbers(density), mode="lines",
                   name="this recipe, with its error", line_color=BLUE, fill="tozeroy",
                   fillcolor=translucent(BLUE, 0.15), hoverinfo="x")
    )  # fmt: skip
    if trials is not None:
        fig.add_trace(
            go.Scatter(x=numbers(trials["sharpe_per_period"]), y=[0.04] * len(trials),
                       mode="markers",
                       name="recipes that trade", hoverinfo="x",
                       marker={"symbol": "line-ns-open", "size": 13, "color": GREY})
        )  # fmt: skip
    fig.add_vline(x=0, line_width=1, line_color=GREY)
    if (hurdle := _hurdle(evidence)) is not None:
        fig.add_vline(x=hurdle, line_dash="dash", line_color=RED, annotation_text="hurdle")
    fig.update_yaxes(visible=False)
    return fig


def overfitting(evidence: Evidence) -> Blocks:
    """Draw where chosen recipes landed, and the histogram of their ranks' logits."""
    table, loss = evidence.table(CHOICES), evidence.metrics.get(CHOICES)
    blocks: list[Chart | Grid | Remark] = []
    if table is not None:
        blocks.append(Chart(_degradation(table), 300))
        realised = table["realised_sharpe"].to_numpy()
        loss = float((realised < 0).mean()) if loss is None else loss
    if loss is not None:
        blocks.append(Remark(f"Choice loss {loss:.1%}: share of winners with a loss elsewhere."))
    return (*blocks, *_ranks(evidence))


def _ranks(evidence: Evidence) -> Blocks:
    """Draw the histogram of logits; nothing below ten distinguishable recipes."""
    table, pbo = evidence.table(LOGITS), evidence.metrics.get(LOGITS)
    if table is None:
        return () if pbo is None else (Remark(f"PBO {pbo:.1%}."),)
    logit = table["logit"].to_numpy()
    share = float((logit <= 0).mean()) if pbo is None else pbo
    heights, edges = np.histogram(logit, bins=_edges(logit))
    middle = (edges[:-1] + edges[1:]) / 2
    fig = figure("logit of the rank of the chosen recipe in the other half", "share of halves")
    fig.add_trace(
        go.Bar(x=numbers(middle), y=numbers(heights / len(logit)),
               marker_color=[RED if m <= 0 else BLUE for m in middle])
    )  # fmt: skip
    fig.add_vline(x=0, line_dash="dash", line_width=1)
    fig.update_layout(hovermode="closest", bargap=0.05, yaxis_tickformat=".0%")
    words = (
        f"PBO {share:.1%}: share of all halves with a logit at or below zero. It gates nothing: "
        "among recipes that are equally good it is a coin flip."
    )
    return Chart(fig, 300), Remark(words)


def _edges(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return edges of some 40 bins, one of them just above 0: a logit of 0 counts as below."""
    step = max(float(np.ptp(logit)) / 40, 0.05)
    first, last = math.floor(logit.min() / step) - 1, math.ceil(logit.max() / step) + 1
    return np.asarray(np.arange(first, last + 1) * step + 1e-9, dtype=np.float64)


def _degradation(table: pl.DataFrame) -> go.Figure:
    """Draw the Sharpe ratio of the chosen recipe in the other half against the choosing half."""
    kept = table if len(table) <= 1500 else table.gather_every(-(-len(table) // 1500))
    fig = figure("Sharpe ratio per bar in the half that chose", "in the other half")
    fig.add_trace(
        go.Scatter(x=numbers(kept["chosen_sharpe"]), y=numbers(kept["realised_sharpe"]),
                   mode="markers",
                   marker={"size": 4, "color": BLUE, "opacity": 0.35})
    )  # fmt: skip
    fig.add_hline(y=0, line_width=1, line_color=GREY)
    fig.update_layout(hovermode="closest")
    return fig
