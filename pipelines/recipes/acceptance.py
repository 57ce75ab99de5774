"""Acceptance: what a caller from outside may ask of the stage `main`, checked before it is a job.

The stage's own code checks names, types and ranges, without the data and without an algorithm's
library. What differs from a person at the machine: nothing that a caller writes is opened. `path`
is a name of uploaded data, and every other parameter that is marked as a path
(`pipelines.parameters.described`, `hyperparameters.Text`) is refused.
"""

import json
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import Field, fields
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from pipelines.architectures.spaces import SPACES, space_of
from pipelines.data.bars import parse_interval
from pipelines.data.iso_times import parse_time
from pipelines.data.sources.split_list import is_inline
from pipelines.data.sources.times import check_date_order, check_timezone
from pipelines.data.sources.uploaded import check_kind
from pipelines.data.tables.row_data import refuse_bar_parameters
from pipelines.data.uploads import SOURCE as UPLOADED
from pipelines.data.uploads import Uploads
from pipelines.parameters import (
    OF_MAIN,
    RecipeParameters,
    SourceParameters,
)
from pipelines.recipes.combinatorial import parse_paths
from pipelines.recipes.inputs import kind_of
from pipelines.recipes.recipe import Asked
from registry.contract import Json
from registry.errors import DataMissingError, ParameterError, UnknownNameError
from registry.settings import PlatformSettings
from registry.versions import check_model_id

DECIDED_HERE = ("champion", "trigger", "promote")
"""Parameters that a route sets, and no caller."""
SOURCES_FROM_OUTSIDE = (UPLOADED, "sample", "store", "synthetic")
OBJECTS = ("parameters", "options", "space")
"""Parameters that are a JSON object, or its text."""

LARGEST_NUMBER = 10**9
LONGEST_TEXT = 6000
"""MLflow keeps no longer parameter."""


def accept(
    parameters: Mapping[str, Any],
    settings: PlatformSettings,
    engine: sa.Engine,
    allowed: Collection[str] = (),
    recorded: Mapping[str, Json] = MappingProxyType({}),
) -> dict[str, Json]:
    """Return the payload of a job `main` that was asked for in JSON.

    `accept(accept(x)) == accept(x)`.

    Args:
        parameters: as `main` takes them, with numbers as numbers; `parameters` and `options` may
            be objects.
        allowed: those of `DECIDED_HERE` that this caller may set.
        recorded: a recipe that was accepted before, or that a person at the machine chose. What
            it opens may be opened again, as long as `parameters` repeats it.

    Raises:
        UnknownNameError: a parameter, template, architecture, feature set or flavor of no name.
        ParameterError: a value of the wrong type, out of its range, or that would be opened.
        DataNameError, DataNotFoundError, DataMissingError: `path` names no uploaded data.
    """
    payload = typed(parameters, _known(allowed))
    source, wanted, judgement, _, flavors = grouped(OF_MAIN, payload)
    asked = Asked.of(wanted)
    if not _repeats(payload, recorded, ("template", "architecture", "parameters", "options")):
        _refuse_paths(asked)
    _check_recipe(wanted)
    if not _repeats(payload, recorded, ("splits",)):
        _refuse_file(source)
    if _repeats(payload, recorded, ("source", "path")) and _is_a_persons(source):
        _check_query(source, wanted)
    else:
        _check_source(source, wanted, settings, engine)
    parse_paths(judgement.paths)
    flavors.names()
    flavors.artifacts()
    return payload


def typed(parameters: Mapping[str, Any], known: "Mapping[str, Field[Any]]") -> dict[str, Json]:
    """Return parameters as a stage's payload holds them.

    Raises:
        UnknownNameError: one that is not among `known`.
        ParameterError: a value of another type than the stage declares, or of no length.
    """
    payload: dict[str, Json] = {}
    for name, value in parameters.items():
        if name not in known:
            raise UnknownNameError("parameter", name, known)
        payload[name] = _typed(name, value, known[name].type)
    return payload


def grouped(groups: Sequence[type[Any]], payload: Mapping[str, Json]) -> list[Any]:
    """Return a stage's groups of parameters; what the payload does not name has its default."""
    return [
        group(**{f.name: payload[f.name] for f in fields(group) if f.name in payload})
        for group in groups
    ]


def check_from_outside(
    asked: Asked,
    source: SourceParameters,
    wanted: RecipeParameters,
    settings: PlatformSettings,
    engine: sa.Engine,
) -> None:
    """Refuse a recipe and a source that open what a caller from outside may not open.

    Raises:
        UnknownNameError, ParameterError, DataNameError, DataNotFoundError, DataMissingError: as
            `accept`.
    """
    _refuse_paths(asked)
    _refuse_file(source)
    _check_recipe(wanted)
    _check_source(source, wanted, settings, engine)


def _known(allowed: Collection[str]) -> "dict[str, Field[Any]]":
    every = {item.name: item for group in OF_MAIN for item in fields(group)}
    return {
        name: item for name, item in every.items() if name not in DECIDED_HERE or name in allowed
    }


def _is_a_persons(source: SourceParameters) -> bool:
    """Return whether only a person at the machine may choose this source."""
    is_ours = source.source in SOURCES_FROM_OUTSIDE
    return not is_ours or (source.source != UPLOADED and bool(source.path))


def _repeats(
    payload: Mapping[str, Json], recorded: Mapping[str, Json], names: Collection[str]
) -> bool:
    return bool(recorded) and all(payload.get(name) == recorded.get(name) for name in names)


# Values ----------------------------------------------------------------------------------------


def _typed(name: str, value: Any, wanted: Any) -> Json:
    if name in OBJECTS and isinstance(value, Mapping):
        value = _object(name, value)
    if wanted is bool:
        if not isinstance(value, bool):
            raise ParameterError(name, value, "true or false")
        return value
    if wanted is int:
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if not is_number or not 0 <= value <= LARGEST_NUMBER:
            raise ParameterError(name, value, f"a whole number from 0 to {LARGEST_NUMBER}")
        return int(value)
    if wanted is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= value <= LARGEST_NUMBER:
            raise ParameterError(name, value, f"a number from 0 to {LARGEST_NUMBER}")
        return float(value)
    if not isinstance(value, str):
        raise ParameterError(name, value, "a text")
    return _text(name, value)


def _object(name: str, value: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(value), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as exc:
        raise ParameterError(name, value, "a JSON object") from exc


def _text(name: str, value: str) -> str:
    if len(value) > LONGEST_TEXT:
        raise ParameterError(name, value, f"at most {LONGEST_TEXT} letters")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in value):
        raise ParameterError(name, value, "a text without control characters")
    if value.startswith("-"):  # the stage's command line would take it for an option
        raise ParameterError(name, value, "a text that does not begin with '-'")
    return value


# What is asked for -----------------------------------------------------------------------------


def _refuse_paths(asked: Asked) -> None:
    """Refuse what would make the stage open a path of the caller's."""
    name = asked.architecture
    space = space_of(name, asked.template.objective({}).loss) if name in SPACES else {}
    if opened := [parameter for parameter, spec in space.items() if is_path(spec)]:
        expected = f"another one: {name} opens a folder of the server ({opened[0]}); run the stage"
        raise ParameterError("architecture", name, expected)
    for option, spec in asked.template.options.items():
        if is_path(spec) and asked.options[option]:
            raise ParameterError(option, asked.options[option], "nothing: it would be opened")


def _refuse_file(source: SourceParameters) -> None:
    if not is_inline(source.splits or "["):
        raise ParameterError("splits", source.splits, "a JSON list; no file is opened for a caller")


def is_path(spec: object) -> bool:
    """Return whether a hyperparameter or an option is opened."""
    return bool(getattr(spec, "is_path", False))


def _check_recipe(wanted: RecipeParameters) -> None:
    check_model_id(wanted.model_id)
    parse_time("first_test", wanted.first_test)
    known = kind_of(wanted.template).feature_sets
    if wanted.feature_set and wanted.feature_set not in known:
        raise UnknownNameError("feature set", wanted.feature_set, known)


def _check_source(
    source: SourceParameters,
    wanted: RecipeParameters,
    settings: PlatformSettings,
    engine: sa.Engine,
) -> None:
    kind = kind_of(wanted.template)
    offered = [name for name in SOURCES_FROM_OUTSIDE if name in kind.sources]
    if source.source not in offered:
        shown = f"{', '.join(offered)} ({UPLOADED}: a name that was uploaded to /data, as path)"
        raise ParameterError("source", source.source, f"one of {shown}")
    _check_query(source, wanted)
    if source.source != UPLOADED:
        if source.path:
            raise ParameterError("path", source.path, f"nothing: {source.source} has no path")
        return
    uploads = Uploads(engine, settings.uploads_dir)
    file = uploads.get(source.path)
    check_kind(file, kind.uploaded_as)
    if not uploads.path_of(file).is_file():
        raise DataMissingError(file.name, "is not there")


def _check_query(source: SourceParameters, wanted: RecipeParameters) -> None:
    query = source.query(wanted.seed)
    if source.interval:
        parse_interval(source.interval)
    check_timezone(source.timezone)
    check_date_order(source.date_order)
    if kind_of(wanted.template).uploaded_as != "bars":
        refuse_bar_parameters(query)
