"""Leaks: features that are the target under another name, or nearly. Numpy and polars only.

A feature that equals the target, or is a one-to-one function of it, was written down when the
target was known. A model on it looks perfect and is useless. `refuse_leaks` names such a feature.
`suspicions` names features that are nearly the target: a gate refuses them until a person has
looked (docs/promotion.md). Neither finds weaker leaks, such as a feature that was known a day too
late; only the author of the file can.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from registry.errors import TableError

PERFECT = 1 - 1e-9
FEWEST = 20
"""Fewer rows may agree by chance, so they are not tested."""
ENOUGH = 100
"""Fewest rows for a suspicion; of each class, and of the rest, there must be `FEWEST`."""
RANKED, TOLD, KNOWN = 0.98, 0.95, 0.8
"""Highest plausible |Spearman|, area under the ROC curve, and share of the target's entropy."""
BINS = 20


def refuse_leaks(
    values: NDArray[np.float64], names: Sequence[str], y: NDArray[np.float64], target: str
) -> None:
    """Refuse features that give the target away.

    Args:
        values: (n, n_columns) encoded columns, NaN where missing.
        y: (n,) class numbers or values.

    Raises:
        TableError: a column equals the target, is a linear or monotonic function of it, or has one
            value for each of the target's values and the other way round.
    """
    for name, column in zip(names, values.T, strict=True):
        if how := leak(column, y):
            problem = f"column {name!r} {how} the target {target!r}"
            hint = f"a feature must be known before the target: options drop={name}"
            raise TableError(problem, "", hint)


def leak(column: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """Describe how a column gives the target away; empty when it does not."""
    known = np.isfinite(column)
    x, z = column[known], y[known]
    if len(x) < FEWEST or np.ptp(x) == 0 or np.ptp(z) == 0:
        return ""
    if np.array_equal(x, z):
        return "equals"
    n_values = len(np.unique(z))
    if n_values <= len(z) / 2:
        pairs = len(np.unique(np.column_stack((x, z)), axis=0))
        return "is a one-to-one function of" if pairs == n_values == len(np.unique(x)) else ""
    if abs(float(np.corrcoef(x, z)[0, 1])) > PERFECT:
        return "is a linear function of"
    first, second = (pl.Series(v).rank("average").to_numpy() for v in (x, z))
    agree = abs(float(np.corrcoef(first, second)[0, 1])) > PERFECT
    return "is a monotonic function of" if agree else ""


def suspicions(
    values: NDArray[np.float64], names: Sequence[str], y: NDArray[np.float64], n_classes: int
) -> list[str]:
    """Return a line per column that alone nearly tells the target, with the column's name.

    Args:
        values: (n, n_columns) encoded columns, NaN where missing. That a value is missing is looked
            at as a column of its own.
        y: (n,) class numbers, or values where `n_classes` is 0.
    """
    found = []
    for name, column in zip(names, values.T, strict=True):
        missing = np.isnan(column)
        how = _suspicion(column[~missing], y[~missing], n_classes)
        if not how and (told := _suspicion(missing.astype(np.float64), y, n_classes)):
            how = f"by being missing {told}"
        if how:
            found.append(f"column {name!r} {how}; drop it, or know why")
    return found


def _suspicion(x: NDArray[np.float64], y: NDArray[np.float64], n_classes: int) -> str:
    """Describe what a column nearly tells; empty when nothing is implausible."""
    if len(x) < ENOUGH or np.ptp(x) == 0 or np.ptp(y) == 0:
        return ""
    if n_classes:
        area = max(_areas(x, y, n_classes), default=0.0)
        if area > TOLD:
            return f"tells a class with an area under the ROC curve of {area:.3f}"
    else:
        for what, pair in (("", (x, y)), ("the size of ", (np.abs(x), np.abs(y)))):
            rank = abs(_spearman(*pair))
            if rank > RANKED:
                return f"ranks {what}the target by {rank:.3f}"
    share = _shared_entropy(_binned(x), y if n_classes else _binned(y))
    return f"tells {share:.0%} of the target's entropy" if share > KNOWN else ""


def _areas(x: NDArray[np.float64], y: NDArray[np.float64], n_classes: int) -> Iterator[float]:
    """Yield the area under the ROC curve of each class against the rest, the better way round."""
    rank = _ranks(x)
    for k in range(n_classes):
        is_class = y == k
        n_in, n_out = int(is_class.sum()), int((~is_class).sum())
        if min(n_in, n_out) >= FEWEST:
            area = (rank[is_class].sum() - n_in * (n_in + 1) / 2) / (n_in * n_out)
            yield float(max(area, 1 - area))


def _spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(np.corrcoef(_ranks(x), _ranks(y))[0, 1])


def _ranks(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(pl.Series(x).rank("average").to_numpy(), dtype=np.float64)


def _binned(x: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return 20 quantile bins, ties together; of at most 20 values each is a bin."""
    distinct, place = np.unique(x, return_inverse=True)
    if len(distinct) <= BINS:
        return np.asarray(place, dtype=np.intp)
    lowest = pl.Series(x).rank("min").to_numpy() - 1
    return np.asarray(lowest * BINS // len(x), dtype=np.intp)


def _shared_entropy(x: NDArray[np.intp], y: NDArray[Any]) -> float:
    """Return the mutual information over the entropy of y, less what chance gives (Miller 1955)."""
    _, a = np.unique(x, return_inverse=True)
    _, b = np.unique(y, return_inverse=True)
    joint = np.bincount(a * (b.max() + 1) + b, minlength=(a.max() + 1) * (b.max() + 1)) / len(a)
    table = joint.reshape(a.max() + 1, b.max() + 1)
    rows, columns = table.sum(axis=1, keepdims=True), table.sum(axis=0)
    filled, alone = table > 0, rows * columns
    information = float((table[filled] * np.log(table[filled] / alone[filled])).sum())
    entropy = -float((columns * np.log(columns)).sum())
    by_chance = a.max() * b.max() / (2 * len(a))
    return float((information - by_chance) / entropy)
