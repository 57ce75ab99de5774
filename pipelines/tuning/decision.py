"""The decision of a study: its best trial, asked both questions, and what became of it.

The untouched period is read here for the first time, and only where the search has something to
show on its own data: a look that could change nothing is not spent.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from pipelines.method.statistics import mean_per_date
from pipelines.recipes.inputs import Data
from pipelines.recipes.recipe import Recipe
from pipelines.recipes.selection_bias import among_trials as with_trials
from pipelines.recipes.trial_family import TrialFamily, family_of, trial_of
from pipelines.templates import Evaluation
from pipelines.tuning.choice import choice_bias, chosen, of_same_dates
from pipelines.tuning.fold_trials import Predicted, evaluate, predict_folds
from pipelines.tuning.known_points import WON
from pipelines.tuning.metrics import LATENCY, SIZE
from pipelines.tuning.search import Search
from pipelines.tuning.shared_rows import PreparedRows
from pipelines.tuning.studies import place_of, point_of, result_of
from pipelines.tuning.untouched import Look, count_looks, walk
from pipelines.tuning.verdict import (
    Hurdle,
    Skill,
    Verdict,
    among_looks,
    among_trials,
    skill_of,
)
from registry import events
from registry.contract import Json
from registry.errors import AllTrialsFailedError

MOST_REASONS = 3
REPORTED = ("n_trials", "n_effective_trials", "n_distinguishable_trials", "pbo", "choice_loss")

EXPECTED = "expected_score"
"""Of the best trial: its score without what the choice among all trials has added to it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a study came to.

    `recipe` is the best trial's; `family` every trial that counts with it; `bias` what those say
    about having chosen among them. `front`: the trials that no other one is better than by every
    objective; the best one alone where there is one objective.
    """

    best: FrozenTrial
    recipe: Recipe
    verdict: Verdict
    family: TrialFamily
    bias: Mapping[str, float]
    front: tuple[FrozenTrial, ...]

    def to_json(self) -> dict[str, Json]:
        """Return the outcome as the study keeps it."""
        wanted = self.recipe.wanted
        return {
            "place": place_of(self.best),
            "recipe": {name: getattr(wanted, name) for name in wanted.__slots__},
            "bias": dict(self.bias),
            "front": [
                {"place": place_of(trial), "scores": result_of(trial).get("scores", {})}
                for trial in self.front
            ],
            **self.verdict.to_json(),
        }


def decide(todo: Search, data: Data) -> Decision:
    """Choose the best trial and judge it.

    Args:
        data: all of them, the untouched period included.

    Raises:
        AllTrialsFailedError: none came to a score.
    """
    ended = todo.study.ended()
    judged = _judged(todo, ended)
    if significant := _significant(todo, ended, judged):
        judged = _judged(todo, significant)
    recipe, predicted, found = judged.recipe, judged.predicted, judged.found
    score = todo.metric.value(found.metrics)
    verdict = Verdict(
        search_score=score,
        search=judged.skill,
        of_search=judged.asked,
        beyond=_beyond(todo, ended),
    )
    if verdict.of_search.passed and not verdict.beyond:
        look = Look.of(todo.study.name, recipe, todo.sample, todo.held)
        model_id = recipe.wanted.model_id
        studies = count_looks(todo.engine, look, todo.sample, model_id, todo.run_id)
        walked = walk(recipe, data, judged.prepared.dataset, todo.held, predicted)
        untouched = skill_of(recipe, walked.predicted, walked.evaluation)
        verdict = replace(
            verdict,
            untouched_score=todo.metric.value(walked.evaluation.metrics),
            untouched=untouched,
            of_untouched=among_looks(untouched, studies),
        )
    metrics = with_trials(found, judged.family).metrics
    bias = {name: metrics[name] for name in REPORTED if name in metrics}
    if (expected := _expected(todo, ended, judged, score)) is not None:
        bias[EXPECTED] = expected
    front = tuple(front_of(todo, ended)) if todo.others else (judged.best,)
    return Decision(judged.best, recipe, verdict, judged.family, bias, front)


@dataclass(frozen=True, slots=True)
class _Judged:
    """A best trial, fitted again, and the question whether it is significant as one of all."""

    best: FrozenTrial
    recipe: Recipe
    prepared: PreparedRows
    predicted: Predicted
    found: Evaluation
    family: TrialFamily
    skill: Skill
    asked: Hurdle


def _judged(todo: Search, trials: Sequence[FrozenTrial]) -> _Judged:
    best = best_of(todo, trials)
    recipe, prepared = todo.prepared(point_of(best))
    predicted = predict_folds(recipe, prepared.dataset.rows, prepared.folds())
    found = evaluate(recipe, prepared, predicted)
    asked_for = bool(recipe.wanted.first_test)
    counted = trial_of(recipe, prepared.dataset, todo.sample, found, asked_for=asked_for)
    family = family_of(todo.engine, counted, found)
    skill = skill_of(recipe, predicted, found)
    asked = among_trials(skill, found, family)
    return _Judged(best, recipe, prepared, predicted, found, family, skill, asked)


def _significant(
    todo: Search, ended: Sequence[FrozenTrial], judged: _Judged
) -> list[FrozenTrial] | None:
    """Return the trials that are significant as one of all, where the one that was chosen is not.

    The limit holds for the largest z of all trials, so whichever of them is chosen keeps it. None
    where there is no such trial, and where the choice is not by the losses that z is of.
    """
    if judged.asked.passed or not _goes_by_losses(todo):
        return None
    of_trials = [(trial, result_of(trial).get("z")) for trial in _within(todo, ended)]
    return [trial for trial, z in of_trials if z is not None and z >= judged.asked.limit] or None


def best_of(todo: Search, ended: Sequence[FrozenTrial]) -> FrozenTrial:
    """Return the complete trial that is chosen.

    By a loss, a later trial must be better than an earlier one by more than a standard error
    (`pipelines/tuning/choice.py`); by another metric it is the best, the earliest among equals.
    Where limits are asked for, only those within them count, if there are any. Of several
    objectives the first decides, the next ones only among equals, so that it lies on the front.

    Raises:
        AllTrialsFailedError: there is none; the three most frequent reasons.
    """
    open_to = _open_to(todo, ended)
    if not open_to:
        reasons = Counter(str(result_of(trial).get("reason", "given up")) for trial in ended)
        raise AllTrialsFailedError(todo.study.name, len(ended), reasons.most_common(MOST_REASONS))
    if (losses := _of_blocks(todo, open_to)) is not None:
        return open_to[chosen(losses)]
    return min(open_to, key=lambda t: (_losses(todo, t), place_of(t)))


def _of_blocks(todo: Search, trials: Sequence[FrozenTrial]) -> NDArray[np.float64] | None:
    """Return the losses of trials by blocks of dates; None where the choice does not go by them."""
    if not _goes_by_losses(todo):
        return None
    kept = [result_of(trial) for trial in trials]
    if len({result.get("n_times") for result in kept}) > 1:
        return None  # windows of other lengths: other dates
    return of_same_dates([result.get("block_losses", ()) for result in kept])


def _goes_by_losses(todo: Search) -> bool:
    return not todo.others and todo.metric.is_the_loss


def _expected(
    todo: Search, ended: Sequence[FrozenTrial], judged: _Judged, score: float
) -> float | None:
    """Return the score to be expected of the chosen trial, the choice among all paid for."""
    open_to = _open_to(todo, ended)
    losses = _of_blocks(todo, open_to)
    if losses is None:
        return None
    row = [trial.number for trial in open_to].index(judged.best.number)
    predicted = judged.predicted
    loss = float(mean_per_date(predicted.loss(), predicted.times()).mean())
    return todo.metric.moved(score, loss, loss + choice_bias(losses, row))


def front_of(todo: Search, ended: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the Pareto front of the complete trials within the limits, in order of their places.

    A trial is left out where another one is as good by every objective and better by one.
    """
    within = _within(todo, ended)
    losses = {trial.number: _losses(todo, trial) for trial in within}

    def dominated(mine: tuple[float, ...]) -> bool:
        return any(
            other != mine and all(a <= b for a, b in zip(other, mine, strict=True))
            for other in losses.values()
        )

    numbers = {number for number, mine in losses.items() if not dominated(mine)}
    return [trial for trial in within if trial.number in numbers]


def _complete(ended: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in ended if trial.state == TrialState.COMPLETE]


def _within(todo: Search, ended: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the complete trials that keep the limits; all of them where none is asked for."""
    complete = _complete(ended)
    if not todo.limits.are_asked:
        return complete
    return [trial for trial in complete if todo.limits.hold(result_of(trial))]


def _open_to(todo: Search, ended: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that may be chosen: where none keeps the limits, all complete ones."""
    return _within(todo, ended) or _complete(ended)


def _beyond(todo: Search, ended: Sequence[FrozenTrial]) -> str:
    """Return why no trial keeps the limits, with what comes nearest; empty where one does."""
    if _within(todo, ended):
        return ""
    complete = _complete(ended)
    nearest = min(complete, key=lambda t: max(todo.limits.excess(result_of(t)).values()))
    found = result_of(nearest)
    return (
        f"none of {len(complete)} complete trials keeps within {todo.limits.said()}; the nearest "
        f"is trial {place_of(nearest) + 1} with {found[LATENCY]:g} ms and {found[SIZE]:,.0f} kB"
    )


def _losses(todo: Search, trial: FrozenTrial) -> tuple[float, ...]:
    """Return what a trial found by each objective, lower is better."""
    assert trial.values is not None
    pairs = zip(todo.metrics, trial.values, strict=True)
    return tuple(-value if metric.higher_is_better else value for metric, value in pairs)


def keep_decision(todo: Search, decision: Decision, settled: Mapping[str, Any]) -> None:
    """Keep the outcome with the study; a winner is also handed to later studies.

    Args:
        settled: further facts of the outcome, such as the budget that was spent.
    """
    todo.study.keep_outcome(decision.to_json() | dict(settled))
    if not decision.verdict.found:
        return
    recipe, point = decision.recipe, point_of(decision.best)
    facts: dict[str, Json] = {
        "study": todo.study.name,
        "template": recipe.template.name,
        "architecture": recipe.architecture.name,
        "feature_set": point["feature_set"],
        "window": recipe.window,
        "horizon": point["horizon"],
        "parameters": dict(recipe.parameters),
        "options": dict(recipe.options),
        "score": decision.verdict.search_score,
        "untouched_score": decision.verdict.untouched_score,
    }
    with todo.engine.begin() as connection:
        events.append(
            connection,
            WON,
            actor="tune",
            reason=decision.verdict.reason,
            model_id=recipe.wanted.model_id,
            run_id=todo.run_id,
            facts=facts,
        )
