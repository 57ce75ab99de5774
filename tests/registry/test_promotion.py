import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa

from registry import events, managed_models, model_store, promotion, tables, version_rows
from registry.database import connect
from registry.errors import (
    GateRefusedError,
    ModelArchivedError,
    ModelInUseError,
    NoPreviousVersionError,
    NothingToWithdrawError,
    PromotionConflictError,
    RegistryUnavailableError,
)
from registry.model_store import ModelStore
from registry.promotion import Move
from registry.settings import PlatformSettings
from registry.versions import Registry

pytestmark = pytest.mark.integration
MODEL = "volatility_forecast"


def kinds(engine):
    return [event.kind for event in events.read(engine)]


def client_of(uri):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def move_by_hand(uri, number, alias="production"):
    client_of(uri).set_registered_model_alias(MODEL, alias, str(number))


@pytest.fixture
def serving_one(registry, register, challenger):
    """Version 1 serves; version 2 may replace it."""
    register()
    register(challenger)
    registry.promote(MODEL, 1, actor="ada", reason="first")
    return registry


# Two at once -------------------------------------------------------------------------------------


def promote_from_threads(registry, numbers, generation):
    barrier = threading.Barrier(len(numbers))

    def promote(number):
        barrier.wait()
        try:
            registry.promote(
                MODEL, number, actor="t", reason="race", expected_generation=generation
            )
        except PromotionConflictError:
            return "told"
        return "won"

    with ThreadPoolExecutor(len(numbers)) as pool:
        return list(pool.map(promote, numbers))


def assert_one_won(registry, engine, numbers, outcomes):
    assert sorted(outcomes) == ["told"] * (len(numbers) - 1) + ["won"]
    winner = numbers[outcomes.index("won")]
    assert registry.aliases(MODEL) == {"production": winner}
    assert registry.find_deployment(MODEL).champion == winner
    assert registry.alias_state(MODEL).number == winner
    assert kinds(engine).count("promoted") == 2  # the first champion's and the winner's


def test_of_two_promotions_at_once_one_wins_and_the_other_is_told(
    serving_one, register, engine, challenger
):
    register(challenger)
    numbers = [2, 3, 2, 3]
    outcomes = promote_from_threads(serving_one, numbers, generation=1)
    assert_one_won(serving_one, engine, numbers, outcomes)


@pytest.mark.postgres
def test_of_two_promotions_at_once_on_postgresql_one_wins(
    settings, tracking_uri, postgres_engine, run_id, version_folder, contract, challenger, record
):
    with_mlflow = settings.model_copy(update={"mlflow_tracking_uri": tracking_uri})
    registry = Registry(with_mlflow, postgres_engine)
    for chosen in (record, challenger, challenger):
        registry.register(version_folder, contract, chosen, run_id)
    registry.promote(MODEL, 1, actor="ada", reason="first")
    numbers = [2, 3, 2, 3]
    outcomes = promote_from_threads(registry, numbers, generation=1)
    assert_one_won(registry, postgres_engine, numbers, outcomes)


def promote_in_process(data_dir, uri, number, start, outcomes):
    settings = PlatformSettings(data_dir=data_dir, database_url="", mlflow_tracking_uri=uri)
    registry = Registry(settings, connect(settings))
    registry.aliases(MODEL)
    start.wait(timeout=120)
    try:
        registry.promote(MODEL, number, actor="p", reason="race", expected_generation=1)
        outcomes.put((number, "won"))
    except PromotionConflictError:
        outcomes.put((number, "told"))


@pytest.mark.slow
def test_of_two_processes_promoting_at_once_one_wins(
    serving_one, register, engine, settings, tracking_uri, challenger
):
    register(challenger)
    context = multiprocessing.get_context("spawn")
    start, queue = context.Barrier(2), context.Queue()
    started = [
        context.Process(
            target=promote_in_process, args=(settings.data_dir, tracking_uri, n, start, queue)
        )
        for n in (2, 3)
    ]
    for process in started:
        process.start()
    found = dict(queue.get(timeout=120) for _ in started)
    for process in started:
        process.join(timeout=30)
    assert_one_won(serving_one, engine, list(found), list(found.values()))


def test_a_decision_made_on_an_older_generation_is_told(serving_one, challenger):
    serving_one.promote(MODEL, 2, actor="ada", reason="next", expected_generation=1)
    with pytest.raises(PromotionConflictError, match="generation 1 is no longer current"):
        serving_one.promote(MODEL, 2, actor="bob", reason="late", expected_generation=1)


# A process dies ----------------------------------------------------------------------------------


class ProcessDiedError(Exception):
    """Stands for the death of the process."""


def crash(*_arguments, **_names):
    raise ProcessDiedError


@pytest.fixture
def long_after(monkeypatch):
    """Every pending move is older than a running one can be."""
    monkeypatch.setattr(promotion, "UNSETTLED_AFTER", timedelta(0))


def test_a_crash_before_the_alias_moved_is_abandoned(serving_one, engine, monkeypatch, long_after):
    with monkeypatch.context() as dying:
        dying.setattr(promotion, "finish", crash)
        with pytest.raises(ProcessDiedError):
            serving_one.promote(MODEL, 2, actor="ada", reason="next")
    assert serving_one.alias_state(MODEL).pending == 2
    assert serving_one.reconcile() == [(MODEL, "production")]
    assert kinds(engine)[-2:] == ["promoting", "promotion_abandoned"]
    assert serving_one.aliases(MODEL) == {"production": 1}
    assert serving_one.alias_state(MODEL).number == 1
    assert serving_one.find_deployment(MODEL).champion == 1
    serving_one.promote(MODEL, 2, actor="ada", reason="again")
    assert serving_one.find_deployment(MODEL).champion == 2


def test_a_crash_after_the_alias_moved_is_completed(serving_one, engine, monkeypatch, long_after):
    with monkeypatch.context() as dying:
        set_alias = ModelStore.set_alias
        dying.setattr(ModelStore, "set_alias", lambda *a: (set_alias(*a), crash()))
        with pytest.raises(ProcessDiedError):
            serving_one.promote(MODEL, 2, actor="ada", reason="next", run_id="r2")
    assert serving_one.aliases(MODEL) == {"production": 2}
    assert kinds(engine)[-1] == "promoting"
    assert serving_one.reconcile() == [(MODEL, "production")]
    completed = events.read(engine)[-1]
    assert (completed.kind, completed.number) == ("promoted", 2)
    assert (completed.actor, completed.reason, completed.run_id) == ("ada", "next", "r2")
    assert serving_one.find_deployment(MODEL).champion == 2
    assert serving_one.reconcile() == []
    assert serving_one.resolve_alias(MODEL).number == 2
    assert "alias_moved_outside" not in kinds(engine)


def test_a_crashed_roll_back_is_completed_as_a_roll_back(
    serving_one, engine, monkeypatch, long_after
):
    serving_one.promote(MODEL, 2, actor="ada", reason="next")
    with monkeypatch.context() as dying:
        set_alias = ModelStore.set_alias
        dying.setattr(ModelStore, "set_alias", lambda *a: (set_alias(*a), crash()))
        with pytest.raises(ProcessDiedError):
            serving_one.roll_back(MODEL, actor="ada", reason="errors")
    serving_one.reconcile()
    assert kinds(engine)[-2:] == ["rolling_back", "rolled_back"]
    assert serving_one.find_deployment(MODEL).champion == 1


def test_a_promotion_under_way_keeps_others_out(serving_one, monkeypatch):
    with monkeypatch.context() as dying:
        dying.setattr(promotion, "finish", crash)
        with pytest.raises(ProcessDiedError):
            serving_one.promote(MODEL, 2, actor="ada", reason="next")
    with pytest.raises(PromotionConflictError):
        serving_one.promote(MODEL, 2, actor="bob", reason="at once")


def test_a_dead_promotion_does_not_keep_others_out_for_ever(serving_one, engine, monkeypatch):
    with monkeypatch.context() as dying:
        dying.setattr(promotion, "finish", crash)
        with pytest.raises(ProcessDiedError):
            serving_one.promote(MODEL, 2, actor="ada", reason="next")
    monkeypatch.setattr(promotion, "UNSETTLED_AFTER", timedelta(0))
    serving_one.promote(MODEL, 2, actor="bob", reason="later")
    assert kinds(engine)[-3:] == ["promotion_abandoned", "promoting", "promoted"]


def test_a_settled_promotion_is_not_finished_by_its_late_process(
    serving_one, engine, registry, long_after
):
    move = Move(MODEL, "production", 2, "slow", "next")
    claimed = promotion.begin(engine, move, 1)
    registry.reconcile()
    with pytest.raises(PromotionConflictError):
        promotion.finish(engine, registry._store, move, claimed)
    assert registry.aliases(MODEL) == {"production": 1}


def test_a_promotion_that_is_running_is_not_settled_by_another_process(
    serving_one, engine, registry
):
    move = Move(MODEL, "production", 2, "ada", "next")
    claimed = promotion.begin(engine, move, 1)
    assert registry.reconcile() == []
    promotion.finish(engine, registry._store, move, claimed)
    assert registry.alias_state(MODEL).number == 2


def test_mlflow_lost_in_the_middle_leaves_a_pending_move(
    serving_one, engine, monkeypatch, long_after
):
    def unavailable(*_arguments):
        raise RegistryUnavailableError("http://mlflow", "connection failed")

    with monkeypatch.context() as lost:
        lost.setattr(ModelStore, "set_alias", unavailable)
        with pytest.raises(RegistryUnavailableError):
            serving_one.promote(MODEL, 2, actor="ada", reason="next")
    assert serving_one.alias_state(MODEL).pending == 2
    assert serving_one.find_deployment(MODEL).champion == 1
    serving_one.reconcile()
    assert kinds(engine)[-1] == "promotion_abandoned"


# Withdrawn ---------------------------------------------------------------------------------------


def test_a_withdrawn_alias_is_gone_everywhere_and_its_deployment_is_closed(serving_one, engine):
    taken = serving_one.withdraw(MODEL, actor="ada", reason="obsolete")
    assert taken == 1
    assert serving_one.aliases(MODEL) == {}
    assert serving_one.find_deployment(MODEL) is None
    state = serving_one.resolve_alias(MODEL)
    assert (state.number, state.generation, state.refusals) == (None, 2, ())
    begun, ended = events.read(engine)[-2:]
    assert (begun.kind, ended.kind, ended.number) == ("withdrawing", "withdrawn", 1)
    assert (ended.actor, ended.reason) == ("ada", "obsolete")
    with pytest.raises(NothingToWithdrawError, match="nothing to withdraw"):
        serving_one.withdraw(MODEL, actor="ada", reason="again")


def test_what_was_withdrawn_may_come_back_but_another_needs_the_comparison_with_it(
    serving_one, register, record
):
    register(record)
    serving_one.withdraw(MODEL, actor="ada", reason="look")
    with pytest.raises(GateRefusedError, match="needs exactly one comparison"):
        serving_one.promote(MODEL, 3, actor="ada", reason="past the champion")
    serving_one.promote(MODEL, 2, actor="ada", reason="compared with version 1")
    serving_one.withdraw(MODEL, actor="ada", reason="look")
    serving_one.promote(MODEL, 2, actor="ada", reason="back")
    assert serving_one.find_deployment(MODEL).champion == 2


def test_a_roll_back_does_not_return_to_what_was_withdrawn(serving_one):
    serving_one.promote(MODEL, 2, actor="ada", reason="next")
    serving_one.withdraw(MODEL, actor="ada", reason="errors")
    assert serving_one.roll_back(MODEL, actor="ada", reason="back").number == 1
    serving_one.withdraw(MODEL, actor="ada", reason="obsolete")
    with pytest.raises(NoPreviousVersionError):
        serving_one.roll_back(MODEL, actor="ada", reason="back")


def test_a_withdrawal_decided_on_an_older_generation_is_told(serving_one):
    with pytest.raises(PromotionConflictError):
        serving_one.withdraw(MODEL, actor="ada", reason="late", expected_generation=0)
    assert serving_one.aliases(MODEL) == {"production": 1}


@pytest.mark.parametrize(
    ("has_moved", "kind", "number"),
    [(True, "withdrawn", None), (False, "promotion_abandoned", 1)],
)
def test_a_crashed_withdrawal_is_settled_by_where_the_alias_points(
    serving_one, engine, monkeypatch, long_after, has_moved, kind, number
):
    with monkeypatch.context() as dying:
        delete = ModelStore.delete_alias
        steps = (lambda *a: (delete(*a), crash())) if has_moved else crash
        dying.setattr(ModelStore, "delete_alias", steps)
        with pytest.raises(ProcessDiedError):
            serving_one.withdraw(MODEL, actor="ada", reason="obsolete")
    assert serving_one.reconcile() == [(MODEL, "production")]
    settled = events.read(engine)[-1]
    assert (settled.kind, settled.number, settled.actor) == (kind, 1, "ada")
    assert serving_one.resolve_alias(MODEL).number == number
    assert (serving_one.find_deployment(MODEL) is None) == has_moved
    assert "alias_moved_outside" not in kinds(engine)


# Archived ----------------------------------------------------------------------------------------


def test_a_model_that_serves_is_archived_after_its_withdrawal_only(serving_one):
    with pytest.raises(ModelInUseError, match="in use as production"):
        serving_one.archive(MODEL, actor="ada", reason="obsolete")
    serving_one.withdraw(MODEL, actor="ada", reason="obsolete")
    assert serving_one.archive(MODEL, actor="ada", reason="obsolete").archived_at is not None
    with pytest.raises(ModelArchivedError):
        serving_one.promote(MODEL, 1, actor="ada", reason="again")


def test_an_archived_model_does_not_serve_by_an_alias_set_by_hand(
    serving_one, engine, tracking_uri
):
    serving_one.withdraw(MODEL, actor="ada", reason="obsolete")
    serving_one.archive(MODEL, actor="ada", reason="obsolete")
    move_by_hand(tracking_uri, 1)
    state = serving_one.look().states[MODEL]
    assert (state.number, state.outside) == (None, 1)
    assert "is archived" in state.refusals[0]
    managed_models.restore(engine, MODEL, actor="ada")
    with pytest.raises(ModelInUseError):
        serving_one.archive(MODEL, actor="ada", reason="it has an alias again")
    serving_one.withdraw(MODEL, actor="ada", reason="not by hand")
    assert serving_one.aliases(MODEL) == {}


# One look at all models --------------------------------------------------------------------------


def test_one_look_says_of_every_model_what_each_alone_says(
    serving_one, register, record, tracking_uri, engine, monkeypatch
):
    register(record, model_id="other")
    register(record, model_id="third")
    serving_one.set_alias_staging("other", 1)
    client_of(tracking_uri).set_registered_model_alias("third", "production", "1")
    monkeypatch.setattr(model_store, "MODELS_PER_CALL", 2)  # more than one page
    look = serving_one.look()
    assert look.aliases == {
        MODEL: {"production": 1},
        "other": {"staging": 1},
        "third": {"production": 1},
    }
    assert {m: s.number for m, s in look.states.items()} == {MODEL: 1, "other": None, "third": 1}
    assert look.states == {m: serving_one.resolve_alias(m) for m in look.states}
    assert kinds(engine).count("alias_moved_outside") == 1


def test_a_look_asks_mlflow_once_however_many_models_there_are(
    serving_one, register, record, monkeypatch
):
    register(record, model_id="other")
    monkeypatch.setattr(ModelStore, "aliases", crash)
    assert serving_one.look().states.keys() == {MODEL, "other"}


def test_a_promotion_that_ends_during_a_look_is_not_taken_for_a_move_by_hand(
    serving_one, engine, monkeypatch
):
    all_aliases = ModelStore.all_aliases

    def before_the_promotion(store):
        found = all_aliases(store)
        serving_one.promote(MODEL, 2, actor="ada", reason="meanwhile")
        return found

    monkeypatch.setattr(ModelStore, "all_aliases", before_the_promotion)
    assert serving_one.look().states[MODEL].number == 2
    assert "alias_moved_outside" not in kinds(engine)


# Moved by hand in the MLflow UI ------------------------------------------------------------------


def test_a_move_by_hand_to_a_sound_version_is_followed_and_recorded_once(
    serving_one, engine, tracking_uri
):
    move_by_hand(tracking_uri, 2)
    for _ in range(3):
        state = serving_one.resolve_alias(MODEL)
    assert (state.number, state.outside, state.refusals) == (2, None, ())
    assert serving_one.find_deployment(MODEL).champion == 2
    (event,) = [e for e in events.read(engine) if e.kind == "alias_moved_outside"]
    assert event.number == 2
    assert event.facts["from"] == 1
    assert event.facts["followed"] is True


def test_a_move_by_hand_to_a_failing_version_keeps_the_previous_and_says_why(
    serving_one, register, engine, tracking_uri, failing
):
    register(failing)
    move_by_hand(tracking_uri, 3)
    for _ in range(3):
        state = serving_one.resolve_alias(MODEL)
    assert (state.number, state.outside) == (1, 3)
    assert state.refusals == ("quality.dm_ewma: -1.2, needs < -1.645",)
    assert serving_one.find_deployment(MODEL).champion == 1
    (event,) = [e for e in events.read(engine) if e.kind == "alias_moved_outside"]
    assert event.facts["followed"] is False
    assert event.facts["refusals"] == list(state.refusals)


def test_each_move_by_hand_is_recorded(serving_one, register, engine, tracking_uri, failing):
    register(failing)
    for number in (3, 1, 3):
        move_by_hand(tracking_uri, number)
        serving_one.resolve_alias(MODEL)
    moved = [e.number for e in events.read(engine) if e.kind == "alias_moved_outside"]
    assert moved == [3, 1, 3]


def test_promoting_the_serving_version_takes_a_refused_alias_back(
    serving_one, register, tracking_uri, failing
):
    register(failing)
    move_by_hand(tracking_uri, 3)
    assert serving_one.resolve_alias(MODEL).outside == 3
    serving_one.promote(MODEL, 1, actor="ada", reason="take it back")
    assert serving_one.aliases(MODEL) == {"production": 1}
    assert serving_one.resolve_alias(MODEL).outside is None


def test_promoting_takes_an_alias_back_that_would_be_followed_under_todays_limits(
    serving_one, register, tracking_uri, failing, monkeypatch
):
    register(failing)
    move_by_hand(tracking_uri, 3)
    assert serving_one.resolve_alias(MODEL).outside == 3
    monkeypatch.setattr(version_rows, "refusals", lambda *_: ())
    serving_one.promote(MODEL, 1, actor="ada", reason="take it back")
    assert serving_one.aliases(MODEL) == {"production": 1}


def test_an_alias_removed_by_hand_keeps_the_previous(serving_one, tracking_uri):
    client_of(tracking_uri).delete_registered_model_alias(MODEL, "production")
    for _ in range(2):
        state = serving_one.resolve_alias(MODEL)
    assert state.number == 1
    assert state.refusals == ("the alias was removed in MLflow",)
    serving_one.promote(MODEL, 1, actor="ada", reason="set it again")
    assert serving_one.aliases(MODEL) == {"production": 1}


def test_a_version_that_only_mlflow_knows_is_not_followed(serving_one, engine, tracking_uri):
    with engine.begin() as connection:
        table = tables.versions
        connection.execute(sa.delete(table).where(table.c.number == 2))
    move_by_hand(tracking_uri, 2)
    state = serving_one.resolve_alias(MODEL)
    assert (state.number, state.outside) == (1, 2)
    assert "was not registered by this engine" in state.refusals[0]


def test_an_alias_that_nobody_ever_set_is_no_version(registry, register, engine):
    register()
    state = registry.resolve_alias(MODEL)
    assert (state.number, state.generation, state.outside) == (None, 0, None)
    assert kinds(engine) == ["registered"]


def test_resolving_while_a_promotion_is_under_way_changes_nothing(serving_one, engine):
    promotion.begin(engine, Move(MODEL, "production", 2, "ada", "next"), 1)
    before = events.read(engine)
    state = serving_one.resolve_alias(MODEL)
    assert (state.number, state.pending) == (1, 2)
    assert events.read(engine) == before
