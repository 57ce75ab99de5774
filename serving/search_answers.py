"""Answers about searches: how far one is, its best trial so far, and what it came to."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipelines.tuning.parameters import BudgetParameters
from serving.enqueueing import JobAnswer
from serving.mlflow_pages import run_page
from serving.routes.jobs import JobLine, line_of
from serving.searches import Searching
from serving.service import Service


class _Told(BaseModel):
    model_config = ConfigDict(extra="allow", protected_namespaces=())


class TrialLine(_Told):
    """One trial of a search; of the best so far, what needs no other trial."""

    trial: int = Field(description="Its place in the study, from 1.")
    state: str = Field(description="complete, pruned or fail.")
    score: float | None = None
    gain: float | None = Field(default=None, description="Over the template's baseline.")
    z: float | None = Field(default=None, description="Of the test that the gain is 0.")
    architecture: str
    feature_set: str | None = None
    window: int | None = None
    horizon: int | None = None
    parameters: str = ""
    folds: int = 0
    seconds: float | None = None
    reason: str = Field(default="", description="Why it failed.")
    rank: int | None = None
    deflated_sharpe: float | None = None
    limit: float | None = Field(
        default=None,
        description="What z, or the deflated Sharpe ratio, must reach as one of all trials.",
    )


class WorkerLine(BaseModel):
    """One job that searches."""

    job_id: str
    state: str


class SearchStarted(JobAnswer):
    """A search that was asked for; GET /automl/status/{job_id} says how far it is."""

    study: str = Field(description="Its name; the same name joins it and goes on with it.")
    workers: list[str] = Field(description="The jobs that search, this one first.")
    ignored: list[str] = Field(description="What was given and has no effect, and why.")


class SearchState(JobLine):
    """How far a search is."""

    study: str
    metric: str | None = Field(description="What it chooses by; null: it has not begun.")
    higher_is_better: bool | None
    n_trials: int = Field(description="The budget of the study.")
    n_ended: int = Field(description="Trials that have ended, of all workers.")
    n_pruned: int = Field(description="Of them, given up early.")
    n_failed: int = Field(description="Of them, failed.")
    best: TrialLine | None = Field(description="The best trial so far.")
    workers: list[WorkerLine] = Field(description="The jobs of the study, this one first.")


class Skill(_Told):
    """Gain over the template's baseline, with a two-sided 90 % interval."""

    gain: float | None
    lower: float | None
    upper: float | None
    z: float | None
    n_times: int


class Hurdle(_Told):
    """One question to the best trial: what was measured, and what it had to reach."""

    value: float | None
    limit: float
    n: int = Field(description="Trials, or looks at the untouched period, that count.")
    note: str
    passed: bool


class FrontLine(BaseModel):
    """One trial of the Pareto front."""

    place: int = Field(description="Its place in the study, from 0.")
    scores: dict[str, float | None] = Field(description="By each metric.")


class SearchResults(SearchState):
    """What a search came to; `found` is null until it is decided."""

    found: bool | None = Field(description="Whether its best trial is more than luck.")
    reason: str | None = Field(description="Why it is, or why not.")
    recipe: dict[str, Any] = Field(description="Parameters of the best trial's recipe.")
    search_score: float | None
    untouched_score: float | None = Field(description="Null: the period was not looked at.")
    optimism: float | None = Field(description="The gain searched minus the gain untouched.")
    search: Skill | None
    untouched: Skill | None
    of_search: Hurdle | None
    of_untouched: Hurdle | None
    bias: dict[str, float | None] = Field(description="Of having chosen among all trials.")
    front: list[FrontLine] = Field(description="Of several metrics: what nothing is better than.")
    leaderboard: list[TrialLine] = Field(description="Best first, 50 at most; see `pages`.")
    version: int | None = Field(description="Version that the winner became; null: none yet.")
    pages: dict[str, str] = Field(description="Pages of the study in MLflow, by name.")


class WinnerDeployment(JobAnswer):
    """The job that makes a version of a search's winner."""

    study: str
    ignored: list[str] = Field(description="What was given and has no effect, and why.")


def state_facts(service: Service, found: Searching) -> dict[str, Any]:
    """Return the fields of `SearchState`."""
    told, budget = found.told, found.job.payload.get("trials", BudgetParameters().trials)
    line = line_of(service, found.job) | {"state": found.state}
    return line | {
        "study": found.study,
        "metric": told.get("metric"),
        "higher_is_better": told.get("higher_is_better"),
        "n_trials": told.get("n_trials") or budget,
        **{name: told.get(name, 0) for name in ("n_ended", "n_pruned", "n_failed")},
        "best": told.get("best"),
        "workers": [WorkerLine(job_id=job.id, state=job.state) for job in found.workers],
    }


def state_of(service: Service, found: Searching) -> SearchState:
    """Return how far a search is."""
    return SearchState(**state_facts(service, found))


def results_of(service: Service, found: Searching) -> SearchResults:
    """Return what a search came to, or how far it is."""
    outcome: Mapping[str, Any] = found.outcome or {}
    nothing: dict[str, Any] = {"recipe": {}, "bias": {}, "front": [], "leaderboard": []}
    said = {name: outcome.get(name, nothing.get(name)) for name in OF_OUTCOME}
    return SearchResults(**state_facts(service, found), **said, pages=_pages(service, found))


def _pages(service: Service, found: Searching) -> dict[str, str]:
    run_id = found.told.get("study_run_id")
    page = run_page(service.platform.mlflow_tracking_uri, run_id) if run_id else None
    return {} if page is None else {"study": page}


OF_OUTCOME = tuple(SearchResults.model_fields.keys() - SearchState.model_fields.keys() - {"pages"})
