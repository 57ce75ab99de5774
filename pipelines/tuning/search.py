"""The search of one worker: trials taken from the study one by one until the budget is spent."""

import math
import traceback
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass, replace
from time import monotonic, perf_counter
from typing import cast

import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState

from pipelines import progress
from pipelines.recipes.recipe import Recipe
from pipelines.recipes.trial_family import keep_trial, trial_of
from pipelines.templates import TEMPLATES
from pipelines.tuning.choice import BLOCKS
from pipelines.tuning.epochs import EPOCH_RUNGS, EpochRungs, rungs_of
from pipelines.tuning.fold_trials import Predicted, evaluate, predict_folds, to_come
from pipelines.tuning.memory import NO_MEMORY_LIMIT, MemoryLimit
from pipelines.tuning.metrics import COSTS, Metric
from pipelines.tuning.patience import patiently
from pipelines.tuning.runs import RunWriter
from pipelines.tuning.served import NO_LIMITS, Limits, served
from pipelines.tuning.shared_rows import PreparedRows, SharedRows
from pipelines.tuning.space import ARCHITECTURE, Point
from pipelines.tuning.studies import KeptStudy, Plan, TakenTrial, place_of, result_of
from pipelines.tuning.untouched import HeldBack
from pipelines.tuning.verdict import skill_of
from registry.contract import Json
from registry.database import AWAY
from registry.errors import MLEngineError, TrialLostError, UnavailableError
from registry.trial_data import TrialData

MOST_LETTERS = 300
"""Of a reason why a trial failed."""
ENOUGH_FOLDS, ENOUGH_BLOCKS = 10, 24
"""Folds that a test over folds can do with, and the blocks that fewer are cut into: five of one
fold are the fewest of which the test can say anything at 5 %."""


@dataclass(frozen=True, slots=True)
class Search:
    """What the trials of a study need; the same for all of them.

    `sample` is of the data that are searched, `run_id` the run of the study. Trials are chosen by
    `metric`; `others` are the further objectives of a study that has several.
    """

    study: KeptStudy
    plan: Plan
    metric: Metric
    rows: SharedRows
    held: HeldBack
    sample: TrialData
    engine: sa.Engine
    run_id: str
    others: tuple[Metric, ...] = ()
    limits: Limits = NO_LIMITS
    memory: MemoryLimit = NO_MEMORY_LIMIT

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All objectives, the one that trials are chosen by first."""
        return (self.metric, *self.others)

    @property
    def compares_parts(self) -> bool:
        """Whether trials are compared by parts of a fold: of a table, by its loss alone."""
        template = TEMPLATES.get(self.plan.space.base.template)
        return template.inputs == "table" and not self.limits.are_asked

    def leads(self, score: float) -> bool:
        """Whether a score is better than that of every trial within the limits."""
        held = [result_of(t) for t in self.study.ended() if t.state == TrialState.COMPLETE]
        within = [result["score"] for result in held if self.limits.hold(result)]
        rises = self.metric.higher_is_better
        return all(score > other if rises else score < other for other in within)

    def recipe(self, point: Point) -> Recipe:
        """Return the recipe of a point, with the instrument that the data declare."""
        wanted = self.plan.space.recipe(point)
        return Recipe.resolve(wanted).declared(self.rows.data.instrument)

    def prepared(self, point: Point) -> tuple[Recipe, PreparedRows]:
        """Return recipe and rows of a point; what is left to the data is chosen."""
        recipe = self.recipe(point)
        prepared = self.rows.of(recipe)
        first = next(prepared.folds()).train
        return recipe.chosen(first), prepared


class OutOfTime(Exception):  # noqa: N818 (no error: the budget is spent)
    """The budget of seconds ended in the middle of a trial."""


def search(
    todo: Search,
    n_trials: int,
    seconds: float,
    writer: RunWriter,
    told: Callable[[], None] = lambda: None,
) -> int:
    """Run trials until the study has so many, or the seconds are over; return how many.

    A trial in which the time ends is given up at the next fold, or at the next epoch of a network,
    and its place is free again. One that would not come to its end in time is pruned after its
    second fold, for cheaper ones.

    Args:
        told: called before each trial, to tell how far the study is.

    Raises:
        UnavailableError: MLflow or the engine database does not answer; the study can be resumed.
    """
    began, first, n_done = monotonic(), None, 0
    deadline = began + seconds if seconds else float("inf")
    while monotonic() < deadline:
        taken = todo.study.take(todo.plan, n_trials)
        if taken is None:
            break
        place = taken.place
        first = place if first is None else first
        share, what = (place - first) / (n_trials - first), f"trial {place + 1} of {n_trials}"
        say = _sayer((began, deadline), share, what)
        say()
        try:  # epochs of a fit are reported too: they do not say how far the search is
            with progress.part(what, share, share):
                told()
                ended = run_trial(todo, taken, deadline, say)
        except TrialLostError as exc:
            print(exc, flush=True)
            continue
        if ended is None:
            break
        n_done += 1
        writer.write(ended)
        print(_line(ended, todo.metric), flush=True)
    return n_done


def _sayer(times: tuple[float, float], share: float, what: str) -> Callable[[], None]:
    """Return what reports the share of the trials or of the time that is over, whichever is more.

    Its reports are of the part that this was called in, wherever they are made.
    """
    began, deadline = times
    here = copy_context()

    def say() -> None:
        over = (monotonic() - began) / (deadline - began)
        here.run(progress.report, max(share, over), 1.0, what)

    return say


def run_trial(
    todo: Search, taken: TakenTrial, deadline: float, say: Callable[[], None]
) -> FrozenTrial | None:
    """Run one trial to its end; None where it was given up for lack of time.

    Whatever a library raises ends the trial, not the study: the reason is kept, and a study whose
    trials all fail says the most frequent ones. An interruption gives the trial's place back.

    Args:
        say: called after each fold, to say how far the search is.
    """
    began = perf_counter()
    try:
        state, score, result = _tried(todo, taken, deadline, say)
    except OutOfTime:
        todo.study.give_up(taken)
        return None
    except TrialLostError:
        raise
    except (KeyboardInterrupt, SystemExit, UnavailableError, *AWAY):
        todo.study.give_up(taken)
        raise
    except Exception as exc:
        state, score, result = TrialState.FAIL, None, {"reason": _reason(exc)}
    return todo.study.end(taken, state, result | {"seconds": perf_counter() - began}, score)


def _tried(
    todo: Search, taken: TakenTrial, deadline: float, say: Callable[[], None]
) -> tuple[TrialState, tuple[float, ...] | None, dict[str, Json]]:
    recipe, prepared = todo.prepared(taken.point)
    spent: list[float] = []

    def check_time() -> None:
        if monotonic() >= deadline:
            raise OutOfTime

    def after(so_far: Predicted) -> bool:
        check_time()
        say()
        todo.memory.check(todo.rows)
        spent.append(so_far.fit_seconds)
        if monotonic() + to_come(spent, prepared.dataset.folds) > deadline:
            return True
        if todo.others:
            return False
        losses, n_folds = so_far.fold_losses, len(prepared.dataset.folds)
        if todo.plan.pruner == "wilcoxon":
            n_blocks = blocks_of(n_folds) if todo.compares_parts else 1
            shown = so_far.newest_losses(n_blocks)
        else:
            n_blocks, shown = 1, [sum(losses) / len(losses)]
        turned = [-loss if todo.metric.higher_is_better else loss for loss in shown]
        first = (len(losses) - 1) * n_blocks + 1
        pruner = "none" if len(losses) == n_folds else todo.plan.pruner
        return todo.study.report(taken, turned, first, pruner)

    pruner = todo.plan.pruner if todo.compares_parts and not todo.others else "none"
    others = rungs_of(todo.study.ended(), taken.point[ARCHITECTURE])
    epochs = EpochRungs(pruner, others, check_time)
    predicted = predict_folds(
        recipe, prepared.dataset.rows, prepared.folds(), after, context_of=epochs.context
    )
    began = perf_counter()
    found = None if predicted.was_pruned else evaluate(recipe, prepared, predicted)
    judge_seconds = perf_counter() - began
    result: dict[str, Json] = {}
    scores: tuple[float, ...] | None = None
    if found is not None:
        score = todo.metric.value(found.metrics)
        cost = _cost(todo, recipe, prepared, predicted, score)
        costs = {name: cast(float, cost[name]) for name in COSTS if name in cost}
        scores = tuple(metric.value({**found.metrics, **costs}) for metric in todo.metrics)
        by_name = {m.name: value for m, value in zip(todo.metrics, scores, strict=True)}
        result = {"score": score, "scores": by_name, "gaps": _gaps(recipe, found.metrics), **cost}
        if todo.metric.is_the_loss:
            result["block_losses"] = list(predicted.block_losses(BLOCKS))
    asked_for = bool(recipe.wanted.first_test)
    counted = trial_of(recipe, prepared.dataset, todo.sample, found, asked_for=asked_for)
    counted = replace(counted, run_id=todo.run_id)
    patiently(lambda: keep_trial(todo.engine, counted, found), *AWAY)  # what can be chosen counts
    skill = skill_of(recipe, predicted, found) if predicted.parts else None
    result |= {
        "recipe": counted.recipe,
        "feature_set": recipe.feature_set,
        "window": recipe.window,
        "horizon_bars": recipe.horizon_bars,
        "fold_losses": list(predicted.fold_losses),
        "fit_seconds": predicted.fit_seconds,
        "judge_seconds": judge_seconds,
        **({} if skill is None else skill.to_json()),
    }
    if rungs := epochs.reached(is_whole=bool(predicted.parts)):
        result[EPOCH_RUNGS] = [*rungs]
    state = TrialState.PRUNED if found is None else TrialState.COMPLETE
    return state, scores, result


def _cost(
    todo: Search,
    recipe: Recipe,
    prepared: PreparedRows,
    predicted: Predicted,
    score: float,
) -> dict[str, Json]:
    """Return what the recipe costs a server; nothing where nobody asks, or where it is behind."""
    if not todo.limits.are_asked and not any(metric.is_cost for metric in todo.others):
        return {}
    if not todo.others and not todo.leads(score):
        return {}
    assert predicted.newest is not None
    began = perf_counter()
    found = served(recipe, prepared.dataset, predicted.newest, todo.limits.n_rows).to_json()
    excess: dict[str, Json] = {**todo.limits.excess(found)}
    return found | {"excess": excess, "measure_seconds": perf_counter() - began}


def _gaps(recipe: Recipe, measured: Mapping[str, float]) -> dict[str, Json]:
    """Return by how much the recipe is better than each baseline of its template."""
    pairs = recipe.template.search_gaps.items()
    known = ((n, measured.get(a), measured.get(b)) for n, (a, b) in pairs)
    found = {n: a - b for n, a, b in known if a is not None and b is not None}
    return {name: gap for name, gap in found.items() if math.isfinite(gap)}


def blocks_of(n_folds: int) -> int:
    """Return in how many blocks a fold is shown to the pruner: few folds would tell it nothing."""
    return 1 if n_folds >= ENOUGH_FOLDS else math.ceil(ENOUGH_BLOCKS / n_folds)


def _reason(exc: Exception) -> str:
    """Return why a trial failed, in one line; what nobody foresaw also goes to the log."""
    if isinstance(exc, MLEngineError):
        return str(exc)[:MOST_LETTERS]
    traceback.print_exception(exc)
    first = str(exc).strip().partition("\n")[0]
    return f"{type(exc).__name__}: {first}"[:MOST_LETTERS]


def _line(trial: FrozenTrial, metric: Metric) -> str:
    """Return one line about an ended trial."""
    result, point = trial.user_attrs["result"], trial.user_attrs["taken"]["point"]
    said = f"trial {place_of(trial) + 1}: {point['architecture']}"
    if trial.state == TrialState.COMPLETE:
        return f"{said} {metric.name} {result['score']:.5g} in {result['seconds']:.1f} s"
    if trial.state == TrialState.PRUNED:
        return f"{said} pruned after {len(result['fold_losses'])} folds"
    return f"{said} failed: {result['reason']}"
