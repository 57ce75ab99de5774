"""A worker of a study: joins it, searches, and decides where it is the last one to leave."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import polars as pl
import sqlalchemy as sa

from pipelines import progress
from pipelines.recipes.inputs import Data, kind_of
from pipelines.recipes.trial_family import sampled_data
from pipelines.tuning.asked import Asked, Question
from pipelines.tuning.decision import Decision, decide, keep_decision
from pipelines.tuning.known_points import known_points
from pipelines.tuning.leaderboard import leaderboard
from pipelines.tuning.memory import MemoryLimit
from pipelines.tuning.page import log_page, render, sections
from pipelines.tuning.parameters import BudgetParameters
from pipelines.tuning.runs import Parent, RunWriter, without_links, write_missing
from pipelines.tuning.search import Search, search
from pipelines.tuning.shared_rows import SharedRows
from pipelines.tuning.state import tell_trials
from pipelines.tuning.studies import KeptStudy, Plan
from pipelines.tuning.untouched import hold_back
from registry.contract import Json
from registry.errors import ParameterError, StudyConflictError
from registry.settings import PlatformSettings

MOST_LINES = 50
"""Of the leaderboard, in the outcome; MLflow has the whole of it."""
SEARCHED = 0.8
"""Share of the work after which the search has ended, for its progress."""


@dataclass(frozen=True, slots=True)
class Installation:
    """Where a worker works: settings, engine database, and its own MLflow run."""

    settings: PlatformSettings
    engine: sa.Engine
    run_id: str
    experiment_id: str


@without_links()
def work(
    asked: Asked, budget: BudgetParameters, study: KeptStudy, here: Installation
) -> dict[str, Any] | None:
    """Search within the budget; return the outcome, None where other workers go on.

    Raises:
        MLEngineError: unusable data, seconds too few for one trial, no trial that came to a score,
            a part that does not answer.
    """
    question = Question.of(asked)
    if question.left_out:
        columns = asked.search.served_columns
        print(
            f"left out, since {columns} is not enough: {', '.join(question.left_out)}", flush=True
        )
    data = kind_of(question.template).read(asked.source, asked.recipe, here.settings)
    todo, parent = _begun(asked, question, study, data, here)
    study.join()
    try:
        todo = replace(todo, memory=MemoryLimit(budget.memory_mb))
        told = partial(tell_trials, todo, budget.trials)
        with RunWriter(parent) as writer, progress.part("search", 0.0, SEARCHED):
            search(todo, budget.trials, budget.seconds, writer, told)
        others = study.leave()
    finally:
        study.abandon()
    told()
    if others:
        return None
    if not study.ended():
        raise ParameterError("seconds", budget.seconds, "more: no trial came to its end")
    with study.deciding():
        outcome = _decided(todo, data, parent, here)
    told()
    return outcome


def _begun(
    asked: Asked,
    question: Question,
    study: KeptStudy,
    data: Data,
    here: Installation,
) -> tuple[Search, Parent]:
    """Make the study, or join the one that is there."""
    horizons = (h or question.template.horizon_bars for h in question.space.horizons)
    held = hold_back(data, question.template, asked.search.untouched_percent, max(horizons))
    question = question.fitting(held.search)
    known = (
        question.space.grid(asked.recipe.seed)
        if asked.search.sampler == "grid"
        else known_points(question.space, here.engine)
    )
    facts: dict[str, Json] = asked.to_json() | {
        "known": [dict(point) for point in known],
        "data_sha256": data.digest(),
        "run_id": here.run_id,
        "experiment_id": here.experiment_id,
    }
    first, *others = (metric.higher_is_better for metric in question.metrics)
    kept = study.make(facts, higher_is_better=first, others=others)
    if kept["data_sha256"] != facts["data_sha256"]:
        raise StudyConflictError(study.name, "data", kept["data_sha256"], facts["data_sha256"])
    plan = Plan(
        space=question.space,
        sampler=asked.search.sampler,
        pruner=question.pruner,
        seed=asked.recipe.seed,
        known=tuple(cast("list[Mapping[str, Json]]", kept["known"])),
    )
    run_id, experiment_id = str(kept["run_id"]), str(kept["experiment_id"])
    rows = SharedRows(held.search, asked.recipe.first_test)
    sample = sampled_data(held.search)
    todo = Search(
        *(study, plan, question.metric, rows, held, sample, here.engine, run_id),
        others=question.metrics[1:],
        limits=question.limits,
    )
    return todo, Parent(here.settings.mlflow_tracking_uri, run_id, experiment_id, study.name)


def _decided(todo: Search, data: Data, parent: Parent, here: Installation) -> dict[str, Any]:
    """Return the outcome: the one that is kept, if no trial has ended since."""
    ended = todo.study.ended()
    kept = todo.study.outcome()
    if kept and kept["n_ended"] == len(ended):
        return kept
    with progress.part("decision", SEARCHED, 1.0):
        write_missing(parent, ended)
        decision = decide(todo, data)
        board = _show(todo, decision, data, parent, is_ours=parent.run_id == here.run_id)
        best = {"leaderboard": board.head(MOST_LINES).to_dicts()}
        keep_decision(todo, decision, {"n_ended": len(ended), "study": todo.study.name, **best})
    found = todo.study.outcome()
    assert found is not None
    return found


def _show(
    todo: Search, decision: Decision, data: Data, parent: Parent, *, is_ours: bool
) -> pl.DataFrame:
    """Log leaderboard, pictures and page to the run of the study; return the leaderboard."""
    board = leaderboard(todo.study.ended(), todo.metrics, decision, todo.limits)
    parts = sections(todo.study.loaded(), board, decision, todo.metrics)
    first, last = data.span()
    held = todo.held
    lead = (
        f"{decision.recipe.template.name} on {len(data.symbols) or len(data.frame)} "
        f"{'symbols' if data.symbols else 'rows'}, {first:%F} to {last:%F}; searched before "
        f"{held.start:%F}, {held.n_times} times held back. {data.note}"
    )
    log_page(parent, render(todo.study.name, lead, parts), parts, board, is_ours=is_ours)
    return board
