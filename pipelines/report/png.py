"""PNG: a chart of the page drawn by matplotlib, which needs no browser.

`drawn` reads the plotly figure of a chart - traces, axes, units, dashed rules - and draws the same:
lines, markers with error bars, stacked areas, bars beside each other and lying ones, a second axis.
It knows what the panels in `pictures` use.
"""

from html import unescape
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.report import Chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI, WIDTH, PIXELS = 110, 9.0, 82.0
"""Points per inch; inches of a picture's width; pixels of the page per inch of its height."""
DASHES = {"dash": "--", "dot": ":"}
MOST_TICKS = 16
"""On an axis of whole numbers: years, folds."""
TITLE_WIDTH = 42
"""Letters per line of an axis's title."""


def blank(width: float, height: float) -> tuple["Figure", "Axes"]:
    """Return an empty figure of this size in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=DPI)
    return figure, figure.add_subplot()


def drawn(chart: Chart, title: str) -> "Figure":
    """Return a chart of the page as a matplotlib figure with this title."""
    figure, axes = blank(WIDTH, max(3.0, chart.height / PIXELS))
    traces, layout = list(chart.figure.data), chart.figure.layout
    second = axes.twinx() if any(trace.yaxis == "y2" for trace in traces) else axes
    _draw_stack(axes, [t for t in traces if t.type == "scatter" and t.stackgroup])
    upright = [t for t in traces if t.type == "bar" and t.orientation != "h" and t.yaxis != "y2"]
    for trace in traces:
        onto = second if trace.yaxis == "y2" else axes
        if trace.type == "bar" and trace.orientation == "h":
            _draw_lying_bars(onto, trace)
        elif trace.type == "bar":
            place = next((i for i, bar in enumerate(upright) if bar is trace), 0)
            _draw_bars(onto, trace, place, max(1, len(upright)))
        elif not trace.stackgroup:
            _draw_line(onto, trace)
    _draw_rules(axes, layout)
    _finish(axes, title, traces, layout)
    if second is not axes:
        _style(second, "y", layout.yaxis2)
        axes.set_zorder(second.get_zorder() + 1)
        axes.patch.set_visible(False)
    if any(trace.name and trace.showlegend is not False for trace in traces):
        figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure


def _draw_line(axes: "Axes", trace: Any) -> None:
    x, y, mode = _values(trace.x), _values(trace.y), trace.mode or "lines"
    shade = _colour(trace.line.color or trace.marker.color)
    if trace.fill == "tozeroy":
        axes.fill_between(x, y, 0, color=_colour(trace.fillcolor), lw=0)
    if trace.error_y.array is not None:
        below, above = _values(trace.error_y.arrayminus), _values(trace.error_y.array)
        axes.errorbar(
            x, y, yerr=np.stack([below, above]), fmt="none", ecolor=shade, lw=1, capsize=3
        )
    axes.plot(
        x, y,
        color=shade,
        label=_name(trace),
        lw=trace.line.width or 1.2,
        ls=DASHES.get(trace.line.dash, "-") if "lines" in mode else "",
        marker=("x" if trace.marker.symbol == "x" else "o") if "markers" in mode else None,
        markersize=(trace.marker.size or 6) * 0.8,
    )  # fmt: skip


def _draw_stack(axes: "Axes", traces: list[Any]) -> None:
    if traces:
        levels, shades = [_values(t.y) for t in traces], [_colour(t.fillcolor) for t in traces]
        names = [unescape(t.name) for t in traces]
        axes.stackplot(_values(traces[0].x), levels, labels=names, colors=shades)


def _draw_bars(axes: "Axes", trace: Any, place: int, n_beside: int) -> None:
    """Draw upright bars, the `place`-th of `n_beside` at each x."""
    x = _values(trace.x)
    if x.dtype.kind in "iuf":
        step = float(np.diff(np.unique(x)).min()) if len(np.unique(x)) > 1 else 1.0
        width = 0.8 * step / n_beside
        x = x + (place - (n_beside - 1) / 2) * width
    else:
        width = 0.8
    axes.bar(x, _values(trace.y), width, color=_colour(trace.marker.color), label=_name(trace))


def _draw_lying_bars(axes: "Axes", trace: Any) -> None:
    """Draw bars to the right: from zero, or of some milliseconds from a time."""
    shade, edge = _colour(trace.marker.color), trace.marker.line.width or 0
    y, length = _values(trace.y), _values(trace.x)
    left: Any = 0
    if trace.base is not None:
        left, length = _values(trace.base), length.astype("timedelta64[ms]")
    axes.barh(
        y, length, left=left, height=trace.width or 0.8, color=shade, edgecolor=shade,
        linewidth=edge, label=_name(trace),
    )  # fmt: skip


def _draw_rules(axes: "Axes", layout: Any) -> None:
    for shape in layout.shapes:
        if shape.type == "rect":
            axes.axhspan(shape.y0, shape.y1, color=_colour(shape.fillcolor), lw=0)
        else:
            style = DASHES.get(shape.line.dash, "-")
            axes.axhline(shape.y0, color=_colour(shape.line.color), lw=0.9, ls=style)
    across = axes.get_yaxis_transform()
    for note in layout.annotations:
        text = unescape(note.text)
        axes.text(note.x, note.y, text, transform=across, ha="right", va="bottom", size=9)


def _finish(axes: "Axes", title: str, traces: list[Any], layout: Any) -> None:
    _style(axes, "x", layout.xaxis)
    _style(axes, "y", layout.yaxis)
    along = [t.base if t.type == "bar" and t.base is not None else t.x for t in traces]
    if any(_values(values).dtype.kind == "M" for values in along):
        _mark_dates(axes)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.set_title(title)


def _style(axes: "Axes", which: str, axis: Any) -> None:
    """Give an axis of the figure the title, scale, range, direction and unit of plotly's."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    mine = axes.xaxis if which == "x" else axes.yaxis
    mine.set_label_text("\n".join(wrap(unescape(axis.title.text or ""), TITLE_WIDTH)))
    if axis.type == "log":
        axes.set(**{f"{which}scale": "log"})
        mine.set_major_formatter("{x:g}")
        mine.set_minor_formatter("{x:g}")
    if axis.range is not None:
        axes.set(**{f"{which}lim": tuple(axis.range)})
    if axis.autorange == "reversed":
        mine.set_inverted(True)
    if axis.dtick is not None:
        mine.set_major_locator(MaxNLocator(MOST_TICKS, integer=True))
    if axis.tickformat == "d":
        mine.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    elif axis.tickformat is not None:
        mine.set_major_formatter(FuncFormatter(lambda value, _: format(value, axis.tickformat)))


def _mark_dates(axes: "Axes") -> None:
    """Mark a time axis with few dates, the year written once."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=4, maxticks=10)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _values(column: Any) -> NDArray[Any]:
    """Return plotly's values as numbers (None is NaN), times or names."""
    found = list(column)
    if not any(isinstance(value, str) for value in found):
        return np.array(found, dtype=np.float64)
    try:
        return np.array(found, dtype="datetime64[m]")
    except ValueError:
        return np.array([unescape(value) for value in found])


def _name(trace: Any) -> str | None:
    return unescape(trace.name) if trace.name and trace.showlegend is not False else None


def _colour(shade: Any) -> Any:
    """Return a colour, or several, as matplotlib takes it; plotly's `rgba(...)` as four numbers."""
    if isinstance(shade, str) and shade.startswith("rgba("):
        *rgb, alpha = (float(part) for part in shade[5:-1].split(","))
        return (*(part / 255 for part in rgb), alpha)
    return list(shade) if isinstance(shade, tuple) else shade
