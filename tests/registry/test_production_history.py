"""Which version stood in production at a time, read from deployments and events."""

from datetime import UTC, datetime, timedelta

import pytest

from registry import alias_rows, deployments, events, promotion
from registry.production_history import production_at
from registry.promotion import Move

MODEL = "m"
START = datetime(2026, 3, 1, tzinfo=UTC)


def at(hour):
    return START + timedelta(hours=hour)


@pytest.fixture
def clock(monkeypatch):
    """Set the hour at which things happen."""

    class Frozen(datetime):
        present = START

        @classmethod
        def now(cls, _=None):
            return cls.present

    for module in (events, deployments, alias_rows):
        monkeypatch.setattr(module, "datetime", Frozen)

    def set_hour(hour):
        Frozen.present = at(hour)

    return set_hour


class NoStore:
    """Stands where the alias would be set in MLflow."""

    def probe(self): ...

    def set_alias(self, *_): ...

    def delete_alias(self, *_): ...


def move(engine, number, actor="ada", reason="better", before=None, **names):
    generation = alias_rows.find(engine, MODEL, "production").generation
    wanted = Move(MODEL, "production", number, actor, reason, "run", before=before, **names)
    promotion.finish(engine, NoStore(), wanted, promotion.begin(engine, wanted, generation))


WITHDRAWAL = {"begun": "withdrawing", "done": "withdrawn"}
ROLL_BACK = {"begun": "rolling_back", "done": "rolled_back"}


@pytest.fixture
def history(engine, clock):
    """Version 1 from hour 1, version 2 from 5, back to 1 at 8, withdrawn at 9, version 3 at 12."""
    clock(1)
    move(engine, 1, reason="first")
    clock(5)
    move(engine, 2, actor="bob")
    clock(8)
    move(engine, 1, reason="errors", **ROLL_BACK)
    clock(9)
    move(engine, None, reason="obsolete", before=1, **WITHDRAWAL)
    clock(12)
    move(engine, 3, reason="new")
    return engine


@pytest.mark.parametrize(
    ("hour", "version", "since", "until", "began", "ended"),
    [
        (0, None, None, 1, None, "first"),
        (1, 1, 1, 5, "first", "better"),
        (4, 1, 1, 5, "first", "better"),
        (5, 2, 5, 8, "better", "errors"),
        (8.5, 1, 8, 9, "errors", "obsolete"),
        (9, None, 9, 12, "obsolete", "new"),
        (11, None, 9, 12, "obsolete", "new"),
        (12, 3, 12, None, "new", None),
        (99, 3, 12, None, "new", None),
    ],
)
def test_each_time_has_its_version_with_beginning_and_end(
    history, hour, version, since, until, began, ended
):
    found = production_at(history, MODEL, at(hour))
    assert found.version == version
    assert found.since == (None if since is None else at(since))
    assert found.until == (None if until is None else at(until))
    assert (found.began and found.began.reason) == began
    assert (found.ended and found.ended.reason) == ended


def test_who_moved_it_and_on_which_evidence_is_named(history):
    found = production_at(history, MODEL, at(6))
    assert (found.began.kind, found.began.actor, found.began.run_id) == ("promoted", "bob", "run")
    assert found.ended.kind == "rolled_back"


def test_a_model_without_history_had_nothing_at_any_time(engine):
    found = production_at(engine, MODEL, at(3))
    assert (found.version, found.since, found.until, found.began) == (None, None, None, None)


def test_a_version_that_could_not_be_loaded_is_named(history, clock):
    clock(13)
    with history.begin() as connection:
        events.append(
            connection, "load_failed", actor="serving", reason="damaged", model_id=MODEL, number=3
        )
    (failure,) = production_at(history, MODEL, at(14)).load_failures
    assert (failure.reason, failure.at) == ("damaged", at(13))
    assert production_at(history, MODEL, at(6)).load_failures == ()


def test_a_clock_that_was_set_back_does_not_hide_the_later_version(engine, clock):
    clock(10)
    move(engine, 1)
    clock(4)
    move(engine, 2, reason="after the clock was set back")
    for hour in (4, 7, 20):
        assert production_at(engine, MODEL, at(hour)).version == 2
    assert production_at(engine, MODEL, at(3)).version is None
