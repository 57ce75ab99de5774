"""The first points of a study: cheap architectures before dear ones, and of a table other ones."""

import json

import numpy as np
import polars as pl
import pytest

from pipelines.architectures.search_ranges import CHEAP_FIRST, ranges_of
from pipelines.architectures.spaces import SPACES, space_of
from pipelines.architectures.table_ranges import FIRST_POINTS, TABLE_RANGES
from pipelines.data.tables.row_data import timed
from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes.recipe import Asked as AskedRecipe
from pipelines.templates import TEMPLATES
from pipelines.tuning.asked import Asked, Question
from pipelines.tuning.known_points import default_point, known_points
from pipelines.tuning.parameters import SearchParameters
from pipelines.tuning.search import Search
from pipelines.tuning.served import Limits
from pipelines.tuning.studies import Plan
from registry.errors import TableError

TABULAR = TEMPLATES.get("tabular")


def question(recipe, space=""):
    return Question.of(Asked(SourceParameters(), recipe, SearchParameters(space=space)))


def table(target):
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"a": rng.normal(size=80), "b": rng.normal(size=80), "y": target})
    data, _ = timed(frame, "")
    return data


def of_target(**more):
    return RecipeParameters("tabular", options=json.dumps({"target": "y"}), **more)


def test_the_first_points_of_a_table_are_valid_and_in_its_ranges():
    assert set(FIRST_POINTS) == set(TABLE_RANGES) == set(TABULAR.architectures)
    for name, first in FIRST_POINTS.items():
        valid = space_of(name, "softmax")
        ranges = ranges_of(name, "softmax") | TABLE_RANGES[name]
        for parameter, value in first.items():
            valid[parameter].check(parameter, value)
            assert ranges[parameter].holds(value), (name, parameter)


@pytest.mark.parametrize("name", sorted(TABLE_RANGES))
def test_ranges_of_tables_lie_in_what_is_valid(name):
    for parameter, searched in TABLE_RANGES[name].items():
        for value in searched.grid():
            SPACES[name][parameter].check(parameter, value)


def test_a_search_begins_with_the_cheapest(engine):
    points = known_points(question(of_target()).space, engine)
    assert [point["architecture"] for point in points] == list(CHEAP_FIRST)
    assert points[0]["ridge.alpha"] == 0.03, "of a table, not the default of a ridge"


def test_what_the_recipe_fixes_stands_in_the_first_point():
    wanted = of_target(architecture="xgboost", parameters=json.dumps({"eta": 0.2, "gamma": 1.0}))
    space = question(wanted).space
    parameters = AskedRecipe.of(space.recipe(default_point(space, "xgboost"))).parameters
    assert (parameters["eta"], parameters["gamma"]) == (0.2, 1.0)
    assert parameters["min_child_weight"] == 1.0


@pytest.mark.parametrize(
    ("target", "left"),
    [
        (np.tile(["yes", "no"], 40), {"logistic"}),
        (np.linspace(0.0, 1.0, 80) ** 2, {"ridge", "lasso", "elastic_net"}),
    ],
)
@pytest.mark.integration
def test_architectures_that_do_not_fit_the_target_are_not_tried(target, left):
    asked = question(of_target())
    tried = set(asked.fitting(table(target)).space.architectures)
    linear = {"logistic", "ridge", "lasso", "elastic_net"}
    assert tried & linear == left
    assert tried - linear == set(asked.space.architectures) - linear


def test_an_architecture_that_was_named_stays_though_it_does_not_fit():
    asked = question(of_target(), space=json.dumps({"architectures": ["ridge"]}))
    assert asked.fitting(table(np.tile(["yes", "no"], 40))).space.architectures == ("ridge",)


def test_a_table_without_the_target_is_refused_before_the_first_trial():
    with pytest.raises(TableError, match="in every row"):
        question(of_target()).fitting(table(np.full(80, 1.5)))


@pytest.mark.parametrize(
    ("template", "limits", "shown"),
    [
        ("tabular", {}, True),
        ("tabular", {"artifact_kb": 10}, False),
        ("return_forecast", {}, False),
    ],
)
def test_the_pruner_sees_parts_of_a_fold_of_a_table_without_limits(template, limits, shown):
    asked = SearchParameters(**limits)
    space = Question.of(Asked(SourceParameters(), RecipeParameters(template), asked)).space
    plan = Plan(space, "tpe", "wilcoxon", 0, ())
    todo = Search(None, plan, *(None,) * 6, limits=Limits.of(asked))
    assert todo.compares_parts is shown
