"""One search of ours, as a process of its own: the command `tune`, then the winner's predictions.

The winner is fitted on all searched rows, as a version is, and predicts the untouched ones.
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from bench.automl.sets import METRICS, asked_of
from bench.tuning import installed, timed
from pipelines import tune
from pipelines.data.bars import to_microseconds
from pipelines.method.rows import LabelledRows
from pipelines.parameters import RecipeParameters
from pipelines.recipes.inputs import Data, kind_of
from pipelines.recipes.recipe import Recipe
from pipelines.templates.classes.decoder import calibrated
from pipelines.tuning.asked import Asked
from pipelines.tuning.fold_trials import predict_folds
from pipelines.tuning.parameters import BudgetParameters, SearchParameters
from pipelines.tuning.shared_rows import SharedRows
from pipelines.tuning.space import ARCHITECTURE, MOST_TRIALS
from pipelines.tuning.studies import KeptStudy, Plan, TakenTrial, point_of, result_of
from pipelines.tuning.untouched import hold_back
from registry.command_line import run
from registry.contract import Json
from registry.decoder import Decoder
from registry.settings import PlatformSettings

STUDY = "bench"


def main() -> None:
    """Search, predict and write the result."""
    parser = argparse.ArgumentParser("python -m bench.automl.ours", description=__doc__)
    parser.add_argument("--set", required=True)
    parser.add_argument("--kind", required=True, choices=METRICS)
    parser.add_argument("--table", default="", help="file of a table")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="where the installation is made")
    parser.add_argument("--out", type=Path, required=True)
    asked_for = parser.parse_args()
    source, recipe = asked_of(asked_for.set, asked_for.table, asked_for.seed)
    asked = Asked(source, recipe, SearchParameters(metric=METRICS[asked_for.kind]))
    with installed(asked_for.folder) as settings:
        taken: list[float] = []
        begun: list[float] = []
        with timed(taken, perf_counter), _noted(begun):
            budget = BudgetParameters(STUDY, trials=MOST_TRIALS, seconds=asked_for.seconds)
            outcome = tune.tune(asked, budget, settings)
        study = KeptStudy(settings.tuning_dir / STUDY, STUDY)
        ended = study.ended()
        predicted = _predicted(RecipeParameters(**outcome["recipe"]), asked, settings)
    later, first = _overheads(ended, begun)
    np.savez(
        asked_for.out,
        predicted=predicted,
        search_score=outcome["bias"]["expected_score"],
        seconds=taken[0],
        trials=len(ended),
        overhead_ms=1000 * np.mean(later) if later else np.nan,
        first_ms=1000 * np.mean(first),
        note=outcome["recipe"]["architecture"] + " " + outcome["recipe"]["parameters"],
    )


@contextmanager
def _noted(begun: list[float]) -> Iterator[None]:
    """Note when each trial is taken."""
    take = KeptStudy.take

    def noted(study: KeptStudy, plan: Plan, n_trials: int) -> TakenTrial | None:
        begun.append(perf_counter())
        return take(study, plan, n_trials)

    with patch.object(KeptStudy, "take", noted):
        yield


def _overheads(
    ended: Sequence[FrozenTrial], begun: Sequence[float]
) -> tuple[list[float], list[float]]:
    """Return what trials took beyond fits and judgement, in seconds.

    Those of an architecture that was tried before, then the first ones, which import libraries.
    """
    later: list[float] = []
    first: list[float] = []
    known: set[Json] = set()
    for trial, began, then in zip(ended, begun, begun[1:], strict=False):
        result, architecture = result_of(trial), point_of(trial)[ARCHITECTURE]
        worked = result.get("fit_seconds", 0.0) + result.get("judge_seconds", 0.0)
        (later if architecture in known else first).append(then - began - worked)
        known.add(architecture)
    return later, first


def _predicted(
    wanted: RecipeParameters, asked: Asked, settings: PlatformSettings
) -> NDArray[np.float64]:
    """Return what the winner, fitted on all searched rows, says of the untouched ones."""
    recipe = Recipe.resolve(wanted)
    data: Data = kind_of(recipe.template).read(asked.source, asked.recipe, settings)
    recipe = recipe.declared(data.instrument)
    percent = asked.search.untouched_percent
    held = hold_back(data, recipe.template, percent, recipe.horizon_bars)
    prepared = SharedRows(held.search, wanted.first_test).of(recipe)
    recipe = recipe.chosen(next(prepared.folds()).train)
    searched = prepared.dataset
    oof = predict_folds(recipe, searched.rows, prepared.folds()).pooled(searched.rows)
    rows = kind_of(recipe.template).rows(recipe, data, searched.label_spec)
    test = rows.take(rows.t0 >= to_microseconds(held.start))
    scores = recipe.fit(searched.rows).predict(test.X)
    return _decoded(scores, recipe.fit_decoder(oof, searched.rows), test)


def _decoded(
    scores: NDArray[np.float32], decoder: Decoder, rows: LabelledRows
) -> NDArray[np.float64]:
    kind = rows.spec["kind"]
    if kind == "classification":
        return calibrated(scores, decoder)
    if kind == "regression":
        return scores[:, 0] * rows.context["scale"] + rows.context["center"]
    return np.exp(scores[:, 0].astype(np.float64))


if __name__ == "__main__":
    run(main)
