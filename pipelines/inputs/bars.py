"""Inputs `bars`: features of each symbol's bars, one row per symbol and bar close."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from pipelines import checks
from pipelines.bars import Bars, BarSeries
from pipelines.datasets import LabelledRows, build_rows
from pipelines.features import fingerprint
from pipelines.inputs import Data, Dataset, Layout, spread
from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipe import Recipe
from pipelines.sources import SOURCES
from pipelines.templates import over_bars
from registry.contract import Json
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


INPUTS = BarInputs()
