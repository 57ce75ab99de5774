from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from monitoring import cycles, reports
from monitoring.cycles import State
from monitoring.retraining import (
    Resources,
    advance,
    data_end,
    idempotency_key,
    resume,
    run_parameters,
)
from monitoring.settings import MonitoringSettings
from pipelines.jobs import leases, queue
from pipelines.parameters import RecipeParameters, SourceParameters, parse
from pipelines.recipes.recipe import Recipe
from registry import events
from registry.contract import NO_TIMES
from registry.errors import ParameterError, RegistryUnavailableError
from registry.versions import Registry
from tests.examples import make_contract

MODEL = "watched"
DAY = timedelta(days=1)


@pytest.fixture
def make_resources(engine, settings):
    def make(mlflow="http://127.0.0.1:9", **wanted) -> Resources:  # where nothing listens
        platform = settings.model_copy(update={"mlflow_tracking_uri": mlflow})
        return Resources(engine, Registry(platform, engine), MonitoringSettings(**wanted), mlflow)

    return make


@pytest.fixture
def served(engine, world):
    world.insert_version(engine, 1)
    world.serve(engine, 1)


@pytest.fixture
def judged(engine, world, served):
    """Add reports, one per verdict letter (x drift, . none, ? no verdict), a step apart."""

    def add(letters: str, first_day: int = 20) -> None:
        kinds = {"x": ("drift", 0.8), ".": ("no_drift", 0.1), "?": ("no_verdict", None)}
        with engine.begin() as connection:
            for i, letter in enumerate(letters):
                report = world.make_report(first_day + 5 * i, *kinds[letter])
                assert reports.save(connection, report)

    return add


def kinds(engine) -> list[str]:
    return [event.kind.removeprefix("retraining_") for event in events.read(engine, MODEL)]


def claim_and_finish(engine, run_id: str) -> None:
    leases.finish(engine, leases.claim(engine, "w"), {"run_id": run_id, "status": "FINISHED"})


@pytest.mark.parametrize("letters", ["", "....", "?????"])
def test_without_violating_windows_the_model_is_observed(make_resources, judged, engine, letters):
    judged(letters)
    assert advance(make_resources(), MODEL) is State.OBSERVE
    assert queue.list_jobs(engine) == [] and kinds(engine) == []


def test_a_model_without_a_production_version_is_left_alone(make_resources):
    assert advance(make_resources(), MODEL) is State.OBSERVE


def test_one_violating_window_is_suspect_and_passes(make_resources, judged, engine):
    judged(".x")
    assert advance(make_resources(), MODEL) is State.SUSPECT
    judged(".....", first_day=50)
    assert advance(make_resources(), MODEL) is State.OBSERVE
    assert kinds(engine) == ["suspect", "observe"] and queue.list_jobs(engine) == []


def test_a_confirmed_drift_enqueues_exactly_one_run_of_the_champions_recipe(
    make_resources, judged, engine, world
):
    judged("..xx")
    resources = make_resources()
    assert [advance(resources, MODEL) for _ in range(3)] == [State.RETRAIN_QUEUED] * 3
    (job,) = queue.list_jobs(engine)
    assert (job.entry_point, job.model_id) == ("main", MODEL)
    assert job.payload["end"] == (world.start + 35 * DAY).isoformat()
    assert job.payload["source"] == "store" and job.payload["champion"] == 1
    assert job.payload["trigger"] == "data_drift" and "promote" not in job.payload
    assert kinds(engine) == ["suspect", "confirmed", "retrain_queued"]
    (cycle,) = cycles.history(engine, MODEL)
    assert [w["verdict"] for w in cycle.evidence["windows"]] == ["no_drift"] * 2 + ["drift"] * 2


def test_the_runs_parameters_are_those_of_the_stage_and_mean_the_champions_recipe(
    make_resources, served, engine
):
    champion = make_resources().registry.get(MODEL, 1)
    end = datetime(2008, 2, 6, 21, tzinfo=UTC)
    wanted = run_parameters(champion, end, "data_drift")
    named = {k: v for k, v in wanted.items() if k not in ("champion", "trigger")}
    argv = [part for k, v in named.items() for part in (f"--{k}", str(v))]
    source, recipe = parse(argv, "", SourceParameters, RecipeParameters)
    resolved = Recipe.resolve(recipe)
    assert source.query().end == end and recipe.model_id == MODEL
    assert (resolved.parameters["max_depth"], recipe.seed, resolved.horizon_bars) == (4, 7, 5)
    assert (recipe.first_test, recipe.recent_bars) == (champion.contract.first_test, 252)


def test_rows_without_times_are_as_old_as_their_version():
    contract = make_contract()
    assert data_end(contract) == datetime(2006, 12, 29, tzinfo=UTC)
    untimed = replace(contract, data=replace(contract.data, note=f"a table; {NO_TIMES}"))
    assert data_end(untimed) == datetime(2026, 1, 1, tzinfo=UTC)


def test_rows_that_stand_alone_are_read_again_from_where_they_came(make_resources, served):
    champion = make_resources().registry.get(MODEL, 1)
    data = replace(
        champion.contract.data, source="files", parameters={"path": "a.csv", "timezone": "CET"}
    )
    contract = replace(champion.contract, template="tabular", interval="", symbols=(), data=data)
    end = datetime(2008, 2, 6, 21, tzinfo=UTC)
    wanted = run_parameters(replace(champion, contract=contract), end, "data_drift")
    assert (wanted["source"], wanted["path"], wanted["timezone"]) == ("files", "a.csv", "CET")
    assert not {"symbols", "start", "end", "interval"} & set(wanted)


def test_windows_are_looked_at_in_the_order_of_time(make_resources, judged, engine, world):
    judged("xx...xx")
    resources = make_resources()
    states = [advance(resources, MODEL, until=world.start + (20 + 5 * i) * DAY) for i in range(7)]
    assert states == [State.SUSPECT] + [State.RETRAIN_QUEUED] * 6
    assert len(queue.list_jobs(engine)) == 1


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"retrain_enabled": False}, "RETRAIN_ENABLED is false"),
        ({"retrain_min_new_bars": 501}, "500 newly labelled bar times, 501 needed"),
    ],
)
def test_a_guard_holds_a_confirmed_cycle_and_says_so_once(
    make_resources, judged, engine, setting, reason
):
    judged("xx")
    assert [advance(make_resources(**setting), MODEL) for _ in range(2)] == [State.CONFIRMED] * 2
    assert [e.reason for e in events.read(engine, MODEL) if e.kind == "retraining_waits"] == [
        reason
    ]
    assert queue.list_jobs(engine) == []
    assert advance(make_resources(), MODEL) is State.RETRAIN_QUEUED


def test_a_held_cycle_that_is_no_longer_confirmed_passes(make_resources, judged, engine):
    judged("xx")
    advance(make_resources(retrain_enabled=False), MODEL)
    judged(".", first_day=90)
    assert advance(make_resources(), MODEL) is State.SUSPECT
    judged("....", first_day=95)
    assert advance(make_resources(), MODEL) is State.OBSERVE
    assert queue.list_jobs(engine) == []


def test_performance_alone_confirms_a_run(make_resources, engine, world, served):
    with engine.begin() as connection:
        for day in (20, 25):
            reports.save(connection, world.make_report(day, fell=True))
    advance(make_resources(), MODEL)
    assert queue.list_jobs(engine)[0].payload["trigger"] == "performance"


def test_a_failed_run_is_rejected_and_cools_down_for_twice_as_long(make_resources, judged, engine):
    judged("xx")
    resources = make_resources(retrain_cooldown_days=4)
    advance(resources, MODEL)
    held = leases.claim(engine, "w")
    assert advance(resources, MODEL) is State.TRAINING
    queue.cancel(engine, held.id, actor="ada")
    assert advance(resources, MODEL) is State.COOLDOWN
    (cycle,) = cycles.history(engine, MODEL)
    assert cycle.outcome == "rejected" and "training cancelled" in str(
        [e.reason for e in events.read(engine, MODEL)]
    )
    pause = cycle.cooldown_until - datetime.now(UTC)
    assert timedelta(days=7.9) < pause < timedelta(days=8.1)


def test_on_the_clock_of_windows_a_replay_outlives_its_cooldown(make_resources, judged, engine):
    judged("xx")
    resources = make_resources(retrain_clock="as_of", retrain_cooldown_days=10)
    advance(resources, MODEL)
    queue.cancel(engine, queue.list_jobs(engine)[0].id, actor="ada")
    assert advance(resources, MODEL) is State.COOLDOWN
    judged("...", first_day=30)  # 5, 10, 15 days on: the pause is 20
    assert advance(resources, MODEL) is State.COOLDOWN
    judged(".....", first_day=45)
    assert advance(resources, MODEL) is State.OBSERVE


def test_windows_that_were_decided_on_do_not_start_another_cycle(make_resources, judged, engine):
    judged("xx")
    resources = make_resources(retrain_cooldown_days=0)
    advance(resources, MODEL)
    queue.cancel(engine, queue.list_jobs(engine)[0].id, actor="ada")
    assert [advance(resources, MODEL) for _ in range(3)] == [State.OBSERVE] * 3
    assert len(queue.list_jobs(engine)) == 1


def test_after_rejects_in_a_row_a_person_must_resume(make_resources, judged, engine):
    resources = make_resources(
        retrain_cooldown_days=0, retrain_max_rejects=2, retrain_runs_per_day=9
    )
    for day in (20, 100):
        judged("xx", first_day=day)
        advance(resources, MODEL)
        queue.cancel(engine, queue.list_jobs(engine)[0].id, actor="ada")
        state = advance(resources, MODEL)
    assert state is State.HOLD
    judged("xx", first_day=200)
    assert advance(resources, MODEL) is State.HOLD
    resume(resources, MODEL, "ada")
    assert advance(resources, MODEL) is State.RETRAIN_QUEUED
    assert [e.actor for e in events.read(engine, MODEL) if e.kind == "resumed"] == ["ada"]


def test_resuming_a_model_that_is_not_on_hold_is_refused(make_resources):
    with pytest.raises(ParameterError, match="not"):
        resume(make_resources(), MODEL, "ada")


def test_a_run_that_registered_nothing_is_rejected(make_resources, judged, engine):
    judged("xx")
    resources = make_resources()
    advance(resources, MODEL)
    claim_and_finish(engine, "f" * 32)
    assert advance(resources, MODEL) is State.COOLDOWN
    assert any("registered no version" in e.reason for e in events.read(engine, MODEL))


def test_while_the_registry_is_down_the_decision_waits(make_resources, judged, engine, world):
    judged("xx")
    resources = make_resources()
    advance(resources, MODEL)
    world.insert_version(engine, 2, run_id="b" * 32)
    claim_and_finish(engine, "b" * 32)
    for _ in range(2):
        with pytest.raises(RegistryUnavailableError):
            advance(resources, MODEL)
    assert cycles.find_open(engine, MODEL).state is State.VALIDATING


def test_when_another_version_is_served_by_hand_the_cycle_ends(
    make_resources, judged, engine, world
):
    judged(".x")
    advance(make_resources(), MODEL)
    world.insert_version(engine, 2)
    world.serve(engine, 2)
    assert advance(make_resources(), MODEL) is State.OBSERVE


def test_a_stale_cycle_cannot_be_moved_twice(make_resources, judged, engine):
    judged(".x")
    advance(make_resources(), MODEL)
    cycle = cycles.find_open(engine, MODEL)
    with engine.begin() as connection:
        assert cycles.move(connection, cycle, State.CONFIRMED, "first")
        assert not cycles.move(connection, cycle, State.CONFIRMED, "second")
    opened = cycles.open_cycle(engine, MODEL, 1, "data_drift", cycle.as_of, "a second one")
    assert not opened


def test_the_idempotency_key_changes_with_everything_it_names(make_resources, served, world):
    version = make_resources().registry.get(MODEL, 1)
    first, other = world.make_report(20), world.make_report(25)
    keys = {
        idempotency_key(version, first, "data_drift"),
        idempotency_key(version, other, "data_drift"),
        idempotency_key(version, first, "performance"),
    }
    assert len(keys) == 3 and idempotency_key(version, first, "data_drift") in keys


# With a real registry --------------------------------------------------------------------------


@pytest.fixture
def contest(registry, register, engine, world, tracking_uri):
    """Version 1 serves and drifted; a challenger was registered by the run of its job."""

    def make(comparison: str | None, spoil: str | None = None) -> Resources:
        resources = Resources(engine, registry, MonitoringSettings(), tracking_uri)
        first = register()
        registry.promote(MODEL, first.number, actor="test", reason="the first version")
        with engine.begin() as connection:
            for day in (20, 25):
                reports.save(connection, world.make_report(day, "drift", 0.9))
        advance(resources, MODEL)
        challenger = register(comparison, spoil)
        claim_and_finish(engine, challenger.run_id)
        return resources

    return make


@pytest.mark.integration
def test_a_challenger_that_passes_every_gate_is_promoted_once(contest, engine):
    resources = contest("non_inferior")
    assert [advance(resources, MODEL) for _ in range(2)] == [State.COOLDOWN] * 2
    assert resources.registry.aliases(MODEL)["production"] == 2
    promoted = [e for e in events.read(engine, MODEL) if e.kind == "promoted"]
    assert [(e.number, e.actor) for e in promoted] == [(1, "test"), (2, "retraining")]
    (cycle,) = cycles.history(engine, MODEL)
    assert (cycle.outcome, cycle.challenger) == ("promoted", 2)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("comparison", "spoil", "gate"),
    [
        (None, None, "champion"),
        ("non_inferior", "champion.non_inferior", "champion.non_inferior"),
        ("non_inferior", "quality.bias", "quality.bias"),
    ],
)
def test_a_challenger_with_a_shut_gate_is_rejected_with_the_gate(
    contest, engine, comparison, spoil, gate
):
    resources = contest(comparison, spoil)
    assert advance(resources, MODEL) is State.COOLDOWN
    assert resources.registry.aliases(MODEL)["production"] == 1
    (reason,) = [e.reason for e in events.read(engine, MODEL) if e.kind == "retraining_rejected"]
    assert gate in reason


@pytest.mark.integration
def test_killed_between_promotion_and_its_record_the_promotion_is_recognised(contest, engine):
    resources = contest("better")
    resources.registry.promote(MODEL, 2, actor="retraining", reason="and then kill -9")
    assert advance(resources, MODEL) is State.COOLDOWN
    assert cycles.history(engine, MODEL)[0].outcome == "promoted"
    numbers = [e.number for e in events.read(engine, MODEL) if e.kind == "promoted"]
    assert numbers == [1, 2]


@pytest.mark.integration
def test_a_version_promoted_by_hand_meanwhile_ends_the_contest(contest, register):
    resources = contest("non_inferior")
    third = register("better")
    resources.registry.promote(MODEL, third.number, actor="ada", reason="by hand")
    assert advance(resources, MODEL) is State.COOLDOWN
    assert resources.registry.aliases(MODEL)["production"] == third.number
