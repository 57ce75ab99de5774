"""Overfitting by selection: whether the best of the tried recipes is good where it was not chosen.

Two numbers from the same halves of the history. The choice loss is how often the recipe that was
best in one half loses in the other: high among worthless recipes, near 0 among good ones. The
probability of backtest overfitting by combinatorially symmetric cross-validation (Bailey,
Borwein, Lopez de Prado and Zhu 2017, "The probability of backtest overfitting", Journal of
Computational Finance 20(4)), from the stored out-of-fold return series of every trial. It is a
coin flip among recipes that are equally good, as it is among worthless ones; so it only informs.
The deflated Sharpe ratio is in `pipelines/method/statistics.py`. Numpy only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pipelines.method.statistics import CONSTANT
from registry.errors import ShapeError
from registry.trials import TrialReturns

Array = NDArray[np.float64]

BLOCKS = 16
LEAST_BLOCK = 16
"""Fewest periods of a block; with fewer a half of the sample is less than half a year of days."""
LEAST_DATES = BLOCKS * LEAST_BLOCK
CHUNK = 2_000_000
"""Cells (combination, trial) held at once."""
ALIKE = 0.95
"""Returns so correlated are those of one recipe."""
DISTINGUISHABLE = 10
"""Fewest distinguishable recipes for a probability of overfitting."""
DECIMALS = 12
"""Decimals of Sharpe ratios when they are ranked, so that trials with the same returns tie."""


@dataclass(frozen=True, slots=True)
class Overfitting:
    """The result of choosing the best trial on one half of the periods, seen on the other half.

    `probability`: share of the C(S, S/2) halves whose winner is at or below the median of the
    other half. `logits`: (n_combinations,) ln(w / (1 - w)), w the winner's relative rank there.
    `chosen`, `realised`: (n_combinations,) the winner's Sharpe ratio per period in the half that
    chose it and in the other.
    """

    probability: float
    logits: Array
    chosen: Array
    realised: Array

    @property
    def choice_loss(self) -> float:
        """Share of halves whose winner has a negative Sharpe ratio in the other half."""
        return float((self.realised < 0).mean())


@dataclass(frozen=True, slots=True)
class TrialPanel:
    """Returns of several trials on the dates that all of them have.

    `dates`: (n_dates,) int64 microseconds UTC; `returns`: (n_dates, n_trials) in the order of
    `recipes`, oldest trial first. `n_apart`: trials left out, because the others would have too few
    dates in common with them.
    """

    dates: NDArray[np.int64]
    returns: Array
    recipes: tuple[str, ...]
    n_apart: int = 0


def trial_panel(series: Sequence[TrialReturns], judged: NDArray[np.int64]) -> TrialPanel:
    """Arrange the trials' series on common dates; empty where there are none.

    Trials join in the order of how many dates of the judged one they have. One that would leave
    fewer than half of those dates, or fewer than 256, stays apart.

    Args:
        judged: (n,) dates of the trial at hand.
    """
    dates, joined = judged, list[TrialReturns]()
    for trial in sorted(series, key=lambda t: -len(np.intersect1d(t.dates, judged))):
        common = np.intersect1d(dates, trial.dates)
        if len(common) >= max(LEAST_DATES, len(judged) / 2):
            dates, joined = common, [*joined, trial]
    kept = [trial for trial in series if any(trial is other for other in joined)]
    if not kept:
        return TrialPanel(np.zeros(0, dtype=np.int64), np.zeros((0, 0)), (), len(series))
    columns = [trial.returns[np.isin(trial.dates, dates)] for trial in kept]
    recipes = tuple(trial.recipe for trial in kept)
    return TrialPanel(dates, np.column_stack(columns), recipes, len(series) - len(kept))


def why_not(panel: TrialPanel, series: Sequence[TrialReturns]) -> str:
    """Return the reason why trials that trade cannot be compared; empty when they can."""
    if len(panel.recipes) >= 2:
        return ""
    shortest = min(series, key=lambda trial: len(trial.dates))
    return (
        f"{len(series)} trials trade, but no two of them have {LEAST_DATES} dates, and half of "
        f"this one's, in common; recipe {shortest.recipe[:12]} is the shortest with "
        f"{len(shortest.dates)} dates: validate it again on the whole span"
    )


def distinguishable(returns: Array) -> list[int]:
    """Return the columns that lead a group of trials with alike returns, in order.

    A trial joins the first earlier leader with which its returns correlate by 0.95 or more; else it
    leads a group of its own.

    Args:
        returns: (T, N), oldest trial first.
    """
    centred = returns - returns.mean(axis=0)
    length = np.sqrt((centred**2).sum(axis=0))
    unit = centred / np.where(length > 0, length, 1.0)
    leaders: list[int] = []
    for column in range(returns.shape[1]):
        alike = unit[:, leaders].T @ unit[:, column]
        if not (alike >= ALIKE).any():
            leaders.append(column)
    return leaders


def backtest_overfitting(returns: Array, n_blocks: int = BLOCKS) -> Overfitting:
    """Return the probability of backtest overfitting by CSCV.

    Args:
        returns: (T, N) of N trials on the same T periods in time order; T mod S are dropped from
            the end.
        n_blocks: S, even; every choice of S/2 blocks is one half (16: 12,870 halves).

    The performance is the Sharpe ratio per period. Equal ones in the choosing half go to the
    first trial, in the other half they share their average rank; a series that does not vary has
    Sharpe ratio 0: it did not trade.

    Raises:
        ShapeError: fewer than two trials, an odd S, or fewer than two periods per half.
    """
    n_periods, n_trials = returns.shape
    if n_trials < 2 or n_blocks < 2 or n_blocks % 2 or n_periods < max(n_blocks, 4):
        expected = f"at least 2 trials, an even number of blocks, {max(n_blocks, 4)} periods"
        found = f"{n_trials} trials, {n_blocks} blocks, {n_periods} periods"
        raise ShapeError("returns of trials", expected, found)
    length = n_periods // n_blocks
    kept = returns[: length * n_blocks]
    blocks = (kept - kept.mean(axis=0)).reshape(n_blocks, length, n_trials)
    moments = _Moments(blocks.sum(axis=1), (blocks**2).sum(axis=1), kept.mean(axis=0), length)
    halves = np.array(list(combinations(range(n_blocks), n_blocks // 2)), dtype=np.intp)
    size = max(1, CHUNK // n_trials)
    parts = [_select(moments, halves[i : i + size]) for i in range(0, len(halves), size)]
    logits, chosen, realised = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Overfitting(float((logits <= 0).mean()), logits, chosen, realised)


@dataclass(frozen=True, slots=True)
class _Moments:
    """Sums and sums of squares of centred returns, (n_blocks, n_trials), and what was taken off."""

    total: Array
    squares: Array
    mean: Array
    length: int

    def sharpe(self, member: Array) -> Array:
        """Return Sharpe ratios (n_combinations, n_trials) of the blocks that `member` marks."""
        n = float(member[0].sum()) * self.length
        centred = member @ self.total / n
        variance = (member @ self.squares - n * centred**2) / (n - 1)
        deviation = np.sqrt(np.maximum(variance, 0.0))
        varies = deviation > CONSTANT
        ratio = np.where(varies, (centred + self.mean) / np.where(varies, deviation, 1.0), 0.0)
        return np.asarray(np.round(ratio, DECIMALS), dtype=np.float64)


def _select(moments: _Moments, halves: NDArray[np.intp]) -> tuple[Array, Array, Array]:
    """Return logit, Sharpe ratio where chosen and elsewhere, of the winner of each half."""
    n_blocks, n_trials = moments.total.shape
    member = np.zeros((len(halves), n_blocks))
    np.put_along_axis(member, halves, 1.0, axis=1)
    inside, outside = moments.sharpe(member), moments.sharpe(1.0 - member)
    winner = inside.argmax(axis=1)[:, None]
    realised = np.take_along_axis(outside, winner, axis=1)
    below, equal = (outside < realised).sum(axis=1), (outside == realised).sum(axis=1)
    share = (below + (equal + 1) / 2) / (n_trials + 1)
    chosen = np.take_along_axis(inside, winner, axis=1)
    return np.log(share / (1 - share)), chosen[:, 0], realised[:, 0]


def effective_trials(returns: Array) -> float | None:
    """Return N_eff = rho + (1 - rho) * N, rho the mean correlation of the trials' returns.

    A linear interpolation between one trial (rho = 1) and N (rho = 0). Reported only: every gate
    counts all trials.

    Args:
        returns: (T, N); series that do not vary are left out of rho, and counted.

    Returns:
        None for fewer than two trials that vary.
    """
    n_trials = int(returns.shape[1])
    varying = returns[:, returns.std(axis=0) > CONSTANT] if len(returns) > 1 else returns[:, :0]
    if varying.shape[1] < 2:
        return None
    standard = (varying - varying.mean(axis=0)) / varying.std(axis=0)
    n = standard.shape[1]
    # the variance of the sum of n standardised series is n + n (n - 1) rho
    mean = (float(standard.sum(axis=1).var()) - n) / (n * (n - 1))
    rho = float(np.clip(mean, 0.0, 1.0))
    return rho + (1 - rho) * n_trials
