"""Managed models: what people say about a model, and the recipe that makes its next version.

One row of `models` each. A model that a stage made has none until somebody first says something
about it; until then it has no description, and it is watched. A model that was created here exists
before it has any version. Every change appends an event in the same transaction.

Archiving hides a model and stops all work on it; restoring undoes that. It is refused while an
alias (other than `staging`, where candidates wait) or an open deployment names the model.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import sqlalchemy as sa

from registry import alias_rows, events
from registry.alias_rows import PRODUCTION, STAGING
from registry.contract import Json
from registry.database import insert_for, reading
from registry.errors import (
    ModelArchivedError,
    ModelExistsError,
    ModelInUseError,
    ModelNotFoundError,
)
from registry.tables import aliases, deployments, versions
from registry.tables import models as table


@dataclass(frozen=True, slots=True)
class Description:
    """What people say about a model; `watched` is whether drift is looked for."""

    description: str = ""
    owner: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    watched: bool = True


@dataclass(frozen=True, slots=True)
class ManagedModel:
    """One row of `models`, or what stands for a row that is not there.

    `recipe` holds parameters of the entry point `main`; it is empty for a model that a stage made.
    `created_at` is None without a row, `archived_at` while the model is not archived.
    """

    model_id: str
    said: Description = Description()
    recipe: Mapping[str, Json] = field(default_factory=dict)
    created_at: datetime | None = None
    archived_at: datetime | None = None


def create_in(
    connection: sa.Connection,
    model_id: str,
    said: Description,
    recipe: Mapping[str, Json],
    *,
    actor: str,
) -> ManagedModel:
    """Create a model without a version, in the caller's transaction.

    Raises:
        ModelExistsError: a row or a version has this name.
    """
    now = datetime.now(UTC)
    values = {"model_id": model_id, "recipe": dict(recipe), "created_at": now, "updated_at": now}
    added = connection.execute(
        insert_for(connection, table)
        .values(values | asdict(said))
        .on_conflict_do_nothing()
        .returning(table)
    ).one_or_none()
    if added is None or _has_version(connection, model_id):
        raise ModelExistsError(model_id)
    _append(connection, "model_created", model_id, actor, "", recipe=dict(recipe), **asdict(said))
    return _model(added)


def describe(
    engine: sa.Engine, model_id: str, changes: Mapping[str, Any], *, actor: str
) -> ManagedModel:
    """Change what is said about a model, and return it. Saying the same again changes nothing.

    Args:
        changes: fields of `Description` -> new value.
    """
    with engine.begin() as connection:
        before = _locked(connection, model_id)
        said = replace(before.said, **changes)
        if said == before.said:
            return before
        _update(connection, model_id, asdict(said))
        changed = {name: [getattr(before.said, name), changes[name]] for name in changes}
        _append(connection, "model_described", model_id, actor, "", changed=changed)
    return replace(before, said=said)


def change_recipe(
    engine: sa.Engine, model_id: str, recipe: Mapping[str, Json], *, actor: str
) -> ManagedModel:
    """Replace the recipe of a model, and return it. The same recipe again changes nothing."""
    with engine.begin() as connection:
        before = _locked(connection, model_id)
        if recipe == before.recipe:
            return before
        _update(connection, model_id, {"recipe": dict(recipe)})
        facts = {"before": dict(before.recipe), "recipe": dict(recipe)}
        _append(connection, "model_recipe_changed", model_id, actor, "", **facts)
    return replace(before, recipe=dict(recipe))


def archive(
    engine: sa.Engine,
    model_id: str,
    named_in_mlflow: Mapping[str, int],
    *,
    actor: str,
    reason: str = "",
) -> ManagedModel:
    """Archive a model, and return it; one that is archived already is returned as it is.

    Args:
        named_in_mlflow: alias -> number as MLflow has them now.

    Raises:
        ModelInUseError: an alias other than `staging`, or an open deployment, names it.
    """
    with engine.begin() as connection:
        alias_rows.ensure(connection, model_id, PRODUCTION)  # promotions wait for this row
        before = _locked(connection, model_id)
        if before.archived_at is not None:
            return before
        if using := _aliases_using(connection, model_id) | set(named_in_mlflow) - {STAGING}:
            raise ModelInUseError(model_id, using)
        now = datetime.now(UTC)
        _update(connection, model_id, {"archived_at": now})
        _append(connection, "model_archived", model_id, actor, reason)
    return replace(before, archived_at=now)


def restore(engine: sa.Engine, model_id: str, *, actor: str, reason: str = "") -> ManagedModel:
    """Undo `archive`, and return the model; one that is not archived is returned as it is."""
    with engine.begin() as connection:
        before = _locked(connection, model_id)
        if before.archived_at is None:
            return before
        _update(connection, model_id, {"archived_at": None})
        _append(connection, "model_restored", model_id, actor, reason)
    return replace(before, archived_at=None)


def find(engine: sa.Engine, model_id: str) -> ManagedModel:
    """Return what is said about a model; of one without a row, nothing."""
    with reading(engine) as connection:
        row = connection.execute(sa.select(table).where(_is(model_id))).one_or_none()
    return ManagedModel(model_id) if row is None else _model(row)


def list_models(engine: sa.Engine) -> dict[str, ManagedModel]:
    """Return model -> what is said about it, of every model with a row, archived ones too."""
    with reading(engine) as connection:
        rows = connection.execute(sa.select(table).order_by(table.c.model_id))
        return {row.model_id: _model(row) for row in rows}


def check_exists(engine: sa.Engine, model_id: str) -> None:
    """Refuse a name that neither a version nor a row has.

    Raises:
        ModelNotFoundError: no such model.
    """
    known = sa.select(versions.c.model_id).union(sa.select(table.c.model_id))
    with reading(engine) as connection:
        names = set(connection.scalars(known))
    if model_id not in names:
        raise ModelNotFoundError(model_id, names)


def archived(engine: sa.Engine) -> frozenset[str]:
    """Return the models that are archived."""
    query = sa.select(table.c.model_id).where(table.c.archived_at.is_not(None))
    with reading(engine) as connection:
        return frozenset(connection.scalars(query))


def unwatched(engine: sa.Engine) -> frozenset[str]:
    """Return the models in which nobody looks for drift: set so by people, or archived."""
    query = sa.select(table.c.model_id).where(~table.c.watched | table.c.archived_at.is_not(None))
    with reading(engine) as connection:
        return frozenset(connection.scalars(query))


def is_archived(engine: sa.Engine, model_id: str) -> bool:
    """Return whether the model is archived."""
    return find(engine, model_id).archived_at is not None


def check_not_archived(engine: sa.Engine, model_id: str) -> None:
    """Refuse to work on an archived model.

    Raises:
        ModelArchivedError: it is archived.
    """
    if is_archived(engine, model_id):
        raise ModelArchivedError(model_id)


def _has_version(connection: sa.Connection, model_id: str) -> bool:
    query = sa.select(versions.c.number).where(versions.c.model_id == model_id).limit(1)
    return connection.execute(query).first() is not None


def _aliases_using(connection: sa.Connection, model_id: str) -> set[str]:
    """Return the aliases that name a version, now or soon, as this engine knows them."""
    points = aliases.c.number.is_not(None) | aliases.c.pending.is_not(None)
    named = sa.select(aliases.c.alias).where(aliases.c.model_id == model_id, points)
    found = set(connection.scalars(named.with_for_update())) - {STAGING}
    is_open = (deployments.c.model_id == model_id) & deployments.c.ended_at.is_(None)
    if connection.execute(sa.select(deployments.c.id).where(is_open)).first() is not None:
        found.add(PRODUCTION)
    return found


def _locked(connection: sa.Connection, model_id: str) -> ManagedModel:
    """Return the model's row, held until the transaction ends; it is made where there is none."""
    now = datetime.now(UTC)
    values = {"model_id": model_id, "recipe": {}, "created_at": now, "updated_at": now}
    insert = insert_for(connection, table).values(values | asdict(Description()))
    connection.execute(insert.on_conflict_do_nothing())
    return _model(connection.execute(sa.select(table).where(_is(model_id)).with_for_update()).one())


def _update(connection: sa.Connection, model_id: str, values: Mapping[str, Any]) -> None:
    changed = {**values, "updated_at": datetime.now(UTC)}
    connection.execute(sa.update(table).where(_is(model_id)).values(changed))


def _append(
    connection: sa.Connection, kind: str, model_id: str, actor: str, reason: str, **facts: Any
) -> None:
    facts = cast("dict[str, Json]", facts)
    events.append(connection, kind, actor=actor, reason=reason, model_id=model_id, facts=facts)


def _is(model_id: str) -> sa.ColumnElement[bool]:
    return table.c.model_id == model_id


def _model(row: sa.Row[Any]) -> ManagedModel:
    said = Description(row.description, row.owner, row.tags, row.watched)
    return ManagedModel(row.model_id, said, row.recipe, row.created_at, row.archived_at)
