"""Pictures of a run, logged to MLflow under `pictures/`.

`log_tables` draws each table of an `Evaluation` that it knows by name; the other functions draw
what belongs to one stage. Every picture says what its axes are and in which unit.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from registry.gates import GateRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = ("#1b4f72", "#c0392b", "#7f8c8d", "#229954", "#b9770e")
SIZE = (9.0, 4.5)


def log_tables(tables: Mapping[str, pl.DataFrame]) -> None:
    """Draw and log every table that has a picture."""
    for name, table in tables.items():
        if name in DRAWN and len(table):
            _log(DRAWN[name](table), name)


def log_importance(names: Sequence[str], importance: NDArray[np.float64]) -> None:
    """Log importance per feature, largest on top."""
    figure, axes = _figure((7.0, 0.28 * len(names) + 1.2))
    order = np.argsort(importance)
    axes.barh(np.array(names)[order], importance[order], color=PALETTE[0])
    axes.set(xlabel="share of importance", title="Feature importance of the final fit")
    _log(figure, "importance")


def log_fold_map(folds: pl.DataFrame) -> None:
    """Log which span each fold trains on, purges and tests.

    Args:
        folds: columns fold, part (train, purged, test), start, end.
    """
    figure, axes = _figure()
    colour = {"train": PALETTE[0], "purged": PALETTE[4], "test": PALETTE[1]}
    for row in folds.iter_rows(named=True):
        axes.barh(
            row["fold"],
            row["end"] - row["start"],
            left=row["start"],
            color=colour[row["part"]],
            height=0.7,
        )
    axes.invert_yaxis()
    for part, shade in colour.items():
        axes.plot([], [], color=shade, linewidth=6, label=part)
    axes.legend(loc="lower left")
    axes.set(xlabel="decision time", ylabel="fold", title="Walk-forward folds")
    _log(figure, "fold_map")


def log_gates(record: Sequence[GateRow]) -> None:
    """Log the gate rows as a readable table."""
    figure, axes = _figure((11.0, 0.34 * len(record) + 1.0))
    axes.axis("off")
    cells = [
        ["passed" if r.passed else "refused", r.gate, r.line().split(": ", 1)[1][:110]]
        for r in record
    ]
    table = axes.table(cells, colWidths=[0.08, 0.2, 0.72], cellLoc="left", loc="upper left")
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    for (line, column), cell in table.get_celld().items():
        cell.set_linewidth(0.3)
        if column == 0:
            cell.set_facecolor("#d5f5e3" if record[line].passed else "#fadbd8")
    axes.set_title("Gates")
    _log(figure, "gates")


def log_challenge(table: pl.DataFrame) -> None:
    """Log cumulated loss against the baseline of champion and challenger.

    Args:
        table: columns timestamp, champion, challenger, baseline (mean loss per bar time).
    """
    figure, axes = _figure()
    baseline = table["baseline"].to_numpy()
    for name, shade in (("champion", PALETTE[0]), ("challenger", PALETTE[1])):
        axes.plot(
            table["timestamp"].to_numpy(),
            np.cumsum(table[name].to_numpy() - baseline),
            label=name,
            color=shade,
        )
    axes.axhline(0, color=PALETTE[2], linewidth=0.8)
    axes.legend()
    axes.set(
        xlabel="decision time",
        ylabel="cumulated loss minus baseline (lower is better)",
        title="Challenger against champion, on days that neither fit has seen",
    )
    _log(figure, "challenge")


def _qlike_per_year(table: pl.DataFrame) -> "Figure":
    figure, axes = _figure()
    years = sorted(table["year"].unique().to_list())
    models = table["model"].unique(maintain_order=True).to_list()
    width = 0.8 / len(models)
    for i, model in enumerate(models):
        rows = table.filter(pl.col("model") == model).sort("year")
        at = np.array([years.index(y) for y in rows["year"]]) + i * width - 0.4 + width / 2
        axes.bar(at, rows["qlike"].to_numpy(), width, label=model, color=PALETTE[i % len(PALETTE)])
    axes.set_xticks(range(len(years)), [str(y) for y in years], rotation=45)
    axes.legend()
    axes.set(xlabel="year", ylabel="QLIKE (lower is better)", title="Out-of-fold QLIKE per year")
    return figure


def _forecast_vs_realised(table: pl.DataFrame) -> "Figure":
    figure, axes = _figure()
    labels = [c for c in table.columns if c != "timestamp"]
    for i, name in enumerate(labels):
        shade, line = ("#aab7b8", 0.7) if name == "realised" else (PALETTE[i % len(PALETTE)], 1.0)
        axes.plot(
            table["timestamp"].to_numpy(), table[name].to_numpy(), label=name, color=shade, lw=line
        )
    axes.legend()
    axes.set(
        xlabel="decision time",
        ylabel="volatility per bar, mean over symbols",
        title="Forecast against realised, out of fold",
    )
    return figure


def _equity(table: pl.DataFrame) -> "Figure":
    figure, (top, bottom) = _figures(2, (9.0, 6.0))
    time = table["timestamp"].to_numpy()
    for i, name in enumerate(c for c in table.columns if c not in ("timestamp", "drawdown")):
        top.plot(time, table[name].to_numpy(), label=name.replace("_", " "), color=PALETTE[i])
    top.legend()
    top.set(ylabel="log equity", title="Out-of-fold equity, net of costs, against buy and hold")
    bottom.fill_between(time, table["drawdown"].to_numpy(), color=PALETTE[1], alpha=0.6)
    bottom.set(xlabel="decision time", ylabel="drawdown of net")
    return figure


def _confusion(table: pl.DataFrame) -> "Figure":
    figure, axes = _figure((5.5, 4.8))
    names = table["realised"].to_list()
    counts = table.select(names).to_numpy()
    axes.imshow(counts, cmap="Blues")
    for (i, j), count in np.ndenumerate(counts):
        dark = count > counts.max() / 2
        axes.text(j, i, f"{int(count):,}", ha="center", color="white" if dark else "black")
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="most probable class", ylabel="realised class", title="Confusion, out of fold")
    return figure


def _reliability(table: pl.DataFrame) -> "Figure":
    figure, axes = _figure((5.5, 5.0))
    axes.plot([0, 1], [0, 1], color=PALETTE[2], lw=0.8, label="perfect")
    axes.plot(
        table["confidence"].to_numpy(),
        table["frequency"].to_numpy(),
        "o-",
        color=PALETTE[0],
        label="out of fold",
    )
    axes.legend()
    axes.set(xlabel="stated probability", ylabel="observed frequency", title="Reliability")
    return figure


def _coverage(table: pl.DataFrame) -> "Figure":
    figure, axes = _figure()
    value = next(c for c in table.columns if c.startswith("coverage"))
    key = next(c for c in table.columns if c != value)
    axes.plot(table[key].to_numpy(), table[value].to_numpy(), color=PALETTE[0])
    axes.axhline(0.9, color=PALETTE[2], lw=0.8)
    axes.set(xlabel=key, ylabel="share inside the interval", title="Interval coverage, out of fold")
    return figure


def _cost_grid(table: pl.DataFrame) -> "Figure":
    figure, axes = _figure((5.5, 4.0))
    axes.bar([f"x{m:g}" for m in table["multiple"]], table["sharpe"].to_numpy(), color=PALETTE[0])
    axes.axhline(0, color="black", lw=0.8)
    axes.set(xlabel="multiple of the assumed cost", ylabel="annualised Sharpe", title="Cost grid")
    return figure


DRAWN: Mapping[str, Callable[[pl.DataFrame], "Figure"]] = {
    "qlike_per_year": _qlike_per_year,
    "forecast_vs_realised": _forecast_vs_realised,
    "equity": _equity,
    "confusion": _confusion,
    "reliability": _reliability,
    "coverage": _coverage,
    "cost_grid": _cost_grid,
}


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
