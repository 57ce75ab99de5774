"""Epochs as rungs: a network that learns less than others did by the same epoch is given up.

While the fit of the first fold trains, its lowest validation loss so far is compared after 8, 16,
32, ... epochs with that of earlier trials of the same architecture. A fit that stopped before an
epoch counts there with its lowest loss. What one fold says of the others is measured by
`bench/pruning.py`: much over a table, nothing over bars, whose folds are other times.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from optuna.trial import FrozenTrial

from pipelines.architectures import FitContext
from pipelines.tuning.space import ARCHITECTURE
from pipelines.tuning.studies import point_of, result_of
from registry.contract import Json

EPOCH_RUNGS = "epoch_rungs"
"""Name in a trial's result: lowest validation loss of the first fold's fit at each of `RUNGS`."""
RUNGS = (8, 16, 32, 64, 128, 256, 512)
FEWEST = 10
"""Earlier fits without which nothing is said."""
KEPT = {"wilcoxon": 0.9, "halving": 0.5}
"""Share of the fits that goes on after a rung, by the pruner of the study."""
LOSS = "validation_loss"


class BehindError(Exception):
    """The fit is behind others at a rung, and need not go on."""


class EpochRungs:
    """The rungs of one trial: gives each fit a context, and ends the first one where it is behind.

    Args:
        pruner: of the study; one that is not in `KEPT` ends nothing.
        others: `EPOCH_RUNGS` of the trials to compare with.
        each: called after every epoch; what it raises ends the fit.
    """

    def __init__(
        self,
        pruner: str,
        others: Sequence[Sequence[float]] = (),
        each: Callable[[], None] = lambda: None,
    ) -> None:
        self._kept, self._others, self._each = KEPT.get(pruner), others, each
        self._reached: list[float] = []
        self._lowest = np.inf
        self._n_fits = 0

    def context(self, name: str) -> FitContext:
        """Return the context of the next fold's fit."""
        self._n_fits += 1
        return FitContext(name, report=self._report)

    def reached(self, *, is_whole: bool) -> list[float]:
        """Return the losses at the rungs; none where no network was fitted.

        Args:
            is_whole: whether the fit came to its end, and counts at the rungs that it did not need.
        """
        n_more = len(RUNGS) - len(self._reached) if is_whole and np.isfinite(self._lowest) else 0
        return self._reached + [self._lowest] * n_more

    def _report(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self._each()
        if self._n_fits > 1:
            return
        self._lowest = min(self._lowest, float(metrics[LOSS]))
        if epoch in RUNGS:
            self._reached.append(self._lowest)
            if is_behind(self._reached, self._others, self._kept):
                raise BehindError


def is_behind(
    reached: Sequence[float], others: Iterable[Sequence[float]], kept: float | None
) -> bool:
    """Return whether a fit is not among the share of the others that goes on after its last rung.

    Args:
        reached: its losses, one per rung.
        others: the same of earlier fits; those that were given up before that rung do not count.
    """
    rung = len(reached) - 1
    there = [other[rung] for other in others if rung < len(other)]
    if kept is None or len(there) < FEWEST:
        return False
    return reached[rung] > float(np.quantile(there, kept))


def rungs_of(trials: Iterable[FrozenTrial], architecture: Json) -> list[list[float]]:
    """Return `EPOCH_RUNGS` of the trials of one architecture: each learns at its own pace."""
    alike = (result_of(t) for t in trials if point_of(t)[ARCHITECTURE] == architecture)
    return [result[EPOCH_RUNGS] for result in alike if EPOCH_RUNGS in result]
