"""Template `trading_signals`: BUY, HOLD or SELL, with honest abstention.

Label: which barrier is touched first within h bars of the fill, or where the price is after h bars
(`pipelines/templates/trading_signals/labels.py`). Scores are three logits in the order SELL, HOLD,
BUY. A decoder fitted on earlier out-of-fold rows turns them into a decision
(`pipelines/templates/trading_signals/decoder.py`). A signal other than HOLD needs the trade lock
open, an input within the training range, an edge above the threshold and, with meta-labels, a
secondary model that calls the side right. The answer names the one that was missing
(`pipelines/templates/trading_signals/answers.py`). How it is judged:
`pipelines/templates/trading_signals/quality.py` and
`pipelines/templates/trading_signals/returns.py`.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import numpy as np
import polars as pl
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pipelines.architectures import Objective
from pipelines.architectures.hyperparameters import Choice, Number, Space, Switch
from pipelines.data.bars import BarSeries
from pipelines.method.conformal import adapt
from pipelines.method.costs import EQUITY, PRESETS, costs_of
from pipelines.method.coverage import Intervals, naive_band
from pipelines.method.labels import ewma_deviation
from pipelines.method.meta_label import MetaForecast
from pipelines.method.metrics import log_loss
from pipelines.method.rows import LabelledRows, OutOfFold, known_to, newest_step
from pipelines.method.strategy import decisions
from pipelines.templates import NO_OPTIONS, Arrays, BarTemplate, Evaluation, Labels
from pipelines.templates.classes.decoder import calibrated
from pipelines.templates.trading_signals.answers import TradingSignalsAnswer, signal_answers
from pipelines.templates.trading_signals.columns import signal_frame
from pipelines.templates.trading_signals.decoder import (
    LEVEL,
    adaptive_width,
    class_shares,
    fit_signal_decoder,
    meta_forecast,
    read_scores,
    strategy_of,
)
from pipelines.templates.trading_signals.labels import LABELS, label_signals, signal_label_spec
from pipelines.templates.trading_signals.quality import CLASSES, SignalForecast, judge
from registry.contract import Json, ModelContract
from registry.decoder import Decoder

Array = NDArray[np.float64]

VOLUME_BARS = 20
OPTIONS: Space = {
    "label": Choice(LABELS[0], LABELS),
    "meta_label": Switch(default=False),
    "instrument": Choice("", ("", *PRESETS)),
    "half_spread": Number(None, 0.0, 0.1),
    "fee": Number(None, 0.0, 0.1),
    "slippage": Number(None, 0.0, 0.1),
    "impact": Number(None, 0.0, 100.0),
    "capital": Number(None, 1.0),
    "borrow_per_year": Number(None, 0.0, 10.0),
    "funding_per_year": Number(None, 0.0, 10.0),
    "multiplier": Number(None, 1e-9),
    "fee_per_contract": Number(None, 0.0),
}
"""Costs left out are those of the instrument; see `CostSpec` for units."""


class TradingSignals(BarTemplate):
    """Three classes of a decision; the answer is a signal, or HOLD with the reason."""

    name = "trading_signals"
    inputs = "bars"
    feature_set = "close_only"
    architectures: tuple[str, ...] = (
        *("xgboost", "lightgbm", "catboost", "logistic", "random_forest", "gradient_boosting"),
        *("mlp", "rnn", "lstm", "gru", "transformer", "tcn"),
    )
    parameters: ClassVar[Mapping[str, Mapping[str, Json]]] = {}
    answer_kinds = (TradingSignalsAnswer,)
    options: ClassVar[Space] = OPTIONS
    horizon_bars = 1
    loss_margin = 0.002
    search_metrics: ClassVar[Mapping[str, str]] = {
        "sharpe_ratio": "net_sharpe_1x",
        "log_loss": "log_loss",
        "brier": "brier",
        "auc": "auc_direction",
        "ic": "ic",
        "rank_ic": "rank_ic",
    }
    search_gaps: ClassVar[Mapping[str, tuple[str, str]]] = {
        "log_loss_prior": ("log_loss_prior", "log_loss"),
        "direction_prior": ("log_loss_direction_prior", "log_loss_direction"),
    }
    untouched_times = 252
    is_action = True

    def objective(self, spec: Mapping[str, Json]) -> Objective:
        """Return log loss over three classes."""
        return Objective("softmax", len(CLASSES))

    def label_spec(
        self,
        horizon_bars: int | None,
        training: Sequence[BarSeries],
        options: Mapping[str, Json],
    ) -> dict[str, Json]:
        """Return label, horizon, fill, path and fitted width (`signal_labels.signal_label_spec`).

        What only the decision depends on is listed in `decision`, where it differs from the
        defaults: `costs`, `meta_label`.

        Raises:
            ParameterError: `horizon_bars` below 1.
            TooLittleHistoryError: no training label is complete.
        """
        horizon = self.horizon_bars if horizon_bars is None else horizon_bars
        label = str(options.get("label", LABELS[0]))
        return signal_label_spec(label, horizon, training) | self._decision_spec(options)

    def _decision_spec(self, options: Mapping[str, Json]) -> dict[str, Json]:
        costs = costs_of(options)
        found: dict[str, Json] = {} if costs == EQUITY else {"costs": costs.to_json()}
        if options.get("meta_label"):
            found["meta_label"] = True
        return found | {"decision": sorted(found)} if found else {}

    def cost_spec(self, options: Mapping[str, Json] = NO_OPTIONS) -> dict[str, Json]:
        """Return the costs of the instrument; a spread in the data replaces the half spread."""
        return costs_of(options).to_json()

    def context(self, series: BarSeries) -> Arrays:
        """Return `close`, `sigma` (per bar), `half_spread` (fraction) and 20-bar `dollar_volume`.

        The last two are NaN where the bars have no spread or volume.
        """
        traded = series.volume * series.close
        volume = np.full(len(series), np.nan)
        if len(series) >= VOLUME_BARS:
            volume[VOLUME_BARS - 1 :] = sliding_window_view(traded, VOLUME_BARS).mean(axis=1)
        return {
            "close": series.close,
            "sigma": ewma_deviation(series.close),
            "half_spread": series.spread / 2,
            "dollar_volume": volume,
        }

    def label(self, series: BarSeries, context: Arrays, spec: Mapping[str, Json]) -> Labels:
        """Return the class of each bar; outcomes as in `signal_labels.label_signals`."""
        return label_signals(series, context["sigma"], spec)

    def target(self, y: Array, context: Arrays) -> tuple[Array, NDArray[np.bool_]]:
        """Return the class numbers; every labelled row may be fitted."""
        return y, np.isfinite(y)

    def fit_decoder(self, oof: OutOfFold, training: LabelledRows) -> Decoder:
        """Fit calibrator, threshold, class returns, conformal scores, input range and prior."""
        return fit_signal_decoder(known_to(training, oof), training)

    def decode(
        self,
        scores: NDArray[np.float32],
        features: NDArray[np.float32],
        context: Arrays,
        decoder: Decoder,
        contract: ModelContract,
        refusals: Sequence[str] = (),
    ) -> list[TradingSignalsAnswer]:
        """Return one signal per row."""
        sigma = context.get("sigma", np.full(len(scores), np.nan))
        reading = read_scores(scores, features, sigma, decoder)
        return signal_answers(reading, context, decoder, contract, refusals)

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
        sigma = context.get("sigma", np.full(len(scores), np.nan))
        reading = read_scores(scores, features, sigma, decoder)
        return signal_frame(reading, context, decoder, contract, refusals)

    def names_in_answers(self, contract: ModelContract) -> tuple[str, ...]:
        """Return the classes."""
        return CLASSES

    def loss(self, rows: LabelledRows, scores: NDArray[np.float32], decoder: Decoder) -> Array:
        """Return the log loss of the calibrated probabilities of each row."""
        return log_loss(calibrated(scores, decoder), rows.y)

    def baseline_loss(self, rows: LabelledRows, decoder: Decoder | None = None) -> Array:
        """Return the log loss of the prior of the training slice, or of `rows` without decoder."""
        prior = class_shares(rows.y) if decoder is None else decoder.arrays["prior"]
        return log_loss(np.tile(prior, (len(rows), 1)), rows.y)

    def evaluate(
        self,
        oof: OutOfFold,
        decoders: Mapping[int, Decoder],
        spec: Mapping[str, Json],
        interval: str,
    ) -> Evaluation:
        """Judge the signals by probabilities, direction and net returns; see `signal_quality`."""
        per_year = cast(float, decoders[max(decoders)].facts["bars_per_year"])
        forecast = _forecast(oof, decoders)
        return judge(oof.rows, forecast, strategy_of(spec, per_year), interval)


# Judgement -------------------------------------------------------------------------------------


def _forecast(oof: OutOfFold, decoders: Mapping[int, Decoder]) -> SignalForecast:
    """Return the forecast of each row by its own fold's decoder."""
    rows, n = oof.rows, len(oof.rows)
    probabilities, prior = np.empty((n, len(CLASSES))), np.empty((n, len(CLASSES)))
    decision, beta = np.empty(n), np.empty(n)
    secondary = np.full((3, n), np.nan)
    for fold in np.unique(oof.fold):
        decoder, mine = decoders[int(fold)], oof.fold == fold
        part = rows.take(mine)
        sigma = part.context["sigma"]
        reading = read_scores(oof.scores[mine], newest_step(part.X), sigma, decoder)
        probabilities[mine], prior[mine] = reading.probabilities, decoder.arrays["prior"]
        decision[mine] = decisions(reading.edge, cast(float | None, decoder.facts["threshold"]))
        beta[mine] = cast(float, decoder.facts["beta"])
        if (meta := meta_forecast(part, reading, decoder)) is not None:
            secondary[:, mine] = meta.confidence, meta.prior, meta.right
    meta = MetaForecast(*secondary) if np.isfinite(secondary[0]).any() else None
    return SignalForecast(
        probabilities, prior, decision, beta, _intervals(oof, decoders, probabilities), meta
    )


def _intervals(oof: OutOfFold, decoders: Mapping[int, Decoder], probabilities: Array) -> Intervals:
    """Return the intervals of each row's log return, as its fold's decoder would give them."""
    rows, n = oof.rows, len(oof.rows)
    error, split, still = np.empty(n), np.full(n, np.nan), np.full(n, np.nan)
    for fold in np.unique(oof.fold):
        decoder, mine = decoders[int(fold)], oof.fold == fold
        expected = probabilities[mine] @ decoder.arrays["class_return"]
        error[mine] = rows.outcome["log_return"][mine] - expected
        if (width := cast(float | None, decoder.facts["conformal"])) is not None:
            split[mine] = width
        if (width := adaptive_width(decoder)) is not None:
            still[mine] = width
    sigma, horizon = rows.context["sigma"], int(cast(int, rows.spec["horizon_bars"]))
    kept = {fold: decoder.arrays["conformal"] for fold, decoder in decoders.items()}
    walk = adapt(np.abs(error) / sigma, rows.t0, rows.t1, oof.fold, kept, level=LEVEL)
    naive = naive_band(sigma, horizon, LEVEL)
    answered = {"interval": split * sigma, "adaptive_interval": still * sigma}
    return Intervals(error, split * sigma, walk.half * sigma, naive, rows.t0, LEVEL, answered)


TEMPLATE = TradingSignals()
