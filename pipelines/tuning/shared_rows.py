"""Rows that the trials of a study share: made once per feature set, window and label.

A trial asks for the rows of its recipe and gets those that an earlier one made, cut into the same
folds and weighted already. What was asked for longest ago is forgotten when memory is short.
"""

import json
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.architectures import TrainingRows
from pipelines.method.folds import Fold
from pipelines.method.rows import LabelledRows
from pipelines.recipes.dataset import make_dataset
from pipelines.recipes.inputs import Data, Dataset, kind_of
from pipelines.recipes.recipe import Recipe
from pipelines.recipes.trainable import check_trainable

MOST_BYTES = 1 << 30
"""Inputs that are held at once; at least one dataset is, whatever its size."""


@dataclass(frozen=True, slots=True)
class FoldRows:
    """The rows of one fold: those that a fit may learn from, as it takes them, and the tested."""

    fold: Fold
    train: LabelledRows
    training: TrainingRows
    test: LabelledRows


class PreparedRows:
    """A dataset whose folds are gathered once, where they are small enough to be kept."""

    def __init__(self, dataset: Dataset, recipe: Recipe) -> None:
        self.dataset = dataset
        rows = dataset.rows
        n_train = sum(len(fold.train) for fold in dataset.folds)
        self._whole = rows.X.nbytes * (1 + n_train / max(1, len(rows)))
        self.is_kept = self._whole <= MOST_BYTES / 2
        self.n_bytes = self._whole if self.is_kept else rows.X.nbytes
        self._recipe = recipe  # of which only what the rows depend on is used
        self._folds: dict[int, FoldRows] = {}

    def folds(self) -> Iterator[FoldRows]:
        """Yield the folds in time order."""
        for fold in self.dataset.folds:
            found = self._folds.get(fold.number) or self._gathered(fold)
            if self.is_kept:
                self._folds[fold.number] = found
            yield found

    def forget(self) -> None:
        """Forget the gathered folds; they are made again when they are asked for."""
        self._folds.clear()

    def _gathered(self, fold: Fold) -> FoldRows:
        rows = self.dataset.rows
        train = rows.take(fold.train)
        return FoldRows(fold, train, self._recipe.training(train), rows.take(fold.test))


class SharedRows:
    """The rows of every recipe of a study, by what they depend on."""

    def __init__(self, data: Data, first_test: str) -> None:
        self.data = data
        self._first_test = first_test
        self._kept: OrderedDict[str, PreparedRows] = OrderedDict()

    def of(self, recipe: Recipe) -> PreparedRows:
        """Return the rows of a recipe.

        Raises:
            MLEngineError: no such rows can be made of these data, or nothing learned from them.
        """
        key = _key(recipe)
        if key not in self._kept:
            kind_of(recipe.template).check(recipe)
            dataset = make_dataset(recipe, self.data, self._first_test)
            check_trainable(recipe, dataset)
            self._kept[key] = PreparedRows(dataset, recipe)
            self._forget()
        self._kept.move_to_end(key)
        return self._kept[key]

    def forget(self) -> None:
        """Forget all rows but those that were asked for last, and their gathered folds."""
        for prepared in self._kept.values():
            prepared.forget()
        while len(self._kept) > 1:
            self._kept.popitem(last=False)

    def _forget(self) -> None:
        while len(self._kept) > 1 and sum(p.n_bytes for p in self._kept.values()) > MOST_BYTES:
            self._kept.popitem(last=False)


def _key(recipe: Recipe) -> str:
    """Return what the rows of a recipe depend on; of the algorithm, which inputs it takes."""
    architecture = recipe.architecture
    takes = [architecture.takes_missing, architecture.takes_categories, architecture.text_encoder]
    named = architecture.name if architecture.text_encoder else ""
    facts = [recipe.feature_set, recipe.window, recipe.horizon_bars, dict(recipe.options)]
    return json.dumps([*facts, *takes, named], sort_keys=True)
