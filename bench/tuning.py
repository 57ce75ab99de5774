"""What a trial of a search costs beyond its fits and its judgement.

Fast recipes of `return_forecast` on synthetic bars, with everything that `tune` does around a
trial: draw, journal, count in the engine database, and MLflow runs written by a thread beside the
search.
"""

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from bench.figures import Figure, report
from pipelines import tune
from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.tuning import worker
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
    with TemporaryDirectory() as folder, _installed(Path(folder)) as settings:
        taken: list[float] = []
        with _timed(taken), redirect_stdout(StringIO()):
            tune.tune(asked, BudgetParameters(study="bench", trials=n_trials), settings)
        found = [result_of(t) for t in KeptStudy(settings.tuning_dir / "bench", "bench").ended()]
    working = sum(result["fit_seconds"] + result["judge_seconds"] for result in found)
    overhead = 1000 * (taken[0] - working) / len(found)
    note = f"mean of {len(found)} trials"
    report(
        "tuning",
        [
            Figure("trial_overhead_ms", overhead, "ms", note),
            Figure("trial_fit_ms", 1000 * working / len(found), "ms", "fits and judgement"),
        ],
        {"trials": n_trials},
    )


@contextmanager
def _timed(taken: list[float]) -> Iterator[None]:
    """Note how long the search itself takes."""
    whole = worker.search

    def search(*arguments: object) -> int:
        began = perf_counter()
        n_done = whole(*arguments)  # type: ignore[arg-type]
        taken.append(perf_counter() - began)
        return n_done

    worker.search = search
    try:
        yield
    finally:
        worker.search = whole


@contextmanager
def _installed(folder: Path) -> Iterator[PlatformSettings]:
    """Make an installation in a folder of its own, with MLflow on SQLite."""
    uri = f"sqlite:///{folder}/mlflow.db"
    os.environ |= {"DATA_DIR": str(folder), "MLFLOW_TRACKING_URI": uri}
    os.chdir(folder)
    yield PlatformSettings(data_dir=folder, database_url="", mlflow_tracking_uri=uri)
    os.chdir("/")


if __name__ == "__main__":
    run(main)
