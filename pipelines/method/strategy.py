"""From decisions to returns: the plain strategy that judges trading signals.

Each decision (+1, 0, -1) has a share of 1/(H n_symbols) of capital. It is filled as its label is,
and is out at the next fill after its label's touch, never inside the bar, at the latest after H
bars (`labels.bars_held`). So the target position of a symbol is the sum of its open decisions,
divided by H. Active returns are the net returns minus beta times the equal-weight universe. Numpy
only.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.method.costs import CostReport, CostSpec, Market, charge
from pipelines.method.rows import LabelledRows

Array = NDArray[np.float64]

MARKET_CONTEXT = ("sigma", "half_spread", "dollar_volume")

RISK_AVERSION = 3.0
"""Risk aversion of the utility mean - RISK_AVERSION / 2 * variance, per interval."""

QUANTILES = (0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
"""Quantiles of |edge| that are tried as threshold, beside 0."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Rows as (n_dates, n_symbols): `dates` int64 microseconds UTC, the t0 of the decisions.

    `date`, `symbol`: (n_rows,) the cell of each row; `left`: the line at whose fill its decision is
    out, n_dates where that is after the panel. `market.returns` start with the fill of the decision
    of the same line; `universe` (n_dates,) is their mean over the symbols present, 0 where none is:
    the equal-weight universe, rebalanced on every date.
    """

    dates: NDArray[np.int64]
    date: NDArray[np.intp]
    symbol: NDArray[np.intp]
    left: NDArray[np.intp]
    n_symbols: int
    market: Market
    universe: Array

    @property
    def held(self) -> Array:
        """Returns of buying equal shares of all symbols once and holding them, (n_dates,).

        The share of a symbol is cash before its first return, and rests where one is missing.
        """
        returns = np.where(np.isfinite(self.market.returns), self.market.returns, 0.0)
        wealth = np.cumprod(1 + returns, axis=0).mean(axis=1)
        before = np.concatenate(([1.0], wealth[:-1]))
        return np.asarray(np.divide(wealth, before, where=before > 0, out=np.ones_like(wealth)) - 1)

    def matrix(self, values: Array, missing: float = np.nan) -> Array:
        """Return row values as (n_dates, n_symbols)."""
        cells = (self.date, self.symbol)
        return _arrange(values, cells, (len(self.dates), self.n_symbols), missing)


def make_panel(rows: LabelledRows) -> Panel:
    """Arrange rows by date and symbol.

    Needs the outcomes `next_return` and `left_at`, and the contexts `sigma`, `half_spread`,
    `dollar_volume`.
    """
    dates, date = np.unique(rows.t0, return_inverse=True)
    names, symbol = np.unique(rows.symbol, return_inverse=True)
    shape = (len(dates), len(names))
    columns = (rows.outcome["next_return"], *(rows.context[c] for c in MARKET_CONTEXT))
    prices = [rows.context["close"]] if "close" in rows.context else []
    known = (*columns, *prices)
    market = Market(*(_arrange(column, (date, symbol), shape, np.nan) for column in known))
    present = np.isfinite(market.returns)
    total = np.where(present, market.returns, 0.0).sum(axis=1)
    universe = total / np.maximum(present.sum(axis=1), 1)
    left = np.searchsorted(dates, rows.outcome["left_at"])  # NaN, not known yet: after all dates
    return Panel(dates, date, symbol, left, len(names), market, universe)


def _arrange(
    values: Array,
    cells: tuple[NDArray[np.intp], NDArray[np.intp]],
    shape: tuple[int, int],
    missing: float,
) -> Array:
    out = np.full(shape, missing)
    out[cells] = values
    return out


def positions(panel: Panel, decision: Array, horizon: int) -> Array:
    """Return target positions (n_dates, n_symbols), fractions of capital.

    Args:
        decision: (n_rows,) +1, 0 or -1; a missing row counts as 0.
        horizon: bars that a decision is part of the position at most, which sets its share.
    """
    change = np.zeros((len(panel.dates) + 1, panel.n_symbols))
    np.add.at(change, (panel.date, panel.symbol), decision)
    np.subtract.at(change, (panel.left, panel.symbol), decision)
    total = np.cumsum(change[:-1], axis=0)
    return np.asarray(total / (horizon * panel.n_symbols), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Book:
    """What a strategy held and earned, a line per decision time.

    `dates`: int64 microseconds UTC (n,); `positions`: (n, n_symbols) of `symbols`, fractions of
    `capital` (quote currency), filled at the next open, or at the next close where `at_open` is
    false; the others (n,): `gross`, `net`, `active` and `universe` are the returns of the interval
    from that fill to the next one, `turnover` the sum of |change of position|.
    """

    dates: NDArray[np.int64]
    symbols: tuple[str, ...]
    positions: Array
    gross: Array
    net: Array
    active: Array
    universe: Array
    turnover: Array
    at_open: bool
    capital: float


@dataclass(frozen=True, slots=True)
class Strategy:
    """How to trade decisions: bars that one stays at most, costs, bars of a year."""

    horizon: int
    costs: CostSpec
    bars_per_year: float

    def run(self, panel: Panel, decision: Array) -> CostReport:
        """Return the returns and costs of the decisions, per date of the panel."""
        target = positions(panel, decision, self.horizon)
        return charge(target, panel.market, self.costs, self.bars_per_year)


@dataclass(frozen=True, slots=True)
class ThresholdFit:
    """`threshold` on |P(BUY) - P(SELL)|, None where no threshold earned anything net.

    `beta` is that of the strategy's net return to the equal-weight universe, 0 without a strategy.
    """

    threshold: float | None
    beta: float


def fit_threshold(rows: LabelledRows, edge: Array, strategy: Strategy) -> ThresholdFit:
    """Choose the threshold of highest net utility among quantiles of |edge|.

    Args:
        rows: rows whose outcome was known before the rows that will be traded; may be empty.
        edge: (n,) P(BUY) - P(SELL), 0 where the row must not be traded.
    """
    if not len(rows):
        return ThresholdFit(None, 0.0)
    panel = make_panel(rows)
    best, utility = ThresholdFit(None, 0.0), 0.0
    for threshold in (0.0, *np.quantile(np.abs(edge), QUANTILES)):
        net = strategy.run(panel, decisions(edge, float(threshold))).net()
        gain = float(net.mean() - RISK_AVERSION / 2 * net.var())
        if gain > utility:
            best = ThresholdFit(float(threshold), beta(net, panel.universe))
            utility = gain
    return best


def decisions(edge: Array, threshold: float | None) -> Array:
    """Return +1 where edge > threshold, -1 where edge < -threshold, else 0."""
    if threshold is None:
        return np.zeros(len(edge))
    return np.asarray(np.sign(edge) * (np.abs(edge) > threshold), dtype=np.float64)


def beta(returns: Array, universe: Array) -> float:
    """Return cov(returns, universe) / var(universe), 0 where the universe does not vary."""
    variance = float(universe.var())
    if variance == 0:
        return 0.0
    return float(((returns - returns.mean()) * universe).mean()) / variance
