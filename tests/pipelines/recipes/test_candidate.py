"""Candidates: rebuilt from a run as they were, or refused because the data is another."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from pipelines.data.bars import Bars
from pipelines.data.sources import SOURCES, BarQuery
from pipelines.data.sources import synthetic as market
from pipelines.parameters import RecipeParameters
from pipelines.recipes.candidate import load_candidate, load_evidence, save_evidence
from pipelines.recipes.dataset import make_dataset
from pipelines.recipes.recipe import Recipe
from registry.errors import BarsError, RunNotFoundError

END = datetime(2003, 12, 31, tzinfo=UTC)


@pytest.fixture(scope="module")
def bars() -> Bars:
    return SOURCES.get("synthetic").read(BarQuery(symbols=("AAA", "BBB"), end=END, seed=3))


@pytest.fixture
def changed_market(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source gives other bars than it gave to the train run."""
    monkeypatch.setattr(market, "FACTOR_SHARE", 0.5)


def test_what_the_label_learns_ends_before_the_first_test(bars):
    recipe = Recipe.resolve(RecipeParameters(template="trading_signals"))
    first_test = "2002-01-01"
    spec = make_dataset(recipe, bars, first_test).label_spec
    wild = bars.frame.with_columns(
        pl.when(pl.col("timestamp") >= datetime(2002, 1, 1, tzinfo=UTC))
        .then(pl.col("high") * 1.5)
        .otherwise(pl.col("high"))
        .alias("high")
    )
    assert make_dataset(recipe, replace(bars, frame=wild), first_test).label_spec == spec
    earlier = make_dataset(recipe, bars, "2003-06-01").label_spec
    assert earlier["width"] != spec["width"]


def test_no_training_label_of_a_fold_reaches_into_its_test(bars):
    dataset = make_dataset(Recipe.resolve(RecipeParameters(horizon=20)), bars)
    for fold in dataset.folds:
        assert dataset.rows.t1[fold.train].max() < dataset.rows.t0[fold.test].min()


@pytest.mark.integration
def test_evidence_is_read_back_on_the_rows_it_was_made_for(candidate):
    again = load_evidence(save_evidence(candidate.oof), candidate.dataset.rows)
    np.testing.assert_array_equal(again.scores, candidate.oof.scores)
    np.testing.assert_array_equal(again.rows.y, candidate.oof.rows.y)
    np.testing.assert_array_equal(again.fold, candidate.oof.fold)


@pytest.mark.integration
def test_evidence_without_its_row_is_refused(candidate):
    fewer = candidate.dataset.rows.take(candidate.dataset.rows.t0 < candidate.oof.rows.t0.max())
    with pytest.raises(BarsError, match="the bars differ from those of the train run; train again"):
        load_evidence(save_evidence(candidate.oof), fewer)


@pytest.mark.integration
def test_a_candidate_is_rebuilt_as_the_recipe_makes_it(candidate):
    recipe = Recipe.resolve(candidate.wanted)
    assert candidate.recipe == recipe
    assert candidate.contract.parameters == dict(recipe.parameters)
    assert candidate.dataset.label_spec == candidate.contract.label_spec


@pytest.mark.integration
def test_a_source_that_gives_other_bars_is_refused(made, candidate, tmp_path, changed_market):
    message = r"synthetic: the data have digest \w{12} but the run saw \w{12}; train again"
    with pytest.raises(BarsError, match=message):
        load_candidate(candidate.run_id, made.settings, tmp_path)


@pytest.mark.integration
def test_a_run_that_is_not_there_or_no_train_run_is_refused(made, made_engine, tmp_path):
    from registry.versions import Registry

    driver = Registry(made.settings, made_engine).get("volatility_forecast", 1).run_id
    for run_id in ("0" * 32, driver, made.run_of("validate")):
        with pytest.raises(RunNotFoundError, match=f"run '{run_id}' has no artifacts of a train"):
            load_candidate(run_id, made.settings, tmp_path / run_id[:8])
