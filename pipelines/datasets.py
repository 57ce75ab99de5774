"""Labelled rows and their folds.

A row is one decision: symbol, time t0 (close at which it is made), inputs known at t0, a label
that is complete at t1. Every splitter works on (t0, t1) across all symbols, so a timestamp is
never split and no training label reaches into a test block (Lopez de Prado 2018, ch. 7).

`build_rows` makes the rows, `walk_forward` the folds; fitting and predicting belong to the stages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.bars import TIMESTAMP, Bars, BarSeries, from_microseconds, to_microseconds
from pipelines.features import FeatureSet, check_columns, windows
from registry.contract import Json
from registry.errors import ParameterError, ShapeError, TooLittleHistoryError

if TYPE_CHECKING:
    from pipelines.templates import Template


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
    `spec`: parameters of the label that made `y`.
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


@dataclass(frozen=True, slots=True)
class Fold:
    """Row numbers of one fit and of the rows it predicts; `number` counts from 0 in time order."""

    number: int
    train: NDArray[np.intp]
    test: NDArray[np.intp]


# Rows ------------------------------------------------------------------------------------------


def build_rows(
    template: "Template",
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
        TooLittleHistoryError: no row remains.
    """
    symbols, parts = bars.symbols, []
    for series in bars.series():
        part = _symbol_rows(template, feature_set, series, window, spec, symbols)
        parts.append(part if keep_unlabelled else part.take(part.t1 >= 0))
    if not any(len(part) for part in parts):
        longest = max((len(series) for series in bars.series()), default=0)
        needed = feature_set.min_history + window - 1 + template.horizon_bars
        hint = "read more bars or choose a feature set with a shorter look-back"
        what = f"a labelled row of feature set {feature_set.name!r}"
        raise TooLittleHistoryError(what, max(needed, longest + 1), longest, hint)
    rows = concatenate(parts)
    return rows.take(np.lexsort((rows.symbol, rows.t0)))


def _symbol_rows(
    template: "Template",
    feature_set: FeatureSet,
    series: BarSeries,
    window: int,
    spec: Mapping[str, Json],
    symbols: tuple[str, ...],
) -> LabelledRows:
    """Return one symbol's rows with finite inputs; those without a complete label have t1 = -1."""
    check_columns(feature_set, series)
    values = feature_set.compute(series)
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
    )


# Folds -----------------------------------------------------------------------------------------


def purge(
    t0: NDArray[np.int64], t1: NDArray[np.int64], test: NDArray[np.intp], embargo: int = 0
) -> NDArray[np.bool_]:
    """Return which rows may train a model that is tested on the rows `test`; bool (n,).

    Each maximal run of adjacent test timestamps is one block, purged on its own: row i is kept
    iff NOT (t0_i <= max t1 of the block AND t1_i >= first t0 of the block) and NOT (max t1 of the
    block < t0_i <= the timestamp `embargo` bars later). Bars are counted on the rows' own
    timestamps, so weekends and holidays do not shorten an embargo.
    """
    keep = np.ones(len(t0), dtype=np.bool_)
    timeline = np.unique(t0)
    for block in _blocks(timeline, np.unique(t0[test])):
        inside = test[(t0[test] >= block[0]) & (t0[test] <= block[-1])]
        last = int(t1[inside].max())
        keep &= ~((t0 <= last) & (t1 >= block[0]))
        after = timeline[timeline > last][:embargo]
        if len(after):
            keep &= ~((t0 > last) & (t0 <= after[-1]))
    return keep


def _blocks(timeline: NDArray[np.int64], tested: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    position = np.searchsorted(timeline, tested)
    return np.split(tested, np.flatnonzero(np.diff(position) > 1) + 1)


def walk_forward(
    rows: LabelledRows,
    first_test: int,
    step: str | int = "1y",
    *,
    train_bars: int | None = None,
    embargo: int = 0,
) -> list[Fold]:
    """Return folds that follow each other in time; training rows precede their test block.

    Args:
        first_test: t0 of the first test block, int64 microseconds UTC.
        step: length of a test block: `"1y"` (calendar years counted from `first_test`) or a
            number of bars (timestamps).
        train_bars: None trains on everything before the block (expanding), a number on the newest
            that many timestamps that survive the purge (rolling).
        embargo: see `purge`; it matters only for rows after a block, so walk-forward needs 0.

    Laws: no training span [t0, t1] meets the span of its test block; rows of one timestamp are in
    the same part; test blocks do not overlap and together hold every row from `first_test` on.

    Raises:
        ParameterError: `step` or `train_bars` cannot be read.
        TooLittleHistoryError: there is no row to train on or none to test.
    """
    if train_bars is not None and train_bars < 1:
        raise ParameterError("train_bars", train_bars, "a positive number of bars")
    if (rows.t1 < 0).any():
        raise ShapeError("rows of walk_forward", "complete labels only", "unlabelled rows")
    edges = _edges(np.unique(rows.t0), first_test, step)
    folds: list[Fold] = []
    for start, stop in pairwise(edges):
        test = np.flatnonzero((rows.t0 >= start) & (rows.t0 < stop))
        if not len(test):
            continue
        keep = purge(rows.t0, rows.t1, test, embargo) & (rows.t0 < start)
        train = _newest(rows.t0, np.flatnonzero(keep), train_bars)
        if not len(train):
            hint = f"choose a first_test after {_date(int(rows.t1.min()))}"
            raise TooLittleHistoryError(f"fold {len(folds)}", 1, 0, hint)
        folds.append(Fold(len(folds), train, test))
    if not folds:
        hint = f"the newest labelled row is {_date(int(rows.t0.max()))}"
        what = f"walk-forward from first_test {_date(first_test)}"
        raise TooLittleHistoryError(what, 1, 0, hint)
    return folds


def _newest(t0: NDArray[np.int64], train: NDArray[np.intp], bars: int | None) -> NDArray[np.intp]:
    if bars is None or not len(train):
        return train
    oldest = np.unique(t0[train])[-bars:][0]
    return np.asarray(train[t0[train] >= oldest], dtype=np.intp)


def _edges(timeline: NDArray[np.int64], first_test: int, step: str | int) -> list[int]:
    """Return block boundaries from `first_test` to just beyond the last timestamp."""
    text = str(step)
    beyond = int(timeline[-1]) + 1
    if text.endswith("y") and text[:-1].isdecimal() and int(text[:-1]) > 0:
        return _calendar_edges(first_test, int(text[:-1]), beyond)
    if not text.isdecimal() or int(text) < 1:
        raise ParameterError("step", step, "calendar years like '1y' or a positive number of bars")
    starts = timeline[timeline >= first_test][:: int(text)]
    return [*(int(start) for start in starts), beyond]


def _calendar_edges(first_test: int, years: int, beyond: int) -> list[int]:
    first = from_microseconds(first_test)
    day = min(first.day, 28) if first.month == 2 else first.day
    edges = [first_test]
    while edges[-1] < beyond:
        later = first.replace(year=first.year + years * len(edges), day=day)
        edges.append(to_microseconds(later))
    return edges


def _date(microseconds: int) -> str:
    return from_microseconds(microseconds).date().isoformat()


def fold_map(folds: Sequence[Fold], rows: LabelledRows) -> pl.DataFrame:
    """Return one line per fold and part: fold, part (train, purged, test), start, end, n_rows.

    `start` and `end` are the first and last t0 of the part; `purged` are the rows between training
    and test whose label would reach into the test block.
    """
    lines = []
    for fold in folds:
        train, test = rows.t0[fold.train], rows.t0[fold.test]
        between = rows.t0[(rows.t0 > train.max()) & (rows.t0 < test.min())]
        for part, times in (("train", train), ("purged", between), ("test", test)):
            if len(times):
                lines.append((fold.number, part, times.min(), times.max(), len(times)))
    schema = {
        "fold": pl.Int64(),
        "part": pl.String(),
        "start": pl.Int64(),
        "end": pl.Int64(),
        "n_rows": pl.Int64(),
    }
    frame = pl.DataFrame(lines, schema=schema, orient="row")
    return frame.with_columns(pl.col("start", "end").cast(TIMESTAMP))


def known_to(training: LabelledRows, oof: OutOfFold) -> OutOfFold:
    """Return the predictions whose label was complete when the last training label was.

    Training rows are purged against the rows they serve, so whatever was known with them was
    known before those rows; the newest predictions of the fold before are not.
    """
    return oof.take(oof.rows.t1 <= training.t1.max(initial=-1))
