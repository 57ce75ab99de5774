"""Panels of strategy returns: wealth, drawdown, Sharpe with its error, costs, years, months.

The table `equity` holds log wealth (net, gross, buy_and_hold, equal_weight) per decision time;
simple returns follow from it. Buy and hold holds; the equal-weight universe is rebalanced every
bar. The standard error of a Sharpe ratio is Mertens' (2002) extension of Lo (2002) to skewed,
fat-tailed returns: SE = sqrt((1 - g3*SR + (g4-1)/4*SR^2) / (T-1)), per period; it makes no
allowance for autocorrelation.
"""

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pipelines.method import statistics
from pipelines.method.metrics import compound_return
from pipelines.report import Blocks, Chart, Evidence, Grid, Remark
from pipelines.report.style import (
    BLUE,
    GREEN,
    GREY,
    RED,
    bars_per_year,
    colour,
    figure,
    line,
    numbers,
    percent,
    rule,
    second_axis,
    thin,
    times,
    translucent,
)

Array = NDArray[np.float64]

BAND = 1.96
"""Two-sided 95 % of a normal distribution."""
FORMULA = (
    "Band: SR ± 1.96 SE, SE = sqrt((1 - g3*SR + (g4-1)/4*SR²)/(T-1)) per bar (Lo 2002; Mertens "
    "2002), annualised by the root of the bars of a year; no allowance for autocorrelation."
)
NOT_CURVES = ("timestamp", "drawdown")


def curves(evidence: Evidence) -> dict[str, Array]:
    """Return the simple returns behind each curve of `equity`, and `active` where it is known."""
    table = evidence.tables["equity"]
    found = {
        name: np.expm1(np.diff(table[name].to_numpy(), prepend=0.0))
        for name in table.columns
        if name not in NOT_CURVES
    }
    if _has_active_beside(evidence):
        assert evidence.returns is not None
        found["active"] = evidence.returns
    return found


def _has_active_beside(evidence: Evidence) -> bool:
    """Whether active returns are known date by date but are no curve of the table."""
    table, returns = evidence.tables["equity"], evidence.returns
    return returns is not None and "active" not in table.columns and len(returns) == len(table)


def standard_error(returns: Array) -> float:
    """Return the standard error of the Sharpe ratio per period (Mertens 2002)."""
    sharpe = statistics.sharpe_ratio(returns)
    skew, kurt = statistics.skewness(returns), statistics.kurtosis(returns)
    variance = 1 - skew * sharpe + (kurt - 1) / 4 * sharpe**2
    return math.sqrt(max(variance, 1e-12) / max(len(returns) - 1, 1))


def equity(evidence: Evidence) -> Blocks:
    """Draw log wealth per curve, and the summary of each."""
    table = thin(evidence.tables["equity"])
    fig = figure("decision time", "wealth, log scale (1 at the start)")
    x = times(table["timestamp"])
    for i, name in enumerate(c for c in table.columns if c not in NOT_CURVES):
        fig.add_trace(line(x, np.exp(table[name].to_numpy()), name, i))
    if _has_active_beside(evidence):
        assert evidence.returns is not None
        wealth = pl.DataFrame({"w": np.cumprod(1 + evidence.returns)})
        fig.add_trace(line(x, thin(wealth)["w"], "active"))
    fig.update_yaxes(type="log")
    return Chart(fig, 420), Grid(summary(evidence), SUMMARY_FORMATS), Remark(FORMULA)


SUMMARY_FORMATS = {
    "return_per_year": ".1%",
    "volatility": ".1%",
    "sharpe": ".2f",
    "from": ".2f",
    "to": ".2f",
    "largest_drawdown": ".1%",
    "skew": ".2f",
    "kurtosis": ".1f",
    "worst_bar": ".2%",
}


def summary(evidence: Evidence) -> pl.DataFrame:
    """Return one line per curve: compound return of a year, volatility, Sharpe with band, tails."""
    per_year = bars_per_year(evidence.tables["equity"]["timestamp"])
    lines = []
    for name, returns in curves(evidence).items():
        sharpe, error = statistics.sharpe_ratio(returns), standard_error(returns)
        wealth = np.asarray(np.cumprod(1 + returns), dtype=np.float64)
        scale = math.sqrt(per_year)
        lines.append(
            {
                "curve": name.replace("_", " "),
                "return_per_year": compound_return(returns, per_year),
                "volatility": float(returns.std(ddof=1)) * scale if len(returns) > 1 else None,
                "sharpe": sharpe * scale,
                "from": (sharpe - BAND * error) * scale,
                "to": (sharpe + BAND * error) * scale,
                "largest_drawdown": float(_drawdown(wealth).min(initial=0.0)),
                "skew": statistics.skewness(returns),
                "kurtosis": statistics.kurtosis(returns),
                "worst_bar": float(returns.min(initial=0.0)),
            }
        )
    return pl.DataFrame(lines)


def drawdowns(evidence: Evidence) -> Blocks:
    """Draw how far wealth lies below its highest so far, net and buy and hold."""
    table = evidence.tables["equity"]
    names = [n for n in ("net", "buy_and_hold") if n in table.columns]
    depth = pl.DataFrame(
        {"timestamp": table["timestamp"]}
        | {name: _drawdown(np.exp(table[name].to_numpy())) for name in names}
    )
    kept = thin(depth, lowest=names)
    fig = figure("decision time", "below the highest wealth so far")
    for name in reversed(names):
        fill: dict[str, Any] = {"fill": "tozeroy", "fillcolor": translucent(colour(name), 0.25)}
        fig.add_trace(line(times(kept["timestamp"]), kept[name], name, **fill))
    percent(fig)
    return Chart(fig, 280), Grid(_worst(depth, names[0]), {"depth": ".1%"})


def _worst(depth: pl.DataFrame, name: str, n_worst: int = 5) -> pl.DataFrame:
    """Return the deepest drawdowns: start, trough, end (null while it lasts), depth."""
    value, stamp = depth[name].to_numpy(), depth["timestamp"]
    below = np.concatenate(([False], value < 0, [False]))
    starts = np.flatnonzero(~below[:-1] & below[1:])
    ends = np.flatnonzero(below[:-1] & ~below[1:])
    spells = []
    for start, end in zip(starts, ends, strict=True):
        trough = int(start) + int(value[start:end].argmin())
        is_over = end < len(value)
        spells.append(
            {
                "drawdown_from": stamp[int(start)],
                "trough": stamp[trough],
                "recovered": stamp[int(end)] if is_over else None,
                "bars": int(end - start),
                "depth": float(value[trough]),
            }
        )
    schema = {
        "drawdown_from": stamp.dtype, "trough": stamp.dtype, "recovered": stamp.dtype,
        "bars": pl.Int64(), "depth": pl.Float64(),
    }  # fmt: skip
    return pl.DataFrame(spells, schema=schema).sort("depth").head(n_worst)


def _drawdown(wealth: Array) -> Array:
    peak = np.maximum(np.maximum.accumulate(wealth), 1.0)
    return np.asarray(wealth / peak - 1, dtype=np.float64)


def rolling_sharpe(evidence: Evidence) -> Blocks:
    """Draw the annualised Sharpe ratio of the last year with its 95 % band."""
    table, found = evidence.tables["equity"], curves(evidence)
    per_year = bars_per_year(table["timestamp"])
    window = max(20, round(per_year))
    if len(table) <= window:
        return ()
    fig = figure("decision time", "Sharpe ratio of the last year, annualised")
    for name in (n for n in ("net", "active") if n in found):
        every = -(-(len(table) - window + 1) // 600)
        sharpe, error = rolling_moments(found[name], window, every)
        x = times(table["timestamp"][window - 1 :].gather_every(every))
        scale = math.sqrt(per_year)
        if name == "net":
            _band(fig, x, (sharpe - BAND * error) * scale, (sharpe + BAND * error) * scale)
        fig.add_trace(line(x, sharpe * scale, name))
    rule(fig, 0.0)
    return Chart(fig, 320), Remark(f"{window} bars per window. {FORMULA}")


def rolling_moments(returns: Array, window: int, every: int = 1) -> tuple[Array, Array]:
    """Return the Sharpe ratio per period of each window and its standard error."""
    views = sliding_window_view(returns, window)[::every]
    deviation = views.std(axis=1, ddof=1)
    flat = deviation <= 1e-12
    sharpe = np.where(flat, 0.0, views.mean(axis=1) / np.where(flat, 1.0, deviation))
    shapes = np.array([(statistics.skewness(v), statistics.kurtosis(v)) for v in views])
    variance = 1 - shapes[:, 0] * sharpe + (shapes[:, 1] - 1) / 4 * sharpe**2
    return sharpe, np.sqrt(np.maximum(variance, 1e-12) / (window - 1))


def _band(fig: go.Figure, x: list[str], low: Array, high: Array) -> None:
    invisible: dict[str, Any] = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    fig.add_trace(go.Scatter(x=x, y=numbers(high), showlegend=False, **invisible))
    fill: dict[str, Any] = {"fill": "tonexty", "fillcolor": translucent(BLUE, 0.15)}
    fig.add_trace(go.Scatter(x=x, y=numbers(low), name="95 % band of net", **fill, **invisible))


def cost_grid(evidence: Evidence) -> Blocks:
    """Draw the Sharpe ratio at each multiple of the assumed cost."""
    table = evidence.tables["cost_grid"]
    fig = figure("multiple of the assumed cost (0 is gross)", "annualised Sharpe ratio")
    sharpe = table["sharpe"]
    shades = [BLUE if value > 0 else RED for value in sharpe.to_list()]
    fig.add_trace(
        go.Bar(
            x=[f"x{m:g}" for m in table["multiple"]], y=numbers(sharpe), marker_color=shades,
            text=[f"{v:.2f}" for v in sharpe], textposition="outside", cliponaxis=False, width=0.55,
        )
    )  # fmt: skip
    fig.update_layout(hovermode="closest", xaxis_type="category")
    even = evidence.metrics.get("break_even_cost")
    words = (
        "There is no break-even cost: before costs nothing is earned."
        if even is None
        else f"Break-even: {even * 1e4:.1f} basis points per unit of turnover leave nothing."
    )
    return Chart(fig, 300), Grid(table, {"return_per_year": ".2%", "sharpe": ".2f"}), Remark(words)


def years(evidence: Evidence) -> Blocks:
    """Tabulate each calendar year of net and buy and hold."""
    table, found = evidence.tables["equity"], curves(evidence)
    per_year = bars_per_year(table["timestamp"])
    year = table["timestamp"].dt.year().to_numpy()
    lines, names = [], [n for n in ("net", "buy_and_hold", "active") if n in found]
    for y in np.unique(year):
        facts: dict[str, Any] = {"year": int(y), "bars": int((year == y).sum())}
        for name in names:
            mine = found[name][year == y]
            facts[name] = float(np.prod(1 + mine)) - 1
            facts[f"{name}_sharpe"] = statistics.sharpe_ratio(mine) * math.sqrt(per_year)
        facts["net_drawdown"] = float(_drawdown(np.cumprod(1 + found["net"][year == y])).min())
        lines.append(facts)
    frame = pl.DataFrame(lines)
    fig = figure("year", "return")
    for name in (n for n in names if n != "active"):
        fig.add_trace(go.Bar(x=frame["year"], y=numbers(frame[name]), name=name.replace("_", " "),
                             marker_color=colour(name)))  # fmt: skip
    fig.update_layout(xaxis_dtick=1 if len(frame) <= 16 else 2)
    percent(fig)
    known = evidence.table("per_year")
    if known is not None and "turnover" in known.columns:
        frame = frame.join(known.select("year", "turnover"), on="year", how="left")
    shares = dict.fromkeys((*names, "net_drawdown"), ".1%") | {"turnover": ".1f"}
    return Chart(fig, 280), Grid(frame, shares | {f"{n}_sharpe": ".2f" for n in names})


def months(evidence: Evidence) -> Blocks:
    """Draw the net return of each month."""
    table = evidence.tables["equity"]
    frame = pl.DataFrame(
        {
            "year": table["timestamp"].dt.year(),
            "month": table["timestamp"].dt.month(),
            "log": np.diff(table["net"].to_numpy(), prepend=0.0),
        }
    )
    sums = frame.group_by("year", "month").agg(pl.col("log").sum())
    found = sums.pivot("month", index="year", values="log").sort("year")
    names = [str(m) for m in range(1, 13)]
    z = [
        [None if m not in found.columns or row[m] is None else math.expm1(row[m]) for m in names]
        for row in found.iter_rows(named=True)
    ]
    values = [abs(v) for row in z for v in row if v is not None]
    bound = float(np.quantile(values, 0.95)) or 1e-9
    fig = figure("", "")
    fig.add_trace(
        go.Heatmap(
            z=[[None if v is None else round(v, 5) for v in row] for row in z],
            x=["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
            y=[str(y) for y in found["year"]],
            colorscale=[[0, RED], [0.5, "#ffffff"], [1, GREEN]], zmin=-bound, zmax=bound,
            texttemplate="%{z:.1%}", textfont_size=10,
            hovertemplate="%{y} %{x}: %{z:.2%}<extra></extra>",
            xgap=1, ygap=1, showscale=False,
        )
    )  # fmt: skip
    fig.update_layout(hovermode="closest", yaxis_type="category", yaxis_autorange="reversed",
                      xaxis_side="top", xaxis_ticks="", yaxis_ticks="")  # fmt: skip
    fig.update_xaxes(showgrid=False, linecolor=GREY)
    return (Chart(fig, max(180, 24 * len(z) + 70)),)


def trading(evidence: Evidence) -> Blocks:
    """Draw turnover per year of trading and what costs have taken so far."""
    table = evidence.tables["returns"]
    if not {"turnover", "costs"} <= set(table.columns):
        return ()
    per_year = bars_per_year(table["timestamp"])
    window = max(20, round(per_year / 4))
    turnover = pl.col("turnover").rolling_mean(window, min_samples=1) * per_year
    kept = thin(table.select("timestamp", turnover, pl.col("costs").cum_sum()))
    x = times(kept["timestamp"])
    fig = figure("decision time", "turnover per year (rolling quarter)")
    fig.add_trace(line(x, kept["turnover"], "turnover", line={"color": BLUE}))
    fig.add_trace(line(x, kept["costs"], "costs so far", line={"color": RED}, yaxis="y2"))
    second_axis(fig, "costs so far, of capital", tickformat=".0%")
    return (Chart(fig, 300),)
