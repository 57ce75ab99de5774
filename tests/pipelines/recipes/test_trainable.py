"""Rows from which nothing can be learned are refused before the first fit, each in one line."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.parameters import RecipeParameters
from pipelines.recipes.dataset import make_dataset
from pipelines.recipes.recipe import Recipe
from pipelines.recipes.trainable import check_trainable
from registry.errors import UnfitRowsError


@pytest.fixture(scope="module", params=["volatility_forecast", "trading_signals"])
def made_of(request, make_bars):
    recipe = Recipe.resolve(RecipeParameters(template=request.param))
    return recipe, make_dataset(recipe, make_bars(n=900))


def changed(dataset, **fields):
    return replace(dataset, rows=replace(dataset.rows, **fields))


def test_rows_of_a_market_are_fit_to_learn_from(made_of):
    check_trainable(*made_of)


def test_a_target_that_does_not_vary(made_of):
    recipe, dataset = made_of
    flat = changed(dataset, target=np.ones(len(dataset.rows)))
    with pytest.raises(UnfitRowsError) as caught:
        check_trainable(recipe, flat)
    what = "is always 1" if recipe.template.name == "volatility_forecast" else "are of one class, 1"
    assert what in str(caught.value)
    assert str(caught.value).startswith(f"{recipe.template.name} cannot be trained: the ")


def test_a_target_that_varies_after_the_first_fold_only(made_of):
    recipe, dataset = made_of
    target = np.ones(len(dataset.rows))
    target[dataset.folds[0].test] = 0.0
    with pytest.raises(UnfitRowsError, match="of fold 0"):
        check_trainable(recipe, changed(dataset, target=target))


def test_a_fold_with_too_few_rows_that_may_be_fitted(made_of):
    recipe, dataset = made_of
    few = np.zeros(len(dataset.rows), dtype=bool)
    few[dataset.folds[0].train[:29]] = True
    with pytest.raises(UnfitRowsError, match="fold 0 is too small: 29 of its [0-9]+ training rows"):
        check_trainable(recipe, changed(dataset, fit=few))


def test_a_fit_on_the_newest_bars_counts_those_alone(made_of):
    recipe, dataset = made_of
    with pytest.raises(UnfitRowsError, match="fold 0 is too small: 20 of its"):
        check_trainable(replace(recipe, wanted=replace(recipe.wanted, recent_bars=10)), dataset)


def test_a_feature_without_a_value(made_of):
    recipe, dataset = made_of
    X = dataset.rows.X.copy()
    X[:, 3] = np.nan
    with pytest.raises(
        UnfitRowsError, match=r"1 features have no value in any row \(positions 3\)"
    ):
        check_trainable(recipe, changed(dataset, X=X))
