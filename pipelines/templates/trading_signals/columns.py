"""Columns of `trading_signals`: the answers about many rows, without an object for each.

What `answers.signal_answers` says of a row is what stands here in its place. Numpy and polars only.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.method.meta_label import ACCEPTED
from pipelines.templates.answer_frames import chosen, constant, known_only, numbers, shares, struct
from pipelines.templates.trading_signals.answers import NO_THRESHOLD, numbers_of, shut_by
from pipelines.templates.trading_signals.decoder import LEVEL, Reading
from pipelines.templates.trading_signals.quality import CLASSES
from registry.contract import ModelContract
from registry.decoder import Decoder

Array = NDArray[np.float64]
Marks = NDArray[np.bool_]

CODES = ("no_edge", "out_of_distribution", "low_meta_confidence", "below_threshold")
NO_EDGE, OUTSIDE, LOW_META, BELOW, GIVEN = range(5)
"""Places in `CODES`, and what stands for a signal."""


def signal_frame(
    reading: Reading,
    context: Mapping[str, Array],
    decoder: Decoder,
    contract: ModelContract,
    refusals: Sequence[str],
) -> pl.DataFrame:
    """Return the answers of a reading as columns; `context` as `Template.decode` takes it."""
    facts, spec, n_rows = decoder.facts, contract.label_spec, len(reading.edge)
    p, found = reading.probabilities, numbers_of(reading, context, decoder)
    limit = float(decoder.arrays["novelty.limit"][0])
    threshold = cast(float | None, facts["threshold"])
    why = _why(reading, limit, threshold, refusals)
    index = np.where(why != GIVEN, 1, np.where(p[:, 2] - p[:, 0] > 0, 2, 0))
    meta = np.full(n_rows, np.nan) if reading.meta is None else reading.meta
    failed = pl.List(pl.String())
    return pl.DataFrame(
        [
            chosen("signal", CLASSES, index),
            numbers("confidence", p[np.arange(n_rows), index]),
            shares("probabilities", CLASSES, p),
            numbers("meta_confidence", meta),
            constant("ece", facts["ece"], pl.Float64(), n_rows),
            constant("threshold", threshold, pl.Float64(), n_rows),
            known_only(chosen("abstained", (*CODES, ""), why), why != GIVEN),
            _reasons(why, reading, limit, threshold, contract.feature_names, refusals),
            constant("failed_gates", list(refusals), failed, n_rows),
            numbers("target_price", found.price),
            _intervals("interval", found.interval),
            _intervals("adaptive_interval", found.adaptive),
            numbers("expected_log_return", found.expected),
            numbers("sigma", found.sigma),
            _remoteness(reading, limit, contract.feature_names),
            constant("fill", str(spec["fill"]), pl.String(), n_rows),
            constant("path", str(spec["path"]), pl.String(), n_rows),
            constant("price_basis", contract.price_basis, pl.String(), n_rows),
        ]
    )


def _why(
    reading: Reading, limit: float, threshold: float | None, refusals: Sequence[str]
) -> NDArray[np.intp]:
    """Return the place in `CODES` of the first thing that is missing for a signal, (n,)."""
    n_rows, edge = len(reading.edge), _edge(reading)
    if refusals:
        return np.full(n_rows, NO_EDGE)
    why = np.full(n_rows, GIVEN if threshold is not None else NO_EDGE)
    if threshold is not None:
        why[np.abs(edge) <= threshold] = BELOW
        if reading.meta is not None:
            why[~(reading.meta > ACCEPTED)] = LOW_META
    why[_is_outside(reading, limit)] = OUTSIDE
    return why


def _reasons(
    why: NDArray[np.intp],
    reading: Reading,
    limit: float,
    threshold: float | None,
    names: tuple[str, ...],
    refusals: Sequence[str],
) -> pl.Series:
    """Return the column of reasons; numbers are written where a row has that reason only."""
    reasons = np.full(len(why), None, dtype=object)
    outside = np.flatnonzero(_is_outside(reading, limit))
    told = _outside(reading, outside, limit, names)
    if refusals:
        reasons[:] = shut_by(refusals)
        reasons[outside] = [f"{shut_by(refusals)}; {text}" for text in told]
        return pl.Series("reason", reasons.tolist(), dtype=pl.String())
    reasons[why == NO_EDGE] = NO_THRESHOLD
    reasons[outside] = told
    low, below = np.flatnonzero(why == LOW_META), np.flatnonzero(why == BELOW)
    if len(low) and reading.meta is not None:
        reasons[low] = [
            f"P(right net of costs) is {f'{m:.4f}' if np.isfinite(m) else 'unknown'}, "
            f"needs > {ACCEPTED}"
            for m in reading.meta[low].tolist()
        ]
    edges = np.abs(_edge(reading)[below]).tolist()
    reasons[below] = [f"|P(BUY) - P(SELL)| = {edge:.4f} <= {threshold:.4f}" for edge in edges]
    return pl.Series("reason", reasons.tolist(), dtype=pl.String())


def _outside(
    reading: Reading, rows: NDArray[np.intp], limit: float, names: tuple[str, ...]
) -> list[str]:
    """Describe how far these rows lie outside the training range."""
    scores, features = reading.seen.score[rows].tolist(), reading.seen.feature[rows].tolist()
    start = "the input lies outside the training range: "
    return [
        f"{start}{names[feature]} is "
        f"{f'{score:.3g} spreads from its median' if np.isfinite(score) else 'unknown'}, "
        f"limit {limit:.3g}"
        for score, feature in zip(scores, features, strict=True)
    ]


def _edge(reading: Reading) -> Array:
    return np.asarray(reading.probabilities[:, 2] - reading.probabilities[:, 0])


def _is_outside(reading: Reading, limit: float) -> Marks:
    score = reading.seen.score
    return ~(np.isfinite(score) & (score <= limit))


def _intervals(name: str, ends: tuple[Array, Array]) -> pl.Series:
    is_known = np.isfinite(ends[0]) & np.isfinite(ends[1])
    level = constant("level", LEVEL, pl.Float64(), len(is_known))
    return struct(name, [numbers("lower", ends[0]), numbers("upper", ends[1]), level], is_known)


def _remoteness(reading: Reading, limit: float, names: tuple[str, ...]) -> pl.Series:
    parts = [
        numbers("score", reading.seen.score),
        constant("limit", limit, pl.Float64(), len(reading.edge)),
        chosen("feature", names, reading.seen.feature),
    ]
    return struct("out_of_distribution", parts)
