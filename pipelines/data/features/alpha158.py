"""Feature sets `alpha158` and `alpha158_typical`: the 158 features of Qlib's Alpha158.

Definitions: Yang et al. 2020, "Qlib: An AI-oriented Quantitative Investment Platform"
(arXiv:2009.11189), `Alpha158DL` and its operators as published. Windows fill up from one bar
(min_periods = 1). This file names the features; `alpha158_kernels` computes them.

What differs, and why:
- The constants 1e-12 (added to price ranges) and 2e-5 (below which a standard deviation counts as
  none) are taken relative to the newest close. Qlib's data start at a price of 1; with absolute
  constants one and the same stock would have other features in another currency.
- From bar 61 on, `RSQR`, `CORR` and `CORD` of a window that is flat are 0 (no relation), where
  Qlib leaves NaN for a later step to fill. Before, values are NaN exactly where Qlib's are.
- `alpha158_typical` has `TYPICAL0`, the typical price (high + low + close) / 3 over the close, in
  the place of `VWAP0`, for sources without a vwap; names and fingerprint say so.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipelines.data.bars import BarSeries
from pipelines.data.features import RequestAlias
from registry.errors import MissingPackageError

WINDOWS = (5, 10, 20, 30, 60)

KBAR = ("KMID", "KLEN", "KMID2", "KUP", "KUP2", "KLOW", "KLOW2", "KSFT", "KSFT2")

ROLLING = (
    *("ROC", "MA", "STD", "BETA", "RSQR", "RESI", "MAX", "MIN", "QTLU", "QTLD", "RANK", "RSV"),
    *("IMAX", "IMIN", "IMXD", "CORR", "CORD", "CNTP", "CNTN", "CNTD", "SUMP", "SUMN", "SUMD"),
    *("VMA", "VSTD", "WVMA", "VSUMP", "VSUMN", "VSUMD"),
)

MIN_HISTORY = 61
"""Bars from which the newest row is exactly that of the full history: 60, and the close before."""


class Alpha158:
    """The set; see `docs/features.md` for each feature's formula."""

    needs: tuple[str, ...] = ("open", "high", "low", "close", "volume", "vwap")
    instead = "alpha158_typical"
    needs_trades = True
    min_history = MIN_HISTORY

    def __init__(self, name: str, average: str) -> None:
        """`average` is the name of the feature that says where the average price lies."""
        rolling = (f"{operator}{bars}" for operator in ROLLING for bars in WINDOWS)
        self.name = name
        self.feature_names = (*KBAR, "OPEN0", "HIGH0", "LOW0", average, *rolling)
        self.aliases: Mapping[str, RequestAlias] = {
            feature: RequestAlias(feature) for feature in self.feature_names
        }

    def compute(self, series: BarSeries) -> NDArray[np.float64]:
        """Return the features, shape (n_bars, 158); before bar 61 some are NaN."""
        return self.rows(series, 0)

    def rows(self, series: BarSeries, first: int) -> NDArray[np.float64]:
        """Return `compute(series)[first:]`, computing no more than that.

        Bit-identical however many earlier bars `series` holds, from 61 on: no value is carried
        from row to row.

        Raises:
            MissingPackageError: numba is not installed.
        """
        try:
            from pipelines.data.features.alpha158_kernels import (
                fill,  # numba, only where it is used
            )
        except ModuleNotFoundError as exc:
            raise MissingPackageError(f"feature set {self.name!r}", "numba", "training") from exc
        prices = (series.open, series.high, series.low, series.close)
        columns = (*prices, series.volume, self._average(series))
        # writable: the kernels would be compiled a second time for arrays that are read only
        opened, high, low, close, volume, average = (
            np.require(c, requirements=("C", "W")) for c in columns
        )
        out = np.empty((max(len(series) - first, 0), len(self.feature_names)))
        fill(opened, high, low, close, volume, average, first, out)
        return out

    def stream(self, series: BarSeries) -> "Alpha158Rows":
        """Return an object that computes one row at a time; it carries no state."""
        return Alpha158Rows(self)

    def _average(self, series: BarSeries) -> NDArray[np.float64]:
        return series.vwap


class Alpha158Rows:
    """The newest row, from the newest 61 bars."""

    def __init__(self, feature_set: Alpha158) -> None:
        self._set = feature_set

    def update(self, bars: BarSeries) -> NDArray[np.float64]:
        """Return the features of the newest bar, (158,)."""
        return self._set.rows(bars, len(bars) - 1).ravel()

    peek = update


class Alpha158Typical(Alpha158):
    """Alpha158 with the typical price where a volume-weighted average price is missing."""

    needs: tuple[str, ...] = ("open", "high", "low", "close", "volume")
    instead = "close_only"

    def _average(self, series: BarSeries) -> NDArray[np.float64]:
        return (series.high + series.low + series.close) / 3


FEATURE_SET = Alpha158("alpha158", "VWAP0")
TYPICAL = Alpha158Typical("alpha158_typical", "TYPICAL0")
