"""Feature set `returns`: the newest log return and two levels of variance, in their own units.

For models that find states (`market_regime`): few numbers, so that distances and covariances mean
something, and levels rather than ratios, because a state is a level. Free of the price's scale, but
not of the bars' interval or of the market: symbols of unlike volatility are unlike here.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipelines.bars import BarSeries
from pipelines.features import RequestAlias
from pipelines.features import indicators as ind

SLOW_BARS = 66

MIN_HISTORY = 300
"""Bars from which the newest row is that of the full history to 1e-6: 0.94^299 is 1e-8."""

FEATURE_NAMES = ("log_return_1", "log_ewma_variance", "log_mean_variance_66")


class Returns:
    """The set; see `docs/features.md` for each feature's formula."""

    name = "returns"
    feature_names = FEATURE_NAMES
    needs: tuple[str, ...] = ("close",)
    aliases: Mapping[str, RequestAlias] = {name: RequestAlias(name) for name in FEATURE_NAMES}
    min_history = MIN_HISTORY

    def compute(self, series: BarSeries) -> NDArray[np.float64]:
        """Return the features, shape (n_bars, n_features), NaN while warming up."""
        if not len(series):
            return np.empty((0, len(self.feature_names)))
        returns = ind.log_returns(np.ascontiguousarray(series.close))
        slow = np.maximum(ind.rolling_mean(returns**2, SLOW_BARS), ind.VARIANCE_FLOOR)
        return np.column_stack([returns, np.log(ind.ewma_variance(returns)), np.log(slow)])


FEATURE_SET = Returns()
