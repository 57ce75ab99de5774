"""Inputs `bars`: features of each symbol's bars, one row per symbol and bar close."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from pipelines.data.bars import Bars, BarSeries
from pipelines.data.features import FeatureSet, check_columns, compute_all, fingerprint, windows
from pipelines.data.sources import SOURCES
from pipelines.method.rows import LabelledRows, concatenate
from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes import checks
from pipelines.recipes.inputs import Data, Dataset, Layout, spread
from pipelines.recipes.recipe import Recipe
from pipelines.templates import BarTemplate, over_bars
from registry.contract import Json
from registry.errors import TooLittleHistoryError, UnfitRowsError
from registry.gates import GateRow
from registry.settings import PlatformSettings


class BarInputs:
    """The kind; see the module."""

    name = "bars"

    def read(
        self, source: SourceParameters, wanted: RecipeParameters, settings: PlatformSettings
    ) -> Bars:
        """Read the bars; source `store` without a path reads those this engine has received."""
        query = source.query(wanted.seed)
        if source.source == "store" and query.path is None:
            query = replace(query, path=settings.bars_dir)
        return SOURCES.get(source.source).read(query)

    def training(self, data: Data) -> Sequence[BarSeries]:
        """Return the bars of each symbol."""
        return list(cast(Bars, data).series())

    def describe(self, recipe: Recipe, data: Data, spec: dict[str, Json]) -> Layout:
        """Return names and fingerprint of the feature set."""
        feature_set = recipe.bar_features
        return Layout(
            feature_set.name,
            feature_set.feature_names,
            fingerprint(feature_set),
            feature_set.min_history + recipe.window - 1,
        )

    def rows(
        self, recipe: Recipe, data: Data, spec: dict[str, Json], *, keep_unlabelled: bool = False
    ) -> LabelledRows:
        """Return the rows of every symbol with finite inputs and a complete label."""
        return build_rows(
            over_bars(recipe.template),
            recipe.bar_features,
            cast(Bars, data),
            recipe.window,
            spec,
            keep_unlabelled=keep_unlabelled,
        )

    def sample(self, rows: LabelledRows, n_rows: int) -> NDArray[np.float32]:
        """Return inputs of rows spread over time."""
        return spread(rows, n_rows)

    def checks(self, recipe: Recipe, dataset: Dataset) -> tuple[GateRow, ...]:
        """Recompute features and context from cut and from short histories."""
        return checks.causality(recipe, dataset), checks.feature_parity(recipe, dataset)


def build_rows(
    template: BarTemplate,
    feature_set: FeatureSet,
    bars: Bars,
    window: int,
    spec: Mapping[str, Json],
    *,
    keep_unlabelled: bool = False,
) -> LabelledRows:
    """Return the rows of every symbol whose inputs are finite and whose label is complete.

    Args:
        window: steps per input.
        spec: the label's parameters (`Template.label_spec`).
        keep_unlabelled: also return rows whose label is not complete yet, with y and target NaN,
            t1 = -1 and fit false (for scoring the newest bars).

    Raises:
        MissingColumnsError: the bars lack a column the feature set needs.
        UnfitRowsError: a feature has no value in any bar of any symbol.
        TooLittleHistoryError: no row remains.
    """
    every, parts = list(bars.series()), []
    for series in every:
        check_columns(feature_set, series)
    features = compute_all(feature_set, every)
    for series, values in zip(every, features, strict=True):
        part = _symbol_rows(template, series, values, window, spec, bars.symbols)
        parts.append(part if keep_unlabelled else part.take(part.t1 >= 0))
    if not any(len(part) for part in parts):
        _check_known(template, feature_set, features)
        longest = max((len(series) for series in every), default=0)
        needed = feature_set.min_history + window - 1 + template.horizon_bars
        hint = "read more bars or choose a feature set with a shorter look-back"
        what = f"a labelled row of feature set {feature_set.name!r}"
        raise TooLittleHistoryError(what, max(needed, longest + 1), longest, hint)
    rows = concatenate(parts)
    return rows.take(np.lexsort((rows.symbol, rows.t0)))


def _check_known(
    template: BarTemplate, feature_set: FeatureSet, features: Sequence[NDArray[np.float64]]
) -> None:
    """Refuse features of which no bar has a value although the history is long enough."""
    if max((len(values) for values in features), default=0) < feature_set.min_history:
        return
    known = np.any([np.isfinite(values).any(axis=0) for values in features], axis=0)
    if empty := [n for n, has in zip(feature_set.feature_names, known, strict=True) if not has]:
        listed = ", ".join(empty[:5]) + (f" and {len(empty) - 5} more" if len(empty) > 5 else "")
        problem = f"in feature set {feature_set.name!r} no bar has a value of {listed}"
        raise UnfitRowsError(
            template.name, problem, "check the bars, or choose another feature set"
        )


def _symbol_rows(
    template: BarTemplate,
    series: BarSeries,
    values: NDArray[np.float64],
    window: int,
    spec: Mapping[str, Json],
    symbols: tuple[str, ...],
) -> LabelledRows:
    """Return one symbol's rows with finite inputs; those without a complete label have t1 = -1."""
    known_at_t0 = template.context(series)
    labels = template.label(series, known_at_t0, spec)
    complete = np.isfinite(labels.y) & (labels.t1 >= 0)
    rows = np.flatnonzero(_finite_windows(values, window))
    context = {name: array[rows] for name, array in known_at_t0.items()}
    y = np.where(complete, labels.y, np.nan)[rows]
    target, fit = template.target(y, context)
    return LabelledRows(
        X=windows(values, rows, window),
        y=y,
        target=target,
        context=context,
        outcome={name: array[rows] for name, array in labels.outcome.items()},
        symbol=np.full(len(rows), symbols.index(series.symbol), dtype=np.int32),
        symbols=symbols,
        t0=series.timestamp[rows],
        t1=np.where(complete, labels.t1, -1)[rows],
        fit=fit & complete[rows],
        spec=spec,
    )


def _finite_windows(values: NDArray[np.float64], window: int) -> NDArray[np.bool_]:
    """Return for each bar whether the `window` rows ending there fit into float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        bad = np.asarray(~np.isfinite(values.astype(np.float32)).all(axis=1))
    n_bad = np.concatenate(([0], np.cumsum(bad)))
    stop = np.arange(1, len(bad) + 1)
    good = n_bad[stop] == n_bad[np.maximum(stop - window, 0)]
    good[: window - 1] = False
    return np.asarray(good, dtype=np.bool_)


INPUTS = BarInputs()
