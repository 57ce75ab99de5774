"""A trial computes what a validated version of the same recipe would; rows are made once."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pipelines.method.folds import Fold
from pipelines.parameters import RecipeParameters
from pipelines.recipes.dataset import make_dataset
from pipelines.recipes.recipe import Recipe, fit_decoders, fit_folds
from pipelines.tuning.fold_trials import evaluate, predict_folds, to_come
from pipelines.tuning.search import blocks_of
from pipelines.tuning.shared_rows import SharedRows

RIDGE = RecipeParameters("return_forecast", "ridge", "returns", horizon=1)


@pytest.fixture(scope="module")
def bars(make_bars):
    return make_bars(n=1200)


def test_a_trial_is_judged_as_validate_judges_its_recipe(bars):
    recipe = Recipe.resolve(RIDGE)
    prepared = SharedRows(bars, "").of(recipe)
    predicted = predict_folds(recipe, prepared.dataset.rows, prepared.folds())
    found = evaluate(recipe, prepared, predicted)
    dataset = make_dataset(recipe, bars)
    oof = fit_folds(recipe, dataset.rows, dataset.folds)
    decoders = fit_decoders(recipe, dataset.rows, dataset.folds, oof)
    expected = recipe.template.evaluate(oof, decoders, dataset.label_spec, "1d")
    assert {k: v for k, v in found.metrics.items() if k != "loss"} == expected.metrics
    assert found.gates == expected.gates
    losses = [
        recipe.template.loss(oof.rows.take(oof.fold == n), oof.scores[oof.fold == n], decoder)
        for n, decoder in decoders.items()
    ]
    assert np.array_equal(predicted.loss(), np.concatenate(losses))
    by_date = (
        np.bincount(np.unique(oof.rows.t0, return_inverse=True)[1], np.concatenate(losses)) / 2
    )
    assert found.metrics["loss"] == pytest.approx(by_date.mean())


def test_a_trial_that_is_behind_ends_at_that_fold(bars):
    recipe = Recipe.resolve(RIDGE)
    prepared = SharedRows(bars, "").of(recipe)
    seen = []

    def after(so_far):
        seen.append(so_far.fold_losses[-1])
        return len(seen) == 2

    predicted = predict_folds(recipe, prepared.dataset.rows, prepared.folds(), after)
    assert predicted.was_pruned and predicted.fold_losses == seen and len(seen) == 2


def test_recipes_of_the_same_rows_share_them(bars):
    shared = SharedRows(bars, "")
    first = shared.of(Recipe.resolve(RIDGE))
    other = replace(RIDGE, architecture="lasso", parameters=json.dumps({"alpha": 0.1}))
    assert shared.of(Recipe.resolve(other)) is first
    gathered = [[fold.training.X for fold in first.folds()] for _ in range(2)]
    assert all(a is b for a, b in zip(*gathered, strict=True))
    assert shared.of(Recipe.resolve(replace(RIDGE, horizon=2))) is not first


def test_what_was_asked_for_longest_ago_is_forgotten_when_memory_is_short(bars, monkeypatch):
    monkeypatch.setattr("pipelines.tuning.shared_rows.MOST_BYTES", 1)
    shared = SharedRows(bars, "")
    first = shared.of(Recipe.resolve(RIDGE))
    assert shared.of(Recipe.resolve(RIDGE)) is first and not first.is_kept
    shared.of(Recipe.resolve(replace(RIDGE, horizon=2)))
    assert shared.of(Recipe.resolve(RIDGE)) is not first


def test_few_folds_are_shown_to_the_pruner_in_blocks_of_dates(bars):
    recipe = Recipe.resolve(RIDGE)
    prepared = SharedRows(bars, "").of(recipe)
    predicted = predict_folds(recipe, prepared.dataset.rows, prepared.folds(), lambda _: True)
    blocks = predicted.newest_losses(5)
    n_dates = len(np.unique(predicted.parts[0].rows.t0))
    sizes = [len(part) for part in np.array_split(np.arange(n_dates), 5)]
    assert np.average(blocks, weights=sizes) == pytest.approx(predicted.fold_losses[0])
    assert len(predicted.newest_losses(10**6)) == n_dates


@pytest.mark.parametrize(("n_folds", "n_blocks"), [(1, 24), (4, 6), (9, 3), (10, 1), (30, 1)])
def test_a_fold_is_cut_the_more_the_fewer_there_are(n_folds, n_blocks):
    assert blocks_of(n_folds) == n_blocks


def test_what_is_to_come_grows_with_the_rows_of_the_fits():
    folds = [Fold(i, np.arange(n), np.arange(1)) for i, n in enumerate((10, 20, 30, 50))]
    assert to_come([5.0], folds) == 0.0, "the first fit also imports libraries"
    assert to_come([5.0, 7.0], folds) == pytest.approx(2.0 * (30 + 50) / 20)
    assert to_come([5.0, 7.0, 10.0], folds) == pytest.approx(5.0 * 50 / (20 + 30))
    assert to_come([5.0, 7.0, 10.0, 15.0], folds) == 0.0
