"""Information in a signal: whether a higher prediction means a higher return, across symbols.

Qlib's definitions: IC_t is Pearson's correlation of prediction and return over the symbols of a
date, rank IC is Spearman's. ICIR is the mean of the daily ones over their standard deviation. The
module also gives their decay by horizon, how much the ranking turns over, how long it lasts, and
the return of the highest fifth over the lowest. Numpy and polars only.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.method.mean_tests import mean_test

Array = NDArray[np.float64]

DECAY_TABLE = "information_decay"
"""Name of the table of `decay`, for those who write it and those who draw it."""
HORIZONS = (1, 2, 5, 10, 20)
LEAST_SYMBOLS = 5
"""Fewest symbols of a date for a correlation; with fewer a quintile is less than a symbol."""
LEAST_DATES = 60
GROUPS = 5


@dataclass(frozen=True, slots=True)
class Information:
    """Correlations per date, means and their ratios; `ic_t` is the t of the mean IC (`MeanTest.z`).

    Over `n_dates` dates on which at least five symbols had both a prediction and a return.
    """

    ic: float
    icir: float
    rank_ic: float
    rank_icir: float
    ic_t: float | None
    n_dates: int


def information(prediction: Array, returns: Array, horizon: int = 1) -> Information | None:
    """Return IC, rank IC and their ratios.

    Args:
        prediction, returns: (n_dates, n_symbols), NaN where there is none.
        horizon: bars that each return spans, for the degrees of its t.

    Returns:
        None for fewer than 60 dates on which at least five symbols have both.
    """
    ic, rank_ic = _per_date(prediction, returns)
    if len(ic) < LEAST_DATES:
        return None
    t = mean_test(ic, horizon).z
    return Information(
        float(ic.mean()), _ratio(ic), float(rank_ic.mean()), _ratio(rank_ic), t, len(ic)
    )


def _per_date(prediction: Array, returns: Array) -> tuple[Array, Array]:
    if prediction.shape[1] < LEAST_SYMBOLS:
        return np.empty(0), np.empty(0)
    frame = _long(prediction, returns)
    daily = (
        frame.group_by("date")
        .agg(
            pl.len().alias("n"),
            pl.corr("prediction", "returns").alias("ic"),
            pl.corr("prediction", "returns", method="spearman").alias("rank_ic"),
        )
        .filter(pl.col("n") >= LEAST_SYMBOLS)
        .fill_nan(None)
        .drop_nulls()
        .sort("date")
    )
    return daily["ic"].to_numpy(), daily["rank_ic"].to_numpy()


def _long(prediction: Array, returns: Array) -> pl.DataFrame:
    date, symbol = np.nonzero(np.isfinite(prediction) & np.isfinite(returns))
    cells = (date, symbol)
    return pl.DataFrame({"date": date, "prediction": prediction[cells], "returns": returns[cells]})


def _ratio(values: Array) -> float:
    deviation = float(values.std(ddof=1))
    return float(values.mean()) / deviation if deviation > 0 else 0.0


def forward_returns(returns: Array, horizon: int) -> Array:
    """Return the simple return over the next `horizon` intervals, NaN where one is missing.

    Args:
        returns: (n_dates, n_symbols), of the interval that starts at each date.
    """
    out = np.full(returns.shape, np.nan)
    n = len(returns) - horizon + 1
    if n > 0:
        growth = np.ones((n, returns.shape[1]))
        for step in range(horizon):
            growth *= 1 + returns[step : step + n]
        out[:n] = growth - 1
    return out


def decay(prediction: Array, returns: Array) -> pl.DataFrame:
    """Return one line per horizon of 1, 2, 5, 10, 20 bars that has an information coefficient.

    Columns: horizon_bars, ic, icir, rank_ic, rank_icir, ic_t, n_dates. Empty for few symbols.
    """
    lines = []
    for horizon in HORIZONS:
        found = information(prediction, forward_returns(returns, horizon), horizon)
        if found is not None:
            cells = (found.ic, found.icir, found.rank_ic, found.rank_icir, found.ic_t)
            lines.append((horizon, *cells, found.n_dates))
    names = ("ic", "icir", "rank_ic", "rank_icir", "ic_t")
    schema = {"horizon_bars": pl.Int64()} | dict.fromkeys(names, pl.Float64())
    return pl.DataFrame(lines, schema=schema | {"n_dates": pl.Int64()}, orient="row")


def rank_autocorrelation(prediction: Array, lag: int = 1) -> float | None:
    """Return the mean over dates of Spearman's correlation with the predictions `lag` dates before.

    1: the ranking never changes. None where fewer than 60 dates have it.
    """
    _, rank = _per_date(prediction[lag:], prediction[:-lag])
    return float(rank.mean()) if len(rank) >= LEAST_DATES else None


def top_turnover(prediction: Array, groups: int = GROUPS) -> float | None:
    """Return the mean share of the highest group that was not in it a date before, in [0, 1].

    The group is the highest floor(n / groups) symbols of a date. None where fewer than 60 pairs of
    dates have one.
    """
    member = _extreme(prediction, groups, highest=True)
    size = member.sum(axis=1)
    pair = (size[1:] > 0) & (size[:-1] > 0)
    if pair.sum() < LEAST_DATES:
        return None
    stayed = (member[1:] & member[:-1]).sum(axis=1)[pair]
    return float((1 - stayed / size[1:][pair]).mean())


def quantile_spread(prediction: Array, returns: Array, groups: int = GROUPS) -> Array:
    """Return per date the mean return of the highest group minus that of the lowest; NaN if none.

    Groups are the floor(n / groups) symbols of highest and lowest prediction among those that
    have both, on dates with at least five of them.
    """
    both = np.where(np.isfinite(returns), prediction, np.nan)
    filled = np.nan_to_num(returns)
    means = []
    for highest in (True, False):
        member = _extreme(both, groups, highest=highest)
        size = np.where(member.any(axis=1), member.sum(axis=1), np.nan)
        means.append((member * filled).sum(axis=1) / size)
    return np.asarray(means[0] - means[1], dtype=np.float64)


def _extreme(prediction: Array, groups: int, *, highest: bool) -> NDArray[np.bool_]:
    """Mark the symbols of one end; equal predictions are taken in the order of the symbols."""
    there = np.isfinite(prediction)
    n = there.sum(axis=1)
    size = np.where(n >= LEAST_SYMBOLS, n // groups, 0)
    signed = -prediction if highest else prediction
    order = np.where(there, signed, np.inf).argsort(axis=1, kind="stable").argsort(axis=1)
    return np.asarray(order < size[:, None], dtype=np.bool_)
