"""The space that a caller asks for: JSON checked against what is valid, or what is declared.

`{"architectures": [...], "feature_sets": [...], "windows": [...], "horizons": [...], "options":
{name: values}, "parameters": {architecture: {name: values}}}`; all of it optional. Values are a
list, or a range `{"low": 0.01, "high": 0.3, "scale": "log", "points": 5}`. An architecture that
`parameters` names is searched over what is named there; one that it does not name, over its
declared ranges (`pipelines/architectures/search_ranges.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from pipelines.architectures import ARCHITECTURES, Objective
from pipelines.architectures.hyperparameters import Number, Space, Text
from pipelines.architectures.search_ranges import (
    POINTS,
    SEQUENCE_NETWORKS,
    WINDOW_LENGTHS,
    WINDOWED,
    Among,
    Range,
    Searched,
    ranges_of,
)
from pipelines.architectures.spaces import SPACES, space_of
from pipelines.architectures.table_ranges import TABLE_RANGES
from pipelines.parameters import RecipeParameters, json_object
from pipelines.recipes.recipe import Asked
from pipelines.templates import TEMPLATES, Template
from pipelines.tuning.space import MOST_TRIALS, SearchSpace, continuous_problem
from registry.contract import Json
from registry.errors import GridTooLargeError, ParameterError

KEYS = ("architectures", "feature_sets", "windows", "horizons", "options", "parameters")
RANGE_KEYS = ("low", "high", "scale", "points")
MOST_POINTS = 1_000_000
"""Most points that a range may stand for, so that the size of a grid is a readable number."""
LONGEST_WINDOW, LONGEST_HORIZON = 512, 10_000
LARGEST = 1e300

Check = Callable[[Json], Json]


def search_space(text: str, base: RecipeParameters) -> SearchSpace:
    """Return the space that is asked for; what it does not name is the recipe's, or declared.

    Args:
        text: the JSON object; empty asks for what is declared.
        base: the recipe; what it names itself (architecture, feature set, window, horizon, any
            parameter or option) is fixed.

    Raises:
        UnknownNameError: a name that no catalog has.
        ParameterError: what is empty, contradicts itself or the recipe, mixes types, or lies
            outside what is valid.
    """
    asked = json_object("space", text)
    _known("space", asked, KEYS)
    template = TEMPLATES.get(base.template)
    architectures = _architectures(asked, base, template)
    for name in architectures:  # what the recipe changes must be parameters of each
        Asked.of(replace(base, architecture=name))
    objective = template.objective({})
    parameters = _object("space.parameters", asked.get("parameters", {}))
    _known("space.parameters", parameters, architectures)
    windowed = frozenset(name for name in architectures if name in WINDOWED)
    if "windows" in asked and not windowed:
        raise ParameterError("space.windows", asked["windows"], "an architecture that takes one")
    return SearchSpace(
        base=base,
        architectures=architectures,
        feature_sets=_names("feature_sets", asked, base.feature_set),
        windows=_whole("windows", asked, base.window, LONGEST_WINDOW, WINDOW_LENGTHS),
        horizons=_whole("horizons", asked, base.horizon, LONGEST_HORIZON, (0,)),
        options=_options(_object("space.options", asked.get("options", {})), base, template),
        parameters={
            name: _parameters(name, objective, parameters.get(name), base) for name in architectures
        },
        windowed=windowed,
    )


def check_sampler(space: SearchSpace, sampler: str) -> None:
    """Refuse a space that the sampler cannot search.

    Raises:
        GridTooLargeError: a grid of more points than a study may have trials, with its size.
        ParameterError: CMA-ES where not everything is a range of numbers.
    """
    if sampler == "grid" and (size := space.size()) > MOST_TRIALS:
        raise GridTooLargeError(size, MOST_TRIALS)
    if sampler == "cmaes" and (problem := continuous_problem(space)):
        expected = f"random or tpe for this space, since {problem}: cmaes takes ranges of numbers"
        raise ParameterError("sampler", sampler, f"{expected}, two at least, and nothing else")


def _architectures(
    asked: Mapping[str, Json], base: RecipeParameters, template: Template
) -> tuple[str, ...]:
    """Return the architectures: asked for, else the recipe's, else all but slow networks."""
    if "architectures" not in asked:
        known = (name for name in template.architectures if name not in SEQUENCE_NETWORKS)
        declared = tuple(name for name in known if not _needs_file(name))
        return (base.architecture,) if base.architecture else declared
    names = _names("architectures", asked, base.architecture)
    for name in names:
        if name not in ARCHITECTURES:
            ARCHITECTURES.get(name)
        if name not in template.architectures:
            expected = f"some of {', '.join(template.architectures)} for {template.name}"
            raise ParameterError("space.architectures", name, expected)
    return names


def _needs_file(name: str) -> bool:
    return any(isinstance(spec, Text) and spec.is_path for spec in SPACES.get(name, {}).values())


def _names(key: str, asked: Mapping[str, Json], fixed: str) -> tuple[str, ...]:
    """Return the names under a key; without it what the recipe names, which may be empty."""
    if key not in asked:
        return (fixed,)
    _not_twice(key, asked[key], fixed)
    return cast("tuple[str, ...]", _listed(f"space.{key}", asked[key], _name))


def _name(value: Json) -> Json:
    if not isinstance(value, str) or not value:
        raise ParameterError("space", value, "a list of names")
    return value


def _whole(
    key: str, asked: Mapping[str, Json], fixed: int, highest: int, declared: tuple[int, ...]
) -> tuple[int, ...]:
    if key not in asked:
        return (fixed,) if fixed else declared
    _not_twice(key, asked[key], fixed)
    lowest = 2 if key == "windows" else 1
    valid = Number(None, lowest, highest, is_integer=True)
    name = f"space.{key}"
    return cast("tuple[int, ...]", _listed(name, asked[key], lambda v: valid.check(name, v)))


def _not_twice(key: str, value: Json, fixed: str | int) -> None:
    if fixed:
        expected = f"{key} in the space or {key.removesuffix('s')}={fixed} of the recipe, not both"
        raise ParameterError(f"space.{key}", value, expected)


def _options(
    asked: Mapping[str, Json], base: RecipeParameters, template: Template
) -> dict[str, Searched]:
    _known("space.options", asked, tuple(template.options))
    _not_fixed("space.options", asked, base.changed_options())
    return {n: _searched(f"space.options.{n}", v, template.options[n]) for n, v in asked.items()}


def _parameters(
    name: str, objective: Objective, asked: Json | None, base: RecipeParameters
) -> dict[str, Searched]:
    """Return the searched parameters of an architecture: as asked for, else as declared."""
    fixed, declared = base.changed_parameters(), ranges_of(name, objective.loss)
    if TEMPLATES.get(base.template).inputs == "table":
        declared |= TABLE_RANGES.get(name, {})
    if asked is None:
        free = {n: s for n, s in declared.items() if n not in fixed}
        return {n: s for n, s in free.items() if _can_apply(s, free, fixed)}
    where = f"space.parameters.{name}"
    given, valid = _object(where, asked), _valid(name, objective)
    _known(where, given, tuple(valid))
    _not_fixed(where, given, fixed)
    order = [*(n for n in declared if n in given), *(n for n in given if n not in declared)]
    return {n: _searched(f"{where}.{n}", given[n], valid[n]) for n in order}


def _valid(name: str, objective: Objective) -> Space:
    """Return what may be asked of an architecture; one of another distribution checks by itself."""
    if name in SPACES:
        return space_of(name, objective.loss)
    known = ARCHITECTURES.get(name).parameters(objective).items()
    return {n: Number(0.0, -LARGEST, LARGEST) for n, v in known if isinstance(v, int | float)}


def _can_apply(
    searched: Searched, among: Mapping[str, Searched], fixed: Mapping[str, Json]
) -> bool:
    when = searched.when
    if when is None:
        return True
    if when.name in fixed:
        return fixed[when.name] in when.values
    return when.name in among


def _searched(where: str, asked: Json, valid: Any) -> Searched:
    """Return a list or a range of values, every one of them valid."""
    if isinstance(valid, Text):
        raise ParameterError(where, asked, "no search over texts")
    if isinstance(asked, dict):
        return _range(where, asked, valid)
    values = _listed(where, asked, lambda value: valid.check(where, value))
    is_real = isinstance(valid, Number) and not valid.is_integer
    found = tuple(float(cast(float, v)) for v in values) if is_real else values
    return Among(tuple(dict.fromkeys(found)))


def _range(where: str, asked: Mapping[str, Json], valid: Any) -> Range:
    if not isinstance(valid, Number):
        raise ParameterError(where, asked, "a list of values: it is no number")
    _known(where, asked, RANGE_KEYS)
    for end in ("low", "high"):
        if end not in asked:
            raise ParameterError(where, asked, "a range with low and high")
    low, high = (cast(float, valid.check(f"{where}.{end}", asked[end])) for end in ("low", "high"))
    if low > high:
        raise ParameterError(where, asked, "low at or below high")
    scale = asked.get("scale", "linear")
    if scale not in ("linear", "log"):
        raise ParameterError(f"{where}.scale", scale, "linear or log")
    if scale == "log" and low <= 0:
        raise ParameterError(f"{where}.low", low, "a number above 0 on a logarithmic scale")
    points = Number(POINTS, 1, MOST_POINTS, is_integer=True).check(
        f"{where}.points", asked.get("points", POINTS)
    )
    kind = int if valid.is_integer else float
    return Range(kind(low), kind(high), scale == "log", valid.is_integer, cast(int, points))


# Shapes ----------------------------------------------------------------------------------------


def _known(where: str, given: Mapping[str, Json], known: Sequence[str]) -> None:
    if unknown := [name for name in given if name not in known]:
        raise ParameterError(where, unknown[0], f"one of {', '.join(known) or 'nothing'}")


def _not_fixed(where: str, given: Mapping[str, Json], fixed: Mapping[str, Json]) -> None:
    if both := sorted(set(given) & set(fixed)):
        expected = "each value in the space or in the recipe, not in both"
        raise ParameterError(where, both[0], expected)


def _object(where: str, value: Json) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise ParameterError(where, value, "a JSON object")
    return value


def _listed(where: str, value: Json, check: Check) -> tuple[Json, ...]:
    """Return the checked values of a list, each once."""
    return tuple(dict.fromkeys(check(item) for item in values_of(where, value)))


def values_of(where: str, value: Json) -> list[Json]:
    """Return the values of a list that can be searched.

    Raises:
        ParameterError: no list, an empty one, or one of mixed types.
    """
    if not isinstance(value, list):
        raise ParameterError(where, value, "a list of values")
    if not value:
        raise ParameterError(where, value, "at least one value")
    if len({_type_of(item) for item in value}) > 1:
        raise ParameterError(where, value, "values of one type")
    return value


def _type_of(value: Json) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number"
    return type(value).__name__
