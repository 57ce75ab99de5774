"""Labelled rows and their folds.

A row is one decision: symbol, time t0 (close at which it is made), inputs known at t0, a label
that is complete at t1. Every splitter works on (t0, t1) across all symbols.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
