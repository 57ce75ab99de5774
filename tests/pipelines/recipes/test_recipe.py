"""Recipes: names resolved or refused, folds predicted without look-ahead, trials told apart."""

from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.data.bars import Bars
from pipelines.data.sources import SOURCES, BarQuery
from pipelines.method.folds import walk_forward
from pipelines.method.rows import LabelledRows
from pipelines.parameters import RecipeParameters
from pipelines.recipes.dataset import first_test_time, fold_step
from pipelines.recipes.inputs.bars import build_rows, features_of
from pipelines.recipes.recipe import (
    OUTSIDE_A_TRIAL,
    Recipe,
    fit_decoders,
    fit_folds,
    newest,
    pool,
    span,
)
from registry.errors import ParameterError, UnknownNameError

SMALL = RecipeParameters(parameters='{"rounds": 5}')


@pytest.fixture(scope="module")
def bars() -> Bars:
    query = BarQuery(symbols=("A", "B"), start=None, seed=3)
    return SOURCES.get("synthetic").read(query)


@pytest.fixture(scope="module")
def rows(bars: Bars) -> LabelledRows:
    recipe = Recipe.resolve(SMALL)
    spec = recipe.template.label_spec(recipe.horizon_bars, list(bars.series()), recipe.options)
    return build_rows(recipe.template, features_of(recipe), bars, recipe.window, spec)


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        ({"template": "crystal_ball"}, UnknownNameError, "unknown template 'crystal_ball'; known:"),
        ({"architecture": "oracle"}, UnknownNameError, "unknown architecture 'oracle'; known:"),
        ({"seed": 2**32}, ParameterError, "seed=4294967296: expected at most 4294967295"),
        ({"recent_bars": 1}, ParameterError, "recent_bars=1: expected 0 for all bar times"),
        ({"parameters": '{"depth": 3}'}, ParameterError, "parameters='depth': expected one of"),
    ],
)
def test_resolve_refuses_names_and_values_that_no_fit_can_use(
    wanted: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Recipe.resolve(RecipeParameters(**wanted))


def test_resolve_takes_defaults_from_template_and_architecture() -> None:
    recipe = Recipe.resolve(RecipeParameters())
    assert recipe.feature_set == recipe.template.feature_set
    assert recipe.horizon_bars == recipe.template.horizon_bars
    assert recipe.window == recipe.architecture.default_window


def test_a_changed_parameter_is_another_trial_and_the_same_recipe_is_not() -> None:
    first, again = Recipe.resolve(SMALL), Recipe.resolve(SMALL)
    other = Recipe.resolve(replace(SMALL, parameters='{"rounds": 6}'))
    assert first.digest() == again.digest() != other.digest()


def family(recipe: Recipe, label: dict[str, Any], *symbols: str) -> str:
    """Return the family as trials were counted before their data were kept."""
    return recipe.counted_before(label, symbols)[0]


def test_the_old_family_depends_on_symbols_and_label_but_not_on_their_order() -> None:
    recipe = Recipe.resolve(SMALL)
    known = family(recipe, {"horizon_bars": 5}, "A", "B")
    assert known == family(recipe, {"horizon_bars": 5}, "B", "A")
    assert known != family(recipe, {"horizon_bars": 5}, "A", "C")
    assert known != family(recipe, {"horizon_bars": 6}, "A", "B")


def test_what_the_data_chose_made_no_other_family() -> None:
    recipe = Recipe.resolve(SMALL)
    narrow, wide = ({"h": 5, "width": w, "fitted": ["width"]} for w in (0.3, 0.4))
    assert family(recipe, narrow, "A") == family(recipe, wide, "A")


def test_the_old_digest_did_not_depend_on_what_was_in_the_family() -> None:
    plain = Recipe.resolve(SIGNALS)
    longer = Recipe.resolve(replace(SIGNALS, horizon=20))
    assert plain.counted_before({}, ())[1] == longer.counted_before({}, ())[1]


SIGNALS = RecipeParameters(template="trading_signals")


@pytest.mark.parametrize(
    "changed",
    [
        {"horizon": 20},
        {"options": '{"label": "fixed_horizon"}'},
        {"options": '{"fee": 0.00005000001}'},
        {"seed": 1},
    ],
)
def test_another_horizon_label_cost_or_seed_is_another_trial_of_one_question(
    changed: dict[str, Any],
) -> None:
    plain, other = Recipe.resolve(SIGNALS), Recipe.resolve(replace(SIGNALS, **changed))
    assert plain.digest() != other.digest()
    assert plain.question == other.question == "returns"


def test_only_where_tests_begin_and_the_name_make_no_other_recipe() -> None:
    plain = Recipe.resolve(SIGNALS)
    named = replace(SIGNALS, model_name="other", first_test="2010-01-01")
    assert Recipe.resolve(named).digest() == plain.digest()


def test_a_forecast_answers_the_question_of_its_template() -> None:
    assert Recipe.resolve(SMALL).question == SMALL.template


def test_an_option_of_the_decision_is_another_trial_of_the_same_family() -> None:
    plain = Recipe.resolve(SIGNALS)
    meta = Recipe.resolve(replace(SIGNALS, options='{"meta_label": true}'))
    label = {"horizon_bars": 1, "kind": "triple_barrier"}
    decided = label | {"meta_label": True, "decision": ["meta_label"]}
    assert family(meta, decided, "A") == family(plain, label, "A")
    assert meta.digest() != plain.digest()


RECIPES: list[dict[str, Any]] = [
    {"architecture": "lightgbm"},
    {"feature_set": "ohlcv"},
    {"window": 2},
    {"recent_bars": 100},
    {"parameters": '{"rounds": 6}'},
    {"options": '{"proxy": "garman_klass"}'},
    {"seed": 3},
]


def test_default_options_make_the_trial_that_none_make() -> None:
    plain = Recipe.resolve(SIGNALS)
    assert replace(plain, options={}).digest() == plain.digest()
    assert family(replace(plain, options={}), {}, "A") == family(plain, {}, "A")


def test_the_instrument_of_the_source_is_the_recipe_s_and_no_other_trial() -> None:
    plain = Recipe.resolve(SIGNALS)
    declared = plain.declared("equity")
    assert declared.options["instrument"] == "equity"
    assert declared.digest() == plain.digest()
    assert declared.cost_spec() == plain.cost_spec()
    assert plain.declared("") is plain


def test_costs_that_are_named_otherwise_but_equal_make_the_same_trial() -> None:
    plain = Recipe.resolve(SIGNALS)
    stored = plain.cost_spec()  # as versions of 0.2 hold their options
    assert replace(plain, options={**plain.options, **stored}).digest() == plain.digest()
    fx = Recipe.resolve(replace(SIGNALS, options='{"instrument": "fx"}'))
    assert fx.digest() != plain.digest()


def test_a_cheaper_instrument_than_the_source_declares_is_refused() -> None:
    fx = Recipe.resolve(replace(SIGNALS, options='{"instrument": "fx"}'))
    with pytest.raises(ParameterError, match="instrument='fx'.*equity, which the source declares"):
        fx.declared("equity")


def test_an_option_named_like_a_cost_replaces_it_and_made_another_family() -> None:
    plain = Recipe.resolve(SIGNALS)
    dear = Recipe.resolve(replace(SIGNALS, options='{"fee": 0.001}'))
    assert dear.cost_spec() == plain.cost_spec() | {"fee": 0.001}
    assert family(dear, {}, "A") != family(plain, {}, "A")


def test_each_fold_is_predicted_by_a_fit_on_its_own_training_rows(
    bars: Bars, rows: LabelledRows
) -> None:
    recipe = Recipe.resolve(SMALL)
    cut = first_test_time(bars, "")
    folds = walk_forward(rows, int(cut.timestamp() * 1e6), fold_step(bars, cut))
    oof = fit_folds(recipe, rows, folds)
    decoders = fit_decoders(recipe, rows, folds, oof)
    assert set(decoders) == {fold.number for fold in folds} == set(np.unique(oof.fold))
    last = folds[-1]
    expected = recipe.fit(rows.take(last.train)).predict(rows.take(last.test).X)
    np.testing.assert_array_equal(oof.scores[oof.fold == last.number], expected)
    for fold in folds:
        earlier = oof.take(np.flatnonzero(oof.fold < fold.number))
        again = recipe.fit_decoder(earlier, rows.take(fold.train))
        assert again.facts == decoders[fold.number].facts


@pytest.mark.parametrize(
    "wanted",
    [SMALL, SIGNALS, RecipeParameters("tabular"), RecipeParameters(seed=7, recent_bars=9)],
)
def test_the_parameters_of_a_recipe_ask_for_it_again(wanted: RecipeParameters) -> None:
    recipe = Recipe.resolve(wanted)
    again = Recipe.resolve(recipe.as_parameters())
    assert replace(again, wanted=wanted) == recipe
    assert again.digest() == recipe.digest()


@pytest.mark.parametrize("changed", RECIPES, ids=lambda changed: next(iter(changed)))
def test_what_a_fit_depends_on_makes_another_trial(changed: dict[str, Any]) -> None:
    plain, other = RecipeParameters(), replace(RecipeParameters(), **changed)
    assert Recipe.resolve(other).digest() != Recipe.resolve(plain).digest()


def test_every_parameter_makes_another_trial_or_is_named_as_one_that_does_not() -> None:
    told = {name for changed in RECIPES for name in changed}
    beside = set(OUTSIDE_A_TRIAL) - {"options"}
    assert told | beside == {item.name for item in fields(RecipeParameters)}


def test_recent_bars_fits_on_the_newest_times_only(rows: LabelledRows) -> None:
    recipe = Recipe.resolve(replace(SMALL, recent_bars=100))
    recent = newest(rows, 100)
    assert len(np.unique(recent.t0)) == 100
    assert recent.t0.max() == rows.t0.max()
    whole = Recipe.resolve(SMALL)
    np.testing.assert_array_equal(
        recipe.fit(rows).predict(rows.X), whole.fit(recent).predict(rows.X)
    )


def test_every_decoder_takes_its_input_statistics_from_the_rows_that_were_fitted(
    bars: Bars, rows: LabelledRows
) -> None:
    recipe = Recipe.resolve(replace(SMALL, recent_bars=100))
    cut = first_test_time(bars, "")
    folds = walk_forward(rows, int(cut.timestamp() * 1e6), fold_step(bars, cut))[:1]
    decoders = fit_decoders(recipe, rows, folds, fit_folds(recipe, rows, folds))
    fitted = newest(rows.take(folds[0].train), 100)
    assert decoders[0].facts["ewma_scale"] == pytest.approx(fitted.target.mean())


def test_pool_of_nothing_is_empty_but_shaped(rows: LabelledRows) -> None:
    empty = pool([], rows)
    assert len(empty.rows) == 0
    assert empty.rows.X.shape[1:] == rows.X.shape[1:]


@pytest.mark.parametrize(
    ("years", "expected"),
    [((1990, 2006), datetime(2000, 1, 1, tzinfo=UTC)), ((2014, 2018), datetime(2016, 1, 1, 12))],
)
def test_first_test_leaves_ten_years_or_half(years: tuple[int, int], expected: datetime) -> None:
    stamps = [datetime(y, 1, 1, tzinfo=UTC) for y in range(years[0], years[1] + 1)]
    frame = pl.DataFrame({"timestamp": stamps})
    found = first_test_time(Bars(frame, "1d", "raw", "test"), "")
    assert abs(found - expected.replace(tzinfo=UTC)).days <= 1


def test_first_test_outside_the_bars_is_refused(bars: Bars) -> None:
    with pytest.raises(ParameterError, match="first_test='1900-01-01': expected a time between"):
        first_test_time(bars, "1900-01-01")


def test_span_writes_bars_in_the_unit_of_the_interval() -> None:
    assert (span("1d", 5), span("15m", 4), span("1h", 1)) == ("5d", "60m", "1h")
    with pytest.raises(ParameterError, match="interval='daily'"):
        span("daily", 5)
