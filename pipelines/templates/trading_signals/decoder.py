"""The decoder of trading signals: fitted on earlier predictions, applied to new ones.

It holds the calibrator, the class mean returns, the conformal scores with the adaptive level, and
the range of the training inputs. It also holds the threshold that earned most and, with
meta-labels, the secondary model. `fit_signal_decoder` makes it; `read_scores` applies all but the
threshold. Numpy only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from pipelines.method.calibration import choose
from pipelines.method.conformal import adapted_alpha, keep_scores, quantile
from pipelines.method.costs import EQUITY, CostSpec
from pipelines.method.meta_label import (
    ACCEPTED,
    MetaForecast,
    fit_meta,
    meta_confidence,
    meta_inputs,
    meta_labels,
)
from pipelines.method.metrics import bars_per_year
from pipelines.method.rows import LabelledRows, OutOfFold, newest_step, prefixed
from pipelines.method.statistics import conformal_quantile
from pipelines.method.strategy import Strategy, fit_threshold
from pipelines.method.training_range import Distance, distance, fit_range
from pipelines.templates.classes.decoder import PREFIX, calibrated
from pipelines.templates.trading_signals.quality import CLASSES
from registry.contract import Json
from registry.decoder import Decoder

Array = NDArray[np.float64]

LEVEL = 0.9
_NO_SCORES = np.empty((0, len(CLASSES)), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Reading:
    """The result of applying a decoder to n rows of scores, before the threshold.

    `probabilities`: (n, 3) calibrated, SELL, HOLD, BUY. `seen`: distance from the training inputs.
    `meta`: (n,) P(the side is right net of costs), None without meta-labels, NaN where unknown.
    `edge`: (n,) P(BUY) - P(SELL), 0 where the row must not be traded.
    """

    probabilities: Array
    seen: Distance
    meta: Array | None
    edge: Array


def read_scores(
    scores: NDArray[np.float32], features: NDArray[np.float32], sigma: Array, decoder: Decoder
) -> Reading:
    """Return the reading of scores (n, 3) with the newest step of their inputs (n, n_features)."""
    probabilities = calibrated(scores, decoder)
    seen = distance(features, prefixed(decoder.arrays, "novelty."))
    tradable = seen.score <= decoder.arrays["novelty.limit"][0]
    meta = None
    if decoder.facts.get("meta_label"):
        arrays = prefixed(decoder.arrays, "meta.")
        meta = meta_confidence(meta_inputs(probabilities, sigma, seen.score), arrays)
        tradable &= meta > ACCEPTED
    edge = np.where(tradable, probabilities[:, 2] - probabilities[:, 0], 0.0)
    return Reading(probabilities, seen, meta, edge)


def fit_signal_decoder(oof: OutOfFold, training: LabelledRows) -> Decoder:
    """Fit everything on predictions whose labels were known with the training rows'.

    Without earlier out-of-fold rows the probabilities stay as they are, there is no interval, and
    no threshold: then every signal is HOLD.
    """
    rows, spec = oof.rows, training.spec
    chosen = choose(oof.scores, rows.y, oof.fold)
    arrays = {f"{PREFIX}{k}": v for k, v in chosen.calibrator.arrays.items()}
    arrays |= {f"novelty.{k}": v for k, v in fit_range(newest_step(training.X)).items()}
    arrays["prior"] = class_shares(training.y)
    arrays["class_return"] = _class_returns(rows if len(rows) else training)
    per_year = bars_per_year(training.t0, training.symbol)
    scores = oof.scores if len(rows) else _NO_SCORES
    probabilities = chosen.calibrator.apply(scores)
    error = _interval_scores(rows, probabilities, arrays["class_return"])
    arrays["conformal"] = keep_scores(error)
    facts: dict[str, Json] = {
        "calibrator": chosen.calibrator.method,
        "ece": chosen.calibration_error,
        "level": LEVEL,
        "bars_per_year": per_year,
        "n_calibration_rows": len(rows),
        "conformal": conformal_quantile(error, LEVEL),
        "adaptive_alpha": adapted_alpha(error, rows.t0, rows.t1, oof.fold, LEVEL),
    }
    strategy = strategy_of(spec, per_year)
    if spec.get("meta_label"):
        facts["meta_label"] = True
        arrays |= _fit_meta_arrays(rows, probabilities, arrays, strategy.costs)
    reading = read_scores(
        scores, newest_step(rows.X), rows.context["sigma"], Decoder(facts, arrays)
    )
    fit = fit_threshold(rows, reading.edge, strategy)
    return Decoder(facts | {"threshold": fit.threshold, "beta": fit.beta}, arrays)


def _fit_meta_arrays(
    rows: LabelledRows, probabilities: Array, arrays: Mapping[str, Array], costs: CostSpec
) -> dict[str, Array]:
    score = distance(newest_step(rows.X), prefixed(arrays, "novelty.")).score
    inputs = meta_inputs(probabilities, rows.context["sigma"], score)
    right = meta_labels(rows, side_of(probabilities), costs)
    return {f"meta.{name}": array for name, array in fit_meta(inputs, right).items()}


def _interval_scores(rows: LabelledRows, probabilities: Array, class_return: Array) -> Array:
    """Return |log return - expected| / sigma, the score of a conformal interval."""
    error = rows.outcome["log_return"] - probabilities @ class_return
    return np.asarray(np.abs(error) / rows.context["sigma"], dtype=np.float64)


def meta_forecast(rows: LabelledRows, reading: Reading, decoder: Decoder) -> MetaForecast | None:
    """Return the secondary forecasts of labelled rows with what came true; None without any."""
    if reading.meta is None:
        return None
    costs = strategy_of(rows.spec, 1.0).costs
    right = meta_labels(rows, side_of(reading.probabilities), costs)
    prior = decoder.arrays.get("meta.prior", np.array([np.nan]))
    return MetaForecast(reading.meta, np.full(len(rows), prior[0]), right)


# Parts of a decoder ----------------------------------------------------------------------------


def adaptive_width(decoder: Decoder) -> float | None:
    """Return the half width of the adaptive interval in units of sigma.

    None before there are scores, or where the level has moved beyond all of them.
    """
    kept = decoder.arrays.get("conformal", np.zeros(0))
    if not len(kept):
        return None
    width = quantile(kept, 1.0 - cast(float, decoder.facts["adaptive_alpha"]))
    return width if np.isfinite(width) else None


def strategy_of(spec: Mapping[str, Json], per_year: float) -> Strategy:
    """Return the strategy that trades the decisions of this label."""
    costs = spec.get("costs")
    assumed = CostSpec.from_json(cast("dict[str, Json]", costs)) if costs else EQUITY
    return Strategy(int(cast(int, spec["horizon_bars"])), assumed, per_year)


def side_of(probabilities: Array) -> Array:
    """Return +1 where BUY is more probable than SELL, -1 where less, else 0."""
    return np.asarray(np.sign(probabilities[:, 2] - probabilities[:, 0]), dtype=np.float64)


def class_shares(classes: Array) -> Array:
    """Return class frequencies, one pseudo-row each, so that none is 0."""
    count = np.bincount(classes.astype(np.intp), minlength=len(CLASSES)) + 1.0
    return np.asarray(count / count.sum(), dtype=np.float64)


def _class_returns(rows: LabelledRows) -> Array:
    """Return the mean log return from fill to exit of each class, 0 for one that never came."""
    index = rows.y.astype(np.intp)
    total = np.bincount(index, rows.outcome["log_return"], len(CLASSES))
    return np.asarray(total / np.maximum(np.bincount(index, minlength=len(CLASSES)), 1))
