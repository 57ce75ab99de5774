"""What makes a study: data, the recipe that it starts from, and what to search; said once."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.parameters import RecipeParameters, SourceParameters, changed_from_defaults
from pipelines.recipes.inputs import kind_of
from pipelines.templates import TEMPLATES, Template
from pipelines.tuning.asked_space import check_sampler, search_space
from pipelines.tuning.metrics import Metric, metric_of
from pipelines.tuning.parameters import SearchParameters
from pipelines.tuning.space import SearchSpace
from registry.contract import Json
from registry.errors import ParameterError, StudyConflictError


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

    def joining(self, study: str, kept: "Asked") -> "Asked":
        """Return what a study was made with, if these say nothing else.

        Raises:
            StudyConflictError: the first parameter that differs.
        """
        pairs = ((self.source, kept.source), (self.recipe, kept.recipe), (self.search, kept.search))
        for ours, theirs in pairs:
            for name, value in changed_from_defaults(ours).items():
                if (found := getattr(theirs, name)) != value:
                    raise StudyConflictError(study, name, found, value)
        return kept


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for, checked before data are read: names resolved, defaults filled in."""

    template: Template
    space: SearchSpace
    metric: Metric
    pruner: str

    @classmethod
    def of(cls, asked: Asked) -> "Question":
        """Return what these parameters ask for.

        Raises:
            UnknownNameError, ParameterError: the first that cannot be searched, in one line.
        """
        asked.search.check()
        space = search_space(asked.search.space, asked.recipe)
        check_sampler(space, asked.search.sampler)
        template = TEMPLATES.get(asked.recipe.template)
        kind = kind_of(template)
        for name in filter(None, space.feature_sets):
            if name not in kind.feature_sets:
                expected = f"some of {', '.join(kind.feature_sets)} for {template.name}"
                raise ParameterError("space.feature_sets", name, expected)
        metric = metric_of(template, asked.search.metric, changes_label=space.changes_label)
        return cls(template, space, metric, _pruner(asked.search.pruner, metric))


def _pruner(wanted: str, metric: Metric) -> str:
    """Return the pruner: as wanted, else Wilcoxon's where a fold tells something of the next."""
    if metric.is_loss:
        return wanted or "wilcoxon"
    if wanted not in ("", "none"):
        expected = f"none with metric {metric.name}: its value in one fold says little of the next"
        raise ParameterError("pruner", wanted, expected)
    return "none"
