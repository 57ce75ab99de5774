import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa

from registry import events, promotion, tables, versions
from registry.database import connect
from registry.errors import PromotionConflictError, RegistryUnavailableError
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
    monkeypatch.setattr(versions, "refusals", lambda *_: ())
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
