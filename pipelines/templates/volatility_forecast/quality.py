"""How variance forecasts are judged: against EWMA, HAR and GARCH, by one proxy for all.

Losses are ln f + rv/f (finite at rv = 0, ranked as QLIKE does: Patton 2011), averaged per date
over symbols; differences are tested by Diebold and Mariano (1995). A model must beat EWMA, and may
not be worse than HAR and GJR-GARCH. The gates are those of docs/templates/volatility_forecast.md.
GARCH forecasts come from outside (`pipelines/recipes/rivals.py`) as outcomes named `rival.NAME`;
where they were not made, their lines are missing and the gate of GJR-GARCH reads not computed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.bars import TIMESTAMP
from pipelines.method import plausibility
from pipelines.method.mean_tests import MeanTest, diebold_mariano
from pipelines.method.metrics import log_score, qlike
from pipelines.method.rows import LabelledRows
from pipelines.method.statistics import mean_per_date
from registry.gates import PLAUSIBLE_VOLATILITY_R2, VOLATILITY_FORECAST, GateRow

Array = NDArray[np.float64]


FEARED = {"har": "HAR", "gjr_garch": "GJR-GARCH"}
"""Rivals that a model may not be worse than, with their names for people."""
LEAST_SHARE = 0.5
"""Share of the rows that such a rival must have a forecast for."""


@dataclass(frozen=True, slots=True)
class VarianceForecasts:
    """Forecasts of the same rows, (n,) each, NaN where a rival has none.

    `model`, `ewma`, `scaled_ewma` and `har` (both times a constant of the training slice) are
    always there; `others` by name.
    """

    model: Array
    ewma: Array
    scaled_ewma: Array
    har: Array
    others: Mapping[str, Array]

    def named(self) -> dict[str, Array]:
        """Return name -> forecast, the model first."""
        own = {"model": self.model, "ewma": self.ewma, "scaled_ewma": self.scaled_ewma}
        return own | {"har": self.har} | dict(self.others)

    def rivals(self) -> tuple[str, ...]:
        """Return the names of the rivals."""
        return tuple(self.named())[1:]


def judge(
    rows: LabelledRows, forecasts: VarianceForecasts, horizon: int
) -> tuple[dict[str, float], tuple[GateRow, ...], pl.DataFrame]:
    """Return metrics, gates, and the table `rivals`.

    Args:
        horizon: bars that a realised variance spans.
    """
    named = forecasts.named()
    loss = {name: log_score(f, rows.y) for name, f in named.items()}
    score = {name: float(np.nanmean(qlike(f, rows.y))) for name, f in named.items()}
    tests = {
        name: diebold_mariano(loss["model"], loss[name], rows.t0, horizon)
        for name in forecasts.rivals()
    }
    t = {name: test.z for name, test in tests.items()}
    difference = {
        name: float(mean_per_date(loss["model"] - loss[name], rows.t0).mean())
        for name in forecasts.rivals()
    }
    bias = float(rows.y.mean() / forecasts.model.mean())
    n_dates = len(np.unique(rows.t0))
    note = f"{n_dates} dates, {len(rows)} out-of-fold rows"
    gates = (
        VOLATILITY_FORECAST.row(
            "quality.qlike_vs_ewma", difference["ewma"], f"mean difference; {note}"
        ),
        VOLATILITY_FORECAST.row("quality.dm_ewma", t["ewma"], _note(tests["ewma"], rows)),
        VOLATILITY_FORECAST.row(
            "quality.dm_scaled_ewma", t["scaled_ewma"], _note(tests["scaled_ewma"], rows)
        ),
        VOLATILITY_FORECAST.row("quality.bias", bias, f"mean rv / mean forecast; {note}"),
        *(_not_worse(name, tests.get(name), named.get(name), len(rows)) for name in FEARED),
    )
    metrics = {
        "qlike": score["model"],
        "loss_vs_ewma": difference["ewma"],
        "bias_ratio": bias,
        "n_oof_rows": float(len(rows)),
        "n_oof_dates": float(n_dates),
    }
    metrics |= {f"qlike_{name}": score[name] for name in forecasts.rivals()}
    metrics |= {f"dm_t_{name}": value for name, value in t.items() if value is not None}
    return metrics, gates, _rivals(named, score, difference, t)


def _not_worse(name: str, test: MeanTest | None, forecast: Array | None, n_rows: int) -> GateRow:
    """Return the gate of a rival that the model may not be worse than, on the rival's rows."""
    gate = f"quality.not_worse_than_{name}"
    n_known = 0 if forecast is None else int(np.isfinite(forecast).sum())
    if test is None or n_known < LEAST_SHARE * n_rows:
        return VOLATILITY_FORECAST.row(
            gate,
            None,
            f"{n_known} of {n_rows} rows have a forecast of "
            f"{FEARED[name]}, half of them are needed: on the others its fit did not converge, or "
            "there were too few returns before them",
        )
    note = (
        f"upper 95 % bound of the mean difference of ln f + rv/f from {FEARED[name]}; "
        f"{test.note}; {n_known} of {n_rows} out-of-fold rows"
    )
    return VOLATILITY_FORECAST.row(gate, test.upper() if test.varies else test.mean, note)


def plausible(rows: LabelledRows, forecast: Array, horizon: int) -> GateRow:
    """Return the gate `plausibility.r2`: the share of variance within symbols that is explained.

    Each symbol is measured in its own mean variance, so that it is no skill to know that one is
    more volatile than another.
    """
    count = np.maximum(np.bincount(rows.symbol), 1)
    mean = (np.bincount(rows.symbol, rows.y) / count)[rows.symbol]
    moves = mean > 0
    y, f, level, t0 = rows.y[moves], forecast[moves], mean[moves], rows.t0[moves]
    losses = ((y - f) / level) ** 2, (y / level - 1) ** 2
    explained = plausibility.share_explained(*losses, t0, horizon)
    return explained.row(PLAUSIBLE_VOLATILITY_R2, "R2 of variances within symbols, out of fold")


def _note(test: MeanTest, rows: LabelledRows) -> str:
    return f"Diebold-Mariano of ln f + rv/f, per date: {test.note}; {len(rows)} out-of-fold rows"


def _rivals(
    named: Mapping[str, Array],
    score: Mapping[str, float],
    difference: Mapping[str, float],
    t: Mapping[str, float | None],
) -> pl.DataFrame:
    """Return one line per forecast, best QLIKE first.

    `loss_difference` and `dm_t` are the model's against that rival: negative, the model is better.
    """
    lines = [
        (name, score[name], difference.get(name), t.get(name), int(np.isfinite(f).sum()))
        for name, f in named.items()
    ]
    schema = {
        "forecast": pl.String(),
        "qlike": pl.Float64(),
        "loss_difference": pl.Float64(),
        "dm_t": pl.Float64(),
        "n_rows": pl.Int64(),
    }
    return pl.DataFrame(lines, schema=schema, orient="row").sort("qlike")


# Tables ----------------------------------------------------------------------------------------


def _frame(rows: LabelledRows, forecasts: VarianceForecasts) -> pl.DataFrame:
    names = pl.Series("symbol", list(rows.symbols)).gather(rows.symbol.astype(np.uint32))
    named = forecasts.named()
    return pl.DataFrame(
        {"symbol": names, "timestamp": pl.Series(rows.t0).cast(TIMESTAMP), "realised": rows.y}
        | named
        | {f"qlike_{name}": qlike(f, rows.y) for name, f in named.items()}
    )


def _mean_qlike(name: str) -> pl.Expr:
    return pl.col(f"qlike_{name}").drop_nans().mean()


def per_year(rows: LabelledRows, forecasts: VarianceForecasts) -> pl.DataFrame:
    """Return the mean QLIKE per year and model: year, model, qlike."""
    frame = _frame(rows, forecasts).with_columns(pl.col("timestamp").dt.year().alias("year"))
    means = frame.group_by("year").agg(_mean_qlike(name).alias(name) for name in forecasts.named())
    long = means.rename({"model": "forecast"}).unpivot(index="year", variable_name="model")
    return long.rename({"value": "qlike"}).drop_nulls("qlike").sort("year", "model")


def over_time(rows: LabelledRows, forecasts: VarianceForecasts) -> pl.DataFrame:
    """Return per date the square root of the symbols' mean variance, per bar."""
    columns = {"realised": "realised", "forecast": "model", "ewma": "ewma"}
    return (
        _frame(rows, forecasts)
        .group_by("timestamp")
        .agg(pl.col(c).mean().sqrt().alias(name) for name, c in columns.items())
        .sort("timestamp")
    )


def per_symbol(rows: LabelledRows, forecasts: VarianceForecasts) -> pl.DataFrame:
    """Return per symbol: n_rows, QLIKE of the model and of EWMA, bias_ratio, better (bool)."""
    return (
        _frame(rows, forecasts)
        .group_by("symbol")
        .agg(
            pl.len().alias("n_rows"),
            _mean_qlike("model").alias("qlike"),
            _mean_qlike("ewma").alias("qlike_ewma"),
            (pl.col("realised").mean() / pl.col("model").mean()).alias("bias_ratio"),
        )
        .with_columns((pl.col("qlike") < pl.col("qlike_ewma")).alias("better"))
        .sort("symbol")
    )
