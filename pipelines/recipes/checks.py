"""Checks that every candidate passes before its quality is discussed.

Each returns one gate row: data, causality, feature parity, golden rows. They recompute; they
trust nothing that the train stage said about itself.
"""

from collections.abc import Callable, Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.bars import BarSeries
from pipelines.data.features import FeatureSet, PanelSet, compute_all
from pipelines.method.agreement import CAUSALITY_LIMIT, FEATURE_PARITY_LIMIT, difference
from pipelines.recipes.candidate import Candidate
from pipelines.recipes.inputs import Dataset
from pipelines.recipes.recipe import Recipe
from pipelines.templates import over_bars
from registry.backends import BACKENDS
from registry.flavors import FLAVORS
from registry.gates import GateRow

GOLDEN_LIMIT = 1e-5
N_CUTS = 4
N_SYMBOLS = 3
MAY_MISS = ("table",)
"""Inputs with NaN where a value is missing, for architectures that take it."""
MAY_BE_CONSTANT = ("texts",)
"""Inputs with a column per word, most of which no text has."""


def data_checks(dataset: Dataset, inputs: str = "bars") -> GateRow:
    """Count what makes rows unfit to learn from; the limit is none.

    Args:
        inputs: what the rows are made of (`Template.inputs`).
    """
    rows = dataset.rows
    problems = []
    if np.isinf(rows.X).any() or (inputs not in MAY_MISS and np.isnan(rows.X).any()):
        problems.append("inputs that are not finite")
    if not np.isfinite(rows.y).all():
        problems.append("labels that are not finite")
    if np.ptp(rows.target) == 0:
        problems.append("constant labels")
    flat = rows.X.reshape(-1, rows.X.shape[-1])
    constant = 0 if inputs in MAY_BE_CONSTANT else int((np.ptp(flat, axis=0) == 0).sum())
    if constant:
        problems.append(f"{constant} constant features")
    if not (rows.t1 > rows.t0).all():
        problems.append("labels that end before they start")
    note = ", ".join(problems) or f"{len(rows)} rows, {len(dataset.data.repairs)} repairs"
    return GateRow("data.checks", float(len(problems)), "<=", 0.0, note)


def causality(recipe: Recipe, dataset: Dataset) -> GateRow:
    """Largest relative change of features and context at t when bars after t are removed."""
    template, whole = over_bars(recipe.template), _Whole(recipe.bar_features, dataset)

    def compare(series: BarSeries, cut: int) -> float:
        past = series.slice(0, cut + 1)
        feature = difference(whole.rows(series.symbol)[cut], whole.recomputed(series, cut))
        full, short = template.context(series), template.context(past)
        context = max(difference(full[k][cut], short[k][cut]) for k in full)
        return max(feature, context)

    worst = _worst(whole, compare)
    note = f"f(x[:t])[t] against f(x)[t] at {N_CUTS} cuts of up to {N_SYMBOLS} symbols"
    return GateRow("causality", worst, "<=", CAUSALITY_LIMIT, note)


def feature_parity(recipe: Recipe, dataset: Dataset) -> GateRow:
    """Largest relative difference between a training row and what serving computes for it."""
    feature_set = recipe.bar_features
    whole, n_bars = _Whole(feature_set, dataset), feature_set.min_history

    def compare(series: BarSeries, cut: int) -> float:
        found = whole.recomputed(series, cut, n_bars)
        return difference(whole.rows(series.symbol)[cut], found)

    worst = _worst(whole, compare)
    note = f"whole history against the newest {n_bars} bars"
    return GateRow("feature_parity", worst, "<=", FEATURE_PARITY_LIMIT, note)


def golden_rows(
    candidate: Candidate, features: NDArray[np.float32], scores: NDArray[np.float32]
) -> GateRow:
    """Largest difference between the recorded scores and those of the stored native artifact."""
    worst = difference(scores, native_predictor(candidate)(features))
    note = f"{len(features)} rows through the stored native artifact"
    return GateRow("golden_rows", worst, "<=", GOLDEN_LIMIT, note)


def native_predictor(
    candidate: Candidate,
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Load the stored native artifact."""
    flavor = FLAVORS.get("native")
    payload = candidate.directory / flavor.file_name(candidate.contract.native_format)
    return BACKENDS.get("cpu").load("native", payload.read_bytes(), candidate.contract)


class _Whole:
    """Features of whole histories, computed once, and again from parts of them."""

    def __init__(self, feature_set: FeatureSet, dataset: Dataset) -> None:
        self.feature_set = feature_set
        self.symbols, self._frame = dataset.data.symbols, dataset.data.frame
        self._every = list(map(self.series, self.symbols)) if self._is_panel else []
        self._rows: dict[str, NDArray[np.float64]] = {}

    @property
    def _is_panel(self) -> bool:
        return isinstance(self.feature_set, PanelSet)

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
