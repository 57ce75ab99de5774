"""Template `anomaly`: how unlike all earlier rows this row is, at a stated rate of false alarms.

An unsupervised architecture gives each row a score, larger = more unusual. The threshold is the
split-conformal quantile of earlier out-of-fold scores at 1 - `false_alarm_rate`, so that about that
share of ordinary rows is flagged. Nobody labels anomalies. So versions are compared on what can be
checked: whether the score tells how large the next bar's move is (log score of the next return,
with a variance per group of scores). How it is judged: `pipelines/templates/anomaly/quality.py`.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.architectures import Objective
from pipelines.architectures.hyperparameters import Number, Space
from pipelines.data.bars import BarSeries
from pipelines.method import labels
from pipelines.method.metrics import log_score
from pipelines.method.rows import LabelledRows, OutOfFold, known_to, newest_step
from pipelines.method.statistics import conformal_quantile
from pipelines.method.training_range import deviations, fit_range
from pipelines.templates import Arrays, BarTemplate, Evaluation, Labels
from pipelines.templates.anomaly import quality
from pipelines.templates.anomaly.answers import AnomalyAnswer, p_values, verdict, verdict_frame
from pipelines.templates.anomaly.quality import AnomalyForecasts
from registry.contract import Json, ModelContract
from registry.decoder import Decoder
from registry.errors import ParameterError

Array = NDArray[np.float64]

FALSE_ALARM_RATE = 0.01
GROUP_EDGES = (0.5, 0.9, 0.99)
"""Quantiles of earlier scores; the size of the next move is measured between them."""
PRIOR_ROWS = 20.0
"""Each group's variance is mixed with this many rows of the overall variance."""
LARGEST_MOVE = 50.0
"""Returns are cut at this many sigmas, so that one bad price does not decide a comparison."""


class Anomaly(BarTemplate):
    """Scores of unusual rows; the answer is an alarm at the stated rate."""

    name = "anomaly"
    inputs = "bars"
    feature_set = "close_only"
    architectures: tuple[str, ...] = ("isolation_forest", "autoencoder", "lstm_autoencoder")
    answer_kinds = (AnomalyAnswer,)
    options: ClassVar[Space] = {"false_alarm_rate": Number(FALSE_ALARM_RATE, 1e-4, 0.2)}
    parameters: ClassVar[Mapping[str, Mapping[str, Json]]] = {}
    horizon_bars = 1
    loss_margin = 0.01
    search_gaps: ClassVar[Mapping[str, tuple[str, str]]] = {
        "one_variance": ("log_score_one_variance", "log_score")
    }
    is_action = False

    def objective(self, spec: Mapping[str, Json]) -> Objective:
        """Return novelty, one score."""
        return Objective("novelty", 1)

    def label_spec(
        self,
        horizon_bars: int | None,
        training: Sequence[BarSeries],
        options: Mapping[str, Json],
    ) -> dict[str, Json]:
        """Return the stated rate and the outcome to compare scores on: the next bar's log return.

        Raises:
            ParameterError: a horizon other than one bar.
        """
        if horizon_bars not in (None, 1):
            raise ParameterError("horizon", horizon_bars, "1, because each bar is judged alone")
        rate = options.get("false_alarm_rate", FALSE_ALARM_RATE)
        return {"kind": "next_return", "horizon_bars": 1, "false_alarm_rate": rate}

    def context(self, series: BarSeries) -> Arrays:
        """Return `ewma_variance` of log returns, the unit of the next move."""
        return {"ewma_variance": labels.ewma_variance(series.close)}

    def label(self, series: BarSeries, context: Arrays, spec: Mapping[str, Json]) -> Labels:
        """Return the log return of the next bar."""
        y = labels.later(labels.log_returns(series.close), 1)
        known = np.isfinite(y) & np.isfinite(context["ewma_variance"])
        t1 = np.where(known, labels.end_times(series.timestamp, 1), -1)
        return Labels(np.where(known, y, np.nan), t1, {})

    def target(self, y: Array, context: Arrays) -> tuple[Array, NDArray[np.bool_]]:
        """Return y; a fit learns from the inputs alone and may use every row."""
        return y, np.isfinite(y)

    def fit_decoder(self, oof: OutOfFold, training: LabelledRows) -> Decoder:
        """Fit the threshold and the size of the next move on earlier out-of-fold scores.

        `threshold` is None while there are too few scores for the stated rate: 1 / rate - 1 are
        needed. Arrays: the sorted `scores`, group `edges`, the next move's `variance` per group in
        units of EWMA variance, and the training inputs' `center` and `spread` per feature.
        """
        known = known_to(training, oof)
        rate = float(cast(float, training.spec.get("false_alarm_rate", FALSE_ALARM_RATE)))
        scores = known.scores[:, 0].astype(np.float64)
        overall = float((_moves(training) ** 2).mean())
        facts: dict[str, Json] = {
            "false_alarm_rate": rate,
            "threshold": conformal_quantile(scores, 1 - rate) if len(scores) else None,
            "move_variance": max(overall, labels.VARIANCE_FLOOR),
            "n_calibration_rows": len(scores),
        }
        edges = np.quantile(scores, GROUP_EDGES) if len(scores) else np.empty(0)
        inputs = fit_range(newest_step(training.X))
        arrays = {
            "scores": np.sort(scores),
            "edges": edges,
            "variance": _move_variances(known.rows, scores, edges, overall),
            "center": inputs["center"],
            "spread": inputs["spread"],
        }
        return Decoder(facts, arrays)

    def decode(
        self,
        scores: NDArray[np.float32],
        features: NDArray[np.float32],
        context: Arrays,
        decoder: Decoder,
        contract: ModelContract,
        refusals: Sequence[str] = (),
    ) -> list[AnomalyAnswer]:
        """Return one verdict per row."""
        z = deviations(features, decoder.arrays)
        value = scores[:, 0].astype(np.float64)
        variance = _variance(value, decoder)
        return [
            verdict(float(s), float(v), row, contract.feature_names, decoder)
            for s, v, row in zip(value, variance, z, strict=True)
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
        value = scores[:, 0].astype(np.float64)
        z, variance = deviations(features, decoder.arrays), _variance(value, decoder)
        return verdict_frame(value, variance, z, contract.feature_names, decoder)

    def loss(self, rows: LabelledRows, scores: NDArray[np.float32], decoder: Decoder) -> Array:
        """Return ln v + z^2/v of the next move z in sigmas, v the variance of the score's group.

        The log score of a normal density but for constants: proper, and about an outcome that two
        versions share, which their own scores and thresholds are not.
        """
        value = scores[:, 0].astype(np.float64)
        return log_score(_variance(value, decoder), _moves(rows) ** 2)

    def baseline_loss(self, rows: LabelledRows, decoder: Decoder | None = None) -> Array:
        """Return the same with one variance for all rows, that of the training rows if known."""
        square = _moves(rows) ** 2
        overall = square.mean() if decoder is None else decoder.facts["move_variance"]
        variance = max(float(cast(float, overall)), labels.VARIANCE_FLOOR)
        return log_score(np.full(len(rows), variance), square)

    def evaluate(
        self,
        oof: OutOfFold,
        decoders: Mapping[int, Decoder],
        spec: Mapping[str, Json],
        interval: str,
    ) -> Evaluation:
        """Judge the rate of false alarms; folds without a threshold are left out."""
        n = len(oof.rows)
        loss, baseline, p_value = np.empty(n), np.empty(n), np.full(n, np.nan)
        n_earlier = np.empty(n)
        for fold in np.unique(oof.fold):
            decoder, of = decoders[int(fold)], oof.fold == fold
            rows = oof.rows.take(of)
            loss[of] = self.loss(rows, oof.scores[of], decoder)
            baseline[of] = self.baseline_loss(rows, decoder)
            n_earlier[of] = cast(int, decoder.facts["n_calibration_rows"])
            if decoder.facts["threshold"] is not None:
                p_value[of] = p_values(oof.scores[of, 0].astype(np.float64), decoder)
        rate = float(cast(float, spec["false_alarm_rate"]))
        forecasts = AnomalyForecasts(p_value, n_earlier, loss, baseline, _moves(oof.rows), rate)
        return quality.judge(oof.rows, forecasts)


# Fitting ---------------------------------------------------------------------------------------


def _moves(rows: LabelledRows) -> Array:
    """Return the next bar's log return in EWMA sigmas, cut at 50."""
    z = rows.y / np.sqrt(rows.context["ewma_variance"])
    return np.asarray(np.clip(z, -LARGEST_MOVE, LARGEST_MOVE), dtype=np.float64)


def _move_variances(rows: LabelledRows, scores: Array, edges: Array, overall: float) -> Array:
    """Return the next move's mean square per group of scores; of no rows, the overall one."""
    if not len(scores):
        return np.array([max(overall, labels.VARIANCE_FLOOR)])
    group = np.searchsorted(edges, scores, side="left")
    count = np.bincount(group, minlength=len(edges) + 1)
    total = np.bincount(group, _moves(rows) ** 2, len(edges) + 1)
    mean = (total + PRIOR_ROWS * overall) / (count + PRIOR_ROWS)
    return np.asarray(np.maximum(mean, labels.VARIANCE_FLOOR), dtype=np.float64)


def _variance(value: Array, decoder: Decoder) -> Array:
    group = np.searchsorted(decoder.arrays["edges"], value, side="left")
    return np.asarray(decoder.arrays["variance"][group], dtype=np.float64)


TEMPLATE = Anomaly()
