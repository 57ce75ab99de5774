"""Answers of `trading_signals`: a signal, or HOLD with the reason against one. Numpy only."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from math import isfinite
from typing import Annotated, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from pipelines.method.meta_label import ACCEPTED
from pipelines.templates.answer_fields import Interval, Meaning
from pipelines.templates.trading_signals.decoder import LEVEL, Reading, adaptive_width
from pipelines.templates.trading_signals.quality import CLASSES
from registry.contract import ModelContract
from registry.decoder import Decoder

Array = NDArray[np.float64]

Signal = Literal["SELL", "HOLD", "BUY"]
Abstained = Literal["no_edge", "below_threshold", "low_meta_confidence", "out_of_distribution"]
GIVEN = "the signal is another one"
NO_THRESHOLD = "no threshold earned anything net of costs on earlier out-of-fold rows"
NO_PRICE = "the newest close is not known"
NO_WIDTH = "close or sigma is not known, or there are no conformal scores yet"


@dataclass(frozen=True, slots=True)
class Remoteness:
    """How far the input lies from the training rows."""

    score: Annotated[
        float | None,
        Meaning(
            "largest distance of a feature from its training median",
            "robust standard deviations",
            "a feature is not known",
        ),
    ]
    limit: Annotated[
        float,
        Meaning(
            "the 99.9 % quantile of that over training rows; beyond it the signal is HOLD",
            "robust standard deviations",
        ),
    ]
    feature: Annotated[str, Meaning("the most extreme feature")]


@dataclass(frozen=True, slots=True)
class TradingSignalsAnswer:
    """A signal, or HOLD with what was missing for one."""

    signal: Annotated[Signal, Meaning("the decision; HOLD exactly where `abstained` is not null")]
    confidence: Annotated[float, Meaning("calibrated probability of that class", "fraction")]
    probabilities: Annotated[
        Mapping[str, float], Meaning("calibrated, of SELL, HOLD and BUY", "fraction")
    ]
    meta_confidence: Annotated[
        float | None,
        Meaning(
            "P(the side of the signal earns more than it costs)",
            "fraction",
            "the version has no meta-labels, or sigma is not known",
        ),
    ]
    ece: Annotated[
        float | None,
        Meaning(
            "calibration error of the calibrator over all classes, on a fold it had not seen",
            "fraction",
            "there is no such fold yet",
        ),
    ]
    threshold: Annotated[
        float | None,
        Meaning(
            "what |P(BUY) - P(SELL)| must exceed for a signal",
            "fraction",
            "no threshold earned anything net of costs on earlier rows",
        ),
    ]
    abstained: Annotated[
        Abstained | None,
        Meaning(
            "why the signal is HOLD; `no_edge`: the trade lock is shut, or there is no threshold",
            null=GIVEN,
        ),
    ]
    reason: Annotated[str | None, Meaning("the same in words, with its numbers", null=GIVEN)]
    failed_gates: Annotated[tuple[str, ...], Meaning("gates that keep the trade lock shut")]
    target_price: Annotated[
        float | None,
        Meaning("newest close times exp(`expected_log_return`)", "price", NO_PRICE),
    ]
    interval: Annotated[
        Interval | None,
        Meaning("of the price at the label's exit, split conformal", "price", NO_WIDTH),
    ]
    adaptive_interval: Annotated[
        Interval | None,
        Meaning(
            "the same at the level that adaptive conformal inference had reached when the version "
            "was made",
            "price",
            f"{NO_WIDTH}, or that level is beyond every score",
        ),
    ]
    expected_log_return: Annotated[
        float, Meaning("from fill to exit: the classes' mean returns by probability", "log return")
    ]
    sigma: Annotated[
        float | None,
        Meaning("EWMA standard deviation of a bar's log return", "log return", "it is not known"),
    ]
    out_of_distribution: Annotated[
        Remoteness, Meaning("how far the input lies from the training rows")
    ]
    fill: Annotated[
        str,
        Meaning(
            "when a decision is filled, and when it is out after a touch of its label: `next_open` "
            "or `next_close`"
        ),
    ]
    path: Annotated[str, Meaning("what the label looked at: `high_low` of each bar, or `close`")]
    price_basis: Annotated[str, Meaning("prices that the version was made from")]


def signal_answers(
    reading: Reading,
    context: Mapping[str, Array],
    decoder: Decoder,
    contract: ModelContract,
    refusals: Sequence[str],
) -> list[TradingSignalsAnswer]:
    """Return the answer of each row of a reading; `context` as `Template.decode` takes it."""
    facts, spec = decoder.facts, contract.label_spec
    threshold, ece = cast(float | None, facts["threshold"]), cast(float | None, facts["ece"])
    limit = float(decoder.arrays["novelty.limit"][0])
    fill, path, failed = str(spec["fill"]), str(spec["path"]), tuple(refusals)
    found = []
    for row in _rows(reading, context, decoder):
        feature = contract.feature_names[row.feature]
        far = Remoteness(_finite(row.remoteness), limit, feature)
        edge = row.probabilities[2] - row.probabilities[0]
        abstained, reason = _abstention(edge, threshold, far, row.meta, refusals)
        chosen = 1 if abstained else (2 if edge > 0 else 0)
        answer = TradingSignalsAnswer(
            signal=cast(Signal, CLASSES[chosen]),
            confidence=row.probabilities[chosen],
            probabilities=dict(zip(CLASSES, row.probabilities, strict=True)),
            meta_confidence=None if row.meta is None else _finite(row.meta),
            ece=ece,
            threshold=threshold,
            abstained=abstained,
            reason=reason,
            failed_gates=failed,
            target_price=_finite(row.price),
            interval=_interval(*row.interval),
            adaptive_interval=_interval(*row.adaptive),
            expected_log_return=row.expected,
            sigma=_finite(row.sigma),
            out_of_distribution=far,
            fill=fill,
            path=path,
            price_basis=contract.price_basis,
        )
        found.append(answer)
    return found


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers of the answers of a reading, (n,) each; NaN where not known."""

    price: Array
    expected: Array
    sigma: Array
    interval: tuple[Array, Array]
    adaptive: tuple[Array, Array]


def numbers_of(reading: Reading, context: Mapping[str, Array], decoder: Decoder) -> Numbers:
    """Return what answers hold beside the reading; the same for one row alone."""
    n, p, value = len(reading.edge), reading.probabilities, decoder.arrays["class_return"]
    unknown = np.full(n, np.nan)
    close, sigma = context.get("close", unknown), context.get("sigma", unknown)
    with np.errstate(all="ignore"):
        expected = p[:, 0] * value[0] + p[:, 1] * value[1] + p[:, 2] * value[2]
        price = close * np.exp(expected)
    split = _ends(price, sigma, cast(float | None, decoder.facts["conformal"]))
    return Numbers(price, expected, sigma, split, _ends(price, sigma, adaptive_width(decoder)))


class _Row(NamedTuple):
    """Numbers of one row; NaN where not known, `meta` None without meta-labels."""

    probabilities: list[float]
    remoteness: float
    feature: int
    meta: float | None
    price: float
    expected: float
    sigma: float
    interval: tuple[float, float]
    adaptive: tuple[float, float]


def _rows(reading: Reading, context: Mapping[str, Array], decoder: Decoder) -> Iterator[_Row]:
    """Yield the numbers of each row, computed for all rows together."""
    found = numbers_of(reading, context, decoder)
    return map(
        _Row,
        reading.probabilities.tolist(),
        reading.seen.score.tolist(),
        reading.seen.feature.tolist(),
        repeat(None, len(reading.edge)) if reading.meta is None else reading.meta.tolist(),
        found.price.tolist(),
        found.expected.tolist(),
        found.sigma.tolist(),
        _pairs(found.interval),
        _pairs(found.adaptive),
    )


def _ends(price: Array, sigma: Array, width: float | None) -> tuple[Array, Array]:
    """Return the ends of each row's interval, `width` sigmas around its price."""
    with np.errstate(all="ignore"):
        half = sigma * (np.nan if width is None else width)
        return price * np.exp(-half), price * np.exp(half)


def _pairs(ends: tuple[Array, Array]) -> Iterator[tuple[float, float]]:
    return zip(ends[0].tolist(), ends[1].tolist(), strict=True)


def _abstention(
    edge: float,
    threshold: float | None,
    far: Remoteness,
    meta: float | None,
    refusals: Sequence[str],
) -> tuple[Abstained | None, str | None]:
    """Return the code and the reason for HOLD; None twice when a signal may be given."""
    outside = _outside(far)
    if refusals:
        shut = shut_by(refusals)
        return "no_edge", f"{shut}; {outside}" if outside else shut
    if outside:
        return "out_of_distribution", outside
    if threshold is None:
        return "no_edge", NO_THRESHOLD
    if meta is not None and not meta > ACCEPTED:
        shown = f"{meta:.4f}" if isfinite(meta) else "unknown"
        return "low_meta_confidence", f"P(right net of costs) is {shown}, needs > {ACCEPTED}"
    if abs(edge) <= threshold:
        return "below_threshold", f"|P(BUY) - P(SELL)| = {abs(edge):.4f} <= {threshold:.4f}"
    return None, None


def shut_by(refusals: Sequence[str]) -> str:
    """Say that the trade lock is shut."""
    return f"the trade lock is shut by {len(refusals)} gates"


def _outside(far: Remoteness) -> str | None:
    """Describe how far the input lies outside the training range; None when it does not."""
    if far.score is not None and far.score <= far.limit:
        return None
    shown = "unknown" if far.score is None else f"{far.score:.3g} spreads from its median"
    where = f"{far.feature} is {shown}, limit {far.limit:.3g}"
    return f"the input lies outside the training range: {where}"


def _interval(lower: float, upper: float) -> Interval | None:
    known = isfinite(lower) and isfinite(upper)
    return Interval(lower, upper, LEVEL) if known else None


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
