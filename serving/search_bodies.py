"""Bodies of the routes that search: the parameters of the stage `tune`, and an earlier form.

The fields of the stage are read off its own groups of parameters, so that what it learns to take
can be asked for over HTTP as well. Which values are taken is decided by the stage's own code
(`pipelines.tuning.acceptance`).
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, create_model

from pipelines.recipes.acceptance import LARGEST_NUMBER, OBJECTS
from pipelines.tuning.acceptance import OF_DEPLOYING, OF_TUNE, OPENED
from serving.model_bodies import Body, ModelId, Short, Text, Whole

MOST_WORKERS = 16
Flag = Annotated[bool, Field(strict=True)]
Real = Annotated[float, Field(strict=True, ge=0, le=LARGEST_NUMBER, allow_inf_nan=False)]
TYPES: Mapping[Any, Any] = {str: Text, int: Whole, float: Real, bool: Flag}
DECLARED = {
    item.name: item
    for group in OF_TUNE
    for item in fields(group)
    if item.name not in (*OF_DEPLOYING, *OPENED, "model_name")
}
"""Parameters of the stage that a search may be started with."""


class AskedSearch(Body):
    """What a search may be asked for beside the parameters of the stage."""

    model_id: ModelId | None = Field(
        default=None, description="Model that the winner may become; absent: the template's name."
    )
    workers: Annotated[int, Field(strict=True, ge=1, le=MOST_WORKERS)] | None = Field(
        default=None, description="Jobs that search this study side by side; 1 unless said."
    )
    model_type: Text | None = Field(default=None, description="As `template`.")
    search_space: dict[str, Any] | None = Field(
        default=None,
        description="An earlier form of `space`: `model_types`, `features` (price, volume, "
        "technical, sentiment), `hyperparameters` (name to values).",
    )
    validation_metric: Text | None = Field(default=None, description="As `metric`.")
    max_trials: Whole | None = Field(default=None, description="As `trials`.")
    hardware: Short | None = Field(default=None, description="Has no effect; see `ignored`.")
    target_hardware: Short | None = Field(default=None, description="Has no effect; see `ignored`.")
    production_ready: Flag | None = Field(default=None, description="Has no effect here.")

    def declared(self) -> dict[str, Any]:
        """Return the parameters of the stage that were given, by their names there."""
        found = {name: getattr(self, name, None) for name in DECLARED}
        found["model_name"] = self.model_id
        return {name: value for name, value in found.items() if value is not None}


def _fields() -> dict[str, Any]:
    """Return the fields of a body: one per parameter of the stage, absent unless given."""
    kinds = {n: dict[str, Any] if n in OBJECTS else TYPES[i.type] for n, i in DECLARED.items()}
    return {name: (kinds[name] | None, _told(name)) for name in DECLARED}


def _told(name: str) -> Any:
    text = DECLARED[name].metadata["help"]
    return Field(default=None, description=f"{text[:1].upper()}{text[1:]}.")


if TYPE_CHECKING:

    class SearchRequest(AskedSearch):
        """Parameters of a search; what is absent has the default of the stage `tune`."""

else:
    SearchRequest = create_model(
        "SearchRequest",
        __base__=AskedSearch,
        __module__=__name__,
        __doc__="Parameters of a search; what is absent has the default of the stage `tune`.",
        **_fields(),
    )


class HyperoptRequest(SearchRequest):
    """A search over the parameters of one architecture."""

    hyperparameters: dict[str, Any] | None = Field(
        default=None,
        description="Name to a list of values, or to a range with low, high and scale; absent: "
        "the ranges that the architecture declares.",
    )


class DeployWinnerRequest(Body):
    """How the winner of a search becomes a version."""

    promote: Flag = Field(default=False, description="Ask for alias production after staging.")
    flavors: Text = Field(
        default="", description="Flavors to write, separated by commas; empty means all."
    )
    target_hardware: Short | None = Field(default=None, description="Has no effect; see `ignored`.")
    production_ready: Flag | None = Field(default=None, description="As `promote`.")
