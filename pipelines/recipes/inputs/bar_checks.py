"""Checks of features of bars: causal, and the same from the bars that a server holds.

Both recompute features from parts of the histories and compare; see `pipelines/recipes/checks.py`
for the checks that every kind of input shares.
"""

from collections.abc import Callable, Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.bars import BarSeries
from pipelines.data.features import FeatureSet, compute_all, is_panel
from pipelines.method.agreement import difference
from pipelines.recipes.inputs import Dataset
from pipelines.templates import BarTemplate
from registry.gates import COMMON, GateRow

N_CUTS = 4
N_SYMBOLS = 3


def causality(template: BarTemplate, feature_set: FeatureSet, dataset: Dataset) -> GateRow:
    """Largest relative change of features and context at t when bars after t are removed."""
    whole = _Whole(feature_set, dataset)

    def compare(series: BarSeries, cut: int) -> float:
        past = series.slice(0, cut + 1)
        feature = difference(whole.rows(series.symbol)[cut], whole.recomputed(series, cut))
        full, short = template.context(series), template.context(past)
        context = max(difference(full[k][cut], short[k][cut]) for k in full)
        return max(feature, context)

    worst = _worst(whole, compare)
    note = f"f(x[:t])[t] against f(x)[t] at {N_CUTS} cuts of up to {N_SYMBOLS} symbols"
    return COMMON.row("causality", worst, note)


def feature_parity(feature_set: FeatureSet, dataset: Dataset) -> GateRow:
    """Largest relative difference between a training row and what serving computes for it."""
    whole, n_bars = _Whole(feature_set, dataset), feature_set.min_history

    def compare(series: BarSeries, cut: int) -> float:
        found = whole.recomputed(series, cut, n_bars)
        return difference(whole.rows(series.symbol)[cut], found)

    worst = _worst(whole, compare)
    note = f"whole history against the newest {n_bars} bars"
    return COMMON.row("feature_parity", worst, note)


class _Whole:
    """Features of whole histories, computed once, and again from parts of them."""

    def __init__(self, feature_set: FeatureSet, dataset: Dataset) -> None:
        self.feature_set = feature_set
        self.symbols, self._frame = dataset.data.symbols, dataset.data.frame
        self._every = list(map(self.series, self.symbols)) if self._is_panel else []
        self._rows: dict[str, NDArray[np.float64]] = {}

    @property
    def _is_panel(self) -> bool:
        return is_panel(self.feature_set)

    def series(self, symbol: str) -> BarSeries:
        """Return the bars of a symbol."""
        return BarSeries.from_frame(symbol, self._frame.filter(pl.col("symbol") == symbol))

    def rows(self, symbol: str) -> NDArray[np.float64]:
        """Return the features of a symbol's whole history."""
        if symbol not in self._rows:
            every = self._every or [self.series(symbol)]
            found = compute_all(self.feature_set, every)
            self._rows |= {one.symbol: rows for one, rows in zip(every, found, strict=True)}
        return self._rows[symbol]

    def recomputed(
        self, series: BarSeries, cut: int, n_bars: int | None = None
    ) -> NDArray[np.float64]:
        """Return the row of bar `cut` from the bars up to its time, the newest `n_bars` of each."""
        every, parts = self._every or [series], []
        for one in every:
            stop = int(np.searchsorted(one.timestamp, series.timestamp[cut], side="right"))
            parts.append(one.slice(max(0, stop - (n_bars or stop)), stop))
        at = [one.symbol for one in every].index(series.symbol)
        return np.asarray(compute_all(self.feature_set, parts)[at][-1])


def _worst(whole: _Whole, compare: Callable[[BarSeries, int], float]) -> float | None:
    found = [compare(series, cut) for series, cut in _cuts(whole)]
    return max(found) if found else None


def _cuts(whole: _Whole) -> Iterator[tuple[BarSeries, int]]:
    """Yield bars and seeded cut positions of symbols spread over the universe."""
    symbols = whole.symbols
    chosen = {symbols[i] for i in np.linspace(0, len(symbols) - 1, N_SYMBOLS).astype(int)}
    rng = np.random.default_rng(0)
    for symbol in sorted(chosen):
        series = whole.series(symbol)
        low, high = whole.feature_set.min_history, len(series) - 1
        if low < high:
            for cut in rng.integers(low, high, N_CUTS):
                yield series, int(cut)
