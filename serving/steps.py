"""The newest step of a symbol's bars: features and context, computed once per bar.

Computing features is most of the cost of a prediction, and many requests come between two bars.
`Steps` keeps the result for bars that are held; `serving.history` gives the same arrays until a
bar arrives, so "the same object" means "the same bars". A forming bar is always computed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from pipelines.bars import BarSeries
from pipelines.features import check_columns
from pipelines.templates import over_bars
from serving.loading import LoadedVersion


@dataclass(frozen=True, slots=True)
class Computed:
    """`values` is float64 (window, n_features), newest last, NaN where it cannot be computed."""

    series: BarSeries
    values: NDArray[np.float64]
    context: Mapping[str, float]


def compute(series: BarSeries, version: LoadedVersion) -> Computed:
    """Return features and context of the newest step of `series`.

    Raises:
        MissingColumnsError: a column that the features need is entirely null.
    """
    check_columns(version.feature_set, series)
    with np.errstate(all="ignore"):  # what overflows is not finite, and refused by its name
        values = version.feature_set.compute(series)[-version.contract.window :]
        context = over_bars(version.template).context(series)
    newest = {name: float(context[name][-1]) for name in version.context_names}
    return Computed(series, values, newest)


class Steps:
    """Remembers the newest step of every symbol held. Safe for threads.

    Keeps one entry per symbol, interval, feature set, template and window; a version that is
    replaced by one of the same kind takes over its entries.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: dict[tuple[str, str, str, str, int], Computed] = {}

    def of_held(self, series: BarSeries, version: LoadedVersion) -> Computed:
        """Return `compute(series, version)`, computed again only when `series` is another object.

        `series` must come from `History.newest`.
        """
        contract = version.contract
        key = (
            series.symbol,
            contract.interval,
            contract.feature_set,
            contract.template,
            contract.window,
        )
        with self._lock:
            known = self._known.get(key)
        if known is not None and known.series is series:
            return known
        found = compute(series, version)
        with self._lock:
            self._known[key] = found
        return found
