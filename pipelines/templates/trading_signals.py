"""Template `trading_signals`: BUY, HOLD or SELL by a triple barrier, with honest abstention.

Label: which barrier is touched first within h bars of the fill (Lopez de Prado 2018, ch. 3). Scores
are three logits in the order SELL, HOLD, BUY. The decoder holds the calibrator, the threshold on
P(BUY) - P(SELL) that earned most net of costs on earlier out-of-fold rows, class mean returns,
conformal scores and the training inputs' range. A signal other than HOLD needs the trade lock
open, an input within that range, and an edge above the threshold; the answer says which was
missing. How it is judged stands in `pipelines/signal_quality.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pipelines import labels
from pipelines.architectures import Objective
from pipelines.bars import BarSeries
from pipelines.calibration import Calibrator, choose
from pipelines.costs import EQUITY
from pipelines.datasets import LabelledRows, OutOfFold, known_to
from pipelines.hyperparameters import Space
from pipelines.metrics import bars_per_year, log_loss
from pipelines.novelty import fit_novelty, novelty
from pipelines.signal_quality import CLASSES, SignalForecast, judge
from pipelines.statistics import conformal_quantile
from pipelines.strategy import Strategy, decisions, fit_threshold
from pipelines.templates import Arrays, Evaluation, Labels, TrialFamily
from registry.contract import Json, ModelContract
from registry.decoder import Decoder
from registry.errors import ParameterError, TooLittleHistoryError

Array = NDArray[np.float64]

LEVEL = 0.9
HOLD_SHARE = 0.35
"""Aim of the barrier width; 30 to 40 % is sound."""
WIDEST, NARROWEST = 5.0, 0.01
VOLUME_BARS = 20
_NO_SCORES = np.empty((0, len(CLASSES)), dtype=np.float32)


class TradingSignals:
    """The template; see the module."""

    name = "trading_signals"
    inputs: Literal["bars"] = "bars"
    feature_set = "close_only"
    architectures: tuple[str, ...] = ("xgboost", "lstm")
    parameters: ClassVar[Mapping[str, Mapping[str, Json]]] = {}
    options: ClassVar[Space] = {}
    horizon_bars = 1
    loss_margin = 0.002
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
        """Return the barrier, its width fitted so that about 35 % of the training rows are HOLD.

        `fill` is `next_open` where every training bar has an open, else `next_close`; `path` is
        `high_low` where every one has both, else `close`. `width` is a = b in units of
        sigma * sqrt(h). `fitted` names the parameters that the data chose: they do not make
        another family of trials.

        Raises:
            ParameterError: `horizon_bars` below 1.
            TooLittleHistoryError: no training label is complete.
        """
        horizon = self.horizon_bars if horizon_bars is None else horizon_bars
        if horizon < 1:
            raise ParameterError("horizon", horizon, "at least one bar")
        has_open = all(np.isfinite(s.open).all() for s in training)
        has_range = all(np.isfinite(s.high).all() and np.isfinite(s.low).all() for s in training)
        spec: dict[str, Json] = {
            "kind": "triple_barrier",
            "horizon_bars": horizon,
            "sigma": "EWMA standard deviation of log returns, span 100",
            "fill": "next_open" if has_open else "next_close",
            "path": "high_low" if has_range else "close",
        }
        return spec | _fit_width(self, training, spec)

    def cost_spec(self) -> dict[str, Json]:
        """Return the defaults for liquid stocks; a spread in the data replaces the half spread."""
        return EQUITY.to_json()

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
            "sigma": labels.ewma_deviation(series.close),
            "half_spread": series.spread / 2,
            "dollar_volume": volume,
        }

    def label(self, series: BarSeries, context: Arrays, spec: Mapping[str, Json]) -> Labels:
        """Return the class whose barrier is touched first; t1 is the time of the touch.

        Outcomes: `log_return` (fill to exit), `touched` (0 or 1), `ambiguous` (one bar touched
        both), `next_return` (simple return from this decision's fill to the next one's).
        """
        horizon, width = int(cast(int, spec["horizon_bars"])), float(cast(float, spec["width"]))
        path = _path(series, spec)
        touches = labels.triple_barrier(path, width * context["sigma"] * horizon**0.5, horizon)
        known = touches.bars >= 0
        end = np.minimum(np.arange(len(series)) + touches.bars, max(len(series) - 1, 0))
        outcome = {
            "log_return": touches.log_return,
            "touched": np.where(known, touches.y != labels.HOLD, np.nan),
            "ambiguous": np.where(known, touches.ambiguous, np.nan),
            "next_return": labels.later(path.fill, 1) / path.fill - 1,
        }
        return Labels(touches.y, np.where(known, series.timestamp[end], -1), outcome)

    def target(self, y: Array, context: Arrays) -> tuple[Array, NDArray[np.bool_]]:
        """Return the class numbers; every labelled row may be fitted."""
        return y, np.isfinite(y)

    def fit_decoder(self, oof: OutOfFold, training: LabelledRows) -> Decoder:
        """Fit calibrator, threshold, class returns, conformal scores, input range and prior.

        Without earlier out-of-fold rows the probabilities stay as they are, there is no interval,
        and no threshold: then every signal is HOLD.
        """
        oof = known_to(training, oof)
        chosen = choose(oof.scores, oof.rows.y, oof.fold)
        arrays = {f"calibrator.{k}": v for k, v in chosen.calibrator.arrays.items()}
        arrays |= {f"novelty.{k}": v for k, v in fit_novelty(_newest(training.X)).items()}
        arrays["prior"] = _prior(training.y)
        known = oof.rows if len(oof.rows) else training
        arrays["class_return"] = _class_returns(known)
        per_year = bars_per_year(training.t0, training.symbol)
        facts: dict[str, Json] = {
            "calibrator": chosen.calibrator.kind,
            "ece": chosen.calibration_error,
            "level": LEVEL,
            "bars_per_year": per_year,
            "n_calibration_rows": len(oof.rows),
        }
        draft = Decoder(facts, arrays)
        scores = oof.scores if len(oof.rows) else _NO_SCORES
        probabilities = chosen.calibrator.apply(scores)
        error = oof.rows.outcome["log_return"] - probabilities @ arrays["class_return"]
        conformal = conformal_quantile(np.abs(error) / oof.rows.context["sigma"], LEVEL)
        edge = _edge(probabilities, _newest(oof.rows.X), draft)
        fit = fit_threshold(oof.rows, edge, _strategy(training.spec, per_year))
        fitted = {"threshold": fit.threshold, "beta": fit.beta, "conformal": conformal}
        return Decoder(facts | fitted, arrays)

    def decode(
        self,
        scores: NDArray[np.float32],
        features: NDArray[np.float32],
        context: Arrays,
        decoder: Decoder,
        contract: ModelContract,
        refusals: Sequence[str] = (),
    ) -> list[dict[str, Any]]:
        """Return one signal per row.

        Fields: `signal`; `confidence`, the calibrated probability of that class; `probabilities`;
        `ece` of the calibrator on rows it had not seen; `target_price` and its `interval` (None
        without close or sigma, or before there are conformal scores); `expected_log_return` from
        fill to exit; `sigma` per bar; `threshold`; `abstained` (None, `no_edge`,
        `below_threshold`, `out_of_distribution`) with `reason` and `failed_gates`;
        `out_of_distribution` (score, limit, most extreme feature); `fill`, `path`, `price_basis`.
        """
        probabilities = _calibrator(decoder).apply(scores)
        seen = novelty(features, _prefixed(decoder, "novelty."))
        unknown = np.full(len(scores), np.nan)
        close, sigma = context.get("close", unknown), context.get("sigma", unknown)
        answers = []
        for i, p in enumerate(probabilities):
            distance = {
                "score": _finite(seen.score[i]),
                "limit": float(decoder.arrays["novelty.limit"][0]),
                "feature": contract.feature_names[seen.feature[i]],
            }
            verdict = _verdict(p, distance, decoder.facts, refusals)
            target = _target(p, float(close[i]), float(sigma[i]), decoder)
            answers.append(verdict | target | {"out_of_distribution": distance} | _terms(contract))
        return answers

    def loss(self, rows: LabelledRows, scores: NDArray[np.float32], decoder: Decoder) -> Array:
        """Return the log loss of the calibrated probabilities of each row."""
        return log_loss(_calibrator(decoder).apply(scores), rows.y)

    def baseline_loss(self, rows: LabelledRows, decoder: Decoder | None = None) -> Array:
        """Return the log loss of the prior of the training slice, or of `rows` without decoder."""
        prior = _prior(rows.y) if decoder is None else decoder.arrays["prior"]
        return log_loss(np.tile(prior, (len(rows), 1)), rows.y)

    def evaluate(
        self,
        oof: OutOfFold,
        decoders: Mapping[int, Decoder],
        spec: Mapping[str, Json],
        family: TrialFamily,
        interval: str,
    ) -> Evaluation:
        """Judge the signals by probabilities, direction and net returns; see `signal_quality`."""
        n = len(oof.rows)
        probabilities, prior = np.empty((n, len(CLASSES))), np.empty((n, len(CLASSES)))
        decision, beta = np.empty(n), np.empty(n)
        for fold in np.unique(oof.fold):
            decoder, rows = decoders[int(fold)], oof.fold == fold
            p = _calibrator(decoder).apply(oof.scores[rows])
            edge = _edge(p, _newest(oof.rows.X[rows]), decoder)
            probabilities[rows], prior[rows] = p, decoder.arrays["prior"]
            decision[rows] = decisions(edge, cast(float | None, decoder.facts["threshold"]))
            beta[rows] = cast(float, decoder.facts["beta"])
        per_year = cast(float, decoders[max(decoders)].facts["bars_per_year"])
        forecast = SignalForecast(probabilities, prior, decision, beta)
        return judge(oof.rows, forecast, _strategy(spec, per_year), family)


# Fitting ---------------------------------------------------------------------------------------


def _fit_width(
    template: TradingSignals, training: Sequence[BarSeries], spec: Mapping[str, Json]
) -> dict[str, Json]:
    """Return `width` by bisection on the HOLD share, which grows with it, and the share reached."""
    contexts = [template.context(series) for series in training]

    def hold_share(width: float) -> float:
        tried = {**spec, "width": width}
        pairs = zip(training, contexts, strict=True)
        y = [template.label(series, context, tried).y for series, context in pairs]
        known = np.concatenate(y) if y else np.empty(0)
        known = known[np.isfinite(known)]
        if not len(known):
            longest = max((len(series) for series in training), default=0)
            needed = labels.WARM_UP_BARS + int(cast(int, spec["horizon_bars"])) + 2
            raise TooLittleHistoryError("fitting the barrier width", needed, longest)
        return float((known == labels.HOLD).mean())

    low, high = NARROWEST, WIDEST
    for _ in range(16):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if hold_share(middle) < HOLD_SHARE else (low, middle)
    width = round((low * high) ** 0.5, 3)
    fitted: dict[str, Json] = {"width": width, "hold_share": round(hold_share(width), 4)}
    return fitted | {"fitted": sorted(fitted)}


def _path(series: BarSeries, spec: Mapping[str, Json]) -> labels.Path:
    at_open, in_range = spec["fill"] == "next_open", spec["path"] == "high_low"
    return labels.Path(
        labels.later(series.open if at_open else series.close, 1),
        1 if at_open else 2,
        series.open if at_open and in_range else None,
        series.high if in_range else series.close,
        series.low if in_range else series.close,
        series.close,
    )


def _newest(X: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the newest step of inputs (n, [step,] feature)."""
    return X if X.ndim == 2 else X[:, -1]


def _prior(classes: Array) -> Array:
    """Return class frequencies, one pseudo-row each, so that none is 0."""
    count = np.bincount(classes.astype(np.intp), minlength=len(CLASSES)) + 1.0
    return np.asarray(count / count.sum(), dtype=np.float64)


def _class_returns(rows: LabelledRows) -> Array:
    """Return the mean log return from fill to exit of each class, 0 for one that never came."""
    index = rows.y.astype(np.intp)
    total = np.bincount(index, rows.outcome["log_return"], len(CLASSES))
    return np.asarray(total / np.maximum(np.bincount(index, minlength=len(CLASSES)), 1))


def _strategy(spec: Mapping[str, Json], per_year: float) -> Strategy:
    return Strategy(int(cast(int, spec["horizon_bars"])), EQUITY, per_year)


# Answers ---------------------------------------------------------------------------------------


def _prefixed(decoder: Decoder, prefix: str) -> dict[str, Array]:
    names = [name for name in decoder.arrays if name.startswith(prefix)]
    return {name.removeprefix(prefix): decoder.arrays[name] for name in names}


def _calibrator(decoder: Decoder) -> Calibrator:
    return Calibrator(str(decoder.facts["calibrator"]), _prefixed(decoder, "calibrator."))


def _edge(probabilities: Array, features: NDArray[np.float32], decoder: Decoder) -> Array:
    """Return P(BUY) - P(SELL), 0 for inputs outside the training range."""
    seen = novelty(features, _prefixed(decoder, "novelty."))
    inside = seen.score <= decoder.arrays["novelty.limit"][0]
    return np.where(inside, probabilities[:, 2] - probabilities[:, 0], 0.0)


def _verdict(
    p: Array,
    distance: Mapping[str, Any],
    facts: Mapping[str, Json],
    refusals: Sequence[str],
) -> dict[str, Any]:
    threshold = cast(float | None, facts["threshold"])
    edge = float(p[2] - p[0])
    abstained, reason = _abstention(edge, threshold, distance, refusals)
    signal = 1 if abstained else (2 if edge > 0 else 0)
    return {
        "signal": CLASSES[signal],
        "confidence": float(p[signal]),
        "probabilities": {name: float(v) for name, v in zip(CLASSES, p, strict=True)},
        "ece": facts["ece"],
        "threshold": threshold,
        "abstained": abstained,
        "reason": reason,
        "failed_gates": list(refusals),
    }


def _abstention(
    edge: float, threshold: float | None, distance: Mapping[str, Any], refusals: Sequence[str]
) -> tuple[str | None, str | None]:
    """Return why the signal must be HOLD, or None twice."""
    far = _outside(distance)
    if refusals:
        shut = f"the trade lock is shut by {len(refusals)} gates"
        return "no_edge", f"{shut}; {far}" if far else shut
    if far:
        return "out_of_distribution", far
    if threshold is None:
        return "no_edge", "no threshold earned anything net of costs on earlier out-of-fold rows"
    if abs(edge) <= threshold:
        return "below_threshold", f"|P(BUY) - P(SELL)| = {abs(edge):.4f} <= {threshold:.4f}"
    return None, None


def _outside(distance: Mapping[str, Any]) -> str | None:
    """Return how far the input lies outside the training range, None when it does not."""
    score, limit = distance["score"], distance["limit"]
    if score is not None and score <= limit:
        return None
    shown = "unknown" if score is None else f"{score:.3g} spreads from its median"
    where = f"{distance['feature']} is {shown}, limit {limit:.3g}"
    return f"the input lies outside the training range: {where}"


def _target(p: Array, close: float, sigma: float, decoder: Decoder) -> dict[str, Any]:
    """Return target price P*exp(sum p_k rbar_k) and its split-conformal interval."""
    expected = float(p @ decoder.arrays["class_return"])
    price, width = _finite(close * np.exp(expected)), decoder.facts["conformal"]
    interval = None
    if price is not None and width is not None and np.isfinite(sigma):
        half = float(cast(float, width)) * sigma
        interval = {
            "lower": price * float(np.exp(-half)),
            "upper": price * float(np.exp(half)),
            "level": LEVEL,
        }
    return {
        "target_price": price,
        "interval": interval,
        "expected_log_return": expected,
        "sigma": _finite(sigma),
    }


def _terms(contract: ModelContract) -> dict[str, Any]:
    spec = contract.label_spec
    return {"fill": spec["fill"], "path": spec["path"], "price_basis": contract.price_basis}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


TEMPLATE = TradingSignals()
