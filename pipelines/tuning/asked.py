"""What makes a study: data, the recipe that it starts from, and what to search; said once."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipelines.architectures import ARCHITECTURES, Loss
from pipelines.data.features import FEATURE_SETS
from pipelines.parameters import RecipeParameters, SourceParameters, changed_from_defaults
from pipelines.recipes.dataset import first_test_time, label_spec_of
from pipelines.recipes.inputs import Data, InputKind, kind_of
from pipelines.recipes.recipe import Recipe
from pipelines.templates import TEMPLATES, Template
from pipelines.tuning.asked_space import check_sampler, search_space
from pipelines.tuning.metrics import Metric, metrics_of
from pipelines.tuning.parameters import SearchParameters
from pipelines.tuning.served import Limits
from pipelines.tuning.space import SearchSpace
from registry.contract import Json
from registry.errors import ParameterError, StudyConflictError
from registry.versions import NAME

BARS = "bars"
"""The kind of input whose feature sets are computed from columns."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The groups of parameters that make a study."""

    source: SourceParameters
    recipe: RecipeParameters
    search: SearchParameters

    def to_json(self) -> dict[str, Json]:
        """Return them as a study keeps them."""
        return {
            "source": asdict(self.source),
            "recipe": asdict(self.recipe),
            "search": asdict(self.search),
        }

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> "Asked":
        """Return what `to_json` wrote."""
        return cls(
            SourceParameters(**facts["source"]),
            RecipeParameters(**facts["recipe"]),
            SearchParameters(**facts["search"]),
        )

    def name(self) -> str:
        """Return the name of the study that these make where none is given."""
        digest = hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()
        return f"{self.recipe.model_id}-{digest[:10]}"

    def study(self, given: str) -> str:
        """Return the name of the study: as given, else made of these.

        Raises:
            ParameterError: it cannot be the name of a folder.
        """
        name = given or self.name()
        if not NAME.fullmatch(name):
            raise ParameterError("study", name, "1 to 200 letters, digits, '_' and '-'")
        return name

    def joining(self, study: str, kept: "Asked") -> "Asked":
        """Return what a study was made with, if these say nothing else.

        Raises:
            StudyConflictError: the first parameter that differs.
        """
        pairs = ((self.source, kept.source), (self.recipe, kept.recipe), (self.search, kept.search))
        kept_of = {"model_name": kept.recipe.model_id}  # which is the template's name if empty
        for ours, theirs in pairs:
            for name, value in changed_from_defaults(ours).items():
                if (found := kept_of.get(name, getattr(theirs, name))) != value:
                    raise StudyConflictError(study, name, found, value)
        return kept


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for, checked before data are read: names resolved, defaults filled in.

    `metrics`: of several, the first says which trial is judged. `left_out`: feature sets that the
    server could not compute.
    """

    template: Template
    space: SearchSpace
    metrics: tuple[Metric, ...]
    pruner: str
    limits: Limits
    left_out: tuple[str, ...] = ()

    @property
    def metric(self) -> Metric:
        """The one that trials are chosen by."""
        return self.metrics[0]

    @classmethod
    def of(cls, asked: Asked) -> "Question":
        """Return what these parameters ask for.

        Raises:
            UnknownNameError, ParameterError: the first that cannot be searched, in one line.
        """
        asked.search.check()
        space = search_space(asked.search.space, asked.recipe)
        template = TEMPLATES.get(asked.recipe.template)
        kind = kind_of(template)
        for name in filter(None, space.feature_sets):
            if name not in kind.feature_sets:
                expected = f"some of {', '.join(kind.feature_sets)} for {template.name}"
                raise ParameterError("space.feature_sets", name, expected)
        usable = _usable(space, asked.search.served_columns, template, kind)
        left_out = tuple(name for name in space.feature_sets if name not in usable)
        space = replace(space, feature_sets=usable)
        check_sampler(space, asked.search.sampler)
        named = asked.search.metric
        metrics = metrics_of(template, named, changes_label=space.changes_label)
        if len(metrics) > 1 and asked.search.sampler == "cmaes":
            raise ParameterError("sampler", "cmaes", f"another one for several metrics ({named})")
        limits = Limits.of(asked.search)
        pruner = _pruner(asked.search.pruner, metrics, limits)
        return cls(template, space, metrics, pruner, limits, left_out)

    def fitting(self, data: Data) -> "Question":
        """Return the question about the architectures that fit the target of these data.

        Their libraries are imported here, before a budget of seconds begins. Where none fits,
        all stay, and every trial says why it failed.

        Raises:
            MLEngineError: no label can be made of the data.
        """
        loss, space = _loss(self.space.base, data), self.space
        known = {name: ARCHITECTURES.get(name) for name in space.architectures}
        fit = tuple(name for name, found in known.items() if loss in found.objectives)
        if not fit or len(fit) == len(known):
            return self
        others = ", ".join(name for name in known if name not in fit)
        print(f"not tried, because they do not fit the target: {others}", flush=True)
        return replace(self, space=replace(space, architectures=fit))


def _loss(base: RecipeParameters, data: Data) -> Loss:
    """Return what architectures are fitted for; only the target of a table leaves it open."""
    template = TEMPLATES.get(base.template)
    if template.inputs != "table":
        return template.objective({}).loss
    recipe = Recipe.resolve(base)
    first = first_test_time(data, base.first_test)
    return template.objective(label_spec_of(recipe, data, first)).loss


def _usable(
    space: SearchSpace, columns: str, template: Template, kind: InputKind
) -> tuple[str, ...]:
    """Return the feature sets of a space that these columns of bars are enough for.

    Raises:
        ParameterError: none is; a column that bars do not have; or inputs that are no bars.
    """
    if not columns:
        return space.feature_sets
    if template.inputs != BARS:
        expected = f"nothing for {template.name}: what it reads is no column of bars"
        raise ParameterError("served_columns", columns, expected)
    given = {name.strip() for name in columns.split(",")}
    needs = {name: set(FEATURE_SETS.get(name).needs) for name in kind.feature_sets}
    if unknown := sorted(given - set().union(*needs.values())):
        known = ", ".join(sorted(set().union(*needs.values())))
        raise ParameterError("served_columns", unknown[0] or columns, f"some of {known}")
    usable = (n for n in space.feature_sets if needs[n or template.feature_set] <= given)
    if not (found := tuple(usable)):
        enough = ", ".join(name for name in needs if needs[name] <= given) or "none is"
        asked = ", ".join(name or template.feature_set for name in space.feature_sets)
        expected = f"enough for {asked}; these are enough for: {enough} (space.feature_sets)"
        raise ParameterError("served_columns", columns, expected)
    return found


def _pruner(wanted: str, metrics: tuple[Metric, ...], limits: Limits) -> str:
    """Return the pruner: as wanted, else Wilcoxon's where a fold tells something of the next."""
    metric = metrics[0]
    if len(metrics) == 1 and metric.is_loss:
        if wanted == "halving" and limits.are_asked:
            expected = "wilcoxon or none with a limit: the best third may lie beyond it"
            raise ParameterError("pruner", wanted, expected)
        return wanted or "wilcoxon"
    if wanted not in ("", "none"):
        expected = f"none with metric {metric.name}: its value in one fold says little of the next"
        if len(metrics) > 1:
            expected = "none with several metrics: what is behind by one may lead by another"
        raise ParameterError("pruner", wanted, expected)
    return "none"
