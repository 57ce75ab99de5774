"""Dataset of a recipe: the data read and the rows made before the first fit.

Data are read, labelled and cut into walk-forward folds. The first test fold starts where the recipe
asks, or ten years in.
"""

from datetime import UTC, datetime, timedelta

from pipelines.data.bars import to_microseconds
from pipelines.data.iso_times import parse_time
from pipelines.method.folds import walk_forward
from pipelines.method.rows import LabelledRows
from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes.inputs import Data, Dataset, kind_of
from pipelines.recipes.recipe import Recipe
from registry.contract import Json
from registry.errors import ParameterError
from registry.settings import PlatformSettings

FIRST_TEST_YEARS = 10
ENOUGH_TO_TEST = timedelta(days=5 * 365)


def read_dataset(
    source: SourceParameters, wanted: RecipeParameters, settings: PlatformSettings
) -> tuple[Recipe, Dataset]:
    """Read the data and make rows and folds.

    Raises:
        MLEngineError: an unknown name, unusable data, too little history; one line each.
    """
    recipe = Recipe.resolve(wanted)
    kind = kind_of(recipe.template)
    kind.check(recipe)
    data = kind.read(source, wanted, settings)
    recipe = recipe.declared(data.instrument)
    return recipe, make_dataset(recipe, data, wanted.first_test)


def make_dataset(recipe: Recipe, data: Data, first_test: str = "") -> Dataset:
    """Label the data and cut the walk-forward folds of the recipe."""
    kind = kind_of(recipe.template)
    cut = first_test_time(data, first_test)
    spec = label_spec_of(recipe, data, cut)
    rows = kind.rows(recipe, data, spec)
    folds = walk_forward(rows, to_microseconds(cut), fold_step(data, cut))
    return Dataset(data, rows, tuple(folds), dict(spec), cut)


def label_spec_of(recipe: Recipe, data: Data, first_test: datetime) -> dict[str, Json]:
    """Return the label spec, fitted on the data before the first test fold."""
    before = kind_of(recipe.template).training(
        data.between(None, first_test - timedelta(microseconds=1))
    )
    return recipe.template.label_spec(recipe.horizon_bars, before, recipe.options)


def final_rows(recipe: Recipe, dataset: Dataset) -> LabelledRows:
    """Return the rows of the final fit: all labelled ones.

    A fit that takes no labels also gets the newest rows, whose label is not complete yet.
    """
    if recipe.objective(dataset.rows).takes_labels:
        return dataset.rows
    kind = kind_of(recipe.template)
    return kind.rows(recipe, dataset.data, dataset.label_spec, keep_unlabelled=True)


def first_test_time(data: "Data", wanted: str) -> datetime:
    """Return the start of the first test fold: as wanted, else 10 years in, else half the span in.

    Ten calendar years if at least five remain to be tested; short histories are halved.

    Raises:
        ParameterError: not a time inside the data's span.
    """
    first, last = data.span()
    chosen = parse_time("first_test", wanted)
    if chosen is None:
        ten_years = datetime(first.year + FIRST_TEST_YEARS, 1, 1, tzinfo=UTC)
        half = first + (last - first) / 2
        return ten_years if last - ten_years >= ENOUGH_TO_TEST else half
    if not first < chosen < last:
        raise ParameterError("first_test", wanted, f"a time between {first:%F} and {last:%F}")
    return chosen


def fold_step(data: "Data", first_test: datetime) -> str | int:
    """Return the walk-forward step: a year, or a quarter of the tested times if shorter."""
    _, last = data.span()
    if last - first_test >= timedelta(days=4 * 365):
        return "1y"
    tested = data.times().unique() >= first_test
    return max(1, int(tested.sum()) // 4)
