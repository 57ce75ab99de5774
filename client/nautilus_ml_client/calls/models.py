"""Models: made, described, trained, validated, deployed, looked at, archived."""

from collections.abc import Mapping
from datetime import datetime
from time import monotonic
from typing import Literal, Unpack

from nautilus_ml_client.answers import (
    Deleted,
    Deployed,
    EventFacts,
    EventList,
    JobAnswer,
    ModelFacts,
    ModelLine,
    ModelList,
    ModelStatus,
    ProductionAnswer,
    Recipe,
    VersionLine,
    VersionList,
    WholeVersion,
)
from nautilus_ml_client.errors import WaitTimeoutError
from nautilus_ml_client.requests import (
    Flow,
    Pause,
    address,
    answered,
    as_time,
    delete,
    enqueue,
    get,
    given,
    post,
    put,
)

MODEL = "/models/{model_id}"
LOOK_SECONDS = 0.25


def list_models(*, archived: bool = False) -> Flow[list[ModelLine]]:
    """List the models; `archived` adds the archived ones."""
    return (yield from answered(get("/models", archived=archived), ModelList)).models


def get_model(model_id: str) -> Flow[ModelFacts]:
    """Show a model: what is said about it, its versions, what is loaded and how fast it is."""
    return (yield from answered(get(_at(model_id)), ModelFacts))


def status(model_id: str) -> Flow[ModelStatus]:
    """Show at a glance what serves, the aliases, the newest job, drift and retraining."""
    return (yield from answered(get(_at(model_id, "/status")), ModelStatus))


def create(
    model_id: str,
    *,
    description: str = "",
    owner: str = "",
    tags: Mapping[str, str] | None = None,
    idempotency_key: str | None = None,
    **recipe: Unpack[Recipe],
) -> Flow[JobAnswer]:
    """Make a model by name and train its first version, as a job.

    Args:
        idempotency_key: the same key and request get the same job; None makes one per call.
        recipe: parameters of the entry point `main`; `template` is needed.
    """
    said = {"description": description, "owner": owner, "tags": dict(tags or {})}
    body = {"model_id": model_id, **said, **recipe}
    return (yield from answered(enqueue("/models", body, idempotency_key), JobAnswer))


def train(
    model_id: str,
    *,
    champion: int | None = None,
    trigger: str = "",
    idempotency_key: str | None = None,
    **recipe: Unpack[Recipe],
) -> Flow[JobAnswer]:
    """Train a new version, as a job; each recipe parameter replaces one of the model's own.

    Args:
        champion: version to compare with; 0: none; None: the one in production.
        trigger: what forced the refresh: then it is enough not to be worse than the champion.
    """
    body = given(champion=champion, trigger=trigger or None) | {**recipe}
    request = enqueue(_at(model_id, "/train"), body, idempotency_key)
    return (yield from answered(request, JobAnswer))


def validate(
    model_id: str,
    version: int,
    *,
    champion: int = 0,
    trigger: str = "",
    challenge_bars: int | None = None,
    read_from: Literal["", "store"] = "",
    idempotency_key: str | None = None,
) -> Flow[JobAnswer]:
    """Validate a version again on the newest data, or against a champion, as a job."""
    body = {
        "version": version,
        "champion": champion,
        "trigger": trigger,
        "read_from": read_from,
        **given(challenge_bars=challenge_bars),
    }
    request = enqueue(_at(model_id, "/validate"), body, idempotency_key)
    return (yield from answered(request, JobAnswer))


def change(
    model_id: str,
    *,
    description: str | None = None,
    owner: str | None = None,
    tags: Mapping[str, str] | None = None,
    watched: bool | None = None,
    recipe: Recipe | None = None,
) -> Flow[ModelFacts]:
    """Change what is said about a model, whether drift is looked for, or its recipe."""
    body = given(description=description, owner=owner, tags=tags, watched=watched, recipe=recipe)
    return (yield from answered(put(_at(model_id), body), ModelFacts))


def deploy(
    model_id: str,
    version: int | None = None,
    *,
    reason: str,
    alias: str | None = None,
    expected_generation: int | None = None,
) -> Flow[Deployed]:
    """Put a version into production, if its gates allow it; by number, or by what `alias` names.

    Raises:
        ConflictError: a gate is shut, or the alias has moved since `expected_generation`.
    """
    body = given(
        version=version, alias=alias, reason=reason, expected_generation=expected_generation
    )
    return (yield from answered(post(_at(model_id, "/deploy"), body), Deployed))


def rollback(
    model_id: str, *, reason: str, expected_generation: int | None = None
) -> Flow[Deployed]:
    """Return production to the champion before the present one."""
    body = given(reason=reason, expected_generation=expected_generation)
    return (yield from answered(post(_at(model_id, "/rollback"), body), Deployed))


def withdraw(
    model_id: str,
    *,
    reason: str,
    alias: str = "production",
    expected_generation: int | None = None,
) -> Flow[Deployed]:
    """Take an alias away: nothing serves the model under it."""
    body = given(alias=alias, reason=reason, expected_generation=expected_generation)
    return (yield from answered(post(_at(model_id, "/withdraw"), body), Deployed))


def archive(model_id: str, *, reason: str = "") -> Flow[ModelFacts]:
    """Archive a model that nothing serves; `restore` undoes it."""
    return (yield from answered(delete(_at(model_id), reason=reason), ModelFacts))


def restore(model_id: str) -> Flow[ModelFacts]:
    """Bring an archived model back."""
    return (yield from answered(put(_at(model_id), {"archived": False}), ModelFacts))


def versions(model_id: str) -> Flow[list[VersionLine]]:
    """List a model's versions, oldest first."""
    return (yield from answered(get(_at(model_id, "/versions")), VersionList)).versions


def version(model_id: str, number: int) -> Flow[WholeVersion]:
    """Show a version: contract, artifacts, gates, validations, links."""
    return (yield from answered(get(_version(model_id, number)), WholeVersion))


def delete_version(model_id: str, number: int, *, reason: str) -> Flow[Deleted]:
    """Delete a version for good; refused while an alias names it."""
    return (yield from answered(delete(_version(model_id, number), reason=reason), Deleted))


def events(
    model_id: str,
    *,
    order: Literal["oldest", "newest"] = "oldest",
    most: int | None = None,
) -> Flow[list[EventFacts]]:
    """List what happened to a model, page after page.

    Args:
        most: how many at most; None: all.
    """
    return (yield from _pages(_at(model_id, "/events"), order, most))


def all_events(
    *, order: Literal["oldest", "newest"] = "oldest", most: int | None = None
) -> Flow[list[EventFacts]]:
    """List what happened to everything: models, keys, data, bars, jobs; page after page.

    Args:
        most: how many at most; None: all.
    """
    return (yield from _pages("/events", order, most))


def production(model_id: str, at: datetime | str | None = None) -> Flow[ProductionAnswer]:
    """Tell which version was in production at a time (None: now), since when, why, by whom."""
    request = get(_at(model_id, "/production"), at=as_time(at))
    return (yield from answered(request, ProductionAnswer))


def wait_until_serving(
    model_id: str, version: int | None = None, *, timeout_seconds: float = 60.0
) -> Flow[ModelStatus]:
    """Wait until the server that answers here serves a version of a model.

    Args:
        version: None: the one that the alias `production` names.

    Raises:
        WaitTimeoutError: it does not serve in time; the message has the model's problem.
    """
    deadline = monotonic() + timeout_seconds
    while True:
        found = yield from status(model_id)
        named = found.aliases.get("production")
        wanted = version if version is not None else named and named.version
        if wanted is not None and found.serving_version == wanted:
            return found
        if monotonic() >= deadline:
            told = found.problem or f"it serves {found.serving_version}, not {wanted}"
            raise WaitTimeoutError(f"{model_id} after {timeout_seconds:g} s: {told}")
        yield Pause(LOOK_SECONDS)


def _at(model_id: str, end: str = "") -> str:
    return address(MODEL + end, model_id=model_id)


def _version(model_id: str, number: int) -> str:
    return address(MODEL + "/versions/{number}", model_id=model_id, number=number)


def _pages(path: str, order: str, most: int | None) -> Flow[list[EventFacts]]:
    """Ask for one page after the other."""
    found: list[EventFacts] = []
    after: int | None = 0
    while after is not None and (most is None or len(found) < most):
        limit = 1000 if most is None else min(1000, most - len(found))
        request = get(path, after_id=after, limit=limit, order=order)
        page = yield from answered(request, EventList)
        found += page.events
        after = page.next_after_id
    return found
