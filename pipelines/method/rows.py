"""Labelled rows, and the predictions made for them out of fold.

A row is one decision: symbol, time t0 (close at which it is made), inputs known at t0, a label that
is complete at t1. A kind of input makes the rows (`pipelines/recipes/inputs`),
`pipelines/method/folds.py` cuts them into folds; fitting and predicting belong to the stages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from registry.contract import Json


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Rows sorted by (t0, symbol).

    `X`: float32 (n, n_features) or (n, window, n_features).
    `y`: float64 (n,), the realised outcome in the template's unit.
    `target`: float64 (n,), what an architecture fits (`Template.target`).
    `context`: float64 (n,) each, known at t0, needed to decode.
    `outcome`: float64 (n,) each, known at t1 only (returns, touched barrier): never an input.
    `symbol`: int32 (n,) index into `symbols`; `t0`, `t1`: int64 microseconds UTC.
    `fit`: bool (n,), rows that a fit may use (false for example where the target is degenerate).
    `spec`: parameters of the label that made `y`. `categorical`: see `TrainingRows`.
    """

    X: NDArray[np.float32]
    y: NDArray[np.float64]
    target: NDArray[np.float64]
    context: Mapping[str, NDArray[np.float64]]
    outcome: Mapping[str, NDArray[np.float64]]
    symbol: NDArray[np.int32]
    symbols: tuple[str, ...]
    t0: NDArray[np.int64]
    t1: NDArray[np.int64]
    fit: NDArray[np.bool_]
    spec: Mapping[str, Json] = field(default_factory=dict)
    categorical: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "LabelledRows":
        """Return the chosen rows, in the order given."""
        return LabelledRows(
            self.X[rows],
            self.y[rows],
            self.target[rows],
            {k: v[rows] for k, v in self.context.items()},
            {k: v[rows] for k, v in self.outcome.items()},
            self.symbol[rows],
            self.symbols,
            self.t0[rows],
            self.t1[rows],
            self.fit[rows],
            self.spec,
            self.categorical,
        )


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """Predictions for rows that the predicting fit had not seen, in time order.

    `scores`: float32 (n, n_scores); `fold`: int (n,), grows with time.
    """

    rows: LabelledRows
    scores: NDArray[np.float32]
    fold: NDArray[np.int64]

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "OutOfFold":
        """Return the chosen rows."""
        return OutOfFold(self.rows.take(rows), self.scores[rows], self.fold[rows])


def concatenate(parts: Sequence[LabelledRows]) -> LabelledRows:
    """Return the rows of all parts, in the order given; symbols and spec are the first part's."""
    first = parts[0]
    return LabelledRows(
        np.concatenate([part.X for part in parts]),
        np.concatenate([part.y for part in parts]),
        np.concatenate([part.target for part in parts]),
        {k: np.concatenate([part.context[k] for part in parts]) for k in first.context},
        {k: np.concatenate([part.outcome[k] for part in parts]) for k in first.outcome},
        np.concatenate([part.symbol for part in parts]),
        first.symbols,
        np.concatenate([part.t0 for part in parts]),
        np.concatenate([part.t1 for part in parts]),
        np.concatenate([part.fit for part in parts]),
        first.spec,
        first.categorical,
    )


def known_to(training: LabelledRows, oof: OutOfFold) -> OutOfFold:
    """Return the predictions whose label was complete no later than the last training label.

    Training rows are purged against the rows they serve. So these predictions were known before
    those rows; the newest predictions of the fold before were not.
    """
    return oof.take(oof.rows.t1 <= training.t1.max(initial=-1))
