"""The 20 bundled stocks: a boosted forecast of five days' variance beats EWMA(0.94).

Walk-forward from 2012 on, yearly, purged; the recipe that the platform trains by default.
"""

import pytest

from pipelines.data.sources import SOURCES, BarQuery
from pipelines.parameters import RecipeParameters
from pipelines.recipes.dataset import make_dataset
from pipelines.recipes.recipe import Recipe, fit_decoders, fit_folds
from pipelines.recipes.rivals import with_rivals

FIRST_TEST = "2012-01-01"


@pytest.mark.slow
def test_boosting_beats_ewma_scaled_ewma_and_har_on_twenty_stocks():
    recipe = Recipe.resolve(RecipeParameters(parameters='{"rounds": 150}'))
    assert (recipe.template.name, recipe.architecture.name) == ("volatility_forecast", "xgboost")
    dataset = make_dataset(recipe, SOURCES.get("sample").read(BarQuery()), FIRST_TEST)
    oof = fit_folds(recipe, dataset.rows, dataset.folds)
    decoders = fit_decoders(recipe, dataset.rows, dataset.folds, oof)
    oof = with_rivals(oof, recipe, dataset)
    found = recipe.template.evaluate(oof, decoders, dataset.label_spec, "1d")
    assert found.metrics["dm_t_ewma"] < -3
    assert found.metrics["dm_t_scaled_ewma"] < -3
    assert found.metrics["dm_t_har"] < -3
    assert found.metrics["qlike"] < found.metrics["qlike_ewma"] - 0.03
    assert found.tables["per_symbol"]["better"].sum() >= 18
    assert all(gate.passed for gate in found.gates)
