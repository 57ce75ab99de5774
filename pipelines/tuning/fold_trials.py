"""One trial: a recipe fitted fold by fold, given up early where it is behind, judged at the end.

Folds are the rungs, and epochs within them (`epochs`). After each fold the template's own loss says
how the recipe does; the evaluation of the template is computed once, on all of them. What comes out
is what `validate` would compute of the same recipe.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from pipelines.architectures import Estimator, FitContext
from pipelines.method.folds import Fold
from pipelines.method.rows import LabelledRows, OutOfFold
from pipelines.method.statistics import mean_per_date
from pipelines.recipes.recipe import Recipe, fold_scores, pool
from pipelines.templates import Evaluation
from pipelines.tuning.epochs import BehindError
from pipelines.tuning.metrics import LOSS
from pipelines.tuning.shared_rows import FoldRows, PreparedRows
from registry.decoder import Decoder

Array = NDArray[np.float64]

AfterFold = Callable[["Predicted"], bool]
"""Called after each fold; True gives the trial up."""


@dataclass(slots=True)
class Predicted:
    """Out-of-fold predictions made so far, each fold by a fit on earlier rows.

    `losses`, `baselines`: of each row, fold by fold. `newest`: the fit of the newest fold.
    """

    parts: list[OutOfFold] = field(default_factory=list)
    decoders: dict[int, Decoder] = field(default_factory=dict)
    losses: list[Array] = field(default_factory=list)
    baselines: list[Array] = field(default_factory=list)
    fit_seconds: float = 0.0
    was_pruned: bool = False
    newest: Estimator | None = None

    @property
    def fold_losses(self) -> list[float]:
        """Mean loss of each fold, per date."""
        pairs = zip(self.parts, self.losses, strict=True)
        return [float(mean_per_date(loss, part.rows.t0).mean()) for part, loss in pairs]

    def newest_losses(self, n_blocks: int) -> list[float]:
        """Mean loss of each block of the newest fold, per date; a block has at least one date."""
        per_date = mean_per_date(self.losses[-1], self.parts[-1].rows.t0)
        blocks = np.array_split(per_date, min(n_blocks, len(per_date)))
        return [float(block.mean()) for block in blocks]

    def block_losses(self, n_blocks: int) -> list[float]:
        """Mean loss of each block of all tested dates, in time order."""
        per_date = mean_per_date(self.loss(), self.times())
        blocks = np.array_split(per_date, min(n_blocks, len(per_date)))
        return [float(block.mean()) for block in blocks]

    def pooled(self, rows: LabelledRows) -> OutOfFold:
        """Return all predictions as one, in time order."""
        return pool(self.parts, rows)

    def times(self) -> NDArray[np.int64]:
        """Return the decision time of every row."""
        return np.concatenate([part.rows.t0 for part in self.parts])

    def loss(self) -> Array:
        """Return the loss of every row."""
        return np.concatenate(self.losses)

    def baseline(self) -> Array:
        """Return the loss of the template's baseline of every row."""
        return np.concatenate(self.baselines)


def predict_folds(
    recipe: Recipe,
    rows: LabelledRows,
    folds: Iterable[FoldRows],
    after: AfterFold | None = None,
    earlier: Iterable[OutOfFold] = (),
    context_of: Callable[[str], FitContext] = FitContext,
) -> Predicted:
    """Predict each fold by a fit that has not seen it, until `after` gives up or a fit is behind.

    Args:
        rows: all rows, which a rolling estimator looks back on.
        context_of: name of a fit ("fold 3") -> where it reports.
        earlier: predictions made before the first of these folds, for its decoder.
    """
    predicted, before, objective = Predicted(), list(earlier), recipe.objective(rows)
    for gathered in folds:
        began, context = perf_counter(), context_of(f"fold {gathered.fold.number}")
        try:
            fitted = recipe.fit_training(gathered.training, objective, context)
        except BehindError:
            predicted.fit_seconds += perf_counter() - began
            predicted.was_pruned = True
            break
        scores = fold_scores(fitted, rows, gathered.test)
        decoder = recipe.fit_decoder(pool(before, rows), gathered.train)
        predicted.fit_seconds += perf_counter() - began
        number = np.full(len(gathered.test), gathered.fold.number, dtype=np.int64)
        before.append(OutOfFold(gathered.test, scores, number))
        predicted.parts.append(before[-1])
        predicted.newest = fitted
        predicted.decoders[gathered.fold.number] = decoder
        predicted.losses.append(recipe.template.loss(gathered.test, scores, decoder))
        predicted.baselines.append(recipe.template.baseline_loss(gathered.test, decoder))
        if after is not None and after(predicted):
            predicted.was_pruned = True
            break
    return predicted


def to_come(spent: Sequence[float], folds: Sequence[Fold]) -> float:
    """Return how many seconds the other folds will take, by what those after the first one took.

    A fit takes as long as it has rows; that of the first fold also imports libraries.

    Args:
        spent: seconds of all fits after each fold so far.
    """
    n_done = len(spent)
    if n_done < 2:
        return 0.0
    sizes = [len(fold.train) for fold in folds]
    return (spent[-1] - spent[0]) * sum(sizes[n_done:]) / sum(sizes[1:n_done])


def evaluate(recipe: Recipe, prepared: PreparedRows, predicted: Predicted) -> Evaluation:
    """Return the template's judgement of all predictions, with `loss` among its metrics."""
    dataset = prepared.dataset
    return judged(recipe, predicted, dataset.rows, dataset.data.interval)


def judged(recipe: Recipe, predicted: Predicted, rows: LabelledRows, interval: str) -> Evaluation:
    """Return the template's judgement of predictions, with `loss` among its metrics."""
    oof = predicted.pooled(rows)
    found = recipe.template.evaluate(oof, predicted.decoders, dict(rows.spec), interval)
    loss = float(mean_per_date(predicted.loss(), predicted.times()).mean())
    metrics: Mapping[str, float] = {**found.metrics, LOSS: loss}
    return replace(found, metrics=metrics)
