"""Folds: which rows train and which are tested, so that no training label meets a test span.

Every splitter works on (t0, t1) across all symbols: a timestamp is never split (Lopez de Prado
2018, ch. 7). `purge` is the one rule. `walk_forward` makes the evidence of a version.
`combinatorial` makes several paths through the whole history; they show how much of a Sharpe ratio
comes from the order of the years (ch. 12). There is no shuffled split here, and there must not be
one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import comb

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.bars import TIMESTAMP, from_microseconds, to_microseconds
from pipelines.method.rows import LabelledRows
from registry.errors import ParameterError, ShapeError, TooLittleHistoryError

MOST_FITS = 100
"""Most combinatorial folds; each is a whole fit."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Row numbers of one fit and of the rows it predicts; `number` counts from 0 in time order."""

    number: int
    train: NDArray[np.intp]
    test: NDArray[np.intp]


def purge(
    t0: NDArray[np.int64], t1: NDArray[np.int64], test: NDArray[np.intp], embargo: int = 0
) -> NDArray[np.bool_]:
    """Return the rows that may train a model tested on the rows `test`, as bool (n,).

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


@dataclass(frozen=True, slots=True)
class CombinatorialFolds:
    """Folds and the paths that they add up to; a path leads once through the whole history.

    `folds`: C(N, k) fits. `group`: (n,) the group of each row, 0 .. N - 1 in time order.
    `paths`: (n_paths, N) the number of the fold that predicts each group; on one path
    every row is predicted once, and no prediction is on two paths.
    """

    folds: tuple[Fold, ...]
    group: NDArray[np.intp]
    paths: NDArray[np.intp]


def combinatorial(
    rows: LabelledRows, n_groups: int = 6, n_test: int = 2, embargo: int = 0
) -> CombinatorialFolds:
    """Return combinatorial purged folds (AFML section 12.4).

    The timeline is cut into `n_groups` groups of as many timestamps each as can be; each choice
    of `n_test` groups is tested by a fit on the others: C(N, k) fits, k/N * C(N, k) paths (6 and
    2: 15 fits, 5 paths). Each run of adjacent test groups is purged on its own.

    Args:
        embargo: bars left out after each test block, see `purge`. Training rows follow test
            blocks here, so it must be at least the longest look-back of the inputs.

    Raises:
        ParameterError: groups that make no split, or more than 100 fits.
        TooLittleHistoryError: fewer timestamps than groups, or a fit without a training row.
    """
    if not 1 <= n_test < n_groups or comb(n_groups, n_test) > MOST_FITS:
        expected = f"test groups below the groups, at most {MOST_FITS} choices of them"
        raise ParameterError("paths", f"{n_groups},{n_test}", expected)
    if (rows.t1 < 0).any():
        raise ShapeError("rows of combinatorial", "complete labels only", "unlabelled rows")
    timeline, position = np.unique(rows.t0, return_inverse=True)
    if len(timeline) < n_groups:
        raise TooLittleHistoryError(f"{n_groups} groups of timestamps", n_groups, len(timeline))
    starts = np.arange(n_groups) * len(timeline) // n_groups
    group = np.searchsorted(starts, position, side="right") - 1
    chosen = np.array(list(combinations(range(n_groups), n_test)), dtype=np.intp)
    folds = []
    for number, tested in enumerate(chosen):
        test = np.flatnonzero(np.isin(group, tested))
        train = np.flatnonzero(purge(rows.t0, rows.t1, test, embargo))
        if not len(train):
            hint = "use fewer groups, a shorter horizon or inputs with a shorter look-back"
            raise TooLittleHistoryError(f"combinatorial fold {number}", 1, 0, hint)
        folds.append(Fold(number, train, test))
    fold_of = [np.flatnonzero((chosen == g).any(axis=1)) for g in range(n_groups)]
    return CombinatorialFolds(tuple(folds), group, np.stack(fold_of, axis=1))


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
