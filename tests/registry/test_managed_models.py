"""What people say about models: created, described, archived, restored; each change an event."""

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from registry import events, managed_models, promotion, tables
from registry.errors import (
    ModelArchivedError,
    ModelExistsError,
    ModelInUseError,
    ModelNotFoundError,
    PromotionConflictError,
)
from registry.managed_models import Description
from registry.promotion import Move

MODEL = "volatility_forecast"
RECIPE = {"template": "tabular", "options": '{"target": "y"}'}


def kinds(engine):
    return [event.kind for event in events.read(engine)]


def create(engine, model_id=MODEL, **said):
    with engine.begin() as connection:
        return managed_models.create_in(
            connection, model_id, Description(**said), RECIPE, actor="ada"
        )


def add_version(engine, model_id=MODEL):
    values = {"number": 1, "run_id": "r", "contract": {}, "digests": {}, "record": []}
    more = {"model_id": model_id, "may_trade": False, "created_at": datetime.now(UTC)}
    with engine.begin() as connection:
        connection.execute(sa.insert(tables.versions).values(values | more))


def test_a_created_model_exists_before_any_version_with_what_was_said(engine):
    made = create(engine, description="desk model", owner="risk", tags={"desk": "fx"})
    assert managed_models.find(engine, MODEL) == made
    assert managed_models.list_models(engine) == {MODEL: made}
    assert (made.said.owner, made.said.tags, made.said.watched) == ("risk", {"desk": "fx"}, True)
    assert (made.recipe, made.archived_at) == (RECIPE, None)
    managed_models.check_exists(engine, MODEL)
    (event,) = events.read(engine)
    assert (event.kind, event.actor, event.facts["recipe"]) == ("model_created", "ada", RECIPE)


def test_a_name_that_is_taken_is_refused_and_leaves_no_event(engine):
    create(engine)
    add_version(engine, "made_by_a_stage")
    for name in (MODEL, "made_by_a_stage"):
        with pytest.raises(ModelExistsError, match="exists already"):
            create(engine, name)
    assert kinds(engine) == ["model_created"]
    assert list(managed_models.list_models(engine)) == [MODEL]


def test_of_a_model_that_nobody_described_nothing_is_said_and_it_is_watched(engine):
    found = managed_models.find(engine, MODEL)
    assert (found.said, found.recipe, found.created_at) == (Description(), {}, None)
    with pytest.raises(ModelNotFoundError):
        managed_models.check_exists(engine, MODEL)
    add_version(engine)
    managed_models.check_exists(engine, MODEL)


def test_a_change_names_before_and_after_and_saying_it_again_is_no_event(engine):
    create(engine, owner="risk")
    for _ in range(2):
        changes = {"owner": "desk", "watched": False}
        managed_models.describe(engine, MODEL, changes, actor="bob")
    said = managed_models.find(engine, MODEL).said
    assert (said.owner, said.watched, said.description) == ("desk", False, "")
    assert kinds(engine) == ["model_created", "model_described"]
    event = events.read(engine)[-1]
    assert event.actor == "bob"
    assert event.facts["changed"] == {"owner": ["risk", "desk"], "watched": [True, False]}


def test_archiving_and_restoring_are_repeatable_and_keep_what_was_said(engine):
    create(engine, owner="risk")
    for _ in range(2):
        managed_models.archive(engine, MODEL, {"staging": 1}, actor="ada", reason="obsolete")
    assert managed_models.archived(engine) == {MODEL}
    with pytest.raises(ModelArchivedError, match="restore it first"):
        managed_models.check_not_archived(engine, MODEL)
    for _ in range(2):
        managed_models.restore(engine, MODEL, actor="bob")
    assert managed_models.archived(engine) == frozenset()
    assert managed_models.find(engine, MODEL).said.owner == "risk"
    assert kinds(engine) == ["model_created", "model_archived", "model_restored"]


def test_an_alias_that_only_mlflow_knows_keeps_a_model_from_the_archive(engine):
    create(engine)
    with pytest.raises(ModelInUseError, match="in use as shadow; withdraw it first"):
        managed_models.archive(engine, MODEL, {"staging": 2, "shadow": 1}, actor="a")
    assert managed_models.archived(engine) == frozenset()
    assert kinds(engine) == ["model_created"]


def test_a_promotion_under_way_keeps_a_model_from_the_archive(engine):
    create(engine)
    promotion.begin(engine, Move(MODEL, "production", 1, "ada", "first"), 0)
    with pytest.raises(ModelInUseError, match="production"):
        managed_models.archive(engine, MODEL, {}, actor="a")


def test_nothing_is_promoted_in_an_archived_model(engine):
    create(engine)
    managed_models.archive(engine, MODEL, {}, actor="a")
    with pytest.raises(ModelArchivedError):
        promotion.begin(engine, Move(MODEL, "production", 1, "ada", "first"), 0)
    assert "promoting" not in kinds(engine)
    managed_models.restore(engine, MODEL, actor="a")
    assert promotion.begin(engine, Move(MODEL, "production", 1, "ada", "first"), 0) == 1
    with pytest.raises(PromotionConflictError):
        promotion.begin(engine, Move(MODEL, "production", 2, "bob", "first"), 0)
