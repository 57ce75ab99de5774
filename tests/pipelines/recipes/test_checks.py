"""Checks: each catches the fault it is there for, made on purpose by a small local part."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from pipelines.data.bars import BarSeries
from pipelines.data.features import FEATURE_SETS
from pipelines.data.sources import SOURCES, BarQuery
from pipelines.method.agreement import difference
from pipelines.parameters import RecipeParameters
from pipelines.recipes.checks import causality, data_checks, feature_parity, golden_rows
from pipelines.recipes.dataset import make_dataset
from pipelines.recipes.recipe import Recipe
from registry.errors import UnreadableArtifactError
from registry.flavors import FLAVORS
from registry.version_files import GOLDEN_FILE


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
    inputs = "bars"

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


@pytest.mark.parametrize("feature_set", list(FEATURE_SETS))
def test_the_sets_of_the_catalog_are_causal_and_need_no_more_than_they_say(
    recipe, universe, feature_set
):
    chosen = replace(recipe, bar_set=FEATURE_SETS.get(feature_set))
    assert causality(chosen, universe).passed
    assert feature_parity(chosen, universe).passed


@pytest.mark.parametrize("formula", [tomorrows_return, share_of_the_highest_close])
def test_a_feature_that_looks_ahead_fails_causality(recipe, dataset, formula):
    row = causality(replace(recipe, bar_set=Features("ahead", formula)), dataset)
    assert not row.passed
    assert row.value > 0.001


def test_a_feature_of_past_closes_passes_causality_with_difference_zero(recipe, dataset):
    row = causality(replace(recipe, bar_set=Features("lagged", yesterdays_return)), dataset)
    assert (row.value, row.passed) == (0.0, True)


def test_context_that_looks_ahead_fails_causality(recipe, dataset):
    blind = replace(recipe, bar_set=Features("lagged", yesterdays_return))
    row = causality(replace(blind, template=ClairvoyantTemplate()), dataset)
    assert not row.passed


def test_a_feature_that_needs_more_bars_than_it_says_fails_feature_parity(recipe, dataset):
    forgetful = Features("since_first", return_since_the_first_bar)
    row = feature_parity(replace(recipe, bar_set=forgetful), dataset)
    assert not row.passed
    assert "newest 30 bars" in row.note


def test_without_enough_bars_to_compare_the_gate_is_not_computed_and_refuses(recipe, dataset):
    endless = Features("lagged", yesterdays_return, min_history=10_000)
    row = feature_parity(replace(recipe, bar_set=endless), dataset)
    assert (row.value, row.passed) == (None, False)


def test_sound_rows_have_no_problem(dataset):
    row = data_checks(dataset)
    assert (row.value, row.passed) == (0.0, True)
    assert row.note == f"{len(dataset.rows)} rows, 0 repairs"


def with_column(X: np.ndarray, value: float, *columns: int) -> np.ndarray:
    changed = X.copy()
    changed[:, columns] = value
    return changed


def test_each_kind_of_unfit_rows_is_counted_and_named(dataset):
    rows = dataset.rows
    faults = {
        "2 constant features": {"X": with_column(rows.X, 0.5, 0, 3)},
        "inputs that are not finite": {
            "X": np.concatenate((with_column(rows.X[:1], np.inf, 0), rows.X[1:]))
        },
        "labels that are not finite": {"y": np.where(rows.t0 == rows.t0[0], np.nan, rows.y)},
        "constant labels": {"target": np.ones(len(rows))},
        "labels that end before they start": {"t1": rows.t0 - 1},
    }
    for note, change in faults.items():
        row = data_checks(replace(dataset, rows=replace(rows, **change)))
        assert (row.value, row.passed, row.note) == (1.0, False, note)


def test_several_problems_add_up(dataset):
    worse = replace(dataset.rows, target=np.ones(len(dataset.rows)), t1=dataset.rows.t0)
    assert data_checks(replace(dataset, rows=worse)).value == 2.0


def test_difference_is_relative_above_one_and_absolute_below():
    assert difference(np.array([100.0, 0.1]), np.array([101.0, 0.12])) == pytest.approx(0.02)
    assert difference(np.array([100.0, 0.1]), np.array([110.0, 0.1])) == pytest.approx(0.1)


def test_nan_agrees_with_nan_and_is_infinitely_far_from_a_number():
    nan = np.nan
    assert difference(np.array([nan, 1.0]), np.array([nan, 1.0])) == 0.0
    assert difference(np.array([nan, 1.0]), np.array([0.0, 1.0])) == np.inf
    assert difference(np.array([nan]), np.array([nan])) == 0.0


@pytest.fixture
def stored(candidate, tmp_path):
    """The candidate with its native file copied to where a test may damage it."""
    name = FLAVORS.get("native").file_name(candidate.contract.native_format)
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_bytes((candidate.directory / name).read_bytes())
    with np.load(candidate.directory / GOLDEN_FILE) as golden:
        return replace(candidate, directory=tmp_path), tmp_path / name, dict(golden)


@pytest.mark.integration
def test_the_stored_model_gives_the_golden_scores(stored):
    copy, _, golden = stored
    row = golden_rows(copy, golden["features"], golden["scores"])
    assert (row.value, row.passed) == (0.0, True)


@pytest.mark.integration
def test_another_model_in_the_file_fails_the_golden_rows(stored):
    copy, path, golden = stored
    fewer = replace(copy.recipe, parameters={**copy.recipe.parameters, "rounds": 3})
    path.write_bytes(fewer.fit(copy.dataset.rows).native().payload)
    row = golden_rows(copy, golden["features"], golden["scores"])
    assert not row.passed
    assert row.value > 0.01


@pytest.mark.integration
def test_a_file_that_is_cut_short_is_a_clear_error(stored):
    copy, path, golden = stored
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UnreadableArtifactError, match="cannot be read as flavor 'native'"):
        golden_rows(copy, golden["features"], golden["scores"])
