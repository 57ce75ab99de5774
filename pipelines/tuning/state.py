"""What a search tells while it runs and when it has ended: facts of its job, as JSON.

They leave the worker with its heartbeats (`pipelines/progress.py`), so that whoever asks needs
neither the study's folder nor MLflow.
"""

from collections import Counter
from typing import Any

from optuna.trial import TrialState

from pipelines import progress
from pipelines.tuning.decision import best_of
from pipelines.tuning.leaderboard import line_of
from pipelines.tuning.search import Search


def tell_trials(todo: Search, n_trials: int) -> None:
    """Tell how many trials of a study have ended, which is the best so far, and its outcome if any.

    Args:
        n_trials: the budget.
    """
    ended = todo.study.ended()
    states = Counter(trial.state for trial in ended)
    facts: dict[str, Any] = {
        "study": todo.study.name,
        "study_run_id": todo.run_id,
        "metric": todo.metric.name,
        "higher_is_better": todo.metric.higher_is_better,
        "n_trials": n_trials,
        "n_ended": len(ended),
        "n_pruned": states[TrialState.PRUNED],
        "n_failed": states[TrialState.FAIL],
        "best": line_of(best_of(todo, ended)) if states[TrialState.COMPLETE] else None,
    }
    if (outcome := todo.study.outcome()) and outcome["n_ended"] == len(ended):
        facts["outcome"] = outcome
    progress.tell(facts)
