"""Labels of trading signals: the outcome of a decision at the close of each bar.

Two labels: which barrier is touched first (`triple_barrier`, Lopez de Prado 2018, ch. 3), and where
the price is after h bars (`fixed_horizon`). Both share the fill, the width in units of volatility
and its fit, so that BUY, HOLD and SELL mean the same. Numpy and polars only.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from pipelines.data.bars import BarSeries
from pipelines.method import labels
from pipelines.templates import Labels
from registry.contract import Json
from registry.errors import ParameterError, TooLittleHistoryError

Array = NDArray[np.float64]

LABELS = ("triple_barrier", "fixed_horizon")
HOLD_SHARE = 0.35
"""Share of HOLD that the width aims at; 30 to 40 % is sound."""
WIDEST, NARROWEST = 5.0, 0.01


def signal_label_spec(label: str, horizon: int, training: Sequence[BarSeries]) -> dict[str, Json]:
    """Return the label's parameters, its width fitted so that about 35 % of the rows are HOLD.

    `fill` is `next_open` where every training bar has an open, else `next_close`; `path` is
    `high_low` where every one has both and the label looks at the path, else `close`. `width` is
    in units of sigma * sqrt(h). `fitted` names the parameters that the data chose: they do not
    make another trial.

    Raises:
        ParameterError: a horizon below 1.
        TooLittleHistoryError: no training label is complete.
    """
    if horizon < 1:
        raise ParameterError("horizon", horizon, "at least one bar")
    has_open = all(np.isfinite(s.open).all() for s in training)
    has_range = all(np.isfinite(s.high).all() and np.isfinite(s.low).all() for s in training)
    spec: dict[str, Json] = {
        "kind": label,
        "horizon_bars": horizon,
        "sigma": "EWMA standard deviation of log returns, span 100",
        "fill": "next_open" if has_open else "next_close",
        "path": "high_low" if has_range and label == "triple_barrier" else "close",
    }
    return spec | _fit_width(training, spec)


def _fit_width(training: Sequence[BarSeries], spec: Mapping[str, Json]) -> dict[str, Json]:
    """Return `width` by bisection on the HOLD share, which grows with it, and the share reached."""
    sigmas = [labels.ewma_deviation(series.close) for series in training]

    def hold_share(width: float) -> float:
        tried = {**spec, "width": width}
        pairs = zip(training, sigmas, strict=True)
        y = [label_signals(series, sigma, tried).y for series, sigma in pairs]
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


def label_signals(series: BarSeries, sigma: Array, spec: Mapping[str, Json]) -> Labels:
    """Return the class of each bar and when it is known.

    Outcomes: `log_return` (fill to exit), `touched` (0 or 1: BUY or SELL), `ambiguous` (one bar
    touched both barriers), `next_return` (simple return from this decision's fill to the next
    one's), `left_at` (time, in microseconds, of the decision at whose fill this one is out).
    """
    horizon, width = int(cast(int, spec["horizon_bars"])), float(cast(float, spec["width"]))
    is_fixed = spec.get("kind") == "fixed_horizon"
    label = labels.fixed_horizon if is_fixed else labels.triple_barrier
    path = _path(series, spec)
    touches = label(path, width * sigma * horizon**0.5, horizon)
    known = touches.bars >= 0
    bar, newest = np.arange(len(series)), max(len(series) - 1, 0)
    end = np.minimum(bar + touches.bars, newest)
    left = np.minimum(bar + labels.bars_held(touches, horizon), newest)
    outcome = {
        "log_return": touches.log_return,
        "touched": np.where(known, touches.y != labels.HOLD, np.nan),
        "ambiguous": np.where(known, touches.ambiguous, np.nan),
        "next_return": labels.later(path.fill, 1) / path.fill - 1,
        "left_at": np.where(known, series.timestamp[left], np.nan),
    }
    return Labels(touches.y, np.where(known, series.timestamp[end], -1), outcome)


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
