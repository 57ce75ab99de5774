"""Feature set `returns`: the newest log return and two levels of variance, in their own units.

For models that find states (`market_regime`): few numbers, so that distances and covariances mean
something, and levels rather than ratios, because a state is a level. Free of the price's scale, but
not of the bars' interval or of the market: symbols of unlike volatility are unlike here.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipelines.data.bars import BarSeries
from pipelines.data.features import RequestAlias
from pipelines.data.features import indicators as ind

SLOW_DECAY = 0.99

MIN_HISTORY = 505
"""Bars from which the newest row is that of the full history: averages are cut at 504 returns."""

FEATURE_NAMES = ("log_return_1", "log_ewma_variance", "log_slow_ewma_variance")


class Returns:
    """The set; see `docs/features.md` for each feature's formula."""

    name = "returns"
    feature_names = FEATURE_NAMES
    needs: tuple[str, ...] = ("close",)
    instead = ""
    needs_trades = False
    aliases: Mapping[str, RequestAlias] = {name: RequestAlias(name) for name in FEATURE_NAMES}
    min_history = MIN_HISTORY

    def compute(self, series: BarSeries) -> NDArray[np.float64]:
        """Return the features, shape (n_bars, n_features), NaN while warming up."""
        if not len(series):
            return np.empty((0, len(self.feature_names)))
        returns = ind.log_returns(np.ascontiguousarray(series.close))
        fast, slow = (
            np.log(ind.ewma_variance(returns)),
            np.log(ind.ewma_variance(returns, SLOW_DECAY, warm_up=252)),
        )
        return np.column_stack([returns, fast, slow])

    def stream(self, series: BarSeries) -> "ReturnsRows":
        """Return the rows that follow `series`; nothing is carried from one to the next."""
        return ReturnsRows()


class ReturnsRows:
    """Rows computed from the newest bars alone: three numbers, for less than keeping state."""

    def update(self, bars: BarSeries) -> NDArray[np.float64]:
        """Return the features of the newest of `bars`, (n_features,)."""
        return self.peek(bars)

    def peek(self, bars: BarSeries) -> NDArray[np.float64]:
        """Return the same: there is no state to change."""
        newest: NDArray[np.float64] = FEATURE_SET.compute(bars)[-1]
        return newest


FEATURE_SET = Returns()
