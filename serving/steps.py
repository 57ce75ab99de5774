"""The newest step of a symbol's bars: features and context, computed once per bar.

Computing features is most of the cost of a prediction, and many requests come between two bars.
`Steps` keeps the result for the bars held, and a stream that takes new ones. `serving.history`
gives the same arrays until a bar arrives, so "the same object" means "the same bars". A forming bar
is looked at through that stream and changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from pipelines.data.bars import BarSeries
from pipelines.data.features import check_columns
from pipelines.data.features.streaming import FeatureStream, bar_at
from pipelines.templates import over_bars
from serving.loading import LoadedVersion


@dataclass(frozen=True, slots=True)
class NewestStep:
    """`values` is float64 (window, n_features), the newest step last; NaN: cannot be computed."""

    series: BarSeries
    values: NDArray[np.float64]
    context: Mapping[str, float]


def compute(series: BarSeries, version: LoadedVersion) -> NewestStep:
    """Return features and context of the newest step of `series`.

    Raises:
        MissingColumnsError: a column that the features need is entirely null.
    """
    check_columns(version.feature_set, series)
    with np.errstate(all="ignore"):  # what overflows is not finite, and refused by its name
        values = version.feature_set.compute(series)[-version.contract.window :]
    return NewestStep(series, values, _newest_context(series, version))


@dataclass(slots=True)
class _StreamState:
    """One symbol's stream and its last result; hold `lock` to change either."""

    lock: Lock = field(default_factory=Lock)
    stream: FeatureStream | None = None
    newest: NewestStep | None = None


class Steps:
    """Keeps the newest step of every symbol held and carries it forward. Safe for threads.

    There is one stream per symbol, interval, feature set, template and window. A new version with
    the same ones takes over the streams of the version before it.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: dict[tuple[str, str, str, str, int], _StreamState] = {}

    def of_held(self, series: BarSeries, version: LoadedVersion) -> NewestStep:
        """Return the same as `compute(series, version)`, but compute new bars only.

        `series` must come from `Look.newest`. Equal to `compute` as a stream is to the batch
        (`pipelines.data.features.streaming`).
        """
        state = self._state_of(series.symbol, version)
        with state.lock:
            return _extended(state, series, version)[0]

    def of_forming(
        self, held: BarSeries, with_forming: BarSeries, version: LoadedVersion
    ) -> NewestStep:
        """Return the same as `compute(with_forming, version)`, by the stream of the bars held.

        `held` must come from `Look.newest`; `with_forming` has one more bar.
        """
        state = self._state_of(held.symbol, version)
        with state.lock:
            newest, stream = _extended(state, held, version)
            row = stream.peek(bar_at(with_forming, -1))
        values = np.concatenate([newest.values, row[None]])[-version.contract.window :]
        return NewestStep(with_forming, values, _newest_context(with_forming, version))

    def _state_of(self, symbol: str, version: LoadedVersion) -> _StreamState:
        contract = version.contract
        same = (contract.interval, contract.feature_set, contract.template, contract.window)
        with self._lock:
            return self._known.setdefault((symbol, *same), _StreamState())


def _extended(
    state: _StreamState, series: BarSeries, version: LoadedVersion
) -> tuple[NewestStep, FeatureStream]:
    """Extend the stream by new bars; return its newest step and the stream. Hold the lock."""
    feature_set, contract, newest = version.feature_set, version.contract, state.newest
    if state.stream is None or newest is None or newest.series is not series:
        check_columns(feature_set, series)
        is_revised = newest is not None and newest.series.revision != series.revision
        if state.stream is None or is_revised:
            state.stream = FeatureStream(feature_set, series, contract.interval, contract.window)
        values = state.stream.follow(series)
        newest = state.newest = NewestStep(series, values, _newest_context(series, version))
    return newest, state.stream


def _newest_context(series: BarSeries, version: LoadedVersion) -> dict[str, float]:
    with np.errstate(all="ignore"):
        context = over_bars(version.template).context(series)
    return {name: float(context[name][-1]) for name in version.context_names}
