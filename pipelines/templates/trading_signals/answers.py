"""Answers of trading signals: one dict per row, with the reason against a signal. Numpy only."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pipelines.method.meta_label import ACCEPTED
from pipelines.templates.trading_signals.decoder import LEVEL, Reading, adaptive_width
from pipelines.templates.trading_signals.quality import CLASSES
from registry.contract import Json, ModelContract
from registry.decoder import Decoder

Array = NDArray[np.float64]


def signal_answers(
    reading: Reading,
    context: Mapping[str, Array],
    decoder: Decoder,
    contract: ModelContract,
    refusals: Sequence[str],
) -> list[dict[str, Any]]:
    """Return the answer of each row of a reading; `context` as `Template.decode` takes it."""
    unknown = np.full(len(reading.edge), np.nan)
    close, sigma = context.get("close", unknown), context.get("sigma", unknown)
    found = []
    for i, p in enumerate(reading.probabilities):
        distance = {
            "score": _finite(reading.seen.score[i]),
            "limit": float(decoder.arrays["novelty.limit"][0]),
            "feature": contract.feature_names[reading.seen.feature[i]],
        }
        meta = None if reading.meta is None else float(reading.meta[i])
        verdict = _verdict(p, distance, meta, decoder.facts, refusals)
        target = _target(p, float(close[i]), float(sigma[i]), decoder)
        found.append(verdict | target | {"out_of_distribution": distance} | _terms(contract))
    return found


def _verdict(
    p: Array,
    distance: Mapping[str, Any],
    meta: float | None,
    facts: Mapping[str, Json],
    refusals: Sequence[str],
) -> dict[str, Any]:
    threshold = cast(float | None, facts["threshold"])
    edge = float(p[2] - p[0])
    abstained, reason = _abstention(edge, threshold, distance, meta, refusals)
    signal = 1 if abstained else (2 if edge > 0 else 0)
    return {
        "signal": CLASSES[signal],
        "confidence": float(p[signal]),
        "probabilities": {name: float(v) for name, v in zip(CLASSES, p, strict=True)},
        "meta_confidence": None if meta is None else _finite(meta),
        "ece": facts["ece"],
        "threshold": threshold,
        "abstained": abstained,
        "reason": reason,
        "failed_gates": list(refusals),
    }


def _abstention(
    edge: float,
    threshold: float | None,
    distance: Mapping[str, Any],
    meta: float | None,
    refusals: Sequence[str],
) -> tuple[str | None, str | None]:
    """Return the code and the reason for HOLD; None twice when a signal may be given."""
    far = _outside(distance)
    if refusals:
        shut = f"the trade lock is shut by {len(refusals)} gates"
        return "no_edge", f"{shut}; {far}" if far else shut
    if far:
        return "out_of_distribution", far
    if threshold is None:
        return "no_edge", "no threshold earned anything net of costs on earlier out-of-fold rows"
    if meta is not None and not meta > ACCEPTED:
        shown = f"{meta:.4f}" if np.isfinite(meta) else "unknown"
        return "low_meta_confidence", f"P(right net of costs) is {shown}, needs > {ACCEPTED}"
    if abs(edge) <= threshold:
        return "below_threshold", f"|P(BUY) - P(SELL)| = {abs(edge):.4f} <= {threshold:.4f}"
    return None, None


def _outside(distance: Mapping[str, Any]) -> str | None:
    """Describe how far the input lies outside the training range; None when it does not."""
    score, limit = distance["score"], distance["limit"]
    if score is not None and score <= limit:
        return None
    shown = "unknown" if score is None else f"{score:.3g} spreads from its median"
    where = f"{distance['feature']} is {shown}, limit {limit:.3g}"
    return f"the input lies outside the training range: {where}"


def _target(p: Array, close: float, sigma: float, decoder: Decoder) -> dict[str, Any]:
    """Return target price P*exp(sum p_k rbar_k) with its split and adaptive conformal intervals."""
    expected = float(p @ decoder.arrays["class_return"])
    price = _finite(close * np.exp(expected))
    split = cast(float | None, decoder.facts["conformal"])
    return {
        "target_price": price,
        "interval": _interval(price, sigma, split),
        "adaptive_interval": _interval(price, sigma, adaptive_width(decoder)),
        "expected_log_return": expected,
        "sigma": _finite(sigma),
    }


def _interval(price: float | None, sigma: float, width: float | None) -> dict[str, float] | None:
    if price is None or width is None or not np.isfinite(sigma):
        return None
    half = width * sigma
    return {
        "lower": price * float(np.exp(-half)),
        "upper": price * float(np.exp(half)),
        "level": LEVEL,
    }


def _terms(contract: ModelContract) -> dict[str, Any]:
    spec = contract.label_spec
    return {"fill": spec["fill"], "path": spec["path"], "price_basis": contract.price_basis}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
