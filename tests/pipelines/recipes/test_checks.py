"""Checks: each catches the fault it is there for."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from pipelines.data.sources import SOURCES, BarQuery
from pipelines.method.agreement import difference
from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes.checks import data_checks, golden_rows, named_costs
from pipelines.recipes.dataset import make_dataset, read_dataset
from pipelines.recipes.inputs import kind_of
from pipelines.recipes.recipe import Recipe
from registry.errors import ParameterError, UnreadableArtifactError
from registry.flavors.native import native_path
from registry.version_files import GOLDEN_FILE

BARS = kind_of("volatility_forecast")


@pytest.fixture(scope="module")
def recipe():
    return Recipe.resolve(RecipeParameters())


@pytest.fixture(scope="module")
def dataset(recipe):
    end = datetime(2003, 6, 30, tzinfo=UTC)
    bars = SOURCES.get("synthetic").read(BarQuery(symbols=("AAA", "BBB"), end=end, seed=3))
    return make_dataset(recipe, bars)


def read_signals(source, options="", **where):
    wanted = RecipeParameters(template="trading_signals", feature_set="close_only", options=options)
    recipe, _ = read_dataset(SourceParameters(source=source, **where), wanted, None)
    return named_costs(recipe)


def test_costs_are_known_where_the_source_declares_equities():
    (row,) = read_signals("synthetic", symbols="AAA", end="2003-06-30")
    assert (row.gate, row.value, row.note) == ("edge.costs", 1.0, "costs of equity")


def test_costs_of_files_are_known_once_the_instrument_is_named(tmp_path):
    query = BarQuery(symbols=("AAA",), end=datetime(2003, 6, 30, tzinfo=UTC))
    SOURCES.get("synthetic").read(query).frame.write_parquet(tmp_path / "AAA.parquet")
    (row,) = read_signals("files", path=str(tmp_path))
    assert (row.value, row.passed) == (None, False)
    assert row.note.startswith("nobody said what is traded")
    (row,) = read_signals("files", '{"instrument": "crypto_perpetual"}', path=str(tmp_path))
    assert (row.passed, row.note) == (True, "costs of crypto_perpetual")


def test_a_cheaper_instrument_than_declared_is_refused():
    with pytest.raises(ParameterError, match="which the source declares"):
        read_signals("synthetic", '{"instrument": "fx"}', symbols="AAA", end="2003-06-30")


def test_templates_without_actions_charge_no_costs(recipe):
    assert named_costs(recipe) == ()


def test_sound_rows_have_no_problem(dataset):
    row = data_checks(dataset, BARS)
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
        row = data_checks(replace(dataset, rows=replace(rows, **change)), BARS)
        assert (row.value, row.passed, row.note) == (1.0, False, note)


def test_several_problems_add_up(dataset):
    worse = replace(dataset.rows, target=np.ones(len(dataset.rows)), t1=dataset.rows.t0)
    assert data_checks(replace(dataset, rows=worse), BARS).value == 2.0


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
    name = native_path(candidate.contract.native_format)
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
