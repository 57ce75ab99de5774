"""Hyperparameters: the parameters that a caller of an architecture may set, with their ranges.

An architecture declares one `Number`, `Choice`, `Text` or `Switch` each; `resolve` fills in the
defaults and refuses names and values that are not declared. Used by `pipelines.architectures`;
parameters of stages (dates, symbols, folders) are in `pipelines.parameters`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from registry.contract import Json
from registry.errors import ParameterError


@dataclass(frozen=True, slots=True)
class Number:
    """A number within [`low`, `high`], both ends included; whole when `is_integer`.

    A default of None means that something else says the number; null asks for that too.
    """

    default: float | None
    low: float
    high: float = math.inf
    is_integer: bool = False

    def check(self, name: str, value: Json) -> Json:
        """Return the value, or raise ParameterError; a bool is not a number."""
        if value is None and self.default is None:
            return None
        kinds = int if self.is_integer else int | float
        is_kind = isinstance(value, kinds) and not isinstance(value, bool)
        if not is_kind or not self.low <= value <= self.high or math.isinf(value):  # type: ignore[operator, arg-type]
            kind = "an integer" if self.is_integer else "a number"
            limits = (
                f"of at least {self.low:g}"
                if math.isinf(self.high)
                else f"in [{self.low:g}, {self.high:g}]"
            )
            raise ParameterError(name, value, f"{kind} {limits}")
        return value


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few strings."""

    default: str
    options: tuple[str, ...]

    def check(self, name: str, value: Json) -> Json:
        """Return the value, or raise ParameterError."""
        if value not in self.options:
            raise ParameterError(name, value, f"one of {', '.join(self.options)}")
        return value


@dataclass(frozen=True, slots=True)
class Text:
    """Any text: a column's name, a folder.

    `is_path` marks what is opened: a caller from outside may not choose it.
    """

    default: str = ""
    is_path: bool = False

    def check(self, name: str, value: Json) -> Json:
        """Return the value, or raise ParameterError."""
        if not isinstance(value, str):
            raise ParameterError(name, value, "a text")
        return value


@dataclass(frozen=True, slots=True)
class Switch:
    """On or off: true or false in JSON."""

    default: bool

    def check(self, name: str, value: Json) -> Json:
        """Return the value, or raise ParameterError; a number is not a switch."""
        if not isinstance(value, bool):
            raise ParameterError(name, value, "true or false")
        return value


Space = Mapping[str, Number | Choice | Text | Switch]


def defaults(space: Space) -> dict[str, Json]:
    """Return the default of every parameter."""
    return {name: spec.default for name, spec in space.items()}


def resolve(space: Space, given: Mapping[str, Json]) -> dict[str, Json]:
    """Return the defaults overlaid with the given values.

    `resolve(space, resolve(space, given)) == resolve(space, given)`.

    Raises:
        ParameterError: an unknown name, a value of the wrong kind, or one out of range.
    """
    for name, value in given.items():
        if name not in space:
            raise ParameterError(name, value, f"one of the parameters {', '.join(space)}")
    return {name: spec.check(name, given.get(name, spec.default)) for name, spec in space.items()}


def integer(chosen: Mapping[str, Json], name: str) -> int:
    """Return a resolved whole number."""
    return cast(int, chosen[name])


def real(chosen: Mapping[str, Json], name: str) -> float:
    """Return a resolved number."""
    return float(cast(float, chosen[name]))
