"""Command `tune`: search the recipes of a template, judge the best honestly, register it if wanted.

A study is joined by its name: the same command again goes on with it, and several of them at once
are its workers. The last one to leave decides. What a study searches is said once; whoever joins it
later may say nothing else, but may raise the budget, or ask to deploy what was found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from pipelines import progress
from pipelines.main import make_version
from pipelines.parameters import (
    FlavorParameters,
    JudgementParameters,
    PromotionParameters,
    RecipeParameters,
    SourceParameters,
    parse,
)
from pipelines.stage import (
    check_numbers,
    exit_with,
    log_metrics,
    platform_settings,
    say_what_run_is,
    stage_run,
    tell_run,
)
from pipelines.tuning.asked import Asked, Question
from pipelines.tuning.parameters import BudgetParameters, SearchParameters
from registry.database import opened_engine
from registry.errors import NothingFoundError
from registry.settings import PlatformSettings
from registry.versions import Registry

if TYPE_CHECKING:
    from pipelines.tuning.studies import KeptStudy

GROUPS = (SourceParameters, RecipeParameters, SearchParameters, BudgetParameters)

DECIDED = 0.9
"""Share of the command after which the study is decided, for its progress."""


def tune(asked: Asked, budget: BudgetParameters, settings: PlatformSettings) -> dict[str, Any]:
    """Work on a study, decide it where no other worker is left, and return its outcome.

    Returns:
        The outcome (`Decision.to_json`), empty where other workers go on.

    Raises:
        NothingFoundError: `deploy` of a study without a winner, or of one that goes on.
        MLEngineError: anything else that the caller can mend, in one line.
    """
    import mlflow

    from pipelines.tuning.worker import Installation, work

    budget.check()
    name = asked.study(budget.study)
    with opened_engine(settings) as engine:
        study, asked = _joined(asked, name, settings, engine)
        groups = (asked.source, asked.recipe, asked.search, replace(budget, study=name))
        with stage_run("tune", asked.recipe.model_id, *groups) as run_id:
            mlflow.set_tag("study", name)
            experiment_id = str(mlflow.get_run(run_id).info.experiment_id)
            here = Installation(settings, engine, run_id, experiment_id)
            outcome = study.outcome() if budget.deploy else None
            if not (outcome and outcome["found"]):  # else what was decided is deployed as it is
                with progress.part("", 0.0, DECIDED):
                    outcome = work(asked, budget, study, here)
            _tell(study, run_id, outcome)
            if budget.deploy:
                with progress.part("", DECIDED, 1.0), study.deciding():
                    _deploy(study, asked, budget, outcome, settings, run_id)
    return outcome or {}


def _joined(
    asked: Asked, name: str, settings: PlatformSettings, engine: sa.Engine
) -> tuple["KeptStudy", Asked]:
    """Return the study of this name and what it was made with, or a new one and what is asked.

    Raises:
        StudyConflictError: something else is asked than it was made with.
        MLEngineError: nothing that can be searched is asked; before anything is made for it.
    """
    from pipelines.tuning.studies import KeptStudy

    if (found := KeptStudy.find(settings, engine, name)) is not None:
        return found, asked.joining(name, Asked.from_json(found.facts() or {}))
    Question.of(asked)
    return KeptStudy.of(settings, engine, name), asked


def _tell(study: "KeptStudy", run_id: str, outcome: Mapping[str, Any] | None) -> None:
    """Say what the study came to: in a line, on the run of this command and on the study's own."""
    account = _account(study.name, outcome)
    print(account, flush=True)
    of_study = str((study.facts() or {}).get("run_id", run_id))
    joined = "" if of_study == run_id else " (joined)"
    say_what_run_is(f"tune {study.name}{joined}", account)
    log_metrics(_numbers(outcome or {}))
    if outcome and joined:
        tell_run(of_study, account, _numbers(outcome))


def _account(name: str, outcome: Mapping[str, Any] | None) -> str:
    """Say in one line what a study came to."""
    if outcome is None:
        return f"study {name}: other workers go on; the last one to leave decides"
    found = "found" if outcome["found"] else "found nothing"
    untouched = outcome["untouched_score"]
    expected = outcome.get("bias", {}).get("expected_score")
    of_choice = "" if expected is None else f" ({expected:.5g} expected, as it was chosen)"
    scores = f"score {outcome['search_score']:.5g} searched{of_choice}, " + (
        "untouched period not looked at" if untouched is None else f"{untouched:.5g} untouched"
    )
    architecture = outcome["recipe"]["architecture"]
    best = f"best trial {outcome['place'] + 1} ({architecture}), {scores}"
    return f"study {name} {found}: {best}; {outcome['reason']}"


def _numbers(outcome: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of the command's run."""
    named = {name: outcome.get(name) for name in ("search_score", "untouched_score", "optimism")}
    found = {name: float(value) for name, value in named.items() if value is not None}
    return found | {name: float(value) for name, value in outcome.get("bias", {}).items()}


def _deploy(
    study: "KeptStudy",
    asked: Asked,
    budget: BudgetParameters,
    outcome: Mapping[str, Any] | None,
    settings: PlatformSettings,
    run_id: str,
) -> None:
    """Register the winner through the stages of `main`, with its study as provenance; once.

    Raises:
        NothingFoundError: the study has no winner, or has not ended.
    """
    name = study.name
    if outcome is None:
        raise NothingFoundError(name, "other workers still search; ask again when they have ended")
    outcome = study.outcome() or outcome  # another worker may have deployed it meanwhile
    if not outcome["found"]:
        raise NothingFoundError(name, outcome["reason"])
    wanted = RecipeParameters(**outcome["recipe"])
    if number := outcome.get("version"):
        progress.tell({"study": name, "outcome": outcome})
        print(f"study {name} was deployed before, as {wanted.model_id} version {number}")
        return
    champion = 0
    with opened_engine(settings) as engine:
        registry = Registry(settings, engine)
        if budget.promote:
            champion = registry.champion(wanted.model_id) or 0
        version, said = make_version(
            asked.source,
            wanted,
            JudgementParameters(champion=champion),
            PromotionParameters(promote=budget.promote),
            FlavorParameters(flavors=budget.flavors),
            settings,
        )
        facts = {n: outcome[n] for n in ("search_score", "untouched_score", "optimism", "place")}
        registry.note_study(version.model_id, version.number, name, facts, run_id)
    deployed = {**outcome, "version": version.number}
    study.keep_outcome(deployed)
    progress.tell({"study": name, "outcome": deployed})
    print(f"study {name} deployed as {version.model_id} version {version.number}: {said}")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command from the command line."""
    source, recipe, search, budget = parse(argv, __doc__, *GROUPS)
    settings = platform_settings()
    if budget.deploy:  # refused before the search, not after it
        check_numbers(settings, recipe.model_id)
    tune(Asked(source, recipe, search), budget, settings)


if __name__ == "__main__":
    exit_with(main)
