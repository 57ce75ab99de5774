"""Template `volatility_forecast`: realised variance of the next h bars, relative to EWMA(0.94).

Label: mean squared log return over t+1 .. t+h. Fitted target: label / EWMA variance, by gamma
deviance (2 * QLIKE), so the score s means variance = exp(s) * EWMA. The answer is a volatility
with a conformal interval for what will be realised. Judged by ln f + rv/f against EWMA(0.94) and
against EWMA times a constant fitted on the training slice (docs/templates.md).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.architectures import Objective
from pipelines.bars import TIMESTAMP, BarSeries
from pipelines.datasets import LabelledRows, OutOfFold, known_to
from pipelines.hyperparameters import Space
from pipelines.labels import end_times, ewma_variance, realised_variance
from pipelines.metrics import bars_per_year, log_score, qlike
from pipelines.statistics import (
    SIGNIFICANT,
    conformal_quantile,
    diebold_mariano,
    hac_lags,
    mean_per_date,
)
from pipelines.templates import Arrays, Evaluation, Labels, TrialFamily
from registry.contract import Json, ModelContract
from registry.decoder import Decoder
from registry.errors import ParameterError
from registry.gates import GateRow

Array = NDArray[np.float64]

LEVEL = 0.9
LARGEST_TARGET, SMALLEST_TARGET = 50.0, 1e-4
LARGEST_SCORE = 30.0
"""exp(30) is 1e13: beyond any forecast, and still finite in every loss."""
EWMA_FEATURE = "log_ewma_variance"


class VolatilityForecast:
    """The template; see the module."""

    name = "volatility_forecast"
    inputs: Literal["bars"] = "bars"
    feature_set = "close_only"
    architectures: tuple[str, ...] = ("xgboost", "lstm")
    parameters: ClassVar[Mapping[str, Mapping[str, Json]]] = {}
    options: ClassVar[Space] = {}
    horizon_bars = 5
    loss_margin = 0.01
    is_action = False

    def objective(self, spec: Mapping[str, Json]) -> Objective:
        """Return gamma deviance on one score."""
        return Objective("gamma", 1)

    def label_spec(
        self,
        horizon_bars: int | None,
        training: Sequence[BarSeries],
        options: Mapping[str, Json],
    ) -> dict[str, Json]:
        """Return horizon and proxy; nothing is fitted.

        Raises:
            ParameterError: `horizon_bars` below 1.
        """
        horizon = self.horizon_bars if horizon_bars is None else horizon_bars
        if horizon < 1:
            raise ParameterError("horizon", horizon, "at least one bar")
        return {
            "kind": "realised_variance",
            "horizon_bars": horizon,
            "proxy": "mean squared close-to-close log return",
            "baseline": "EWMA(0.94) of squared log returns",
        }

    def cost_spec(self) -> dict[str, Json]:
        """Return nothing: a forecast trades nothing."""
        return {}

    def context(self, series: BarSeries) -> Arrays:
        """Return `ewma_variance` (per bar) and `close`."""
        return {"ewma_variance": ewma_variance(series.close), "close": series.close}

    def label(self, series: BarSeries, context: Arrays, spec: Mapping[str, Json]) -> Labels:
        """Return the mean squared log return over the next h bars, known at bar t+h."""
        horizon = int(cast(int, spec["horizon_bars"]))
        y = realised_variance(series.close, horizon)
        return Labels(y, end_times(series.timestamp, horizon), {})

    def target(self, y: Array, context: Arrays) -> tuple[Array, NDArray[np.bool_]]:
        """Return y / EWMA cut at 50; a fit may use ratios above 1e-4 (gamma needs y > 0)."""
        ratio = y / context["ewma_variance"]
        return np.minimum(ratio, LARGEST_TARGET), ratio > SMALLEST_TARGET

    def fit_decoder(self, oof: OutOfFold, training: LabelledRows) -> Decoder:
        """Fit the conformal quantiles of rv / forecast and count the bars of a year.

        `ratio_lower` and `ratio_upper` are None while `oof` is too small for them.
        """
        known = known_to(training, oof)
        ratio = known.rows.y / _forecast(known.rows, known.scores)
        tail = (1 - LEVEL) / 2
        lower = conformal_quantile(-ratio, 1 - tail)
        per_year = bars_per_year(training.t0, training.symbol)
        return Decoder(
            {
                "level": LEVEL,
                "ratio_lower": None if lower is None else -lower,
                "ratio_upper": conformal_quantile(ratio, 1 - tail),
                "ewma_scale": float(training.target.mean()),
                "bars_per_year": per_year,
                "bars_per_day": _bars_per_day(training.t0, per_year),
                "n_calibration_rows": len(ratio),
            }
        )

    def decode(
        self,
        scores: NDArray[np.float32],
        features: NDArray[np.float32],
        context: Arrays,
        decoder: Decoder,
        contract: ModelContract,
        refusals: Sequence[str] = (),
    ) -> list[dict[str, Any]]:
        """Return one forecast per row.

        Fields: `forecast_variance` (mean squared log return per bar), `volatility_daily`,
        `volatility_annualised` (its square root per day and per year), `interval` (lower, upper,
        level) of the realised volatility over the horizon, annualised, and `baseline_volatility`
        (EWMA, annualised). Volatilities are fractions: 0.2 is 20 %.
        """
        baseline = _baseline(features, context, contract.feature_names)
        growth = _growth(scores)
        return [
            _answer(float(e), float(g), decoder.facts)
            for e, g in zip(baseline, growth, strict=True)
        ]

    def loss(self, rows: LabelledRows, scores: NDArray[np.float32], decoder: Decoder) -> Array:
        """Return ln f + rv/f of each row."""
        return log_score(_forecast(rows, scores), rows.y)

    def baseline_loss(self, rows: LabelledRows, decoder: Decoder | None = None) -> Array:
        """Return ln f + rv/f of the EWMA(0.94) forecast."""
        return log_score(rows.context["ewma_variance"], rows.y)

    def evaluate(
        self,
        oof: OutOfFold,
        decoders: Mapping[int, Decoder],
        spec: Mapping[str, Json],
        family: TrialFamily,
        interval: str,
    ) -> Evaluation:
        """Judge the forecasts against EWMA and scaled EWMA; the gates are in docs/templates.md."""
        rival = _Rivals.of(oof, decoders)
        coverage = _coverage(oof, decoders, rival.model)
        metrics, gates = _judge(oof.rows, rival, hac_lags(int(cast(int, spec["horizon_bars"]))))
        kept = coverage.filter(pl.col("coverage").is_not_null())
        if len(kept):
            covered = np.average(kept["coverage"], weights=kept["n_rows"])
            metrics |= {"interval_coverage": float(covered), "interval_level": LEVEL}
        tables = {
            "qlike_per_year": _per_year(oof.rows, rival),
            "forecast_vs_realised": _over_time(oof.rows, rival),
            "per_symbol": _per_symbol(oof.rows, rival),
            "coverage": coverage,
        }
        return Evaluation(metrics, gates, tables)


# Answers ---------------------------------------------------------------------------------------


def _growth(scores: NDArray[np.float32]) -> Array:
    """Return exp(s), the forecast as a multiple of EWMA."""
    bounded = np.clip(scores[:, 0].astype(np.float64), -LARGEST_SCORE, LARGEST_SCORE)
    return np.asarray(np.exp(bounded), dtype=np.float64)


def _forecast(rows: LabelledRows, scores: NDArray[np.float32]) -> Array:
    return np.asarray(_growth(scores) * rows.context["ewma_variance"], dtype=np.float64)


def _baseline(features: NDArray[np.float32], context: Arrays, names: tuple[str, ...]) -> Array:
    """Return the EWMA variance of each row: from the context, else from the feature that holds it.

    NaN where neither is there.
    """
    unknown = np.full(len(features), np.nan)
    known = context.get("ewma_variance", unknown)
    if EWMA_FEATURE not in names:
        return known
    logarithm = features[:, names.index(EWMA_FEATURE)].astype(np.float64)
    return np.where(np.isfinite(known), known, np.exp(logarithm))


def _answer(ewma: float, growth: float, facts: Mapping[str, Json]) -> dict[str, Any]:
    variance = growth * ewma
    if not math.isfinite(variance):
        names = ("forecast_variance", "volatility_daily", "volatility_annualised")
        return dict.fromkeys((*names, "interval", "baseline_volatility"))
    year, day = _number(facts, "bars_per_year"), _number(facts, "bars_per_day")
    return {
        "forecast_variance": variance,
        "volatility_daily": math.sqrt(variance * day),
        "volatility_annualised": math.sqrt(variance * year),
        "interval": _interval(variance * year, facts),
        "baseline_volatility": math.sqrt(ewma * year),
    }


def _interval(variance: float, facts: Mapping[str, Json]) -> dict[str, float] | None:
    if facts["ratio_lower"] is None or facts["ratio_upper"] is None:
        return None
    lower, upper = _number(facts, "ratio_lower"), _number(facts, "ratio_upper")
    return {
        "lower": math.sqrt(variance * lower),
        "upper": math.sqrt(variance * upper),
        "level": _number(facts, "level"),
    }


def _number(facts: Mapping[str, Json], name: str) -> float:
    return float(cast(float, facts[name]))


def _bars_per_day(t0: NDArray[np.int64], per_year: float) -> float:
    """Return bars per date that has bars; below one a day, a year of 252 days is assumed."""
    times = np.unique(t0)
    if per_year < 200:
        return per_year / 252
    return len(times) / len(np.unique(times // 86_400_000_000))


# Judgement -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rivals:
    """Variance forecasts of the same rows: the model, EWMA(0.94), EWMA times a fitted constant."""

    model: Array
    ewma: Array
    scaled_ewma: Array

    @classmethod
    def of(cls, oof: OutOfFold, decoders: Mapping[int, Decoder]) -> "_Rivals":
        scales = {f: _number(d.facts, "ewma_scale") for f, d in decoders.items()}
        scale = np.asarray([scales[int(f)] for f in np.unique(oof.fold)])
        ewma = oof.rows.context["ewma_variance"]
        position = np.searchsorted(np.unique(oof.fold), oof.fold)
        return cls(_forecast(oof.rows, oof.scores), ewma, ewma * scale[position])

    def named(self) -> dict[str, Array]:
        return {"model": self.model, "ewma": self.ewma, "scaled_ewma": self.scaled_ewma}


def _judge(
    rows: LabelledRows, rival: _Rivals, lags: int
) -> tuple[dict[str, float], tuple[GateRow, ...]]:
    loss = {name: log_score(f, rows.y) for name, f in rival.named().items()}
    score = {name: float(np.nanmean(qlike(f, rows.y))) for name, f in rival.named().items()}
    difference = float(mean_per_date(loss["model"] - loss["ewma"], rows.t0).mean())
    dm = {
        name: diebold_mariano(loss["model"], loss[name], rows.t0, lags)
        for name in ("ewma", "scaled_ewma")
    }
    bias = float(rows.y.mean() / rival.model.mean())
    n_dates = len(np.unique(rows.t0))
    note = f"{n_dates} dates, {len(rows)} out-of-fold rows"
    t_note = f"Diebold-Mariano t of ln f + rv/f per date, HAC lag {lags}; {note}"
    gates = (
        GateRow("quality.qlike_vs_ewma", difference, "<", 0.0, f"mean difference; {note}"),
        GateRow("quality.dm_ewma", dm["ewma"], "<", SIGNIFICANT, t_note),
        GateRow("quality.dm_scaled_ewma", dm["scaled_ewma"], "<", SIGNIFICANT, t_note),
        GateRow("quality.bias", bias, "between", (0.8, 1.25), f"mean rv / mean forecast; {note}"),
    )
    metrics = {
        "qlike": score["model"],
        "qlike_ewma": score["ewma"],
        "qlike_scaled_ewma": score["scaled_ewma"],
        "loss_vs_ewma": difference,
        "bias_ratio": bias,
        "n_oof_rows": float(len(rows)),
        "n_oof_dates": float(n_dates),
    }
    return metrics | {f"dm_t_{n}": t for n, t in dm.items() if t is not None}, gates


def _coverage(oof: OutOfFold, decoders: Mapping[int, Decoder], forecast: Array) -> pl.DataFrame:
    """Return per fold the share of realised variances inside the interval; null without one."""
    lines = []
    for fold in np.unique(oof.fold):
        facts, rows = decoders[int(fold)].facts, oof.fold == fold
        ratio = oof.rows.y[rows] / forecast[rows]
        share = None
        if facts["ratio_lower"] is not None and facts["ratio_upper"] is not None:
            lower, upper = _number(facts, "ratio_lower"), _number(facts, "ratio_upper")
            share = float(((ratio >= lower) & (ratio <= upper)).mean())
        lines.append((int(fold), int(rows.sum()), share, LEVEL))
    schema = {
        "fold": pl.Int64(),
        "n_rows": pl.Int64(),
        "coverage": pl.Float64(),
        "nominal": pl.Float64(),
    }
    return pl.DataFrame(lines, schema=schema, orient="row")


def _frame(rows: LabelledRows, rival: _Rivals) -> pl.DataFrame:
    names = pl.Series("symbol", list(rows.symbols)).gather(rows.symbol.astype(np.uint32))
    return pl.DataFrame(
        {"symbol": names, "timestamp": pl.Series(rows.t0).cast(TIMESTAMP), "realised": rows.y}
        | rival.named()
        | {f"qlike_{name}": qlike(f, rows.y) for name, f in rival.named().items()}
    )


def _mean_qlike(name: str) -> pl.Expr:
    return pl.col(f"qlike_{name}").drop_nans().mean()


def _per_year(rows: LabelledRows, rival: _Rivals) -> pl.DataFrame:
    frame = _frame(rows, rival).with_columns(pl.col("timestamp").dt.year().alias("year"))
    means = frame.group_by("year").agg(_mean_qlike(name).alias(name) for name in rival.named())
    long = means.rename({"model": "forecast"}).unpivot(index="year", variable_name="model")
    return long.rename({"value": "qlike"}).sort("year", "model")


def _over_time(rows: LabelledRows, rival: _Rivals) -> pl.DataFrame:
    """Return per date the square root of the symbols' mean variance, per bar."""
    columns = {"realised": "realised", "forecast": "model", "ewma": "ewma"}
    return (
        _frame(rows, rival)
        .group_by("timestamp")
        .agg(pl.col(c).mean().sqrt().alias(name) for name, c in columns.items())
        .sort("timestamp")
    )


def _per_symbol(rows: LabelledRows, rival: _Rivals) -> pl.DataFrame:
    return (
        _frame(rows, rival)
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


TEMPLATE = VolatilityForecast()
