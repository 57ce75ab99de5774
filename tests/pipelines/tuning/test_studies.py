"""Studies: the same seed draws the same recipes, interrupted or not."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from pipelines.parameters import RecipeParameters
from pipelines.tuning.asked_space import search_space
from pipelines.tuning.studies import KeptStudy, Plan, place_of, point_of, result_of
from registry.errors import StudyUnavailableError, TrialLostError

NUMBERS = {
    "architectures": ["elastic_net"],
    "parameters": {
        "elastic_net": {
            "alpha": {"low": 1e-4, "high": 1, "scale": "log"},
            "l1_ratio": {"low": 0, "high": 1},
        }
    },
}
MIXED = {"architectures": ["ridge", "lasso", "xgboost"]}


def plan_of(asked, sampler="tpe", seed=0, pruner="none", known=()):
    space = search_space(json.dumps(asked), RecipeParameters("return_forecast"))
    return Plan(space, sampler, pruner, seed, known or grid_of(space, sampler))


def grid_of(space, sampler):
    return space.grid(0) if sampler == "grid" else ()


def score_of(point):
    """A made-up loss, with its least where alpha is 0.03."""
    alphas = [value for name, value in point.items() if name.endswith(".alpha")]
    return abs(alphas[0] - 0.03) + len(point["architecture"]) / 100


@pytest.fixture(params=["files", "postgres"])
def where(request, tmp_path):
    """Where a study of this name lies."""
    if request.param == "files":
        return lambda name: tmp_path / name
    engine = request.getfixturevalue("postgres_engine")
    return lambda _: engine


@pytest.fixture
def joined(where):
    """A study that a new worker has joined; it leaves at the end."""
    workers = []

    def join(name):
        study = KeptStudy(where(name), name)
        study.make({}, higher_is_better=False)
        study.join()
        workers.append(study)
        return study

    yield join
    for study in workers:
        study.abandon()


@pytest.fixture
def new_study(joined):
    names = (f"s{i}" for i in range(100))
    return lambda: joined(next(names))


@pytest.fixture
def run(joined):
    """Run a study to its end; at these turns the worker is killed in the middle of its trial."""

    def run(study, plan, n_trials, interrupted_at=()):
        for turn in range(10_000):
            if (taken := study.take(plan, n_trials)) is None:
                return [point_of(trial) for trial in study.ended()]
            if turn in interrupted_at:
                study.abandon()  # as a killed process leaves it: the trial still runs
                study = joined(study.name)
                continue
            score = score_of(taken.point)
            study.end(taken, TrialState.COMPLETE, {"score": score}, score)
        raise AssertionError("it never ended")

    return run


@pytest.mark.parametrize("sampler", ["random", "tpe"])
@pytest.mark.parametrize("asked", [NUMBERS, MIXED])
def test_the_same_seed_draws_the_same_recipes(new_study, run, sampler, asked):
    plan = plan_of(asked, sampler)
    first = run(new_study(), plan, 14)
    assert run(new_study(), plan, 14) == first
    assert run(new_study(), plan_of(asked, sampler, seed=1), 14) != first


@pytest.mark.parametrize("sampler", ["random", "tpe", "cmaes"])
def test_a_study_that_was_interrupted_equals_one_that_was_not(new_study, run, sampler):
    plan = plan_of(NUMBERS, sampler)
    whole = run(new_study(), plan, 16)
    assert run(new_study(), plan, 16, interrupted_at=(0, 5, 13, 14)) == whole
    assert len({json.dumps(point) for point in whole}) == 16


def test_a_study_that_was_stopped_at_half_of_its_budget_goes_on_as_if_it_had_not(new_study, run):
    plan = plan_of(MIXED)
    whole = run(new_study(), plan, 16)
    half = new_study()
    assert run(half, plan, 8) == whole[:8]
    assert run(half, plan, 16) == whole


def test_a_worker_that_has_seen_all_trials_draws_what_a_new_one_draws(joined):
    """What is kept from trial to trial of the common dimensions changes no draw."""
    plan, study = plan_of(MIXED), joined("s")
    for place in range(14):
        fresh = joined("s")
        drawn = fresh.take(plan, 99)
        fresh.give_up(drawn)
        taken = study.take(plan, 99)
        assert taken.point == drawn.point and taken.place == place
        study.end(taken, TrialState.COMPLETE, {"score": 1.0}, score_of(taken.point))


def test_known_points_come_first_and_a_lost_one_is_tried_again(new_study, run):
    known = ({"elastic_net.alpha": 0.5, "elastic_net.l1_ratio": 0.25}, {"elastic_net.alpha": 0.125})
    points = run(new_study(), plan_of(NUMBERS, known=known), 4, interrupted_at=(0, 1))
    assert [point["elastic_net.alpha"] for point in points[:2]] == [0.5, 0.125]
    assert points[0]["elastic_net.l1_ratio"] == 0.25


def test_a_grid_is_tried_once_and_then_ends(new_study, run):
    asked = {
        "architectures": ["ridge", "lasso"],
        "parameters": {"ridge": {"alpha": [1, 2]}, "lasso": {"alpha": [1, 2, 3]}},
    }
    points = run(new_study(), plan_of(asked, "grid"), 100, interrupted_at=(2,))
    assert len(points) == 5 == len({json.dumps(point, sort_keys=True) for point in points})


def test_two_workers_share_a_study_and_no_place_is_given_twice(new_study, joined):
    plan, mine = plan_of(MIXED), new_study()
    theirs = joined(mine.name)
    for _ in range(4):
        both = [worker.take(plan, 8) for worker in (mine, theirs)]
        for worker, taken in zip((mine, theirs), both, strict=True):
            worker.end(taken, TrialState.COMPLETE, {"score": 1.0}, 1.0)
    assert mine.take(plan, 8) is None
    assert [place_of(trial) for trial in theirs.ended()] == list(range(8))
    assert mine.leave() and not theirs.leave(), "the last one to leave knows that it is"


def test_the_running_trial_of_a_worker_that_lives_is_left_alone(new_study, joined):
    plan, mine = plan_of(NUMBERS), new_study()
    theirs = joined(mine.name)
    running = theirs.take(plan, 9)
    assert mine.take(plan, 9).place == 1
    score = score_of(running.point)
    theirs.end(running, TrialState.COMPLETE, {"score": score}, score)
    assert [place_of(trial) for trial in mine.ended()] == [0]


def test_failed_and_pruned_trials_keep_their_places(new_study):
    plan, study = plan_of(NUMBERS), new_study()
    for state in (TrialState.FAIL, TrialState.PRUNED):
        study.end(study.take(plan, 3), state, {"reason": "no"}, None)
    given_up = study.take(plan, 3)
    study.give_up(given_up)
    assert study.take(plan, 3).place == given_up.place == 2
    assert [result_of(trial)["reason"] for trial in study.ended()] == ["no", "no"]


def test_a_study_is_made_once(new_study, where):
    study = new_study()
    assert study.facts() == {}
    again = KeptStudy(where(study.name), study.name)
    assert again.make({"a": 1}, higher_is_better=True) == {}
    assert study.loaded().direction == optuna.study.StudyDirection.MINIMIZE


def test_the_newest_outcome_is_kept(new_study, where):
    study = new_study()
    assert study.outcome() is None
    study.keep_outcome({"found": False})
    study.keep_outcome({"found": True})
    assert study.outcome() == KeptStudy(where(study.name), study.name).outcome()
    assert study.outcome() == {"found": True}


@pytest.fixture
def broken(monkeypatch):
    """Let a study's storage fail once, before it has stored a change."""
    monkeypatch.setattr("pipelines.tuning.patience.PAUSE_SECONDS", (0.0, 0.0))

    def once(study):
        journal = study._kept.journal
        store, failures = journal._store, [StudyUnavailableError(study.name, "away")]

        def failing(logs):
            if failures:
                raise failures.pop()
            store(logs)

        monkeypatch.setattr(journal, "_store", failing)

    return once


def test_a_storage_that_is_away_for_a_moment_costs_nothing(joined, broken):
    plan, study = plan_of(NUMBERS), joined("s")
    broken(study)
    taken = study.take(plan, 9)
    broken(study)
    assert not study.report(taken, [1.0], 1, "wilcoxon")
    broken(study)
    study.end(taken, TrialState.COMPLETE, {"score": 1.0}, 1.0)
    (trial,) = study.loaded().trials
    assert trial.intermediate_values == {1: 1.0} and trial.value == 1.0


def stored_though_it_failed(study):
    """Let the next change be stored and its confirmation be lost, as a broken connection does."""
    journal = study._kept.journal
    held, broken = journal._held, [True]

    @contextmanager
    def holding():
        with held():
            yield
        if broken:
            broken.pop()
            raise StudyUnavailableError(study.name, "connection lost while confirming")

    journal._held = holding


def test_a_change_whose_confirmation_was_lost_is_not_made_twice(joined, monkeypatch):
    monkeypatch.setattr("pipelines.tuning.patience.PAUSE_SECONDS", (0.0, 0.0))
    plan, study = plan_of(NUMBERS), joined("s")
    stored_though_it_failed(study)
    taken = study.take(plan, 9)
    stored_though_it_failed(study)
    ended = study.end(taken, TrialState.COMPLETE, {"score": 1.0}, 1.0)
    assert [trial.number for trial in study.loaded().trials] == [taken.number] == [ended.number]
    assert ended.state == TrialState.COMPLETE and ended.value == 1.0


def test_a_storage_that_stays_away_is_said_in_one_line(joined, broken, monkeypatch):
    monkeypatch.setattr("pipelines.tuning.patience.PATIENCE_SECONDS", 0.0)
    study = joined("s")
    broken(study)
    with pytest.raises(StudyUnavailableError, match="'s' cannot be used now .*run the command ag"):
        study.take(plan_of(NUMBERS), 9)
    assert study.take(plan_of(NUMBERS), 9).place == 0, "and it goes on later"


def test_a_worker_that_was_taken_for_gone_loses_its_trial_and_counts_it_once(joined):
    plan, mine = plan_of(NUMBERS), joined("s")
    lost = mine.take(plan, 9)
    mine.abandon()  # as a broken connection does
    theirs = joined("s")
    again = theirs.take(plan, 9)
    assert again.place == lost.place and again.point == lost.point
    theirs.end(again, TrialState.COMPLETE, {"score": 1.0}, 1.0)
    for use in (
        lambda: mine.report(lost, [1.0], 1, "none"),
        lambda: mine.end(lost, TrialState.COMPLETE, {"score": 9.0}, 9.0),
    ):
        with pytest.raises(TrialLostError, match="trial 1 of study 's' was given to another"):
            use()
    mine.give_up(lost)
    assert [trial.value for trial in theirs.ended()] == [1.0]


def test_workers_that_start_at_the_same_instant_make_one_study_and_share_its_places(where):
    plan, n, barrier = plan_of(MIXED, "random"), 4, Barrier(4)

    def worker(number):
        study = KeptStudy(where("race"), "race")
        barrier.wait()
        facts = study.make({"by": number}, higher_is_better=False)
        study.join()
        barrier.wait()
        for _ in range(3):
            taken = study.take(plan, 99)
            study.end(taken, TrialState.COMPLETE, {"score": 1.0}, 1.0)
        return facts, study.leave()

    with ThreadPoolExecutor(n) as pool:
        told = list(pool.map(worker, range(n)))
    assert len({facts["by"] for facts, _ in told}) == 1
    assert sum(not others for _, others in told) == 1, "one of them is the last to leave"
    ended = KeptStudy(where("race"), "race").ended()
    assert [place_of(trial) for trial in ended] == list(range(3 * n))


def test_cma_es_is_rebuilt_from_what_trials_found(new_study, run):
    """No pickle is kept, and it comes near the least loss where random draws do not."""
    trials = {}
    for sampler in ("cmaes", "random"):
        study = new_study()
        run(study, plan_of(NUMBERS, sampler), 50)
        trials[sampler] = study.ended()
    kept = [trial.system_attrs for trial in trials["cmaes"]]
    assert all(set(attributes) <= {"cma:generation"} for attributes in kept)
    generations = [attributes.get("cma:generation", 0) for attributes in kept]
    assert generations == sorted(generations) and generations[-1] >= 7
    newest, drawn = (
        np.median([abs(point_of(t)["elastic_net.alpha"] - 0.03) for t in trials[s][-12:]])
        for s in ("cmaes", "random")
    )
    assert newest < 0.5 * drawn


def test_the_sampler_learns_what_lies_beyond_a_limit(new_study):
    """The best by score is beyond it: without the limit TPE stays there, with it TPE leaves."""
    tried = {}
    for is_limited in (False, True):
        study, plan = new_study(), plan_of(MIXED)
        while taken := study.take(plan, 40):
            is_slow = taken.point["architecture"] == "xgboost"
            score = 0.0 if is_slow else 1.0
            result = {"score": score, "excess": {"latency_ms": 2.0 if is_slow else -0.5}}
            study.end(taken, TrialState.COMPLETE, result if is_limited else {"score": score}, score)
        newest = [point_of(trial)["architecture"] for trial in study.ended()[-15:]]
        tried[is_limited] = newest.count("xgboost")
    assert tried[True] < tried[False] / 2
