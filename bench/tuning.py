"""What a trial of a search costs beyond its fits and its judgement.

Fast recipes of `return_forecast` on synthetic bars, with everything that `tune` does around a
trial: draw, journal, count in the engine database, and MLflow runs written by a thread beside the
search.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, thread_time
from typing import Any
from unittest.mock import patch

from bench.figures import Figure, report
from pipelines import tune
from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.tuning import fold_trials, search, worker
from pipelines.tuning.asked import Asked
from pipelines.tuning.parameters import BudgetParameters, SearchParameters
from pipelines.tuning.studies import KeptStudy, result_of
from registry.command_line import run
from registry.settings import PlatformSettings

SPACE = {"architectures": ["ridge", "lasso"], "feature_sets": ["returns"]}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser("python -m bench.tuning", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer trials")
    n_trials = 20 if parser.parse_args().quick else 200
    asked = Asked(
        SourceParameters(source="synthetic", symbols="AAA,BBB"),
        RecipeParameters("return_forecast", horizon=1),
        SearchParameters(space=json.dumps(SPACE)),
    )
    note = f"mean of {n_trials} trials"
    with TemporaryDirectory() as folder, installed(Path(folder)) as settings:
        _searched(asked, "warm", 2, settings, perf_counter)  # imports
        overhead, working = _searched(asked, "clock", n_trials, settings, perf_counter)
        cpu_overhead, cpu_working = _searched(asked, "cpu", n_trials, settings, thread_time)
    said = "processor time of the thread that searches"
    report(
        "tuning",
        [
            Figure("trial_overhead_ms", overhead, "ms", note),
            Figure("trial_overhead_cpu_ms", cpu_overhead, "ms", said),
            Figure("trial_fit_ms", working, "ms", "fits and judgement"),
            Figure("trial_fit_cpu_ms", cpu_working, "ms", "of them"),
        ],
        {"trials": n_trials},
    )


def _searched(
    asked: Asked, name: str, n_trials: int, settings: PlatformSettings, clock: Callable[[], float]
) -> tuple[float, float]:
    """Search, and return what a trial took beside its fits, and for them, by this clock; ms."""
    taken: list[float] = []
    with timed(taken, clock), redirect_stdout(StringIO()):
        tune.tune(asked, BudgetParameters(study=name, trials=n_trials), settings)
    found = [result_of(trial) for trial in KeptStudy(settings.tuning_dir / name, name).ended()]
    working = sum(result["fit_seconds"] + result["judge_seconds"] for result in found)
    return 1000 * (taken[0] - working) / n_trials, 1000 * working / n_trials


@contextmanager
def timed(taken: list[float], clock: Callable[[], float]) -> Iterator[None]:
    """Let a clock measure the search and its fits; note how long the search itself takes."""
    whole = search.search

    def measured(*arguments: Any) -> int:
        began = clock()
        n_done = whole(*arguments)
        taken.append(clock() - began)
        return n_done

    with ExitStack() as patches:
        patches.enter_context(patch.object(worker, "search", measured))
        for module in (search, fold_trials):
            patches.enter_context(patch.object(module, "perf_counter", clock))
        yield


@contextmanager
def installed(folder: Path) -> Iterator[PlatformSettings]:
    """Make an installation in a folder of its own, with MLflow on SQLite."""
    uri = f"sqlite:///{folder}/mlflow.db"
    os.environ |= {"DATA_DIR": str(folder), "MLFLOW_TRACKING_URI": uri}
    os.chdir(folder)
    yield PlatformSettings(data_dir=folder, database_url="", mlflow_tracking_uri=uri)
    os.chdir("/")


if __name__ == "__main__":
    run(main)
