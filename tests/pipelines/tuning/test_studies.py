"""Studies: the same seed draws the same recipes, interrupted or not."""

import json

import optuna
import pytest
from optuna.trial import TrialState

from pipelines.parameters import RecipeParameters
from pipelines.tuning.asked_space import search_space
from pipelines.tuning.studies import KeptStudy, Plan, place_of, point_of, result_of

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


@pytest.fixture
def new_study(tmp_path):
    names = iter(range(100))

    def make():
        name = f"s{next(names)}"
        study = KeptStudy(tmp_path / name, name)
        study.make({}, higher_is_better=False)
        study.join()
        return study

    return make


def run(study, plan, n_trials, interrupted_at=()):
    """Run a study to its end; at these turns the worker is killed in the middle of its trial."""
    for turn in range(10_000):
        if (taken := study.take(plan, n_trials)) is None:
            return [point_of(trial) for trial in study.ended()]
        if turn in interrupted_at:
            study._lease.release()  # as a killed process leaves it: the trial still runs
            study = KeptStudy(study.folder, study.name)
            study.join()
            continue
        score = score_of(taken.point)
        study.end(taken, TrialState.COMPLETE, {"score": score}, score)
    raise AssertionError("it never ended")


@pytest.mark.parametrize("sampler", ["random", "tpe"])
@pytest.mark.parametrize("asked", [NUMBERS, MIXED])
def test_the_same_seed_draws_the_same_recipes(new_study, sampler, asked):
    plan = plan_of(asked, sampler)
    first = run(new_study(), plan, 14)
    assert run(new_study(), plan, 14) == first
    assert run(new_study(), plan_of(asked, sampler, seed=1), 14) != first


@pytest.mark.parametrize("sampler", ["random", "tpe", "cmaes"])
def test_a_study_that_was_interrupted_equals_one_that_was_not(new_study, sampler):
    plan = plan_of(NUMBERS, sampler)
    whole = run(new_study(), plan, 16)
    assert run(new_study(), plan, 16, interrupted_at=(0, 5, 13, 14)) == whole
    assert len({json.dumps(point) for point in whole}) == 16


def test_a_study_that_was_stopped_at_half_of_its_budget_goes_on_as_if_it_had_not(new_study):
    plan = plan_of(MIXED)
    whole = run(new_study(), plan, 16)
    half = new_study()
    assert run(half, plan, 8) == whole[:8]
    assert run(half, plan, 16) == whole


def test_known_points_come_first_and_a_lost_one_is_tried_again(new_study):
    known = ({"elastic_net.alpha": 0.5, "elastic_net.l1_ratio": 0.25}, {"elastic_net.alpha": 0.125})
    points = run(new_study(), plan_of(NUMBERS, known=known), 4, interrupted_at=(0, 1))
    assert [point["elastic_net.alpha"] for point in points[:2]] == [0.5, 0.125]
    assert points[0]["elastic_net.l1_ratio"] == 0.25


def test_a_grid_is_tried_once_and_then_ends(new_study):
    asked = {
        "architectures": ["ridge", "lasso"],
        "parameters": {"ridge": {"alpha": [1, 2]}, "lasso": {"alpha": [1, 2, 3]}},
    }
    points = run(new_study(), plan_of(asked, "grid"), 100, interrupted_at=(2,))
    assert len(points) == 5 == len({json.dumps(point, sort_keys=True) for point in points})


def test_two_workers_share_a_study_and_no_place_is_given_twice(new_study):
    plan, mine = plan_of(MIXED), new_study()
    theirs = KeptStudy(mine.folder, mine.name)
    theirs.join()
    for _ in range(4):
        both = [worker.take(plan, 8) for worker in (mine, theirs)]
        for worker, taken in zip((mine, theirs), both, strict=True):
            worker.end(taken, TrialState.COMPLETE, {"score": 1.0}, 1.0)
    assert mine.take(plan, 8) is None
    assert [place_of(trial) for trial in theirs.ended()] == list(range(8))
    assert mine.leave() and not theirs.leave(), "the last one to leave knows that it is"


def test_the_running_trial_of_a_worker_that_lives_is_left_alone(new_study):
    plan, mine = plan_of(NUMBERS), new_study()
    theirs = KeptStudy(mine.folder, mine.name)
    theirs.join()
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


def test_a_study_is_made_once(new_study):
    study = new_study()
    assert study.facts() == {}
    assert KeptStudy(study.folder, study.name).make({"a": 1}, higher_is_better=True) == {}
    assert study.loaded().direction == optuna.study.StudyDirection.MINIMIZE


def test_the_newest_outcome_is_kept_whole(new_study):
    study = new_study()
    assert study.outcome() is None
    study.keep_outcome({"found": False})
    study.keep_outcome({"found": True})
    assert study.outcome() == {"found": True}
    assert not list(study.folder.glob("*.part"))
