"""Template `return_forecast`: the log return of the next h bars, with a conformal interval.

A decision at the close of t is filled at the next open where the bars have opens, else at the next
close. The label is the log return from there over h bars. The fitted target is label / sigma, with
sigma the EWMA deviation of a bar's log return known at t, so that the score is a forecast in
sigmas. The benchmark is the random walk, which forecasts zero and is seldom beaten. How it is
judged: `pipelines/templates/return_forecast/quality.py`.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.architectures import Objective
from pipelines.architectures.hyperparameters import Choice, Space
from pipelines.data.bars import BarSeries
from pipelines.method import conformal, labels
from pipelines.method.coverage import Intervals, naive_band
from pipelines.method.rows import LabelledRows, OutOfFold, known_to
from pipelines.templates import Arrays, BarTemplate, Evaluation, Labels
from pipelines.templates.return_forecast import quality
from pipelines.templates.return_forecast.answers import (
    LEVEL,
    ReturnForecastAnswer,
    forecast,
    forecast_frame,
)
from pipelines.templates.return_forecast.quality import ReturnForecasts
from registry.contract import Json, ModelContract
from registry.decoder import Decoder
from registry.errors import ParameterError

Array = NDArray[np.float64]

LARGEST_SCORE = 50.0
"""Targets are cut at this many sigmas of a bar before a fit, and scores when they are read."""


class ReturnForecast(BarTemplate):
    """A forecast of the return in sigmas; the answer has a conformal interval."""

    name = "return_forecast"
    inputs = "bars"
    feature_set = "close_only"
    architectures: tuple[str, ...] = (
        *("ridge", "lasso", "elastic_net", "xgboost", "lightgbm", "catboost"),
        *("random_forest", "gradient_boosting"),
        *("mlp", "rnn", "lstm", "gru", "transformer", "tcn"),
    )
    answer_kinds = (ReturnForecastAnswer,)
    options: ClassVar[Space] = {"interval": Choice("split", ("split", "adaptive"))}
    parameters: ClassVar[Mapping[str, Mapping[str, Json]]] = {}
    horizon_bars = 5
    loss_margin = 0.002
    search_metrics: ClassVar[Mapping[str, str]] = {
        "rmse": "scaled_mse",
        "mae": "mase",
        "auc": "auc_direction",
        "ic": "ic",
        "rank_ic": "rank_ic",
    }
    search_gaps: ClassVar[Mapping[str, tuple[str, str]]] = {
        "random_walk": ("scaled_mse_random_walk", "scaled_mse")
    }
    is_action = False

    def objective(self, spec: Mapping[str, Json]) -> Objective:
        """Return squared error on one score."""
        return Objective("squared", 1)

    def label_spec(
        self,
        horizon_bars: int | None,
        training: Sequence[BarSeries],
        options: Mapping[str, Json],
    ) -> dict[str, Json]:
        """Return horizon, fill and kind of interval; nothing is fitted.

        `fill` is `next_open` where every training bar has an open, else `next_close`.

        Raises:
            ParameterError: `horizon_bars` below 1.
        """
        horizon = self.horizon_bars if horizon_bars is None else horizon_bars
        if horizon < 1:
            raise ParameterError("horizon", horizon, "at least one bar")
        has_open = all(np.isfinite(s.open).all() for s in training)
        return {
            "kind": "forward_return",
            "horizon_bars": horizon,
            "fill": "next_open" if has_open and training else "next_close",
            "sigma": "EWMA standard deviation of log returns, span 100",
            "interval": str(options.get("interval", "split")),
        }

    def context(self, series: BarSeries) -> Arrays:
        """Return `close` and `sigma`, the EWMA deviation (span 100) of a bar's log return."""
        return {"close": series.close, "sigma": labels.ewma_deviation(series.close)}

    def label(self, series: BarSeries, context: Arrays, spec: Mapping[str, Json]) -> Labels:
        """Return the log return from the fill over h bars.

        Outcome: `next_return`, the simple return from this decision's fill to the next one's.
        """
        horizon, at_open = int(cast(int, spec["horizon_bars"])), spec["fill"] == "next_open"
        y = labels.return_ahead(series.open, series.close, horizon, at_open=at_open)
        end = labels.end_times(series.timestamp, horizon if at_open else horizon + 1)
        fill = labels.later(series.open if at_open else series.close, 1)
        outcome = {"next_return": labels.later(fill, 1) / fill - 1}
        return Labels(y, np.where(np.isfinite(y), end, -1), outcome)

    def target(self, y: Array, context: Arrays) -> tuple[Array, NDArray[np.bool_]]:
        """Return y in sigmas, cut at 50; every labelled row may be fitted."""
        scaled = y / context["sigma"]
        return np.clip(scaled, -LARGEST_SCORE, LARGEST_SCORE), np.isfinite(scaled)

    def fit_decoder(self, oof: OutOfFold, training: LabelledRows) -> Decoder:
        """Keep the conformal scores |y - forecast| / sigma of earlier rows, and the adaptive alpha.

        `mase_scale` is the mean |y| of the training rows, the error of a naive forecast there.
        """
        known = known_to(training, oof)
        rows = known.rows
        score = np.abs(rows.y - _forecast(rows, known.scores)) / rows.context["sigma"]
        level = 1 - conformal.adapted_alpha(score, rows.t0, rows.t1, known.fold, LEVEL)
        facts: dict[str, Json] = {
            "level": LEVEL,
            "adapted_level": level,
            "interval": training.spec.get("interval", "split"),
            "mase_scale": float(np.abs(training.y).mean()),
            "n_calibration_rows": len(score),
        }
        return Decoder(facts, {"conformal": conformal.keep_scores(score)})

    def decode(
        self,
        scores: NDArray[np.float32],
        features: NDArray[np.float32],
        context: Arrays,
        decoder: Decoder,
        contract: ModelContract,
        refusals: Sequence[str] = (),
    ) -> list[ReturnForecastAnswer]:
        """Return one forecast per row."""
        unknown = np.full(len(scores), np.nan)
        sigma, close = context.get("sigma", unknown), context.get("close", unknown)
        half = _half_width(decoder)
        return [
            forecast(float(s), float(d), float(c), half, decoder, contract)
            for s, d, c in zip(_bounded(scores), sigma, close, strict=True)
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
        unknown = np.full(len(scores), np.nan)
        sigma, close = context.get("sigma", unknown), context.get("close", unknown)
        half = _half_width(decoder)
        return forecast_frame(_bounded(scores), sigma, close, half, decoder, contract)

    def loss(self, rows: LabelledRows, scores: NDArray[np.float32], decoder: Decoder) -> Array:
        """Return the squared error of each row in units of its variance, sigma^2 * h."""
        return _scaled_square(rows, rows.y - _forecast(rows, scores))

    def baseline_loss(self, rows: LabelledRows, decoder: Decoder | None = None) -> Array:
        """Return the same error of the random walk, which forecasts no return."""
        return _scaled_square(rows, rows.y)

    def evaluate(
        self,
        oof: OutOfFold,
        decoders: Mapping[int, Decoder],
        spec: Mapping[str, Json],
        interval: str,
    ) -> Evaluation:
        """Judge the forecasts against the random walk, and the intervals by their coverage."""
        rows, horizon = oof.rows, int(cast(int, spec["horizon_bars"]))
        scale = np.empty(len(rows))
        for fold in np.unique(oof.fold):
            scale[oof.fold == fold] = cast(float, decoders[int(fold)].facts["mase_scale"])
        forecasts = ReturnForecasts(_forecast(rows, oof.scores), rows.context["sigma"], scale)
        intervals = _intervals(oof, decoders, forecasts, horizon)
        judged = quality.judge(oof, forecasts, intervals, horizon)
        return judged.with_gates(*quality.plausible(rows, forecasts, horizon, interval))


# Forecasts -------------------------------------------------------------------------------------


def _bounded(scores: NDArray[np.float32]) -> Array:
    return np.clip(scores[:, 0].astype(np.float64), -LARGEST_SCORE, LARGEST_SCORE)


def _forecast(rows: LabelledRows, scores: NDArray[np.float32]) -> Array:
    return np.asarray(_bounded(scores) * rows.context["sigma"], dtype=np.float64)


def _scaled_square(rows: LabelledRows, error: Array) -> Array:
    """Return error^2 / (sigma^2 h) with errors cut at 1,000 sigmas, so that it stays finite."""
    horizon = float(cast(int, rows.spec.get("horizon_bars", 1)))
    scaled = np.clip(error / rows.context["sigma"], -1e3, 1e3)
    return np.asarray(scaled**2 / horizon, dtype=np.float64)


def _intervals(
    oof: OutOfFold, decoders: Mapping[int, Decoder], forecasts: ReturnForecasts, horizon: int
) -> Intervals:
    rows, sigma = oof.rows, forecasts.sigma
    error = rows.y - forecasts.forecast
    kept = {fold: decoder.arrays["conformal"] for fold, decoder in decoders.items()}
    walk = conformal.adapt(np.abs(error) / sigma, rows.t0, rows.t1, oof.fold, kept, level=LEVEL)
    split, answered = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    for fold in np.unique(oof.fold):
        if len(scores := kept[int(fold)]):
            split[oof.fold == fold] = conformal.quantile(scores, LEVEL)
        if (half := _half_width(decoders[int(fold)])) is not None:
            answered[oof.fold == fold] = half
    naive, halves = naive_band(sigma, horizon, LEVEL), {"interval": answered * sigma}
    return Intervals(error, split * sigma, walk.half * sigma, naive, rows.t0, LEVEL, halves)


# Answers ---------------------------------------------------------------------------------------


def _half_width(decoder: Decoder) -> float | None:
    """Return half the interval in sigmas; None where nothing finite was measured."""
    kept, facts = decoder.arrays["conformal"], decoder.facts
    is_adaptive = facts["interval"] == "adaptive"
    level = cast(float, facts["adapted_level" if is_adaptive else "level"])
    half = conformal.quantile(kept, level) if len(kept) else np.inf
    return float(half) if np.isfinite(half) else None


TEMPLATE = ReturnForecast()
