"""Spaces: what architectures declare, what a caller may ask for, and grids."""

import json
import math

import pytest

from pipelines.architectures import ARCHITECTURES
from pipelines.architectures.search_ranges import (
    RANGES,
    SEQUENCE_NETWORKS,
    WINDOWED,
    Among,
    Range,
    ranges_of,
)
from pipelines.architectures.spaces import SPACES, space_of
from pipelines.parameters import RecipeParameters
from pipelines.templates import TEMPLATES
from pipelines.tuning.asked_space import check_sampler, search_space
from registry.errors import GridTooLargeError, ParameterError, UnknownNameError


def asked(space, template="return_forecast", **recipe):
    return search_space(json.dumps(space), RecipeParameters(template=template, **recipe))


@pytest.mark.parametrize("loss", ["gamma", "softmax", "squared", "states", "novelty", "scenarios"])
@pytest.mark.parametrize("name", list(SPACES))
def test_declared_ranges_are_finite_and_lie_within_what_is_valid(name, loss):
    valid, declared = space_of(name, loss), ranges_of(name, loss)
    for parameter, searched in declared.items():
        for value in searched.grid():
            valid[parameter].check(parameter, value)
        if isinstance(searched, Range):
            assert math.isfinite(searched.low) and searched.low < searched.high
            assert not searched.is_log or searched.low > 0
        if searched.when is not None:
            before = list(declared)[: list(declared).index(parameter)]
            assert searched.when.name in before, "a condition is drawn before what depends on it"


def test_every_architecture_declares_what_a_search_tries():
    assert set(RANGES) == set(SPACES)


@pytest.mark.parametrize("name", sorted(set(SPACES) - {"pretrained_text"}))
@pytest.mark.integration
def test_architectures_with_declared_windows_are_those_that_take_windows(name):
    assert (ARCHITECTURES.get(name).default_window > 1) == (name in WINDOWED)


@pytest.mark.parametrize("name", list(TEMPLATES))
def test_every_template_has_a_space_without_asking(name):
    space = search_space("", RecipeParameters(template=name))
    assert space.dimensions()
    assert not set(space.architectures) & set(SEQUENCE_NETWORKS)


def test_a_grid_has_every_point_once():
    space = asked(
        {
            "architectures": ["ridge", "elastic_net"],
            "feature_sets": ["returns", "close_only"],
            "parameters": {
                "ridge": {"alpha": {"low": 0.01, "high": 1, "scale": "log", "points": 3}},
                "elastic_net": {"alpha": [0.1, 1], "l1_ratio": [0.5]},
            },
        }
    )
    points = space.grid(seed=0)
    assert len(points) == space.size() == 2 * (3 + 2)
    assert len({json.dumps(point, sort_keys=True) for point in points}) == 10
    alphas = sorted({p["ridge.alpha"] for p in points if p["architecture"] == "ridge"})
    assert alphas == pytest.approx([0.01, 0.1, 1.0])
    assert space.grid(seed=1) != points and sorted(map(str, space.grid(1))) == sorted(
        map(str, points)
    )


def test_a_condition_makes_a_dimension_of_some_points_only():
    space = search_space(
        '{"architectures": ["autoencoder"]}', RecipeParameters(template="market_regime")
    )
    for chosen, is_there in (("kmeans", True), ("dbscan", False)):
        values = {"autoencoder.clustering": chosen}
        point = space.draw(lambda name, s, values=values: values.get(name, s.grid()[0]))
        assert ("autoencoder.n_states" in point) == is_there
    small = {"architectures": ["student_t_mc"]}
    space = search_space(json.dumps(small), RecipeParameters(template="portfolio_risk"))
    assert space.size() == len(space.grid(0)) == 5 * 5 * (5 + 1)


def test_a_point_becomes_the_recipe_that_it_names():
    space = asked(
        {"architectures": ["lasso"], "parameters": {"lasso": {"alpha": [0.1, 0.2]}}},
        parameters='{"max_iter": 100}',
        architecture="",
        seed=3,
    )
    wanted = space.recipe(space.draw(lambda _, searched: searched.grid()[-1]))
    assert wanted.architecture == "lasso" and wanted.seed == 3
    assert json.loads(wanted.parameters) == {"alpha": 0.2, "max_iter": 100}


def test_what_the_recipe_names_is_fixed():
    space = search_space(
        "", RecipeParameters("return_forecast", "ridge", parameters='{"alpha": 1}')
    )
    assert space.architectures == ("ridge",) and space.dimensions() == {}
    space = search_space(
        "", RecipeParameters("return_forecast", "elastic_net", "returns", horizon=3)
    )
    assert set(space.dimensions()) == {"elastic_net.alpha", "elastic_net.l1_ratio"}
    assert space.feature_sets == ("returns",) and space.horizons == (3,)


def test_a_space_may_widen_up_to_what_is_valid():
    space = asked(
        {
            "architectures": ["ridge"],
            "parameters": {"ridge": {"alpha": {"low": 1e-9, "high": 1e9, "scale": "log"}}},
        }
    )
    assert space.parameters["ridge"]["alpha"] == Range(1e-9, 1e9, is_log=True)


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ({"architectures": []}, "architectures=.*at least one value"),
        ({"architectures": ["logistic"]}, "some of ridge, lasso"),
        ({"architectures": [["ridge"]]}, "a list of names"),
        ({"models": ["ridge"]}, "one of architectures"),
        ({"windows": [8]}, "an architecture that takes one"),
        ({"architectures": ["lstm"], "windows": [1]}, r"an integer in \[2, 512\]"),
        ({"architectures": ["lstm"], "windows": [8, "16"]}, "values of one type"),
        ({"parameters": {"lstm": {}}}, "one of ridge"),
        ({"parameters": {"ridge": {"alpha": []}}}, "at least one value"),
        ({"parameters": {"ridge": {"alpha": [1, "a"]}}}, "values of one type"),
        ({"parameters": {"ridge": {"alpha": [1, True]}}}, "values of one type"),
        ({"parameters": {"ridge": {"alpha": [-1]}}}, "a number of at least 0"),
        ({"parameters": {"ridge": {"beta": [1]}}}, "one of alpha, scaling"),
        ({"parameters": {"ridge": {"alpha": {"low": 2, "high": 1}}}}, "low at or below high"),
        ({"parameters": {"ridge": {"alpha": {"low": 1}}}}, "low and high"),
        ({"parameters": {"ridge": {"alpha": {"low": 0, "high": 1, "scale": "log"}}}}, "above 0"),
        ({"parameters": {"ridge": {"alpha": {"low": 0, "high": 1e999}}}}, "Infinity is not JSON"),
        ({"parameters": {"ridge": {"scaling": {"low": 0, "high": 1}}}}, "a list of values"),
        ({"options": {"interval": ["wide"]}}, "one of split, adaptive"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused_in_one_line(space, expected):
    with pytest.raises(ParameterError, match=expected) as refused:
        asked(space)
    assert "\n" not in str(refused.value)


def test_an_unknown_architecture_is_refused_with_those_that_are_known():
    with pytest.raises(UnknownNameError, match="'prophet'; known: autoencoder"):
        asked({"architectures": ["prophet"]})


@pytest.mark.parametrize("text", ["[1]", "{", "12", '"ridge"'])
def test_a_space_is_a_json_object(text):
    with pytest.raises(ParameterError, match="a JSON object"):
        search_space(text, RecipeParameters("return_forecast"))


def test_what_stands_in_the_recipe_and_in_the_space_contradicts():
    with pytest.raises(ParameterError, match="not both"):
        asked({"architectures": ["lasso"]}, architecture="ridge")
    with pytest.raises(ParameterError, match="not in both"):
        asked(
            {"parameters": {"ridge": {"alpha": [1]}}},
            architecture="ridge",
            parameters='{"alpha": 1}',
        )


def test_a_grid_of_a_billion_points_is_refused_with_its_size():
    names = ("eta", "subsample", "colsample_bytree")
    ranges = {name: {"low": 0.1, "high": 1, "points": 1000} for name in names}
    space = asked({"architectures": ["xgboost"], "parameters": {"xgboost": ranges}})
    with pytest.raises(GridTooLargeError, match=r"a grid of 1,000,000,000 points.*at most 1,000"):
        check_sampler(space, "grid")
    check_sampler(space, "cmaes")


@pytest.mark.parametrize(
    "parameters",
    [{"ridge": {"alpha": {"low": 0, "high": 1}}}, {"ridge": {"scaling": ["standard", "none"]}}],
)
def test_cma_es_takes_several_ranges_of_numbers_and_nothing_else(parameters):
    space = asked({"architectures": ["ridge"], "parameters": parameters})
    with pytest.raises(ParameterError, match="ranges of numbers"):
        check_sampler(space, "cmaes")


def test_values_are_held_by_type_too():
    assert Among((1, 2)).holds(1) and not Among((1, 2)).holds(True)
    assert Range(0, 1).holds(1) and not Range(0, 1).holds(True) and not Range(0, 1).holds("1")
    assert not Range(0, 4, is_integer=True).holds(1.5)
