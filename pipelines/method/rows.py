"""Labelled rows, and the predictions made for them out of fold.

A row is one decision: symbol, time t0 (close at which it is made), inputs known at t0, a label that
is complete at t1. A kind of input makes the rows (`pipelines/recipes/inputs`),
`pipelines/method/folds.py` cuts them into folds; fitting and predicting belong to the stages.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

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
    `spec`: parameters of the label that made `y`. `categorical`, `columns`: see `TrainingRows`.
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
    columns: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "LabelledRows":
        """Return the chosen rows, in the order given."""
        return _gathered([self], lambda arrays: arrays[0][rows])


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
    return _gathered(parts, np.concatenate)


def _gathered(
    parts: Sequence[LabelledRows], gather: Callable[[list[NDArray[Any]]], NDArray[Any]]
) -> LabelledRows:
    """Return rows of which each array is what `gather` makes of that array of all parts."""

    def array(name: str) -> NDArray[Any]:
        return gather([getattr(part, name) for part in parts])

    def arrays(name: str) -> dict[str, NDArray[Any]]:
        return {k: gather([getattr(part, name)[k] for part in parts]) for k in getattr(first, name)}

    first = parts[0]
    return replace(
        first,
        X=array("X"),
        y=array("y"),
        target=array("target"),
        context=arrays("context"),
        outcome=arrays("outcome"),
        symbol=array("symbol"),
        t0=array("t0"),
        t1=array("t1"),
        fit=array("fit"),
    )


def known_to(training: LabelledRows, oof: OutOfFold) -> OutOfFold:
    """Return the predictions whose label was complete no later than the last training label.

    Training rows are purged against the rows they serve. So these predictions were known before
    those rows; the newest predictions of the fold before were not.
    """
    return oof.take(oof.rows.t1 <= training.t1.max(initial=-1))


def newest_step(X: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the newest step of inputs (n, [step,] feature)."""
    return X if X.ndim == 2 else X[:, -1]


def prefixed(
    arrays: Mapping[str, NDArray[np.float64]], prefix: str
) -> dict[str, NDArray[np.float64]]:
    """Return the arrays whose names start with the prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
