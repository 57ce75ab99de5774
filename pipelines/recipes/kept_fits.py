"""Fits of a stage: their reports to MLflow, and the checkpoints that a killed fit goes on from.

Checkpoints lie below the data directory, in a folder named after everything the fits depend on. So
the same stage on the same data, started again after a crash, finds them, and no other stage does.
The folder is removed when the stage has ended without error.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from pipelines.architectures import FitContext
from pipelines.recipes.inputs import Dataset
from pipelines.recipes.recipe import Recipe
from pipelines.stage import log_metrics
from registry.settings import PlatformSettings


@contextmanager
def kept_fits(
    settings: PlatformSettings, recipe: Recipe, dataset: Dataset
) -> Iterator[Callable[[str], FitContext]]:
    """Yield a function from the name of a fit to its context; needs an active MLflow run.

    Metrics go to the run as `fit.<name>.<metric>` with the epoch as step, notices to standard
    output and to the run's tag `notice.<name>`; blanks in the name become underscores.
    """
    folder = settings.checkpoints_dir / _digest(recipe, dataset)

    def context_of(name: str) -> FitContext:
        word = name.replace(" ", "_")
        return FitContext(
            name, folder / f"{word}.pt", lambda e, m: _report(word, e, m), lambda s: _say(word, s)
        )

    yield context_of
    shutil.rmtree(folder, ignore_errors=True)  # there is none where nothing keeps checkpoints


def _digest(recipe: Recipe, dataset: Dataset) -> str:
    facts = {
        "model": recipe.wanted.model_id,  # two models may be made of one recipe at once
        "template": recipe.template.name,
        "recipe": recipe.digest(),
        "horizon_bars": recipe.horizon_bars,
        "options": dict(recipe.options),
        "label_spec": dataset.label_spec,
        "data": dataset.data.digest(),
        "first_test": dataset.first_test.isoformat(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _report(name: str, epoch: int, metrics: Mapping[str, float]) -> None:
    log_metrics({f"fit.{name}.{metric}": value for metric, value in metrics.items()}, step=epoch)


def _say(name: str, line: str) -> None:
    import mlflow

    print(line, flush=True)
    mlflow.set_tag(f"notice.{name}", line)
