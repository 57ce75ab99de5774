"""Panels of the evidence's origin: folds, importance, symbols, recipe and data."""

import json
from collections.abc import Mapping
from html import escape
from typing import Any

import plotly.graph_objects as go
import polars as pl

from pipelines.report import Blocks, Chart, Evidence, Grid, Remark
from pipelines.report.style import BLUE, GREY, ORANGE, PURPLE, RED, SKY, figure, times

PARTS = {
    "train": (BLUE, "train"),
    "calibrate": (SKY, "calibrate"),
    "purged": (ORANGE, "purged: the label would reach into the test span"),
    "embargo": (PURPLE, "embargo"),
    "test": (RED, "test"),
}
N_FEATURES = 40


def folds(evidence: Evidence) -> Blocks:
    """Draw the rows that each fold trains on, purges, embargoes and tests."""
    table = evidence.tables["fold_map"]
    fig = figure("decision time", "fold", hovermode="closest", barmode="overlay")
    names = [
        *(n for n in PARTS if n in set(table["part"])),
        *sorted(set(table["part"]) - set(PARTS)),
    ]
    for name in names:
        shade, text = PARTS.get(name, (GREY, escape(name)))
        rows = table.filter(pl.col("part") == name)
        length = (rows["end"] - rows["start"]).dt.total_milliseconds()
        counted = rows["n_rows"] if "n_rows" in rows.columns else pl.Series([None] * len(rows))
        ends = times(rows["end"])
        fig.add_trace(
            go.Bar(
                y=rows["fold"].to_list(), base=times(rows["start"]), x=length.to_list(),
                orientation="h", name=text, width=0.62,
                marker={"color": shade, "line": {"color": shade, "width": 2 if name in
                        ("purged", "embargo") else 0}},
                customdata=list(zip(ends, counted.to_list(), strict=True)),
                hovertemplate="fold %{y}: %{base} to %{customdata[0]}, "
                "%{customdata[1]:,} rows<extra>" + name + "</extra>",
            )
        )  # fmt: skip
    fig.update_layout(xaxis_type="date", yaxis_autorange="reversed", yaxis_dtick=1)
    n_folds = table["fold"].n_unique()
    if n_folds > 25:
        fig.update_layout(yaxis_dtick=5)
    return (Chart(fig, max(220, min(16 * n_folds, 520) + 110)),)


def importance(evidence: Evidence) -> Blocks:
    """Draw the share of each feature, largest on top."""
    table = evidence.tables["importance"].sort("importance", descending=True)
    kept = table.head(N_FEATURES)
    fig = figure("share of the total importance", "", hovermode="closest")
    fig.add_trace(
        go.Bar(x=[round(v, 5) for v in kept["importance"]], y=[escape(n) for n in kept["feature"]],
               orientation="h", marker_color=BLUE, hovertemplate="%{y}: %{x:.2%}<extra></extra>")
    )  # fmt: skip
    fig.update_layout(yaxis_autorange="reversed", yaxis_type="category", xaxis_tickformat=".1%")
    left = len(table) - len(kept)
    words = f"The other {left} features share {table['importance'][N_FEATURES:].sum():.1%}."
    return (Chart(fig, 17 * len(kept) + 90), *((Remark(words),) if left else ()))


def per_symbol(evidence: Evidence) -> Blocks:
    """Tabulate the symbols."""
    table = evidence.tables["per_symbol"]
    shares = {c: ".1%" for c in table.columns if c.endswith(("share", "accuracy", "coverage"))}
    return (Grid(table, shares),)


def specifications(evidence: Evidence) -> Blocks:
    """Tabulate everything that is needed to make this version again."""
    contract, data = evidence.contract, evidence.contract.data
    facts: dict[str, Any] = {
        "run": evidence.run_id,
        "template, architecture": f"{contract.template}, {contract.architecture}",
        "parameters": _json(contract.parameters),
        "seed": contract.seed,
        "label": _json(contract.label_spec),
        "costs": _json(contract.cost_spec) if contract.cost_spec else "none: no action",
        "inputs": f"{contract.inputs.dtype} {list(contract.inputs.shape)}",
        "feature fingerprint": contract.feature_fingerprint,
        "data": f"{data.source}, {data.n_bars:,} rows, {data.span}",
        "data sha256": data.sha256,
        "data note": data.note or "none",
        "price basis": contract.price_basis,
        "first test": data.shown(contract.first_test) if contract.first_test else "",
        "trained until": data.shown(contract.trained_until),
        "made": contract.created_at,
        "commit": contract.git_commit,
        "lock sha256": contract.lock_sha256,
        "symbols": ", ".join(contract.symbols),
    }
    lines = [(name, str(value)) for name, value in facts.items() if value not in ("", None)]
    return (Grid(pl.DataFrame(lines, schema=["fact", "value"], orient="row")),)


def measures(evidence: Evidence) -> Blocks:
    """Tabulate every metric."""
    lines = sorted(evidence.metrics.items())
    if not lines:
        return ()
    return (Grid(pl.DataFrame(lines, schema=["metric", "value"], orient="row"), {"value": ".6g"}),)


def _json(facts: Mapping[str, Any]) -> str:
    return json.dumps(dict(facts), sort_keys=True)
