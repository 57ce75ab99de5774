"""The points that a study begins with: good defaults, then what won before for this template.

Winners are events of the engine database, so every study of an installation hands its own on. What
a space does not hold is moved to the nearest that it does.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, cast

import sqlalchemy as sa

from pipelines.architectures.search_ranges import CHEAP_FIRST, Range, Searched
from pipelines.architectures.table_ranges import FIRST_POINTS
from pipelines.recipes.recipe import Asked
from pipelines.templates import TEMPLATES
from pipelines.tuning.space import (
    ARCHITECTURE,
    FEATURE_SET,
    HORIZON,
    OPTION,
    WINDOW,
    Point,
    SearchSpace,
)
from registry import events
from registry.contract import Json

WON = "search_won"
MOST_WINNERS = 5
BY_DEFAULT = 32
"""Window of an architecture that takes one."""


def known_points(space: SearchSpace, engine: sa.Engine) -> tuple[Point, ...]:
    """Return the first points of a study, whatever its budget: each once, the cheapest first."""
    first = [default_point(space, name) for name in sorted(space.architectures, key=_cost)]
    wanted = [*first, *islice(winners(space, engine), MOST_WINNERS)]
    return tuple(point for i, point in enumerate(wanted) if point not in wanted[:i])


def default_point(space: SearchSpace, architecture: str) -> Point:
    """Return the defaults of an architecture and of its template; of a table, better ones."""
    asked = Asked.of(replace(space.base, architecture=architecture))
    parameters = dict(asked.parameters)
    if TEMPLATES.get(space.base.template).inputs == "table":
        parameters |= FIRST_POINTS.get(architecture, {})
        parameters |= space.base.changed_parameters()
    facts = {"architecture": architecture, "window": BY_DEFAULT}
    return _point(space, facts | {"parameters": parameters, "options": asked.options})


def _cost(architecture: str) -> int:
    known = architecture in CHEAP_FIRST
    return CHEAP_FIRST.index(architecture) if known else len(CHEAP_FIRST)


def winners(space: SearchSpace, engine: sa.Engine) -> Iterator[Point]:
    """Yield what won before for this template, newest first, as points of this space."""
    for event in reversed(events.of_kind(engine, WON)):
        facts = cast("dict[str, Any]", event.facts)
        is_ours = facts["template"] == space.base.template
        if is_ours and facts["architecture"] in space.architectures:
            yield _point(space, facts)


def _point(space: SearchSpace, facts: Mapping[str, Any]) -> Point:
    """Return the point of the space that is nearest to a recipe."""
    architecture = str(facts["architecture"])
    wanted: dict[str, Json] = {
        ARCHITECTURE: architecture,
        FEATURE_SET: facts.get("feature_set", ""),
        HORIZON: facts.get("horizon", 0),
        WINDOW: facts.get("window", 0),
    }
    wanted |= {f"{OPTION}{name}": value for name, value in facts["options"].items()}
    wanted |= {f"{architecture}.{name}": value for name, value in facts["parameters"].items()}
    return space.draw(lambda name, searched: nearest(searched, wanted.get(name)))


def nearest(searched: Searched, value: Json) -> Json:
    """Return the value of a dimension that is nearest; its first where it is no number of these."""
    if searched.holds(value):
        return value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not isinstance(searched, Range) or not is_number:
        return searched.grid()[0]
    inside = min(max(cast(float, value), searched.low), searched.high)
    return round(inside) if searched.is_integer else float(inside)
