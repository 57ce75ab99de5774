"""Labelled rows, and the predictions made for them out of fold.

A row is one decision: symbol, time t0 (close at which it is made), inputs known at t0, a label that
is complete at t1. `build_rows` makes the rows, `pipelines/method/folds.py` cuts them into folds;
fitting and predicting belong to the stages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.bars import Bars, BarSeries
from pipelines.features import FeatureSet, check_columns, compute_all, windows
from registry.contract import Json
from registry.errors import TooLittleHistoryError, UnfitRowsError

if TYPE_CHECKING:
    from pipelines.templates import BarTemplate


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


# Rows ------------------------------------------------------------------------------------------


def build_rows(
    template: "BarTemplate",
    feature_set: FeatureSet,
    bars: Bars,
    window: int,
    spec: Mapping[str, Json],
    *,
    keep_unlabelled: bool = False,
) -> LabelledRows:
    """Return the rows of every symbol whose inputs are finite and whose label is complete.

    Args:
        window: steps per input.
        spec: the label's parameters (`Template.label_spec`).
        keep_unlabelled: also return rows whose label is not complete yet, with y and target NaN,
            t1 = -1 and fit false (for scoring the newest bars).

    Raises:
        MissingColumnsError: the bars lack a column the feature set needs.
        UnfitRowsError: a feature has no value in any bar of any symbol.
        TooLittleHistoryError: no row remains.
    """
    every, parts = list(bars.series()), []
    for series in every:
        check_columns(feature_set, series)
    features = compute_all(feature_set, every)
    for series, values in zip(every, features, strict=True):
        part = _symbol_rows(template, series, values, window, spec, bars.symbols)
        parts.append(part if keep_unlabelled else part.take(part.t1 >= 0))
    if not any(len(part) for part in parts):
        _check_known(template, feature_set, features)
        longest = max((len(series) for series in every), default=0)
        needed = feature_set.min_history + window - 1 + template.horizon_bars
        hint = "read more bars or choose a feature set with a shorter look-back"
        what = f"a labelled row of feature set {feature_set.name!r}"
        raise TooLittleHistoryError(what, max(needed, longest + 1), longest, hint)
    rows = concatenate(parts)
    return rows.take(np.lexsort((rows.symbol, rows.t0)))


def _check_known(
    template: "BarTemplate", feature_set: FeatureSet, features: Sequence[NDArray[np.float64]]
) -> None:
    """Refuse features of which no bar has a value although the history is long enough."""
    if max((len(values) for values in features), default=0) < feature_set.min_history:
        return
    known = np.any([np.isfinite(values).any(axis=0) for values in features], axis=0)
    if empty := [n for n, has in zip(feature_set.feature_names, known, strict=True) if not has]:
        listed = ", ".join(empty[:5]) + (f" and {len(empty) - 5} more" if len(empty) > 5 else "")
        problem = f"in feature set {feature_set.name!r} no bar has a value of {listed}"
        raise UnfitRowsError(
            template.name, problem, "check the bars, or choose another feature set"
        )


def _symbol_rows(
    template: "BarTemplate",
    series: BarSeries,
    values: NDArray[np.float64],
    window: int,
    spec: Mapping[str, Json],
    symbols: tuple[str, ...],
) -> LabelledRows:
    """Return one symbol's rows with finite inputs; those without a complete label have t1 = -1."""
    known_at_t0 = template.context(series)
    labels = template.label(series, known_at_t0, spec)
    complete = np.isfinite(labels.y) & (labels.t1 >= 0)
    rows = np.flatnonzero(_finite_windows(values, window))
    context = {name: array[rows] for name, array in known_at_t0.items()}
    y = np.where(complete, labels.y, np.nan)[rows]
    target, fit = template.target(y, context)
    return LabelledRows(
        X=windows(values, rows, window),
        y=y,
        target=target,
        context=context,
        outcome={name: array[rows] for name, array in labels.outcome.items()},
        symbol=np.full(len(rows), symbols.index(series.symbol), dtype=np.int32),
        symbols=symbols,
        t0=series.timestamp[rows],
        t1=np.where(complete, labels.t1, -1)[rows],
        fit=fit & complete[rows],
        spec=spec,
    )


def _finite_windows(values: NDArray[np.float64], window: int) -> NDArray[np.bool_]:
    """Return for each bar whether the `window` rows ending there fit into float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        bad = np.asarray(~np.isfinite(values.astype(np.float32)).all(axis=1))
    n_bad = np.concatenate(([0], np.cumsum(bad)))
    stop = np.arange(1, len(bad) + 1)
    good = n_bad[stop] == n_bad[np.maximum(stop - window, 0)]
    good[: window - 1] = False
    return np.asarray(good, dtype=np.bool_)


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
    """Return the predictions whose label was complete when the last training label was.

    Training rows are purged against the rows they serve, so whatever was known with them was
    known before those rows; the newest predictions of the fold before are not.
    """
    return oof.take(oof.rows.t1 <= training.t1.max(initial=-1))
