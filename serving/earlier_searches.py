"""The earlier form of a search, turned into the parameters of the stage `tune`.

Its names become ours; what has no counterpart here is listed in `ignored`, with the reason. What
contradicts itself, or names an algorithm that nobody has, is refused as in our own form.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.architectures import ARCHITECTURES
from pipelines.architectures.spaces import SPACES, space_of
from pipelines.parameters import RecipeParameters
from pipelines.recipes.inputs import kind_of
from pipelines.templates import TEMPLATES, Template
from pipelines.tuning.asked_space import search_space, values_of
from registry.errors import ParameterError, named
from serving.search_bodies import AskedSearch

SPACE = "search_space"
OUR_NAMES = {"model_type": "template", "validation_metric": "metric", "max_trials": "trials"}
NO_EFFECT = {
    "hardware": "a search runs where its worker does",
    "target_hardware": "a version carries an artifact for every kind of hardware that it fits",
    "production_ready": "asked for by POST /automl/deploy/{job_id}",
}
"""Fields that are taken and change nothing, and why."""
FEATURE_GROUPS = {"price": "close_only", "technical": "close_only", "volume": "ohlcv"}
"""Group of features -> the smallest feature set of bars that holds it."""
ARCHITECTURE_NAMES = {"neural_network": "mlp", "xgb": "xgboost", "lgbm": "lightgbm"}
PARAMETER_NAMES = {
    "learning_rate": ("eta",),
    "hidden_layers": ("layers",),
    "hidden_units": ("hidden",),
    "n_estimators": ("rounds",),
    "max_depth": ("depth",),
}
"""Name of a hyperparameter -> what architectures that do not know it call it."""


@dataclass(slots=True)
class Translated:
    """Parameters of the stage, and what of a body has no effect on them."""

    parameters: dict[str, Any]
    ignored: list[str] = field(default_factory=list)


def translated(body: AskedSearch) -> Translated:
    """Return what a body asks for, in either form.

    Raises:
        ParameterError: the same thing is said in both forms; an earlier form that cannot be read.
        UnknownNameError: a template of no name.
    """
    found = Translated(body.declared())
    for theirs, ours in OUR_NAMES.items():
        if (value := getattr(body, theirs)) is not None:
            if ours in found.parameters:
                raise ParameterError(theirs, value, f"{theirs} or {ours}, not both")
            found.parameters[ours] = value
    found.ignored += [
        f"{name} ({why})" for name, why in NO_EFFECT.items() if getattr(body, name) is not None
    ]
    if body.search_space is not None:
        _add_space(found, body.search_space)
    return found


def _add_space(found: Translated, asked: Mapping[str, Any]) -> None:
    parameters = found.parameters
    if "space" in parameters:
        raise ParameterError(SPACE, asked, f"{SPACE} or space, not both")
    known = ("model_types", "features", "hyperparameters")
    found.ignored += [f"{SPACE}.{named(name)}" for name in asked if name not in known]
    parameters.setdefault("template", _template_of(str(parameters.get("metric", ""))))
    template = TEMPLATES.get(parameters["template"])
    space: dict[str, Any] = {}
    if "model_types" in asked:
        space["architectures"] = _architectures(found, asked["model_types"], template)
    if "features" in asked and (sets := _feature_sets(found, asked["features"], template)):
        space["feature_sets"] = sets
    if "hyperparameters" in asked:
        architectures = space.get("architectures") or _searched(parameters)
        space["parameters"] = _hyperparameters(
            found, asked["hyperparameters"], template, architectures
        )
    parameters["space"] = space


def _template_of(metric: str) -> str:
    """Return the first template that has a metric of its own; without one the stage's default."""
    having = (name for name in TEMPLATES if metric in TEMPLATES.get(name).search_metrics)
    return next(having, RecipeParameters().template)


def _searched(parameters: Mapping[str, Any]) -> Sequence[str]:
    """Return the architectures that the stage searches unless it is told."""
    names = {n: parameters[n] for n in ("template", "architecture") if n in parameters}
    return search_space("", RecipeParameters(**names)).architectures


def _architectures(found: Translated, asked: Any, template: Template) -> list[str]:
    """Return our names; what another template has is ignored where anything else remains."""
    names = [ARCHITECTURE_NAMES.get(name, name) for name in _texts("model_types", asked)]
    usable = [n for n in names if n in template.architectures or n not in ARCHITECTURES]
    if not usable:
        return names  # which the stage refuses
    found.ignored += [
        f"{SPACE}.model_types.{name} (not of {template.name})"
        for name in names
        if name not in usable
    ]
    return usable


def _feature_sets(found: Translated, asked: Any, template: Template) -> list[str]:
    known, sets = kind_of(template).feature_sets, list[str]()
    for name in _texts("features", asked):
        chosen = name if name in known else FEATURE_GROUPS.get(name, "")
        if chosen in known:
            sets.append(chosen)
        else:
            found.ignored.append(f"{SPACE}.features.{named(name)} (no feature set holds it)")
    return list(dict.fromkeys(sets))


def _hyperparameters(
    found: Translated, asked: Any, template: Template, architectures: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return architecture -> its parameters; each name goes to every architecture that has it."""
    where = f"{SPACE}.hyperparameters"
    if not isinstance(asked, Mapping):
        raise ParameterError(where, asked, "an object of names and lists of values")
    loss = template.objective({}).loss
    chosen: dict[str, dict[str, Any]] = {}
    for name, values in asked.items():
        if not isinstance(values, Mapping):
            values_of(f"{where}.{named(name)}", values)
        for architecture in architectures:
            valid = space_of(architecture, loss) if architecture in SPACES else {}
            names = (name, *PARAMETER_NAMES.get(name, ()))
            ours = next((n for n in names if n in valid), None)
            told = f"{where}.{named(name)}"
            if ours is None or ours in chosen.get(architecture, {}):
                found.ignored.append(f"{told} (no parameter of {named(architecture)})")
                continue
            kept = values
            if isinstance(values, list):
                kept = [value for value in values if _is_valid(valid[ours], value)]
                refused = [i for i, value in enumerate(values) if value not in kept]
                found.ignored += [f"{told}[{i}] (not valid for {architecture})" for i in refused]
            if kept:
                chosen.setdefault(architecture, {})[ours] = kept
    return chosen


def _is_valid(spec: Any, value: Any) -> bool:
    try:
        spec.check("", value)
    except ParameterError:
        return False
    return True


def _texts(name: str, asked: Any) -> Iterator[str]:
    """Yield the texts of a list, in small letters."""
    values = values_of(f"{SPACE}.{name}", asked)
    for value in values:
        if not isinstance(value, str):
            raise ParameterError(f"{SPACE}.{name}", value, "a list of names")
        yield value.strip().lower()
