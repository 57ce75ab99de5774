"""How the page looks: colours that everybody can tell apart, figures of one kind, the style sheet.

A name has the same colour in every figure of every page. Figures are light, carry the unit on
their axes, and keep their legend outside the data. Names that come from data are escaped: plotly
reads a little HTML in its texts.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy.typing import NDArray

from pipelines.method.metrics import times_per_year

BLUE, RED, ORANGE, GREEN, GREY = "#0072b2", "#c0392b", "#d98c00", "#009e73", "#8a969c"
PURPLE, SKY, INK = "#8e5ea2", "#56b4e9", "#22303a"
CYCLE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY)
"""Okabe and Ito's palette, darkened where white paper needs it."""
COLOURS = {
    "forecast": BLUE,
    "model": BLUE,
    "champion": BLUE,
    "net": BLUE,
    "active": GREEN,
    "challenger": RED,
    "ewma": RED,
    "gross": ORANGE,
    "scaled_ewma": ORANGE,
    "garch": GREEN,
    "har": PURPLE,
    "random_walk": GREY,
    "realised": GREY,
    "buy_and_hold": GREY,
    "equal_weight": PURPLE,
    "BUY": GREEN,
    "SELL": RED,
    "HOLD": GREY,
}
LABELS = {
    "ewma": "EWMA(0.94)",
    "scaled_ewma": "scaled EWMA",
    "garch": "GARCH(1,1)",
    "gjr_garch": "GJR-GARCH",
    "har": "HAR",
    "equal_weight": "equal weight, rebalanced",
}
MAX_POINTS = 1500
"""Most points of a line; more cannot be seen on a laptop and make the page heavy."""

BARE = go.layout.Template()
"""Replaces plotly's own template, which would add seven kilobytes to every figure."""
FONT = "Inter, 'Helvetica Neue', Arial, sans-serif"


def label(name: str) -> str:
    """Return a name for people, safe inside HTML and figures."""
    return escape(LABELS.get(name, str(name).replace("_", " ")))


def colour(name: str, place: int = 0) -> str:
    """Return the colour of a name; unknown names take one by their place."""
    return COLOURS.get(name, CYCLE[place % len(CYCLE)])


def translucent(shade: str, opacity: float) -> str:
    """Return a `#rrggbb` colour as rgba."""
    red, green, blue = (int(shade[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def figure(x: str, y: str, **layout: Any) -> go.Figure:
    """Return an empty figure with named axes in the style of the page."""
    axis = {
        "gridcolor": "#e8ecee",
        "zerolinecolor": "#c5ced3",
        "linecolor": "#c5ced3",
        "ticks": "outside",
        "tickcolor": "#c5ced3",
        "automargin": True,
        "title_standoff": 8,
    }
    base = go.Layout(
        template=BARE,
        font={"family": FONT, "size": 12, "color": INK},
        paper_bgcolor="white",
        plot_bgcolor="white",
        colorway=list(CYCLE),
        margin={"l": 60, "r": 16, "t": 34, "b": 44},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "title_text": ""},
        hovermode="x unified",
        hoverlabel={"font_family": FONT, "font_size": 11},
        xaxis=axis | {"title_text": x},
        yaxis=axis | {"title_text": y},
    )
    fig = go.Figure(layout=base).update_layout(**layout)
    if x == "year":
        fig.update_xaxes(tickformat="d", dtick=1)
    return fig


def second_axis(fig: go.Figure, title: str, **more: Any) -> None:
    """Add an axis on the right for the traces with `yaxis="y2"`."""
    fig.update_layout(
        yaxis2={
            "overlaying": "y",
            "side": "right",
            "showgrid": False,
            "automargin": True,
            "title_text": title,
            "title_standoff": 8,
        }
        | more
    )


def thin(
    table: pl.DataFrame, lowest: Sequence[str] = (), highest: Sequence[str] = ()
) -> pl.DataFrame:
    """Return at most `MAX_POINTS` lines in the same order, the last one kept.

    A column in `lowest` (`highest`) shows the least (greatest) value of the lines it stands for,
    so that thinning hides no drawdown.
    """
    if len(table) <= MAX_POINTS:
        return table
    every = -(-len(table) // MAX_POINTS)
    rest = [c for c in table.columns if c not in (*lowest, *highest)]
    bucket = (pl.int_range(pl.len()) // every).alias("_bucket")
    return (
        table.with_columns(bucket)
        .group_by("_bucket", maintain_order=True)
        .agg(pl.col(rest).last(), pl.col(*lowest).min() if lowest else pl.lit(0).alias("_low"),
             pl.col(*highest).max() if highest else pl.lit(0).alias("_high"))
        .select(table.columns)
    )  # fmt: skip


def times(column: pl.Series) -> list[str]:
    """Return times as plotly reads them, without the hour where every one is midnight."""
    if column.dtype == pl.Date:
        return column.dt.to_string("%Y-%m-%d").to_list()
    is_daily = bool((column.dt.hour().eq(0) & column.dt.minute().eq(0)).all())
    return column.dt.to_string("%Y-%m-%d" if is_daily else "%Y-%m-%d %H:%M").to_list()


def numbers(values: pl.Series | NDArray[np.floating[Any]]) -> list[float | None]:
    """Return values with five significant digits; None where not finite."""
    series = pl.Series(values) if isinstance(values, np.ndarray) else values
    cast = series.cast(pl.Float64)
    finite = pl.select(pl.when(cast.is_finite()).then(cast)).to_series()
    return finite.round_sig_figs(5).to_list()


def line(
    x: Sequence[Any],
    y: pl.Series | NDArray[np.floating[Any]],
    name: str,
    place: int = 0,
    **more: Any,
) -> go.Scatter:
    """Return a line with the name's colour."""
    looks = {"color": colour(name, place), "width": 1.4} | dict(more.pop("line", {}))
    return go.Scatter(x=x, y=numbers(y), name=label(name), mode="lines", line=looks, **more)


def rule(fig: go.Figure, y: float, text: str = "", shade: str = INK, **place: Any) -> None:
    """Draw a dashed horizontal line with a text at its right end."""
    fig.add_hline(
        y=y, line_dash="dash", line_width=1, line_color=shade,
        annotation_text=escape(text), annotation_position="top right",
        annotation_font_size=11, annotation_font_color=shade, **place,
    )  # fmt: skip


def percent(fig: go.Figure, axis: str = "y", digits: int = 0) -> None:
    """Show an axis in percent."""
    fig.update_layout({f"{axis}axis_tickformat": f".{digits}%"})


def bars_per_year(column: pl.Series) -> float:
    """Return the number of decision times in a year; 1 when there are too few to say."""
    if len(column) < 2 or column[-1] <= column[0]:
        return 1.0
    stamps = column.dt.timestamp("us").to_numpy()
    return times_per_year(stamps.astype(np.int64))
