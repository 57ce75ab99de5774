"""Bodies of the routes that manage models: what may be said of one, and how one is made.

`Recipe` has a field for each parameter of the entry point `main` that a caller may choose; which
values are taken is decided by the stage's own code (`pipelines.recipes.acceptance`).
"""

import unicodedata
from dataclasses import fields
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from pipelines.parameters import OF_MAIN
from pipelines.recipes.acceptance import LARGEST_NUMBER, LONGEST_TEXT
from registry.contract import Json
from registry.managed_models import Description
from registry.versions import NAME
from serving.schemas import NAME_PATTERN, Name

HELP = {item.name: item.metadata["help"] for group in OF_MAIN for item in fields(group)}
LINE_BREAKS = "\n\t"
MOST_TAGS = 50


def _plain(text: str) -> str:
    """Refuse what a database's text or JSON cannot hold."""
    for letter in text:
        if unicodedata.category(letter) in ("Cc", "Cs") and letter not in LINE_BREAKS:
            raise ValueError("expected text without control characters")
    return text


def _described(name: str) -> Any:
    return Field(default=None, description=f"{HELP[name][:1].upper()}{HELP[name][1:]}.")


ModelId = Annotated[str, Field(strict=True, pattern=f"^{NAME.pattern}$")]
AliasName = Annotated[str, Field(strict=True, pattern=NAME_PATTERN, max_length=50)]
Text = Annotated[str, Field(strict=True, max_length=LONGEST_TEXT)]
Whole = Annotated[int, Field(strict=True, ge=0, le=LARGEST_NUMBER)]
Number = Annotated[int, Field(strict=True, ge=1, le=LARGEST_NUMBER)]
Short = Annotated[str, Field(strict=True, max_length=200), AfterValidator(_plain)]
Long = Annotated[str, Field(strict=True, max_length=5000), AfterValidator(_plain)]
Why = Annotated[str, Field(strict=True, min_length=1, max_length=1000), AfterValidator(_plain)]
Tags = Annotated[dict[Short, Short], Field(max_length=MOST_TAGS)]


class Body(BaseModel):
    """A body whose unknown fields are refused by name."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Recipe(Body):
    """Parameters of the entry point `main`; what is absent has its default."""

    template: Name | None = _described("template")
    architecture: Name | None = _described("architecture")
    feature_set: Name | None = _described("feature_set")
    window: Whole | None = _described("window")
    horizon: Whole | None = _described("horizon")
    first_test: Text | None = _described("first_test")
    recent_bars: Whole | None = _described("recent_bars")
    parameters: dict[str, Any] | None = _described("parameters")
    options: dict[str, Any] | None = _described("options")
    seed: Whole | None = _described("seed")
    source: Name | None = _described("source")
    path: Text | None = Field(
        default=None, description="With source data: the name under which they were uploaded."
    )
    columns: Text | None = _described("columns")
    symbols: Text | None = _described("symbols")
    start: Text | None = _described("start")
    end: Text | None = _described("end")
    interval: Text | None = _described("interval")
    timezone: Text | None = _described("timezone")
    date_order: Name | None = _described("date_order")
    policy: Name | None = _described("policy")
    splits: Text | None = _described("splits")
    jumps: Name | None = _described("jumps")
    price_scale: Text | None = _described("price_scale")
    stubs: Name | None = _described("stubs")
    challenge_bars: Whole | None = _described("challenge_bars")
    paths: Text | None = _described("paths")
    flavors: Text | None = _described("flavors")
    compress: Text | None = _described("compress")

    def given(self) -> dict[str, Any]:
        """Return the parameters that were given."""
        chosen = {name: getattr(self, name) for name in Recipe.model_fields}
        return {name: value for name, value in chosen.items() if value is not None}


class ModelRequest(Recipe):
    """A model to be made: its name, what is said about it, and its recipe."""

    model_id: ModelId = Field(description="Letters, digits, '_' and '-'.")
    template: Name = _described("template")
    description: Long = Field(default="", description="For people.")
    owner: Short = Field(default="", description="Who answers for it.")
    tags: Tags = Field(default={}, description="Name to text.")

    def said(self) -> Description:
        """Return what is said about it."""
        return Description(self.description, self.owner, self.tags)


class ModelChange(Body):
    """What is to be changed; what is absent stays."""

    description: Long | None = Field(default=None, description="For people.")
    owner: Short | None = Field(default=None, description="Who answers for it.")
    tags: Tags | None = Field(default=None, description="All of them: the others are dropped.")
    watched: Annotated[bool, Field(strict=True)] | None = Field(
        default=None, description="False: no drift is looked for."
    )
    archived: Annotated[bool, Field(strict=True)] | None = Field(
        default=None, description="True: as DELETE. False: restores the model."
    )
    recipe: Recipe | None = Field(
        default=None, description="Parameters to replace in the recipe; the others stay."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("give description, owner, tags, watched, archived or recipe")
        return self

    def said(self) -> dict[str, Json]:
        """Return the fields of `Description` that were given."""
        names = ("description", "owner", "tags", "watched")
        return {n: getattr(self, n) for n in names if getattr(self, n) is not None}


class TrainRequest(Recipe):
    """What differs from the model's recipe, and what the new version is compared with."""

    champion: Whole | None = Field(
        default=None,
        description=(
            "Version to compare the new one with; absent: the one in production, or the one "
            "withdrawn last; 0: none, and then the new one cannot replace a champion."
        ),
    )
    trigger: Short = Field(
        default="",
        description=(
            "What forced the refresh: then it is enough not to be worse than the champion. Empty: "
            "nothing did, and the new version must be better."
        ),
    )


class ValidateRequest(Body):
    """A version to be validated again."""

    version: Number
    champion: Whole = Field(default=0, description="Version to compare with; 0: none.")
    trigger: Short = Field(default="", description="As in POST /models/{model_id}/train.")
    challenge_bars: Whole | None = _described("challenge_bars")
    read_from: Annotated[str, Field(strict=True, pattern="^(|store)$")] = Field(
        default="",
        description="Where the newest data are: empty, its own source; store, the bars held.",
    )


class Reasoned(Body):
    """Why, and which state the decision was made on."""

    reason: Why = Field(description="For the event log.")
    expected_generation: Whole | None = Field(
        default=None,
        description=(
            "Generation of the alias that the decision was made on (GET .../status); 409 when it "
            "has moved since. Absent: the present one."
        ),
    )


class DeployRequest(Reasoned):
    """A version to be put into production, by number or alias."""

    version: Number | None = None
    alias: AliasName | None = Field(
        default=None, description="The version that an alias names now."
    )

    @model_validator(mode="after")
    def _one_version(self) -> Self:
        if (self.version is None) == (self.alias is None):
            raise ValueError("give exactly one of version and alias")
        return self


class WithdrawRequest(Reasoned):
    """An alias to be taken away."""

    alias: AliasName = Field(default="production", description="Nothing serves under it then.")
