"""Pictures of a run, logged to MLflow under `pictures/`.

`log_tables` draws each table of an `Evaluation` that it knows by name; the other functions draw
what belongs to one stage. Every picture says what its axes are and in which unit; a name has the
same colour in every picture, and no legend lies on data.
"""

from collections.abc import Callable, Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from registry.gates import GateRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, RED, ORANGE, GREEN, GREY = "#0072b2", "#c0392b", "#e69f00", "#009e73", "#9aa5ab"
PINK, SKY = "#cc79a7", "#56b4e9"
"""Told apart by readers who do not see red and green (Okabe and Ito)."""
COLOURS = {
    "forecast": BLUE,
    "champion": BLUE,
    "net": BLUE,
    "challenger": RED,
    "ewma": RED,
    "gross": ORANGE,
    "scaled_ewma": ORANGE,
    "har": GREEN,
    "garch": PINK,
    "gjr_garch": SKY,
    "realised": GREY,
    "buy_and_hold": GREY,
}
LABELS = {
    "ewma": "EWMA(0.94)",
    "scaled_ewma": "scaled EWMA",
    "har": "HAR",
    "garch": "GARCH(1,1)",
    "gjr_garch": "GJR-GARCH",
}
SIZE = (9.0, 4.8)
N_YEAR_LABELS = 16
NOTE_WIDTH = 104
"""Letters of a gate's note per line."""


def log_tables(tables: Mapping[str, pl.DataFrame]) -> None:
    """Draw and log every table that has a picture."""
    for name, table in tables.items():
        if name in DRAWN and len(table):
            _log(DRAWN[name](table), name)


MOST_FEATURES = 200
"""Bars in the picture of importance; a model of words has thousands."""


def log_importance(names: Sequence[str], importance: NDArray[np.float64]) -> None:
    """Log importance per feature, largest on top; of very many, the largest `MOST_FEATURES`."""
    order = np.argsort(importance)[-MOST_FEATURES:]
    figure, axes = _figure((7.5, 0.26 * len(order) + 1.2))
    axes.barh(np.array(names)[order], importance[order], color=BLUE)
    axes.margins(y=0.01)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_formatter("{x:.1%}")
    axes.set(xlabel="share of the total importance", title="Feature importance of the final fit")
    _log(figure, "importance")


def log_fold_map(folds: pl.DataFrame) -> None:
    """Log which span each fold trains on, purges and tests.

    Args:
        folds: columns fold, part (train, purged, test), start, end.
    """
    figure, axes = _figure()
    looks = {
        "train": (BLUE, "train"),
        "test": (RED, "test"),
        "purged": (ORANGE, "purged: label not complete before the test span"),
    }
    for part, (shade, label) in looks.items():
        rows = folds.filter(pl.col("part") == part)
        left = rows["start"].to_numpy()
        width = rows["end"].to_numpy() - left
        # the edge keeps a purge of days visible beside years
        edge = 2.0 if part == "purged" else 0.0
        axes.barh(
            rows["fold"].to_numpy(), width, left=left, height=0.7, label=label,
            color=shade, edgecolor=shade, linewidth=edge,
        )  # fmt: skip
    axes.invert_yaxis()
    axes.set_yticks(folds["fold"].unique().to_list())
    axes.set(xlabel="decision time", ylabel="fold", title="Walk-forward folds")
    _dates(axes)
    _legend(figure)
    _log(figure, "fold_map")


def log_gates(record: Sequence[GateRow]) -> None:
    """Log the gate rows as a readable table."""
    notes = ["\n".join(wrap(row.note, NOTE_WIDTH)) for row in record]
    tops = 1 + np.cumsum([0.0, *(0.7 + max(1, note.count("\n") + 1) * 0.8 for note in notes)])
    figure, axes = _figure((13.0, 0.21 * tops[-1] + 0.6))
    axes.axis("off")
    axes.set(xlim=(0, 1), ylim=(tops[-1], 0))
    columns = {"result": 0.008, "gate": 0.075, "value": 0.235, "needs": 0.325, "measured how": 0.42}
    for title, at in columns.items():
        axes.text(at, 0.5, title, va="center", weight="bold", size=9)
    for row, note, top, bottom in zip(record, notes, tops, tops[1:], strict=False):
        shade = "#d5f0e3" if row.passed else "#fadbd8"
        axes.axhspan(top, bottom, xmax=0.067, color=shade, lw=0)
        axes.axhline(top, color=GREY, lw=0.5)
        verdict = "passed" if row.passed else "refused"
        for at, text in zip(
            columns.values(), (verdict, row.gate, row.measured, row.needed, note), strict=True
        ):
            axes.text(at, (top + bottom) / 2, text, va="center", size=9, parse_math=False)
    n_passed = sum(row.passed for row in record)
    axes.set_title(f"Gates: {n_passed} of {len(record)} passed")
    _log(figure, "gates")


def log_challenge(table: pl.DataFrame) -> None:
    """Log cumulated loss against the baseline of champion and challenger.

    Args:
        table: columns timestamp, champion, challenger, baseline (mean loss per bar time).
    """
    figure, axes = _figure()
    baseline = table["baseline"].to_numpy()
    for name in ("champion", "challenger"):
        gap = np.cumsum(table[name].to_numpy() - baseline)
        axes.plot(table["timestamp"].to_numpy(), gap, label=name, color=COLOURS[name])
    axes.axhline(0, color="black", lw=0.8, ls="--", label="baseline")
    axes.set(
        xlabel="decision time",
        ylabel="cumulated loss minus the baseline's\n(mean over symbols; lower is better)",
        title="Challenger against champion, on days that neither fit has seen",
    )
    _dates(axes)
    _legend(figure)
    _log(figure, "challenge")


def _qlike_per_year(table: pl.DataFrame) -> "Figure":
    figure, axes = _figure()
    years = sorted(table["year"].unique().to_list())
    models = sorted(table["model"].unique().to_list(), key=_order)
    width = 0.8 / len(models)
    for i, model in enumerate(models):
        rows = table.filter(pl.col("model") == model).sort("year")
        at = np.array([years.index(y) for y in rows["year"]]) + i * width - 0.4 + width / 2
        axes.bar(at, rows["qlike"].to_numpy(), width, label=_label(model), color=_colour(model, i))
    every = -(-len(years) // N_YEAR_LABELS)
    axes.set_xticks(range(0, len(years), every), [str(y) for y in years[::every]])
    axes.set(xlabel="year", ylabel="QLIKE (lower is better)", title="Out-of-fold QLIKE per year")
    _legend(figure)
    return figure


def _forecast_vs_realised(table: pl.DataFrame) -> "Figure":
    figure, axes = _figure()
    time = table["timestamp"].to_numpy()
    names = sorted((c for c in table.columns if c != "timestamp"), key=_order, reverse=True)
    for i, name in enumerate(names):
        width = 0.6 if name == "realised" else 1.1
        axes.plot(
            time, table[name].to_numpy(), label=_label(name), color=_colour(name, i), lw=width
        )
    axes.yaxis.set_major_formatter("{x:.1%}")
    axes.set(
        xlabel="decision time",
        ylabel="volatility per bar\n(root of the mean variance of all symbols)",
        title="Forecast against realised, out of fold",
    )
    _dates(axes)
    _legend(figure)
    return figure


def _equity(table: pl.DataFrame) -> "Figure":
    figure, (top, bottom) = _figures(2, (9.0, 6.3))
    time = table["timestamp"].to_numpy()
    for i, name in enumerate(c for c in table.columns if c not in ("timestamp", "drawdown")):
        top.plot(time, table[name].to_numpy(), label=_label(name), color=_colour(name, i), lw=1.1)
    top.axhline(0, color="black", lw=0.6)
    top.set(ylabel="log of wealth, 0 at the start")
    top.set_title("Out-of-fold equity, net and gross of costs, against buy and hold")
    bottom.fill_between(time, table["drawdown"].to_numpy(), color=BLUE, alpha=0.5, lw=0)
    bottom.yaxis.set_major_formatter("{x:.0%}")
    bottom.set(xlabel="decision time", ylabel="drawdown of net")
    _dates(bottom)
    _legend(figure)
    return figure


def _confusion(table: pl.DataFrame) -> "Figure":
    figure, axes = _figure((6.0, 5.2))
    names = table["realised"].to_list()
    counts = table.select(names).to_numpy()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (i, j), count in np.ndenumerate(counts):
        shade = "white" if share[i, j] > 0.65 else "black"
        text = f"{int(count):,}\n{share[i, j]:.0%}"
        axes.text(j, i, text, ha="center", va="center", color=shade)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="most probable class", ylabel="realised class")
    axes.set_title("Confusion, out of fold: rows, share of the realised class")
    return figure


def _reliability(table: pl.DataFrame) -> "Figure":
    figure, axes = _figure((5.8, 5.8))
    stated, observed = table["confidence"].to_numpy(), table["frequency"].to_numpy()
    both = np.concatenate((stated, observed))
    low, high = max(0.0, both.min() - 0.05), min(1.0, both.max() + 0.05)
    axes.plot([low, high], [low, high], color="black", lw=0.8, ls="--", label="perfect")
    axes.plot(stated, observed, "o-", color=BLUE, lw=1, label="bins of equal size, out of fold")
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.set(xlabel="stated probability of the signal", ylabel="how often it came true")
    axes.set_title("Reliability")
    axes.grid(alpha=0.3)
    _legend(figure)
    return figure


def _coverage(table: pl.DataFrame) -> "Figure":
    figure, axes = _figure((9.0, 4.2))
    kept = table.drop_nulls("coverage")
    axes.plot(
        kept["fold"].to_numpy(), kept["coverage"].to_numpy(), "o", color=BLUE, label="measured"
    )
    for nominal in table["nominal"].unique():
        axes.axhline(nominal, color="black", lw=0.8, ls="--", label=f"promised: {nominal:.0%}")
    axes.set_xticks(table["fold"].to_list())
    axes.set_xlim(-0.5, table["fold"].len() - 0.5)
    least = kept["coverage"].min()
    axes.set_ylim(min(0.75, (least if isinstance(least, float) else 1.0) - 0.02), 1.0)
    axes.grid(axis="y", alpha=0.3)
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set(xlabel="fold (none without earlier folds to calibrate on)")
    axes.set(ylabel="realised values inside", title="Coverage of the interval, out of fold")
    _legend(figure)
    return figure


def _cost_grid(table: pl.DataFrame) -> "Figure":
    figure, axes = _figure((6.0, 4.2))
    names = [f"x{m:g}" for m in table["multiple"]]
    bars = axes.bar(names, table["sharpe"].to_numpy(), color=BLUE, width=0.6)
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.axhline(0, color="black", lw=0.8)
    axes.margins(y=0.15)
    axes.set(xlabel="multiple of the assumed cost (x0 is gross)", ylabel="annualised Sharpe ratio")
    axes.set_title("What costs leave of the strategy, out of fold")
    return figure


def _regime_probabilities(table: pl.DataFrame) -> "Figure":
    from matplotlib import colormaps

    figure, axes = _figure((9.0, 4.2))
    names = [c for c in table.columns if c != "timestamp"]
    shades = [colormaps["RdYlBu_r"](x) for x in np.linspace(0.1, 0.9, len(names))]
    levels = [table[name].to_numpy() for name in names]
    axes.stackplot(table["timestamp"].to_numpy(), levels, labels=map(_label, names), colors=shades)
    axes.set(xlim=(table["timestamp"][0], table["timestamp"][-1]), ylim=(0, 1))
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set(xlabel="decision time", ylabel="filtered probability\n(mean over symbols)")
    axes.set_title("Regimes by what was known at each close, out of fold")
    _dates(axes)
    _legend(figure)
    return figure


def _alarms_per_year(table: pl.DataFrame) -> "Figure":
    figure, axes = _figure((9.0, 4.2))
    years = [str(year) for year in table["year"]]
    axes.bar(years, table["rate"].to_numpy(), color=BLUE, label="measured")
    every = -(-len(years) // N_YEAR_LABELS)
    axes.set_xticks(range(0, len(years), every), years[::every])
    for stated in table["stated"].unique():
        axes.axhline(stated, color="black", lw=0.8, ls="--", label=f"stated: {stated:.2%}")
    axes.yaxis.set_major_formatter("{x:.1%}")
    axes.set(xlabel="year", ylabel="rows with an alarm", title="Rate of alarms, out of fold")
    _legend(figure)
    return figure


def _forecast_groups(table: pl.DataFrame) -> "Figure":
    figure, axes = _figure((5.8, 5.2))
    said, came = table["forecast"].to_numpy(), table["realised"].to_numpy()
    axes.axline((0, 0), slope=1, color="black", lw=0.8, ls="--", label="perfect")
    axes.plot(said, came, "o-", color=BLUE, lw=1, label="groups of equal size, out of fold")
    axes.margins(0.1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:.2%}")
    axes.locator_params(axis="x", nbins=6)
    axes.set(xlabel="mean forecast (log return)", ylabel="mean realised (log return)")
    axes.set_title("What came of forecasts of each size")
    axes.grid(alpha=0.3)
    _legend(figure)
    return figure


DRAWN: Mapping[str, Callable[[pl.DataFrame], "Figure"]] = {
    "qlike_per_year": _qlike_per_year,
    "forecast_vs_realised": _forecast_vs_realised,
    "equity": _equity,
    "confusion": _confusion,
    "reliability": _reliability,
    "coverage": _coverage,
    "cost_grid": _cost_grid,
    "regime_probabilities": _regime_probabilities,
    "alarms_per_year": _alarms_per_year,
    "forecast_groups": _forecast_groups,
}


def _order(name: str) -> int:
    """Place the model first, then its rivals, then what happened."""
    names = list(COLOURS)
    return names.index(name) if name in names else len(names)


def _label(name: str) -> str:
    return LABELS.get(name, name.replace("_", " "))


def _colour(name: str, place: int) -> str:
    return COLOURS.get(name, (BLUE, RED, ORANGE, GREEN, GREY)[place % 5])


def _dates(axes: "Axes") -> None:
    """Mark a time axis with few dates, the year written once."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=4, maxticks=10)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _legend(figure: "Figure") -> None:
    """Put one legend for the whole figure below it."""
    figure.legend(loc="outside lower center", ncols=4, frameon=False)


def _figure(size: tuple[float, float] = SIZE) -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained", dpi=110)
    return figure, figure.add_subplot()


def _figures(n_rows: int, size: tuple[float, float]) -> tuple["Figure", "NDArray[np.object_]"]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained", dpi=110)
    return figure, figure.subplots(n_rows, sharex=True)


def _log(figure: "Figure", name: str) -> None:
    import mlflow

    mlflow.log_figure(figure, f"pictures/{name}.png")
