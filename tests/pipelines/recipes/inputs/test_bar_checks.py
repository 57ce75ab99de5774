"""Checks of features of bars: each catches the fault that it is there for, made on purpose."""

from datetime import UTC, datetime

import numpy as np
import pytest

from pipelines.data.bars import BarSeries
from pipelines.data.features import FEATURE_SETS
from pipelines.data.sources import SOURCES, BarQuery
from pipelines.parameters import RecipeParameters
from pipelines.recipes.dataset import make_dataset
from pipelines.recipes.inputs.bar_checks import causality, feature_parity
from pipelines.recipes.recipe import Recipe


class Features:
    """A feature set of one column, written for a test."""

    feature_names = ("value",)
    needs = ("close",)
    instead = ""
    needs_trades = False

    def __init__(self, name: str, formula, min_history: int = 30) -> None:
        self.name, self._formula, self.min_history = name, formula, min_history
        self.aliases: dict = {}

    def compute(self, series: BarSeries) -> np.ndarray:
        return self._formula(series.close)[:, None]


def yesterdays_return(close):
    return np.concatenate(([np.nan], np.diff(np.log(close))))


def tomorrows_return(close):
    return np.concatenate((np.diff(np.log(close)), [np.nan]))


def share_of_the_highest_close(close):
    return close / close.max()


def return_since_the_first_bar(close):
    return np.log(close / close[0])


class ClairvoyantTemplate:
    """A template whose context is the last close of all bars given."""

    def context(self, series: BarSeries) -> dict[str, np.ndarray]:
        return {"close": np.full(len(series), series.close[-1])}


@pytest.fixture(scope="module")
def recipe():
    return Recipe.resolve(RecipeParameters())


@pytest.fixture(scope="module")
def dataset(recipe):
    end = datetime(2003, 6, 30, tzinfo=UTC)
    bars = SOURCES.get("synthetic").read(BarQuery(symbols=("AAA", "BBB"), end=end, seed=3))
    return make_dataset(recipe, bars)


@pytest.fixture(scope="module")
def universe(recipe):
    """Ten symbols: as many as a panel set needs."""
    symbols = tuple(f"S{i}" for i in range(10))
    end = datetime(2003, 6, 30, tzinfo=UTC)
    bars = SOURCES.get("synthetic").read(BarQuery(symbols=symbols, end=end, seed=3))
    return make_dataset(recipe, bars)


@pytest.mark.usefixtures("compiled_kernels")
@pytest.mark.parametrize("feature_set", list(FEATURE_SETS))
def test_the_sets_of_the_catalog_are_causal_and_need_no_more_than_they_say(
    recipe, universe, feature_set
):
    chosen = FEATURE_SETS.get(feature_set)
    assert causality(recipe.template, chosen, universe).passed
    assert feature_parity(chosen, universe).passed


@pytest.mark.parametrize("formula", [tomorrows_return, share_of_the_highest_close])
def test_a_feature_that_looks_ahead_fails_causality(recipe, dataset, formula):
    row = causality(recipe.template, Features("ahead", formula), dataset)
    assert not row.passed
    assert row.value > 0.001


def test_a_feature_of_past_closes_passes_causality_with_difference_zero(recipe, dataset):
    row = causality(recipe.template, Features("lagged", yesterdays_return), dataset)
    assert (row.value, row.passed) == (0.0, True)


def test_context_that_looks_ahead_fails_causality(dataset):
    blind = Features("lagged", yesterdays_return)
    row = causality(ClairvoyantTemplate(), blind, dataset)
    assert not row.passed


def test_a_feature_that_needs_more_bars_than_it_says_fails_feature_parity(dataset):
    forgetful = Features("since_first", return_since_the_first_bar)
    row = feature_parity(forgetful, dataset)
    assert not row.passed
    assert "newest 30 bars" in row.note


def test_without_enough_bars_to_compare_the_gate_is_not_computed_and_refuses(dataset):
    endless = Features("lagged", yesterdays_return, min_history=10_000)
    row = feature_parity(endless, dataset)
    assert (row.value, row.passed) == (None, False)
