"""Template `market_regime`: in which state the market is, by what was known at the close.

An unsupervised architecture gives each row log weights of K states, in order of rising variance.
Their softmax are filtered probabilities: nothing after the row is used. Earlier out-of-fold rows
give each state its meaning: mean and variance of the next bar's log return, how states follow each
other, how long they last. A decision on the state of a close can be filled in the next bar at the
earliest. Judged by the one-step predictive density sum_k p_k N(r; m_k, v_k) against that of an EWMA
volatility filter (`pipelines/templates/market_regime/quality.py`).
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.architectures import Objective
from pipelines.architectures.hyperparameters import Space
from pipelines.data.bars import BarSeries
from pipelines.method import labels
from pipelines.method.metrics import bars_per_year
from pipelines.method.rows import LabelledRows, OutOfFold, known_to
from pipelines.method.variance_models import best_scale
from pipelines.templates import Arrays, BarTemplate, Evaluation, Labels
from pipelines.templates.market_regime import quality
from pipelines.templates.market_regime.answers import MarketRegimeAnswer, regime, regime_frame
from pipelines.templates.market_regime.quality import (
    RegimeForecasts,
    most_probable,
    regime_names,
    state_paths,
)
from registry.contract import Json, ModelContract
from registry.decoder import Decoder
from registry.errors import ParameterError

Array = NDArray[np.float64]

PRIOR_ROWS = 20.0
"""Each state's moments are mixed with this many rows of the pooled ones, so that a rare state has
no extreme density."""
FILTERED = "filtered_variance"
"""Outcome that holds the EWMA(0.94) of squared log returns, known at t0: for judging, never an
input."""
LOG_2PI = float(np.log(2 * np.pi))


class MarketRegime(BarTemplate):
    """Filtered probabilities of states; the answer is the most probable one."""

    name = "market_regime"
    inputs = "bars"
    feature_set = "returns"
    architectures: tuple[str, ...] = ("hmm", "kmeans", "dbscan", "autoencoder", "lstm_autoencoder")
    answer_kinds = (MarketRegimeAnswer,)
    options: ClassVar[Space] = {}
    parameters: ClassVar[Mapping[str, Mapping[str, Json]]] = {}
    horizon_bars = 1
    loss_margin = 0.002
    search_gaps: ClassVar[Mapping[str, tuple[str, str]]] = {
        "ewma_filter": ("log_likelihood", "log_likelihood_ewma_filter")
    }
    is_action = False

    def objective(self, spec: Mapping[str, Json]) -> Objective:
        """Return states, as many as the architecture's parameter `n_states` says."""
        return Objective("states", 0)

    def label_spec(
        self,
        horizon_bars: int | None,
        training: Sequence[BarSeries],
        options: Mapping[str, Json],
    ) -> dict[str, Json]:
        """Return the next bar's log return as the outcome that states are judged by.

        Raises:
            ParameterError: a horizon other than one bar.
        """
        if horizon_bars not in (None, 1):
            raise ParameterError(
                "horizon", horizon_bars, "1, because a regime is that of the next bar"
            )
        return {"kind": "next_return", "horizon_bars": 1, "probabilities": "filtered"}

    def context(self, series: BarSeries) -> Arrays:
        """Return `log_return`, that of the bar that has just closed; it orders the states."""
        return {"log_return": labels.log_returns(series.close)}

    def label(self, series: BarSeries, context: Arrays, spec: Mapping[str, Json]) -> Labels:
        """Return the log return of the next bar; bars without an EWMA variance have none."""
        filtered = labels.ewma_variance(series.close)
        known = np.isfinite(filtered)
        y = np.where(known, labels.later(context["log_return"], 1), np.nan)
        t1 = np.where(np.isfinite(y), labels.end_times(series.timestamp, 1), -1)
        return Labels(y, t1, {FILTERED: filtered})

    def target(self, y: Array, context: Arrays) -> tuple[Array, NDArray[np.bool_]]:
        """Return the newest known log return, by whose variance states are ordered."""
        newest = context["log_return"]
        return newest, np.isfinite(newest)

    def fit_decoder(self, oof: OutOfFold, training: LabelledRows) -> Decoder:
        """Fit what follows each state on earlier out-of-fold rows.

        Arrays: `mean`, `variance` of the next log return, `duration` in bars, (n_states,), and
        `transition` (n_states, n_states); empty while there are no earlier rows. Facts: mean and
        variance of each symbol of the training rows and of all together, and the constant that
        suits the EWMA variance best there.
        """
        known = known_to(training, oof)
        facts: dict[str, Json] = {
            "n_states": known.scores.shape[1] if len(known.rows) else None,
            "bars_per_year": bars_per_year(training.t0, training.symbol),
            "one_state": cast(Json, _moments(training.y)),
            "one_state_of": cast(Json, _moments_per_symbol(training)),
            "filter_scale": _filter_scale(training, _means_by_row(training)),
            "n_calibration_rows": len(known.rows),
        }
        if not len(known.rows):
            nothing = np.empty(0)
            names = ("mean", "variance", "duration", "transition")
            return Decoder(facts, dict.fromkeys(names, nothing))
        p = probabilities(known.scores)
        transition = _transitions(known, p)
        mean, variance = _state_moments(known.rows.y, p)
        stay = np.minimum(np.diag(transition), 1 - 1e-6)
        arrays = {"mean": mean, "variance": variance, "duration": 1 / (1 - stay)}
        return Decoder(facts, arrays | {"transition": transition})

    def decode(
        self,
        scores: NDArray[np.float32],
        features: NDArray[np.float32],
        context: Arrays,
        decoder: Decoder,
        contract: ModelContract,
        refusals: Sequence[str] = (),
    ) -> list[MarketRegimeAnswer]:
        """Return one state per row."""
        p = probabilities(scores)
        names = regime_names(p.shape[1])
        return [regime(row, names, decoder) for row in p]

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
        p = probabilities(scores)
        return regime_frame(p, regime_names(p.shape[1]), decoder)

    def names_in_answers(self, contract: ModelContract) -> tuple[str, ...]:
        """Return the names of the states."""
        return regime_names(contract.outputs.shape[1] or 0)

    def loss(self, rows: LabelledRows, scores: NDArray[np.float32], decoder: Decoder) -> Array:
        """Return -log sum_k p_k N(r; m_k, v_k) of the next bar's log return r.

        That of the one-state model while the decoder has seen no earlier rows.
        """
        if decoder.facts["n_states"] is None:
            return self.baseline_loss(rows, decoder)
        log_p = _log_softmax(scores)
        density = _log_normal(rows.y[:, None], decoder.arrays["mean"], decoder.arrays["variance"])
        return np.asarray(-np.logaddexp.reduce(log_p + density, axis=1), dtype=np.float64)

    def baseline_loss(self, rows: LabelledRows, decoder: Decoder | None = None) -> Array:
        """Return -log N(r; m, c v) with the EWMA variance v that was known at the row.

        The mean m of each symbol and the constant c are those of the training rows, or of `rows`. A
        symbol that the training rows do not have takes the mean of all. The decoder of a version
        that was judged by its symbols' own variances has no c; v is then that.
        """
        if decoder is None:
            mean = _means_by_row(rows)
            scale = _filter_scale(rows, mean)
            return -_log_normal(rows.y, mean, scale * rows.outcome[FILTERED])
        pooled = cast(list[float], decoder.facts["one_state"])
        of = cast(dict[str, list[float]], decoder.facts["one_state_of"])
        mean, variance = _by_row(rows, of, pooled)
        if "filter_scale" in decoder.facts:
            variance = cast(float, decoder.facts["filter_scale"]) * rows.outcome[FILTERED]
        return -_log_normal(rows.y, mean, variance)

    def evaluate(
        self,
        oof: OutOfFold,
        decoders: Mapping[int, Decoder],
        spec: Mapping[str, Json],
        interval: str,
    ) -> Evaluation:
        """Judge the predictive density; folds without earlier rows to learn from are left out."""
        n = len(oof.rows)
        model, baseline = np.full(n, np.nan), np.full(n, np.nan)
        for fold in np.unique(oof.fold):
            decoder, of = decoders[int(fold)], oof.fold == fold
            if decoder.facts["n_states"] is not None:
                rows = oof.rows.take(of)
                model[of] = self.loss(rows, oof.scores[of], decoder)
                baseline[of] = self.baseline_loss(rows, decoder)
        per_year = cast(float, decoders[max(decoders)].facts["bars_per_year"])
        forecasts = RegimeForecasts(probabilities(oof.scores), model, baseline, oof.fold)
        return quality.judge(oof.rows, forecasts, per_year)


# Fitting ---------------------------------------------------------------------------------------


def _moments(returns: Array) -> list[float]:
    """Return mean and variance, the variance floored."""
    return [float(returns.mean()), max(float(returns.var()), labels.VARIANCE_FLOOR)]


def _moments_per_symbol(rows: LabelledRows) -> dict[str, list[float]]:
    there = np.unique(rows.symbol)
    return {rows.symbols[k]: _moments(rows.y[rows.symbol == k]) for k in there}


def _means_by_row(rows: LabelledRows) -> Array:
    """Return the mean of each row's symbol in these rows, (n,)."""
    return _by_row(rows, _moments_per_symbol(rows), _moments(rows.y))[0]


def _by_row(
    rows: LabelledRows, of: Mapping[str, list[float]], pooled: list[float]
) -> tuple[Array, Array]:
    """Return mean and variance of each row's symbol, (n,) each."""
    mean, variance = np.array([of.get(name, pooled) for name in rows.symbols]).T
    return mean[rows.symbol], variance[rows.symbol]


def _filter_scale(rows: LabelledRows, mean: Array) -> float:
    """Return the constant that suits the EWMA variance best."""
    return best_scale((rows.y - mean) ** 2, rows.outcome[FILTERED])


def _state_moments(returns: Array, p: Array) -> tuple[Array, Array]:
    """Return mean and variance of the next return in each state, weighted by its probability."""
    mean_all, variance_all = _moments(returns)
    weight = p.sum(axis=0) + PRIOR_ROWS
    mean = (p.T @ returns + PRIOR_ROWS * mean_all) / weight
    square = (p * (returns[:, None] - mean) ** 2).sum(axis=0)
    variance = (square + PRIOR_ROWS * variance_all) / weight
    return mean, np.maximum(variance, labels.VARIANCE_FLOOR)


def _transitions(known: OutOfFold, p: Array) -> Array:
    """Return the shares of transitions between most probable states, (from, to), rows summing to 1.

    One pseudo-transition to all states alike keeps what was never seen possible.
    """
    k = p.shape[1]
    counts = np.full((k, k), 1.0 / k)
    for path in state_paths(known.rows, most_probable(p), known.fold):
        np.add.at(counts, (path[:-1], path[1:]), 1.0)
    return np.asarray(counts / counts.sum(axis=1, keepdims=True), dtype=np.float64)


# Densities -------------------------------------------------------------------------------------


def _log_softmax(scores: NDArray[np.float32]) -> Array:
    s = scores.astype(np.float64)
    s -= s.max(axis=1, keepdims=True)
    return np.asarray(s - np.log(np.exp(s).sum(axis=1, keepdims=True)), dtype=np.float64)


def probabilities(scores: NDArray[np.float32]) -> Array:
    """Return the states' filtered probabilities, (n, n_states), rows summing to 1."""
    return np.asarray(np.exp(_log_softmax(scores)), dtype=np.float64)


def _log_normal(value: Array, mean: Array, variance: Array) -> Array:
    square = (value - mean) ** 2 / variance
    return np.asarray(-0.5 * (LOG_2PI + np.log(variance) + square), dtype=np.float64)


TEMPLATE = MarketRegime()
