"""Whether two trials were made on the same data, whatever the data are called.

Two series are the same when their log returns on the sampled dates that both have are correlated
by 0.97 or more, without the 2 % of dates on which they differ most (dividends and splits of raw
prices). The sign does not count: a pair quoted the other way round is the same series. Two trials
share their data when what both have is at least half of what the smaller one has. So subsets,
supersets and longer histories count together. What samples cannot tell apart goes by its name.
Numpy only.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.data.bars import is_same_interval
from registry.trial_data import DateSample, Digests, SymbolSample, TrialData

Array = NDArray[np.float64]

LEAST_COMMON = 60
"""Fewest common sampled dates for a correlation to decide."""
SAME = 0.97
DROPPED = 0.02
"""Share of the dates left out, those with the largest differences."""
COPIED, LEAST_COPIED = 0.999, 10
"""A correlation that few common dates show of a copy only, and the fewest dates for it."""
SHARED = 0.5
ALIKE = 0.7
"""Series that are the same correlate more, by days too, whatever hour their days end at."""
SPAN_DAYS = 7
"""Days between the closes of a span: which hour a day ends at hardly counts then."""
LEAST_DIGESTS = 10


def share_data(ours: TrialData, theirs: TrialData) -> bool:
    """Return whether two trials share their data.

    Law: the order of the two does not matter.
    """
    if ours.sha256 == theirs.sha256:
        return True
    if bool(ours.interval) != bool(theirs.interval):
        return False
    return _share_bars(ours, theirs) if ours.interval else _share_rows(ours, theirs)


# Bars ------------------------------------------------------------------------------------------


def _share_bars(ours: TrialData, theirs: TrialData) -> bool:
    """Compare days: (symbol, day) cells that both have against those of the smaller trial."""
    small, large = sorted((ours, theirs), key=_n_days)
    as_long = is_same_interval(small.interval, large.interval)
    alike = _alike(small.symbols, large.symbols, as_long)
    common = 0.0
    for number, symbol in enumerate(small.symbols):
        others = [large.symbols[i] for i in np.flatnonzero(alike[number])]
        common += _common_days(symbol, others, as_long)
    return common >= SHARED * _n_days(small) and common > 0


def _n_days(data: TrialData) -> float:
    return sum(_days_of(symbol) for symbol in data.symbols)


def _days_of(symbol: SymbolSample) -> float:
    """Return the number of days with bars; of a series without a sample, those of its span."""
    return symbol.daily.n_dates or symbol.last - symbol.first + 1


def _common_days(symbol: SymbolSample, others: Sequence[SymbolSample], as_long: bool) -> float:
    """Return the days of a symbol that the same series among the others has too."""
    by_name = sorted(others, key=lambda other: other.symbol != symbol.symbol)
    days = ((other, _days_inside(symbol, other)) for other in by_name)
    return next((n for other, n in days if n and is_same(symbol, other, as_long=as_long)), 0.0)


def _days_inside(symbol: SymbolSample, other: SymbolSample) -> float:
    """Return how many days of a symbol lie within the span of the other."""
    first, last = max(symbol.first, other.first), min(symbol.last, other.last)
    if not symbol.daily.n_dates:
        return max(0, last - first + 1)
    dates = symbol.daily.dates
    return float(((dates >= first) & (dates <= last)).mean()) * symbol.daily.n_dates


def _alike(
    ours: Sequence[SymbolSample], theirs: Sequence[SymbolSample], as_long: bool
) -> NDArray[np.bool_]:
    """Return the pairs (n_ours, n_theirs) that may be the same series, so as to compare few."""
    names = [np.array([symbol.symbol for symbol in symbols]) for symbols in (ours, theirs)]
    alike = np.asarray(names[0][:, None] == names[1][None, :])
    mine, other = ([symbol.daily for symbol in symbols] for symbols in (ours, theirs))
    if not as_long:
        return alike | _move_together(*_closes_of_weeks(mine, other))
    alike |= _move_together(*_matrices(mine, other, "step"))
    if all(symbol.bars is None for symbol in ours):
        return alike
    mine, other = ([s.bars or s.daily for s in symbols] for symbols in (ours, theirs))
    return alike | _move_together(*_matrices(mine, other, "step"))


def _matrices(
    ours: Sequence[DateSample], theirs: Sequence[DateSample], what: str
) -> tuple[Array, Array]:
    """Return values of both as (n_dates, n_symbols) on all their dates, NaN where not sampled."""
    dates = np.unique(np.concatenate([sample.dates for sample in (*ours, *theirs)]))
    found = []
    for samples in (ours, theirs):
        values = np.full((len(dates), len(samples)), np.nan)
        for column, sample in enumerate(samples):
            values[np.searchsorted(dates, sample.dates), column] = getattr(sample, what)
        found.append(values)
    return found[0], found[1]


def _closes_of_weeks(
    ours: Sequence[DateSample], theirs: Sequence[DateSample]
) -> tuple[Array, Array]:
    """Return changes of closes between dates that most symbols have, a week or more apart."""
    usual = np.intersect1d(_usual_dates(ours), _usual_dates(theirs))
    weeks = usual[_apart(usual)]
    dates = np.unique(np.concatenate([sample.dates for sample in (*ours, *theirs)]))
    chosen = np.isin(dates, weeks)
    a, b = _matrices(ours, theirs, "close")
    return np.diff(a[chosen], axis=0), np.diff(b[chosen], axis=0)


def _usual_dates(samples: Sequence[DateSample]) -> NDArray[np.int64]:
    """Return the dates that at least half as many symbols have as the most common one."""
    dates, n = np.unique(np.concatenate([sample.dates for sample in samples]), return_counts=True)
    return np.asarray(dates[n >= n.max(initial=0) / 2], dtype=np.int64)


def _move_together(ours: Array, theirs: Array) -> NDArray[np.bool_]:
    """Return the pairs of columns with |correlation| of clipped values of 0.7 or more."""
    a, b = _clipped(ours), _clipped(theirs)
    in_a, in_b = (a != 0).astype(np.float64), (b != 0).astype(np.float64)
    scale = np.sqrt((a**2).T @ in_b) * np.sqrt(in_a.T @ b**2)
    together = np.abs(a.T @ b) >= ALIKE * scale
    return np.asarray(together & (in_a.T @ in_b >= LEAST_COPIED), dtype=np.bool_)


def _clipped(values: Array) -> Array:
    """Return columns around their mean, in mean deviations and within 3; 0 where unknown."""
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    n = np.maximum(known.sum(axis=0), 1)
    centred = np.where(known, filled - filled.sum(axis=0) / n, 0.0)
    typical = np.abs(centred).sum(axis=0) / n
    return np.asarray(np.clip(centred / np.where(typical > 0, typical, 1.0), -3.0, 3.0))


def is_same(one: SymbolSample, other: SymbolSample, *, as_long: bool) -> bool:
    """Return whether two symbols are the same series.

    Args:
        as_long: whether the bars of both have the same interval. If not, only closes over spans of
            a week are compared, since the days of bars of different length end at other hours.

    One of the comparisons is enough. Fewer than 60 common dates decide nothing but that one is a
    copy of the other; then the same name is the same series.
    """
    found = [_compared(*pair) for pair in _pairs(one, other, as_long)]
    decided = [r for n, r in found if n >= LEAST_COMMON]
    if decided:
        return max(decided) >= SAME
    copied = any(n >= LEAST_COPIED and r >= COPIED for n, r in found)
    return copied or one.symbol == other.symbol


def _pairs(one: SymbolSample, other: SymbolSample, as_long: bool) -> list[tuple[Array, Array]]:
    """Return the returns of both on common dates: of weeks, of days, and of bars."""
    pairs = [_week_returns(one.daily, other.daily)]
    if as_long:
        pairs.append(_steps(one.daily, other.daily))
    if as_long and one.bars is not None and other.bars is not None:
        pairs.append(_steps(one.bars, other.bars))
    return pairs


def _steps(one: DateSample, other: DateSample) -> tuple[Array, Array]:
    _, mine, theirs = np.intersect1d(one.dates, other.dates, return_indices=True)
    return one.step[mine], other.step[theirs]


def _week_returns(one: DateSample, other: DateSample) -> tuple[Array, Array]:
    dates, mine, theirs = np.intersect1d(one.dates, other.dates, return_indices=True)
    chosen = _apart(dates)
    return np.diff(one.close[mine][chosen]), np.diff(other.close[theirs][chosen])


def _apart(dates: NDArray[np.int64]) -> list[int]:
    """Return the numbers of dates at least a week apart, from the first on."""
    chosen: list[int] = []
    newest = None
    for number, date in enumerate(dates.tolist()):
        if newest is None or date - newest >= SPAN_DAYS:
            chosen.append(number)
            newest = date
    return chosen


def _compared(one: Array, other: Array) -> tuple[int, float]:
    """Return the number of common dates, and |correlation| without the largest differences."""
    known = np.isfinite(one) & np.isfinite(other)
    n = int(known.sum())
    if n < LEAST_COPIED:
        return n, 0.0
    a, b = _standard(one[known]), _standard(other[known])
    return n, max(_kept_correlation(a, b), _kept_correlation(a, -b))


def _standard(values: Array) -> Array:
    """Return values around their median in units of their median deviation."""
    centred = values - np.median(values)
    deviation = float(np.median(np.abs(centred))) or float(centred.std())
    return centred / deviation if deviation > 0 else centred


def _kept_correlation(a: Array, b: Array) -> float:
    n_dropped = int(np.ceil(DROPPED * len(a)))
    kept = np.argsort(np.abs(a - b), kind="stable")[: len(a) - n_dropped]
    x, y = a[kept] - a[kept].mean(), b[kept] - b[kept].mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale > 0 else 0.0


# Rows ------------------------------------------------------------------------------------------


def _share_rows(ours: TrialData, theirs: TrialData) -> bool:
    """Compare the digests of rows, and of every column that tells rows apart."""
    if not ours.digests or not theirs.digests:
        return ours.names == theirs.names
    shares = [_share_of_smaller(a, b) for a in ours.digests[:1] for b in theirs.digests[:1]]
    shares += [_share_of_smaller(a, b) for a in ours.digests[1:] for b in theirs.digests[1:]]
    known = [share for share in shares if share is not None]
    return max(known) >= SHARED if known else ours.names == theirs.names


def _share_of_smaller(one: Digests, other: Digests) -> float | None:
    """Return the estimated share of the smaller set that the other has; None if it is unknown."""
    highest = np.uint64(min(one.highest, other.highest))
    mine, theirs = (d.values[d.values <= highest] for d in (one, other))
    n = min(len(mine), len(theirs))
    return len(np.intersect1d(mine, theirs)) / n if n >= LEAST_DIGESTS else None
