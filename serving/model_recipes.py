"""The recipe of a model, and what a caller may make of it.

A model that was created has its own; one that a stage made has that of its newest version. A
recipe that is stored was accepted before, so that what a person at the machine let it open may be
opened again.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipelines.parameters import RecipeParameters
from pipelines.recipes.acceptance import accept
from registry import managed_models
from registry.contract import Json
from registry.errors import NothingToTrainError
from serving.service import Service


def recipe_of(service: Service, model_id: str) -> Mapping[str, Json]:
    """Return the parameters of `main` that make the model's next version.

    Raises:
        ModelNotFoundError: no such model.
        NothingToTrainError: it has neither a recipe nor a version.
    """
    stored = managed_models.find(service.database, model_id).recipe
    if stored:
        return stored
    versions = service.registry.list_versions(model_id)
    if not versions:
        raise NothingToTrainError(model_id)
    contract = versions[-1].contract
    source = {**contract.data.parameters, "source": contract.data.source}
    return {**source, **asdict(RecipeParameters.of_contract(contract))}


def changed_recipe(
    service: Service,
    model_id: str,
    changes: Mapping[str, Any],
    decided: Mapping[str, Json] | None = None,
) -> dict[str, Json]:
    """Return the model's recipe with what differs, checked as a new one is.

    Args:
        decided: parameters that a route sets and no caller.

    Raises:
        MLEngineError: as `recipe_of`, or a value that the stage would not take.
    """
    own, decided = recipe_of(service, model_id), decided or {}
    wanted = {**own, **changes, **decided, "model_name": model_id}
    return accept(wanted, service.platform, service.database, tuple(decided), own)
