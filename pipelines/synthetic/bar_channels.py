"""Channels: bars as stationary series that a network can learn, and back.

Channels of a symbol have one value per bar after the first. There is always the log return. With
opens, highs and lows there are the overnight gap and the square roots of the wicks above and below.
With volume there is log volume less its moving average. Each is centred and scaled by the symbol's
own mean and deviation. Heavy tails are drawn in by the inverse of a Lambert W x Gaussian transform
(Goerg 2015), so that a network need not learn them. `bars_of` undoes all of this.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.bars import BarSeries
from registry.errors import TooLittleHistoryError

Array = NDArray[np.float64]

PRICE_CHANNELS = ("gap", "upper_wick", "lower_wick")
VOLUME_SPAN = 20
LARGEST_DELTA = 0.45
"""Largest delta of the Lambert W transform; at 0.5 the variance of its values is infinite."""

FITTING_ROUNDS = 6

CLIP = 5.0
"""Gaussianised values are cut off here on the way back: 6e-7 of a normal distribution."""


@dataclass(frozen=True, slots=True)
class ChannelScale:
    """How one channel of one symbol is brought to about a standard normal, and back.

    x = mean + deviation z exp(delta z^2 / 2); z has deviation 1 and, where x has heavier tails
    than a normal distribution, no excess kurtosis.
    """

    mean: float
    deviation: float
    delta: float

    @classmethod
    def of(cls, values: Array) -> "ChannelScale":
        """Learn from values (n,) by Goerg's iteration: delta for the scale, scale for the delta."""
        mean, deviation, delta = float(values.mean()), float(values.std()) or 1.0, 0.0
        for _ in range(FITTING_ROUNDS):
            u = (values - mean) / deviation
            delta = _least_delta(u)
            deviation *= float(drawn_in(u, delta).std()) or 1.0
        return cls(mean, deviation, delta)

    def apply(self, values: Array) -> Array:
        """Return values gaussianised; `undo` is the inverse within the cut-off."""
        return drawn_in((values - self.mean) / self.deviation, self.delta)

    def undo(self, z: Array) -> Array:
        """Return the values of gaussianised ones."""
        inner = np.clip(z, -CLIP, CLIP)
        return self.mean + self.deviation * inner * np.exp(self.delta * inner**2 / 2)


@dataclass(frozen=True, slots=True)
class Channels:
    """A symbol's channels by name, with the bars' last close as the start of new ones."""

    names: tuple[str, ...]
    values: Array
    scales: tuple[ChannelScale, ...]
    first_close: float
    first_log_volume: float

    @property
    def gaussianised(self) -> Array:
        """Channels ready for a network, (n, n_channels)."""
        columns = zip(self.scales, self.values.T, strict=True)
        return np.column_stack([scale.apply(column) for scale, column in columns])


def drawn_in(u: Array, delta: float) -> Array:
    """Return sign(u) sqrt(W(delta u^2) / delta), the inverse of z exp(delta z^2 / 2)."""
    if delta == 0.0:
        return u
    x = delta * u**2
    w = np.log1p(x)
    for _ in range(12):  # Newton on w e^w = x
        w -= (w - x * np.exp(-w)) / (1 + w)
    return np.sign(u) * np.sqrt(np.maximum(w, 0.0) / delta)


def _least_delta(u: Array) -> float:
    """Return the smallest delta that leaves no excess kurtosis, at most `LARGEST_DELTA`."""
    if _kurtosis(u) <= 3.0:
        return 0.0
    low, high = 0.0, LARGEST_DELTA
    for _ in range(30):
        middle = (low + high) / 2
        if _kurtosis(drawn_in(u, middle)) > 3.0:
            low = middle
        else:
            high = middle
    return high


def channel_names(series: Sequence[BarSeries]) -> tuple[str, ...]:
    """Return the channels that every symbol's bars have."""
    names = ["return"]
    if all(np.isfinite([s.open, s.high, s.low]).all() for s in series):
        names += PRICE_CHANNELS
    if all(np.isfinite(s.volume).all() and (s.volume > 0).all() for s in series):
        names.append("volume")
    return tuple(names)


def channels_of(series: BarSeries, names: tuple[str, ...]) -> Channels:
    """Return a symbol's channels.

    Raises:
        TooLittleHistoryError: fewer than two bars.
    """
    if len(series) < 2:
        raise TooLittleHistoryError(series.symbol, 2, len(series), "use a longer history")
    close = np.log(series.close)
    found = {"return": np.diff(close)}
    if "gap" in names:
        opened, high, low = (np.log(a[1:]) for a in (series.open, series.high, series.low))
        body_top, body_bottom = np.maximum(opened, close[1:]), np.minimum(opened, close[1:])
        found["gap"] = opened - close[:-1]
        found["upper_wick"] = np.sqrt(np.maximum(high - body_top, 0.0))
        found["lower_wick"] = np.sqrt(np.maximum(body_bottom - low, 0.0))
    log_volume = np.log(series.volume) if "volume" in names else np.zeros(len(series))
    if "volume" in names:
        found["volume"] = log_volume[1:] - _average(log_volume)[:-1]
    values = np.column_stack([found[name] for name in names])
    scales = tuple(ChannelScale.of(column) for column in values.T)
    middle = float(np.median(log_volume))
    return Channels(names, values, scales, float(series.close[0]), middle)


def bars_of(channels: Channels, gaussianised: Array) -> pl.DataFrame:
    """Return one bar per row of new channels (n, n_channels): prices, and volume where known.

    The path starts at the real history's first close. Columns that the channels do not tell are
    left out.
    """
    columns = zip(channels.scales, gaussianised.T, strict=True)
    made = dict(zip(channels.names, (scale.undo(z) for scale, z in columns), strict=True))
    close = np.log(channels.first_close) + np.cumsum(made["return"])
    frame = {"close": close}
    if "gap" in made:
        before = np.concatenate([[np.log(channels.first_close)], close[:-1]])
        opened = before + made["gap"]
        up, down = (np.maximum(made[n], 0.0) ** 2 for n in ("upper_wick", "lower_wick"))
        high, low = np.maximum(opened, close) + up, np.minimum(opened, close) - down
        frame = {"open": opened, "high": high, "low": low, "close": close}
    if "volume" in made:
        frame["volume"] = _volume(made["volume"], channels)
    return pl.DataFrame({name: np.exp(values) for name, values in frame.items()})


def _volume(surprise: Array, channels: Channels) -> Array:
    """Return log volume; its average follows as in `_average`, held where real surprises centre."""
    found, average = np.empty(len(surprise)), channels.first_log_volume
    share = 2 / (VOLUME_SPAN + 1)
    surprise = surprise - surprise.mean()
    for t, step in enumerate(surprise):
        found[t] = average + step
        average += share * step
    return found


def _average(log_volume: Array) -> Array:
    share = 2 / (VOLUME_SPAN + 1)
    found = np.empty(len(log_volume))
    found[0] = log_volume[0]
    for t in range(1, len(log_volume)):
        found[t] = found[t - 1] + share * (log_volume[t] - found[t - 1])
    return found


def _kurtosis(u: Array) -> float:
    centred = u - u.mean()
    return float((centred**4).mean() / max((centred**2).mean() ** 2, np.finfo(float).tiny))
