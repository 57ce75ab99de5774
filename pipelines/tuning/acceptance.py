"""Acceptance of a search: what a caller from outside may ask of the stage `tune`.

As `pipelines.recipes.acceptance` for `main`: the stage's own code checks everything that can be
checked without the data, and nothing that a caller writes is opened.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import sqlalchemy as sa

from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes.acceptance import check_from_outside, grouped, typed
from pipelines.recipes.recipe import Asked as AskedRecipe
from pipelines.tuning.asked import Asked, Question
from pipelines.tuning.parameters import BudgetParameters, SearchParameters
from registry.contract import Json
from registry.settings import PlatformSettings

OF_TUNE = (SourceParameters, RecipeParameters, SearchParameters, BudgetParameters)
"""The groups of the entry point `tune`."""
OF_DEPLOYING = ("deploy", "promote", "flavors")
"""Parameters that are asked for when a search has ended."""
OPENED = tuple(
    item.name
    for group in (SearchParameters, BudgetParameters)
    for item in fields(group)
    if item.metadata["is_path"]
)
"""Parameters of a search that only a person at the machine may choose."""


def accept_search(
    parameters: Mapping[str, Any], settings: PlatformSettings, engine: sa.Engine
) -> dict[str, Json]:
    """Return the payload of a job `tune` that was asked for in JSON, its study named.

    Args:
        parameters: as `tune` takes them, with numbers as numbers; `space`, `parameters` and
            `options` may be objects.

    Raises:
        UnknownNameError: a parameter, template, architecture or feature set of no name.
        ParameterError: a value of the wrong type, out of its range, or that would be opened.
        GridTooLargeError: a grid of more points than a study may have trials.
        DataNameError, DataNotFoundError, DataMissingError: `path` names no uploaded data.
    """
    known = {item.name: item for group in OF_TUNE for item in fields(group)}
    allowed = {n: item for n, item in known.items() if n not in (*OF_DEPLOYING, *OPENED)}
    payload = typed(parameters, allowed)
    source, recipe, search, budget = grouped(OF_TUNE, payload)
    budget.check()
    asked = Asked(source, replace(recipe, model_name=recipe.model_id), search)
    question = Question.of(asked)
    for name in question.space.architectures:
        wanted = replace(asked.recipe, architecture=name)
        check_from_outside(AskedRecipe.of(wanted), source, wanted, settings, engine)
    named = {"study": asked.study(budget.study), "model_name": asked.recipe.model_id}
    return payload | {"template": asked.recipe.template} | named
