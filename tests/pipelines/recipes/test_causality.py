"""Honest models pass; a model that looks along its rows, or an answer that does, is found out."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from pipelines.architectures.hyperparameters import resolve
from pipelines.data.features import FEATURE_SETS
from pipelines.method.rows import OutOfFold
from pipelines.parameters import RecipeParameters
from pipelines.recipes.causality import worse
from pipelines.recipes.dataset import make_dataset
from pipelines.recipes.inputs import Dataset, kind_of
from pipelines.recipes.recipe import Recipe
from pipelines.templates import TEMPLATES
from registry.contract import ModelContract
from registry.decoder import Decoder
from registry.gates import GateRow
from tests.examples import make_contract

BAR_TEMPLATES = [name for name in TEMPLATES if TEMPLATES.get(name).inputs == "bars"]


@dataclass(frozen=True)
class Walk:
    """What `answers_causality` walks, but for the model."""

    recipe: Recipe
    dataset: Dataset
    contract: ModelContract
    decoder: Decoder

    @property
    def n_scores(self):
        return self.contract.outputs.shape[1]

    def honest(self, X):
        return np.tanh(X[:, : self.n_scores] + 0.1 * X[:, -1:])

    def smoothed(self, X):
        """Each score takes something from the rows after it, as a Viterbi path does."""
        return self.honest(X) + 0.01 * np.cumsum(self.honest(X)[::-1], axis=0)[::-1]

    def gate(self, predict):
        kind = kind_of(self.recipe.template)
        return kind.answers_causality(
            self.recipe, self.dataset, self.contract, self.decoder, predict
        )


def walk_of(template, bars):
    feature_set = FEATURE_SETS.get(template.feature_set)
    recipe = replace(
        Recipe.resolve(RecipeParameters()),
        template=template,
        feature_set=feature_set.name,
        horizon_bars=template.horizon_bars,
        options=resolve(template.options, {}),
    )
    dataset = make_dataset(recipe, bars)
    rows, n_scores = dataset.rows, template.objective(dataset.label_spec).n_scores or 2
    contract = make_contract(
        n_scores,
        template=template.name,
        feature_set=feature_set.name,
        feature_names=feature_set.feature_names,
        horizon_bars=template.horizon_bars,
        min_history=feature_set.min_history,
        symbols=bars.symbols,
        label_spec=dataset.label_spec,
    )
    walk = Walk(recipe, dataset, contract, Decoder())
    oof = OutOfFold(rows, walk.honest(rows.X), np.arange(len(rows)) * 3 // len(rows))
    return replace(walk, decoder=template.fit_decoder(oof, rows))


@pytest.fixture(scope="module")
def bars(make_bars):
    return make_bars(("AAA", "BBB"), 760)


@pytest.mark.parametrize("name", BAR_TEMPLATES)
def test_honest_models_pass_and_smoothed_ones_do_not(name, bars):
    walk = walk_of(TEMPLATES.get(name), bars)
    assert walk.gate(walk.honest).passed
    found = walk.gate(walk.smoothed)
    assert found.gate == "causality"
    assert found.value > 1e-4
    assert not found.passed


def test_rounding_of_another_batch_size_is_no_look_ahead(bars):
    walk = walk_of(TEMPLATES.get("volatility_forecast"), bars)
    assert walk.gate(lambda X: walk.honest(X) * np.float32(1 + 1e-6 * (len(X) % 7))).passed


def test_an_answer_that_takes_something_from_later_bars_is_found_out(bars):
    class Smoothing(type(TEMPLATES.get("return_forecast"))):
        def context(self, series):
            known = super().context(series)
            return known | {"close": np.full(len(series), known["close"][-1])}

    walk = walk_of(Smoothing(), bars)
    assert not walk.gate(walk.honest).passed


def test_an_answer_of_another_kind_counts_as_a_change(bars):
    class Forgetting(type(TEMPLATES.get("return_forecast"))):
        def context(self, series):
            known = super().context(series)
            newest = np.arange(len(series)) == len(series) - 1
            return known | {"close": np.where(newest, np.nan, known["close"])}

    assert np.isinf((walk := walk_of(Forgetting(), bars)).gate(walk.honest).value)


def test_the_worse_of_two_rows_counts_and_one_not_computed_is_worse():
    one = GateRow("causality", 0.0, "<=", 1e-9, "of features")
    other = GateRow("causality", 0.5, "<=", 1e-9, "of answers")
    both = worse(one, other)
    assert (both.value, both.note) == (0.5, "of features; of answers")
    assert worse(replace(one, value=None), other).value is None
