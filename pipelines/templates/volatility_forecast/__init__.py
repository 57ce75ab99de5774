"""Template `volatility_forecast`: realised variance of the next h bars, relative to EWMA(0.94).

Label: mean variance per bar over t+1 .. t+h by one proxy, squared log returns or overnight^2 +
Garman-Klass. Fitted target: label / EWMA of squared log returns, by gamma deviance (2 * QLIKE), so
the score s means variance = exp(s) * EWMA. The answer is a volatility with a conformal interval
for what will be realised. Judged by ln f + rv/f against EWMA(0.94) of the same proxy, EWMA times
a constant, HAR and GARCH: see `pipelines/templates/volatility_forecast/quality.py`.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.architectures import Objective
from pipelines.architectures.hyperparameters import Choice, Space
from pipelines.data.bars import BarSeries
from pipelines.method import labels
from pipelines.method.metrics import bars_per_year, log_score
from pipelines.method.rows import LabelledRows, OutOfFold, known_to, prefixed
from pipelines.method.statistics import conformal_quantile
from pipelines.method.variance_models import HAR_BARS, best_scale, fit_har, har_forecast
from pipelines.templates import RIVAL, Arrays, BarTemplate, Evaluation, Labels
from pipelines.templates.volatility_forecast import quality
from pipelines.templates.volatility_forecast.answers import (
    VolatilityForecastAnswer,
    forecast,
    forecast_frame,
    number,
)
from pipelines.templates.volatility_forecast.quality import VarianceForecasts
from registry.contract import Json, ModelContract
from registry.decoder import Decoder
from registry.errors import MissingColumnsError, ParameterError

Array = NDArray[np.float64]

LEVEL = 0.9
LARGEST_TARGET, SMALLEST_TARGET = 50.0, 1e-4
LARGEST_SCORE = 30.0
"""exp(30) is 1e13: beyond any forecast, and still finite in every loss."""
EWMA_FEATURE = "log_ewma_variance"
PROXIES = {
    "close_to_close": "mean squared close-to-close log return",
    "garman_klass": "mean of overnight^2 + Garman-Klass variance",
}
"""Option `proxy` -> how the label spec words it."""
RANGE_COLUMNS = ("open", "high", "low")
BASELINE = "baseline_variance"
"""Outcome that holds the EWMA(0.94) of the proxy, known at t0: for judging, never an input."""


class VolatilityForecast(BarTemplate):
    """The variance relative to EWMA; the answer is a volatility with an interval."""

    name = "volatility_forecast"
    inputs = "bars"
    feature_set = "close_only"
    architectures: tuple[str, ...] = (
        *("xgboost", "lightgbm", "catboost", "gradient_boosting"),
        *("mlp", "rnn", "lstm", "gru", "transformer", "tcn"),
    )
    answer_kinds = (VolatilityForecastAnswer,)
    options: ClassVar[Space] = {"proxy": Choice("close_to_close", tuple(PROXIES))}
    parameters: ClassVar[Mapping[str, Mapping[str, Json]]] = {}
    horizon_bars = 5
    loss_margin = 0.01
    search_metrics: ClassVar[Mapping[str, str]] = {"qlike": "qlike"}
    search_gaps: ClassVar[Mapping[str, tuple[str, str]]] = {
        "ewma": ("qlike_ewma", "qlike"),
        "scaled_ewma": ("qlike_scaled_ewma", "qlike"),
        "har": ("qlike_har", "qlike"),
    }
    is_action = False
    rivals = ("garch", "gjr_garch")
    excess_gate = "quality.qlike_vs_ewma"
    forecast_shown_as = "volatility per bar (root of the symbols' mean variance)"

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
            MissingColumnsError: proxy `garman_klass` on bars without open, high and low.
        """
        horizon = self.horizon_bars if horizon_bars is None else horizon_bars
        if horizon < 1:
            raise ParameterError("horizon", horizon, "at least one bar")
        proxy = str(options.get("proxy", "close_to_close"))
        if proxy == "garman_klass":
            _check_ranges(training)
        return {
            "kind": "realised_variance",
            "horizon_bars": horizon,
            "proxy": PROXIES[proxy],
            "baseline": "EWMA(0.94) of squared log returns"
            if proxy == "close_to_close"
            else "EWMA(0.94) of the proxy",
        }

    def context(self, series: BarSeries) -> Arrays:
        """Return `ewma_variance` (of squared log returns, per bar) and `close`."""
        return {"ewma_variance": labels.ewma_variance(series.close), "close": series.close}

    def label(self, series: BarSeries, context: Arrays, spec: Mapping[str, Json]) -> Labels:
        """Return the mean variance of the next h bars, known at bar t+h.

        Outcomes, all known at t already: `baseline_variance`, the EWMA(0.94) of the proxy, and
        `variance_1`, `variance_5`, `variance_22`, its means over the newest bars, for HAR.
        """
        horizon = int(cast(int, spec["horizon_bars"]))
        variance = _bar_variance(series, spec)
        outcome = {BASELINE: labels.ewma_mean(variance)}
        outcome |= {f"variance_{k}": labels.mean_back(variance, k) for k in HAR_BARS}
        known = np.isfinite(list(outcome.values())).all(axis=0)
        y = np.where(known, labels.mean_ahead(variance, horizon), np.nan)
        t1 = np.where(np.isfinite(y), labels.end_times(series.timestamp, horizon), -1)
        return Labels(y, t1, outcome)

    def target(self, y: Array, context: Arrays) -> tuple[Array, NDArray[np.bool_]]:
        """Return y / EWMA cut at 50; a fit may use ratios above 1e-4 (gamma needs y > 0)."""
        ratio = y / context["ewma_variance"]
        return np.minimum(ratio, LARGEST_TARGET), ratio > SMALLEST_TARGET

    def fit_decoder(self, oof: OutOfFold, training: LabelledRows) -> Decoder:
        """Fit the conformal quantiles of rv / forecast, and the rivals of the training slice.

        `ewma_scale`, `har` and `har_scale` are the rivals' constants; bars of a day and a year are
        counted.
        `ratio_lower` and `ratio_upper` are None while `oof` is too small for them.
        """
        known = known_to(training, oof)
        ratio = known.rows.y / _forecast(known.rows, known.scores)
        tail = (1 - LEVEL) / 2
        lower = conformal_quantile(-ratio, 1 - tail)
        per_year = bars_per_year(training.t0, training.symbol)
        har = _fit_har(training)
        return Decoder(
            {
                "level": LEVEL,
                "ratio_lower": None if lower is None else -lower,
                "ratio_upper": conformal_quantile(ratio, 1 - tail),
                "ewma_scale": best_scale(training.y, training.outcome[BASELINE]),
                "har": har.tolist(),
                "har_scale": best_scale(training.y, _har(training, har)),
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
    ) -> list[VolatilityForecastAnswer]:
        """Return one forecast per row."""
        baseline = _baseline(features, context, contract.feature_names)
        growth = _growth(scores)
        return [
            forecast(float(e), float(g), decoder.facts)
            for e, g in zip(baseline, growth, strict=True)
        ]

    def decode_frame(
        self,
        scores: NDArray[np.float32],
        features: NDArray[np.float32],
        context: Arrays,
        decoder: Decoder,
        contract: ModelContract,
        refusals: Sequence[str] = (),
    ) -> pl.DataFrame:
        """Return the same as columns."""
        baseline = _baseline(features, context, contract.feature_names)
        return forecast_frame(baseline, _growth(scores), decoder.facts)

    def loss(self, rows: LabelledRows, scores: NDArray[np.float32], decoder: Decoder) -> Array:
        """Return ln f + rv/f of each row."""
        return log_score(_forecast(rows, scores), rows.y)

    def baseline_loss(self, rows: LabelledRows, decoder: Decoder | None = None) -> Array:
        """Return ln f + rv/f of the EWMA(0.94) forecast by the label's proxy."""
        return log_score(rows.outcome[BASELINE], rows.y)

    def evaluate(
        self,
        oof: OutOfFold,
        decoders: Mapping[int, Decoder],
        spec: Mapping[str, Json],
        interval: str,
    ) -> Evaluation:
        """Judge the forecasts against EWMA, scaled EWMA, HAR and the rivals of `outcome`."""
        rows = oof.rows
        forecasts = _forecasts(oof, decoders)
        horizon = int(cast(int, spec["horizon_bars"]))
        metrics, gates, rivals = quality.judge(rows, forecasts, horizon)
        coverage = _coverage(oof, decoders, forecasts.model)
        kept = coverage.filter(pl.col("coverage").is_not_null())
        if len(kept):
            covered = np.average(kept["coverage"], weights=kept["n_rows"])
            metrics |= {"interval_coverage": float(covered), "interval_level": LEVEL}
        tables = {
            "qlike_per_year": quality.per_year(rows, forecasts),
            "forecast_vs_realised": quality.over_time(rows, forecasts),
            "per_symbol": quality.per_symbol(rows, forecasts),
            "coverage": coverage,
            "rivals": rivals,
        }
        plausible = quality.plausible(rows, forecasts.model, horizon)
        return Evaluation(metrics, (*gates, plausible), tables)


# Labels ----------------------------------------------------------------------------------------


def _check_ranges(training: Sequence[BarSeries]) -> None:
    for series in training:
        missing = [c for c in RANGE_COLUMNS if not np.isfinite(getattr(series, c)).all()]
        if missing:
            hint = f"{series.symbol} has bars without them; choose proxy close_to_close"
            raise MissingColumnsError("proxy garman_klass", missing, hint)


def _bar_variance(series: BarSeries, spec: Mapping[str, Json]) -> Array:
    if spec.get("proxy") == PROXIES["garman_klass"]:
        return labels.garman_klass(series.open, series.high, series.low, series.close)
    return labels.log_returns(series.close) ** 2


def _means(rows: LabelledRows) -> Array:
    return np.column_stack([rows.outcome[f"variance_{k}"] for k in HAR_BARS])


def _fit_har(training: LabelledRows) -> Array:
    return fit_har(training.y, _means(training), training.outcome[BASELINE])


def _har(rows: LabelledRows, coefficients: Array) -> Array:
    return har_forecast(coefficients, _means(rows), rows.outcome[BASELINE])


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


def _bars_per_day(t0: NDArray[np.int64], per_year: float) -> float:
    """Return bars per date that has bars; below one a day, a year of 252 days is assumed."""
    times = np.unique(t0)
    if per_year < 200:
        return per_year / 252
    return len(times) / len(np.unique(times // 86_400_000_000))


# Judgement -------------------------------------------------------------------------------------


def _forecasts(oof: OutOfFold, decoders: Mapping[int, Decoder]) -> VarianceForecasts:
    """Return the model's and the rivals' forecasts, each fold by what it was fitted on."""
    rows = oof.rows
    baseline = rows.outcome[BASELINE]
    scaled, har = np.empty(len(rows)), np.empty(len(rows))
    for fold in np.unique(oof.fold):
        facts, of = decoders[int(fold)].facts, oof.fold == fold
        scaled[of] = number(facts, "ewma_scale") * baseline[of]
        line = np.asarray(facts["har"], dtype=np.float64)
        har[of] = number(facts, "har_scale") * _har(rows.take(of), line)
    others = prefixed(rows.outcome, RIVAL)
    return VarianceForecasts(_forecast(rows, oof.scores), baseline, scaled, har, others)


def _coverage(oof: OutOfFold, decoders: Mapping[int, Decoder], forecast: Array) -> pl.DataFrame:
    """Return per fold the share of realised variances inside the interval; null without one."""
    lines = []
    for fold in np.unique(oof.fold):
        facts, rows = decoders[int(fold)].facts, oof.fold == fold
        ratio = oof.rows.y[rows] / forecast[rows]
        share = None
        if facts["ratio_lower"] is not None and facts["ratio_upper"] is not None:
            lower, upper = number(facts, "ratio_lower"), number(facts, "ratio_upper")
            share = float(((ratio >= lower) & (ratio <= upper)).mean())
        lines.append((int(fold), int(rows.sum()), share, LEVEL))
    schema = {
        "fold": pl.Int64(),
        "n_rows": pl.Int64(),
        "coverage": pl.Float64(),
        "nominal": pl.Float64(),
    }
    return pl.DataFrame(lines, schema=schema, orient="row")


TEMPLATE = VolatilityForecast()
