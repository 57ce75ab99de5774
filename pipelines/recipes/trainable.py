"""Whether rows can be learned from at all, asked before the first fit.

A fit on constant labels or on one class would run and give a useless model. Here the stage stops
instead, with a line that names the fold, what was found, and what to do.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipelines.architectures import Objective
from pipelines.method.folds import Fold
from pipelines.recipes.inputs import Dataset
from pipelines.recipes.recipe import Recipe
from registry.errors import UnfitRowsError

LEAST_TRAINING_ROWS = 30
"""Fewest rows of a fit; with fewer, no fit can tell a pattern from chance."""
SUPERVISED = ("gamma", "softmax", "squared")


def check_trainable(recipe: Recipe, dataset: Dataset) -> None:
    """Refuse rows from which nothing can be learned.

    Raises:
        UnfitRowsError: a feature without a value, too few rows in a fold, a target that does not
            vary, or one class only.
    """
    for problem, hint in _problems(recipe, dataset):
        raise UnfitRowsError(recipe.template.name, problem, hint)


def _problems(recipe: Recipe, dataset: Dataset) -> Iterator[tuple[str, str]]:
    rows, objective = dataset.rows, recipe.objective(dataset.rows)
    yield from _empty_features(rows.X)
    for fold in dataset.folds:
        usable = fold.train[rows.fit[fold.train]]
        if recipe.wanted.recent_bars:
            newest = np.unique(rows.t0[fold.train])[-recipe.wanted.recent_bars :][0]
            usable = usable[rows.t0[usable] >= newest]
        if len(usable) < LEAST_TRAINING_ROWS:
            yield _too_few(fold, len(usable), len(fold.train))
        elif objective.loss in SUPERVISED:
            yield from _constant(fold, rows.target[usable], objective, dataset)


def _empty_features(X: NDArray[np.float32]) -> Iterator[tuple[str, str]]:
    flat = X.reshape(-1, X.shape[-1])
    empty = np.flatnonzero(np.isnan(flat).all(axis=0))
    if len(empty):
        listed = ", ".join(str(i) for i in empty[:5].tolist())
        yield (
            f"{len(empty)} features have no value in any row (positions {listed})",
            "leave them out or repair their source",
        )


def _too_few(fold: Fold, n_usable: int, n_rows: int) -> tuple[str, str]:
    found = f"{n_usable} of its {n_rows} training rows may be fitted"
    problem = f"fold {fold.number} is too small: {found}, {LEAST_TRAINING_ROWS} are needed"
    if n_rows >= LEAST_TRAINING_ROWS:
        hint = "the others have no usable target, for example while prices stand still"
        return problem, f"{hint}: check the source, or choose a later first_test"
    return problem, "read more history, or choose a later first_test"


def _constant(
    fold: Fold, target: NDArray[np.float64], objective: Objective, dataset: Dataset
) -> Iterator[tuple[str, str]]:
    if np.ptp(target) > 0:
        return
    value = float(target[0])
    if objective.loss == "softmax":
        known = dataset.label_spec.get("classes")
        named = known[int(value)] if isinstance(known, list) and value < len(known) else int(value)
        problem = f"the {len(target)} training rows of fold {fold.number} are of one class, {named}"
        yield problem, "read data in which every class occurs, or choose a later first_test"
    else:
        whose = f"the {len(target)} training rows of fold {fold.number}"
        problem = f"the target of {whose} is always {value:g}"
        yield problem, "there is nothing to learn from a constant; check the source"
