"""What answers are made of: typed fields, each with its meaning, unit and the rule for None.

An answer is a frozen dataclass; `Template.answers` lists the kinds that a template gives. Each
field is `Annotated` with a `Meaning`, which is the one place where it is described: OpenAPI
(`serving.answer_schemas`) and the tables of docs/templates (`pipelines.templates.answer_tables`)
are made from it. `as_json` writes an answer as callers get it.

Names are the attributes' own; one that Python keeps for itself ends in an underscore (`class_`),
which callers do not see.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, fields
from functools import cache
from operator import attrgetter
from types import NoneType
from typing import Annotated, Any, ClassVar, Protocol, get_args, get_type_hints

import numpy as np


class Answer(Protocol):
    """A frozen dataclass whose fields are `Annotated` with what they mean."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a field says.

    `unit` is empty for names, texts and flags; `null` says when the value is None and is given
    exactly where the type allows it.
    """

    text: str
    unit: str = ""
    null: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One name of an open mapping; `NN` in it stands for a level in percent."""

    type: Any
    meaning: Meaning


@dataclass(frozen=True)
class Open:
    """Marks a mapping whose entries stand in the answer itself, those that were asked for."""

    entries: Mapping[str, Entry]


@dataclass(frozen=True, slots=True)
class AnswerField:
    """A field as callers see it; with `is_open` an answer has it only where it was asked for."""

    name: str
    type: Any
    meaning: Meaning
    is_open: bool = False

    @property
    def is_optional(self) -> bool:
        """Whether the value may be None."""
        return NoneType in get_args(self.type)


@dataclass(frozen=True, slots=True)
class Interval:
    """A central interval of what will be realised."""

    lower: Annotated[float, Meaning("lower end")]
    upper: Annotated[float, Meaning("upper end")]
    level: Annotated[float, Meaning("share of outcomes that lie inside", "fraction")]


def has_open_fields(kinds: Iterable[type[Answer]]) -> bool:
    """Return whether answers of these kinds have fields only where they were asked for."""
    return any(field.is_open for kind in kinds for field in fields_of(kind))


def fields_of(kind: type[Answer]) -> tuple[AnswerField, ...]:
    """Return the fields of a kind of answer, in the order in which `as_json` writes them."""
    found: list[AnswerField] = []
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        bare, meaning = get_args(hints[field.name])
        if isinstance(meaning, Open):
            entries = meaning.entries.items()
            found += [AnswerField(name, e.type, e.meaning, is_open=True) for name, e in entries]
        else:
            found.append(AnswerField(field.name.removesuffix("_"), bare, meaning))
    return tuple(found)


def parts_of(annotation: Any) -> tuple[type[Answer], ...]:
    """Return the dataclasses that a field's type is made of."""
    if isinstance(annotation, type) and hasattr(annotation, "__dataclass_fields__"):
        return (annotation,)
    return tuple(part for inner in get_args(annotation) for part in parts_of(inner))


def as_json(answer: Answer) -> dict[str, Any]:
    """Return the answer as callers get it: None for a number that is not finite."""
    names, read, opened = _plan(type(answer))
    values = read(answer)
    found = {name: _plain(value) for name, value in zip(names, values, strict=True)}
    return found if opened is None else _plain(opened(answer)) | found


AS_IT_IS = frozenset({str, int, bool, NoneType})


@cache
def _plan(
    kind: type[Answer],
) -> tuple[tuple[str, ...], Callable[[Answer], tuple[Any, ...]], Callable[[Answer], Any] | None]:
    """Return the names of the closed fields, how to read them, and how to read the open ones."""
    hints = get_type_hints(kind, include_extras=True)
    is_open = {f.name: isinstance(get_args(hints[f.name])[1], Open) for f in fields(kind)}
    closed = [name for name in is_open if not is_open[name]]
    opened = [name for name in is_open if is_open[name]]
    names = tuple(name.removesuffix("_") for name in closed)
    return names, attrgetter(*closed), attrgetter(*opened) if opened else None


def _plain(value: Any) -> Any:
    kind = type(value)  # most values of most answers; the questions below take ten times as long
    if kind is float:
        return value if math.isfinite(value) else None
    if kind in AS_IT_IS:
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _plain(value.item()) if isinstance(value, np.generic) else as_json(value)
