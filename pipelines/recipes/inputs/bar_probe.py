"""Probe: find by trying which columns of a bar a version's answers depend on.

Serving tells a caller which columns of a request it did not use. Features and templates do not
declare them, because a declaration could be wrong.
"""

from dataclasses import replace

import numpy as np

from pipelines.data.bars import BarSeries
from pipelines.data.features import FeatureSet, compute_all, is_panel
from pipelines.recipes.inputs import Answering
from pipelines.templates import BarTemplate

PROBE_BARS = 64
PROBED_COLUMNS = ("open", "high", "low", "close", "volume")


def used_columns(
    template: BarTemplate, feature_set: FeatureSet, n_bars: int, answer: Answering
) -> frozenset[str]:
    """Change the newest value of each bar column; return the columns that change the result.

    Args:
        n_bars: bars that one prediction needs.
        answer: features (1, n_features) and context (1,) each -> what is decoded beside them.
    """

    def told(series: BarSeries) -> tuple[str, str]:
        values = compute_all(feature_set, _with_companions(feature_set, series))[0]
        features = values[-1:].astype(np.float32)
        context = {name: known[-1:] for name, known in template.context(series).items()}
        return str(features.tolist()), str(answer(features, context))

    series = waves(n_bars)
    before, used = told(series), set()
    for column in PROBED_COLUMNS:
        values = getattr(series, column).copy()
        values[-1] *= 0.99 if column == "low" else 1.01
        if told(replace(series, **{column: values})) != before:
            used.add(column)
    return frozenset(used)


def waves(n_bars: int) -> BarSeries:
    """Return bars of a gently waving price, enough to compute features and answers from."""
    n = max(n_bars, PROBE_BARS)
    step = np.arange(n)
    close, opened = 100 + np.sin(step), 100 + np.sin(step - 0.5)
    high, low = np.maximum(opened, close) + 0.5, np.minimum(opened, close) - 0.5
    volume, spread = 1e6 * (2 + np.sin(3 * step)), np.full(n, 1e-4)
    stamps = step.astype(np.int64) * 86_400_000_000
    return BarSeries("PROBE", stamps, opened, high, low, close, volume, close, spread)


def _with_companions(feature_set: FeatureSet, series: BarSeries) -> list[BarSeries]:
    """Return the series, and for a panel set as many others as it needs."""
    n_others = feature_set.min_symbols - 1 if is_panel(feature_set) else 0
    companion = waves(len(series))
    step = np.arange(len(series))
    closes = [companion.close * np.exp(0.01 * np.sin(step * (i + 1.7))) for i in range(n_others)]
    return [
        series,
        *(replace(companion, symbol=f"PROBE{i}", close=c) for i, c in enumerate(closes)),
    ]
