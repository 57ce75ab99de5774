"""Search space: which recipes of a template a study may try, as named dimensions.

A recipe is drawn one dimension after the other: architecture, feature set, horizon, options of the
template, window (of architectures that take one), then the parameters of the architecture. What a
recipe names itself, and what has one value only, is no dimension.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from pipelines.architectures.search_ranges import Among, Range, Searched
from pipelines.parameters import RecipeParameters
from registry.contract import Json

MOST_TRIALS = 1000
"""The largest budget, and so the largest grid."""

ARCHITECTURE, FEATURE_SET, WINDOW, HORIZON = "architecture", "feature_set", "window", "horizon"
OPTION = "option."

Point = Mapping[str, Json]
"""Name of a dimension -> its value; of the dimensions that this recipe has, fixed ones too."""
Draw = Callable[[str, Searched], Json]


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """What is searched; every tuple has at least one entry.

    `parameters`: architecture -> its searched parameters, conditions after what they depend on.
    `windowed`: the architectures that take windows. `base`: the recipe that everything else is
    taken from; its `parameters` are fixed.
    """

    base: RecipeParameters
    architectures: tuple[str, ...]
    feature_sets: tuple[str, ...]
    windows: tuple[int, ...]
    horizons: tuple[int, ...]
    options: Mapping[str, Searched]
    parameters: Mapping[str, Mapping[str, Searched]]
    windowed: frozenset[str]

    def draw(self, ask: Draw) -> dict[str, Json]:
        """Return a point; `ask` is given name and range of one dimension at a time, and answers.

        What has one value only is not asked about.
        """
        point: dict[str, Json] = {}
        architecture = str(_drawn(point, ask, ARCHITECTURE, Among(self.architectures)))
        _drawn(point, ask, FEATURE_SET, Among(self.feature_sets))
        _drawn(point, ask, HORIZON, Among(self.horizons))
        for name, searched in self.options.items():
            _drawn(point, ask, f"{OPTION}{name}", searched)
        if architecture in self.windowed:
            _drawn(point, ask, WINDOW, Among(self.windows))
        drawn: dict[str, Json] = {}
        for name, searched in self.parameters[architecture].items():
            if _applies(searched, drawn):
                drawn[name] = _drawn(point, ask, f"{architecture}.{name}", searched)
        return point

    def recipe(self, point: Point) -> RecipeParameters:
        """Return the recipe of a point."""
        architecture = str(point[ARCHITECTURE])
        own, option = f"{architecture}.", OPTION
        parameters = self.base.changed_parameters() | _below(point, own)
        options = self.base.changed_options() | _below(point, option)
        return replace(
            self.base,
            architecture=architecture,
            feature_set=str(point[FEATURE_SET]),
            window=int(point.get(WINDOW, self.base.window)),  # type: ignore[arg-type]
            horizon=int(point[HORIZON]),  # type: ignore[arg-type]
            parameters=json.dumps(parameters, sort_keys=True) if parameters else "",
            options=json.dumps(options, sort_keys=True) if options else "",
        )

    @property
    def changes_label(self) -> bool:
        """Whether its recipes may have different labels, whose losses cannot be compared."""
        return len(self.horizons) > 1 or any(s.size() > 1 for s in self.options.values())

    def dimensions(self) -> dict[str, Searched]:
        """Return every dimension that has more than one value."""
        found: dict[str, Searched] = {
            ARCHITECTURE: Among(self.architectures),
            FEATURE_SET: Among(self.feature_sets),
            HORIZON: Among(self.horizons),
        }
        found |= {f"{OPTION}{name}": searched for name, searched in self.options.items()}
        if self.windowed & set(self.architectures):
            found[WINDOW] = Among(self.windows)
        for architecture in self.architectures:
            own = self.parameters[architecture]
            found |= {f"{architecture}.{name}": searched for name, searched in own.items()}
        return {name: searched for name, searched in found.items() if not _is_fixed(searched)}

    def size(self) -> int:
        """Return the number of points of its grid, without making them."""
        shared = len(self.feature_sets) * len(self.horizons)
        shared *= prod(searched.size() for searched in self.options.values())
        return shared * sum(
            (len(self.windows) if name in self.windowed else 1) * _combinations(own)
            for name, own in ((name, self.parameters[name]) for name in self.architectures)
        )

    def grid(self, seed: int) -> tuple[dict[str, Json], ...]:
        """Return every point of the grid once, in an order that the seed shuffles."""
        points = list(self._points())
        random.Random(seed).shuffle(points)  # noqa: S311 (no secret)
        return tuple(points)

    def _points(self) -> Iterator[dict[str, Json]]:
        """Yield the points by walking through all answers that `draw` may get."""
        pending: list[dict[str, Json]] = [{}]
        while pending:
            begun = pending.pop()
            branches: list[tuple[str, Searched]] = []

            def ask(
                name: str,
                searched: Searched,
                begun: dict[str, Json] = begun,
                branches: list[tuple[str, Searched]] = branches,
            ) -> Json:
                if name not in begun and not branches:
                    branches.append((name, searched))
                return begun.get(name, searched.grid()[0])

            point = self.draw(ask)
            if not branches:
                yield point
                continue
            name, searched = branches[0]
            pending += [begun | {name: value} for value in reversed(searched.grid())]


def _drawn(point: dict[str, Json], ask: Draw, name: str, searched: Searched) -> Json:
    point[name] = searched.grid()[0] if _is_fixed(searched) else ask(name, searched)
    return point[name]


def _below(point: Point, prefix: str) -> dict[str, Json]:
    """Return the values whose names begin with a prefix, without it."""
    return {n.removeprefix(prefix): v for n, v in point.items() if n.startswith(prefix)}


def _is_fixed(searched: Searched) -> bool:
    return searched.size() == 1


def _applies(searched: Searched, drawn: Mapping[str, Json]) -> bool:
    """Whether a parameter's condition is met by those drawn before it."""
    when = searched.when
    return when is None or drawn.get(when.name) in when.values


def _combinations(own: Mapping[str, Searched]) -> int:
    """Return the number of combinations of an architecture's parameters, conditions minded."""
    asked_about = {s.when.name for s in own.values() if s.when is not None and s.when.name in own}
    total = 0
    for chosen in product(*(own[name].grid() for name in sorted(asked_about))):
        drawn = dict(zip(sorted(asked_about), chosen, strict=True))
        rest = (s for name, s in own.items() if name not in asked_about and _applies(s, drawn))
        total += prod(searched.size() for searched in rest)
    return total


def continuous_problem(space: SearchSpace) -> str:
    """Return why CMA-ES cannot search the space; empty where it can."""
    found = space.dimensions()
    others = [n for n, s in found.items() if not isinstance(s, Range) or s.when is not None]
    if others:
        return f"{others[0]} is no range of numbers"
    return "" if len(found) > 1 else f"it has {len(found)} dimensions"
