"""Answers of `return_forecast`: an expected return with a conformal interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.templates.answer_fields import Meaning
from pipelines.templates.answer_frames import chosen, constant, numbers, struct
from registry.contract import ModelContract
from registry.decoder import Decoder

Array = NDArray[np.float64]

LEVEL = 0.9
LARGEST_LOG_RETURN = 50.0
"""exp(50) times any price is still a number."""
NO_SIGMA = "sigma of the row is not known"
NO_CLOSE = "sigma or the newest close is not known"
NO_EARLIER = "or there are no earlier out-of-fold rows"

Kind = Literal["split", "adaptive"]


@dataclass(frozen=True, slots=True)
class ConformalInterval:
    """A central interval of what will be realised, and which kind of it."""

    lower: Annotated[float, Meaning("lower end")]
    upper: Annotated[float, Meaning("upper end")]
    level: Annotated[float, Meaning("share of outcomes that lie inside", "fraction")]
    kind: Annotated[Kind, Meaning("which conformal interval, the option `interval`")]


@dataclass(frozen=True, slots=True)
class ReturnForecastAnswer:
    """What the price is expected to do from the fill over the horizon."""

    expected_log_return: Annotated[
        float | None, Meaning("from the fill over the horizon", "log return", NO_SIGMA)
    ]
    expected_return: Annotated[
        float | None, Meaning("the same as a fraction of the price", "fraction", NO_SIGMA)
    ]
    score: Annotated[float, Meaning("the forecast", "sigmas of one bar")]
    sigma: Annotated[
        float | None,
        Meaning("EWMA standard deviation of a bar's log return", "log return", NO_SIGMA),
    ]
    direction: Annotated[Literal["up", "down", "none"], Meaning("`none` at exactly zero")]
    target_price: Annotated[
        float | None, Meaning("the newest close carried on by the forecast", "price", NO_CLOSE)
    ]
    interval: Annotated[
        ConformalInterval | None,
        Meaning(
            "of the log return that will be realised", "log return", f"{NO_SIGMA}, {NO_EARLIER}"
        ),
    ]
    price_interval: Annotated[
        ConformalInterval | None,
        Meaning("the newest close carried on by its ends", "price", f"{NO_CLOSE}, {NO_EARLIER}"),
    ]
    fill: Annotated[str, Meaning("what the return starts from: `next_open` or `next_close`")]
    price_basis: Annotated[str, Meaning("prices that the version was made from")]


def forecast(
    score: float,
    sigma: float,
    close: float,
    half: float | None,
    decoder: Decoder,
    contract: ModelContract,
) -> ReturnForecastAnswer:
    """Return the answer of one row.

    Args:
        score: the forecast in sigmas.
        sigma, close: NaN where not known.
        half: half the interval in sigmas; None without one.
    """
    expected = score * sigma
    returns = prices = None
    if half is not None and np.isfinite(expected):
        kind = cast(Kind, decoder.facts["interval"])
        lower, upper = expected - half * sigma, expected + half * sigma
        returns = ConformalInterval(lower, upper, LEVEL, kind)
        if np.isfinite(close):
            low, high = close * _growth(lower), close * _growth(upper)
            prices = ConformalInterval(low, high, LEVEL, kind)
    return ReturnForecastAnswer(
        expected_log_return=_finite(expected),
        expected_return=_finite(_growth(expected) - 1),
        score=score,
        sigma=_finite(sigma),
        direction="up" if score > 0 else "down" if score < 0 else "none",
        target_price=_finite(close * _growth(expected)),
        interval=returns,
        price_interval=prices,
        fill=str(contract.label_spec["fill"]),
        price_basis=contract.price_basis,
    )


def forecast_frame(
    score: Array,
    sigma: Array,
    close: Array,
    half: float | None,
    decoder: Decoder,
    contract: ModelContract,
) -> pl.DataFrame:
    """Return the answers of `forecast` as columns, of (n,) each."""
    n_rows, expected = len(score), score * sigma
    width = (np.nan if half is None else half) * sigma
    ends = (expected - width, expected + width)
    has_returns = np.isfinite(expected) & (half is not None)
    prices = [close * _growths(end) for end in ends]
    kind = str(decoder.facts["interval"])
    return pl.DataFrame(
        [
            numbers("expected_log_return", expected),
            numbers("expected_return", _growths(expected) - 1),
            numbers("score", score),
            numbers("sigma", sigma),
            chosen("direction", ("down", "none", "up"), (np.sign(score) + 1).astype(np.intp)),
            numbers("target_price", close * _growths(expected)),
            _intervals("interval", ends, kind, has_returns),
            _intervals("price_interval", prices, kind, has_returns & np.isfinite(close)),
            constant("fill", str(contract.label_spec["fill"]), pl.String(), n_rows),
            constant("price_basis", contract.price_basis, pl.String(), n_rows),
        ]
    )


def _intervals(
    name: str, ends: Sequence[Array], kind: str, is_known: NDArray[np.bool_]
) -> pl.Series:
    parts = [numbers("lower", ends[0]), numbers("upper", ends[1])]
    parts.append(constant("level", LEVEL, pl.Float64(), len(is_known)))
    parts.append(constant("kind", kind, pl.String(), len(is_known)))
    return struct(name, parts, is_known)


def _growth(log_return: float) -> float:
    return float(_growths(np.float64(log_return)))


def _growths(log_return: Any) -> Any:
    return np.exp(np.clip(log_return, -LARGEST_LOG_RETURN, LARGEST_LOG_RETURN))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
