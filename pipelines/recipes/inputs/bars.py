"""Inputs `bars`: features of each symbol's bars, one row per symbol and bar close."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pipelines.data.bars import SCHEMA, Bars, BarSeries
from pipelines.data.features import (
    FEATURE_SETS,
    FeatureSet,
    check_columns,
    compute_all,
    fingerprint,
    windows,
)
from pipelines.method.rows import LabelledRows, concatenate
from pipelines.recipes.causality import answers_causality
from pipelines.recipes.inputs import (
    Answering,
    Data,
    Dataset,
    Definition,
    Layout,
    Predictor,
)
from pipelines.recipes.inputs.bar_checks import causality, feature_parity
from pipelines.recipes.inputs.bar_probe import used_columns, waves
from pipelines.recipes.inputs.origins import FromBars
from pipelines.recipes.recipe import Recipe
from pipelines.templates import TEMPLATES, Arrays, BarTemplate, Template, over_bars
from registry.contract import Json, ModelContract
from registry.decoder import Decoder
from registry.errors import TooLittleHistoryError, UnfitRowsError
from registry.gates import GateRow

COLUMNS = tuple(name for name in SCHEMA if name != "symbol")
"""The arrays of a `BarSeries`."""


class BarInputs(FromBars):
    """Rows of features of single bars, or of windows of bars."""

    name = "bars"
    feature_sets = FEATURE_SETS
    has_outcomes = True

    def check(self, recipe: Recipe) -> None:
        """Refuse a feature set that the catalog does not have."""
        features_of(recipe)

    def describe(self, recipe: Recipe, data: Data, spec: dict[str, Json]) -> Layout:
        """Return names and fingerprint of the feature set."""
        feature_set = features_of(recipe)
        return Layout(
            feature_set.name,
            feature_set.feature_names,
            fingerprint(feature_set),
            self.look_back(recipe),
        )

    def rows(
        self, recipe: Recipe, data: Data, spec: dict[str, Json], *, keep_unlabelled: bool = False
    ) -> LabelledRows:
        """Return the rows of every symbol with finite inputs and a complete label."""
        return build_rows(
            over_bars(recipe.template),
            features_of(recipe),
            cast(Bars, data),
            recipe.window,
            spec,
            keep_unlabelled=keep_unlabelled,
        )

    def checks(self, recipe: Recipe, dataset: Dataset) -> tuple[GateRow, ...]:
        """Recompute features and context from cut and from short histories."""
        template, feature_set = over_bars(recipe.template), features_of(recipe)
        return causality(template, feature_set, dataset), feature_parity(feature_set, dataset)

    def answers_causality(
        self,
        recipe: Recipe,
        dataset: Dataset,
        contract: ModelContract,
        decoder: Decoder,
        predict: Predictor,
    ) -> GateRow:
        """Compare scores and answers with those from bars cut at several times."""
        return answers_causality(self, recipe, dataset, contract, decoder, predict)

    def look_back(self, recipe: Recipe) -> int:
        """Return the bars that the window's first step and the steps after it need."""
        return features_of(recipe).min_history + recipe.window - 1

    def history(self, data: Data, n_bars: int) -> Arrays:
        """Return the newest bars of the symbol that has most, column by column."""
        longest = max(cast(Bars, data).series(), key=len)
        newest = longest.slice(max(0, len(longest) - n_bars), len(longest))
        return {name: getattr(newest, name) for name in COLUMNS}

    def context_of(self, template: Template, history: Arrays) -> Arrays:
        """Return the template's context at each of these bars."""
        stamps = history["timestamp"].astype(np.int64)
        columns = {name: history[name] for name in COLUMNS if name != "timestamp"}
        return over_bars(template).context(BarSeries("", stamps, revision=0, **columns))

    def load(self, contract: ModelContract, read: Callable[[str], bytes]) -> Definition:
        """Return the feature set and the names of the template's context."""
        feature_set = FEATURE_SETS.get(contract.feature_set)
        context = over_bars(TEMPLATES.get(contract.template)).context(waves(contract.min_history))
        aliases = tuple(sorted(feature_set.aliases))
        return Definition(fingerprint(feature_set), feature_set, tuple(context), aliases)

    def used_columns(
        self, template: Template, contract: ModelContract, features: Any, answer: Answering
    ) -> frozenset[str]:
        """Change the newest value of each column and see whether anything else changes."""
        return used_columns(over_bars(template), features, contract.min_history, answer)


def features_of(recipe: Recipe) -> FeatureSet:
    """Return the recipe's feature set.

    Raises:
        UnknownNameError: the catalog has none of this name.
    """
    return FEATURE_SETS.get(recipe.feature_set)


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


KIND = BarInputs()
