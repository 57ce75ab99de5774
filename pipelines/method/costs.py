"""What trading costs: half spread, fee, slippage, market impact, borrow and funding.

net_t = pos*r_t - |dpos|*(half_spread + fee + slip + fee_per_contract / (multiplier*price))
        - k*sigma*sqrt(|Q|/ADV)*|dpos| - borrow*max(-pos, 0) - funding*|pos|

with pos the position filled at the start of interval t. Everything is a fraction of capital per
interval. Impact needs traded volume: where there is none it is not charged, and the report says
`impact: None` rather than 0. What an instrument costs is one of `PRESETS`, of which options change
single numbers. Numpy only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pipelines.method.metrics import compound_return
from pipelines.method.statistics import sharpe_ratio
from registry.contract import Json

Array = NDArray[np.float64]

MULTIPLES = (0, 1, 2, 3)
"""Cost multiples of the grid; 0 is gross."""


@dataclass(frozen=True, slots=True)
class CostSpec:
    """Assumptions, all fractions (0.0001 is one basis point).

    `half_spread`, `fee`, `slippage` per unit of turnover; a half spread measured in the data
    replaces `half_spread`. `impact` is k of the square-root law (Almgren et al. 2005), per unit
    of turnover and of sigma; `capital` in quote currency turns a position into a volume.
    `borrow_per_year` is paid on short positions, `funding_per_year` on every open one (funding of
    perpetuals, financing, rolls). `multiplier`: units of the price per contract, 1 where volume
    counts units; `fee_per_contract` in quote currency, per contract traded.
    """

    half_spread: float
    fee: float
    slippage: float
    impact: float
    capital: float
    borrow_per_year: float
    funding_per_year: float = 0.0
    multiplier: float = 1.0
    fee_per_contract: float = 0.0

    def to_json(self) -> dict[str, Json]:
        """Return plain JSON values; what an instrument does not have (its default) is left out."""
        return {
            f.name: value for f in fields(self) if (value := getattr(self, f.name)) != f.default
        }

    def rates(self, bars_per_year: float) -> dict[str, float]:
        """Return what one unit of each of `amounts` costs under these assumptions."""
        return {
            "turnover": self.fee + self.slippage,
            "unquoted": self.half_spread,
            "quoted": 1.0,
            "contracts": self.fee_per_contract / self.multiplier,
            "impact": self.impact * (self.capital / self.multiplier) ** 0.5,
            "short": self.borrow_per_year / bars_per_year,
            "held": self.funding_per_year / bars_per_year,
        }

    @classmethod
    def from_json(cls, facts: Mapping[str, Json]) -> "CostSpec":
        """Return the spec that `to_json` wrote."""
        return cls(**{name: float(cast(float, value)) for name, value in facts.items()})


EQUITY = CostSpec(0.0002, 0.00005, 0.0001, 0.5, 1e6, 0.005)
"""Large, liquid stocks: 2 bp half spread, 0.5 bp fee, 1 bp slippage. Assumed, not measured."""

EQUITY_NAME, FUTURE_NAME = "equity", "future"
PRESETS: Mapping[str, CostSpec] = MappingProxyType(
    {
        EQUITY_NAME: EQUITY,
        "fx": CostSpec(0.00005, 0.00003, 0.00003, 0.0, 1e6, 0.0, funding_per_year=0.01),
        "crypto_perpetual": CostSpec(0.0001, 0.0005, 0.0002, 0.5, 1e6, 0.0, funding_per_year=0.11),
        FUTURE_NAME: CostSpec(
            *(0.0001, 0.0, 0.0001, 0.5, 1e6, 0.0), funding_per_year=0.001, fee_per_contract=2.5
        ),
    }
)
"""Costs of instruments; assumed, not measured.

fx: a major pair through a broker, half a pip, 0.3 bp commission, a markup of 1 % a year on what is
held overnight; no impact, because its bars count ticks, not money. crypto_perpetual: 5 bp fee,
0.01 % funding every eight hours on either side. future: 2.50 a contract and side, four rolls a year
of 2.5 bp; `multiplier` is the contract's own and has to be given."""

NAMES = tuple(f.name for f in fields(CostSpec))


def costs_of(options: Mapping[str, Json]) -> CostSpec:
    """Return the costs of the option `instrument` (equity where unnamed), as options change them.

    An option named like a cost replaces it; null leaves the preset's.
    """
    preset = PRESETS[str(options.get("instrument") or EQUITY_NAME)]
    given: dict[str, Any] = {n: options[n] for n in NAMES if options.get(n) is not None}
    return replace(preset, **given)


def unnamed(options: Mapping[str, Json]) -> str:
    """Return why nobody knows what trading costs here; empty where the instrument is named."""
    named = options.get("instrument")
    if not named:
        known = ", ".join(PRESETS)
        return f"nobody said what is traded, so its costs are not known: options instrument={known}"
    if named == FUTURE_NAME and options.get("multiplier") is None:
        return (
            "a future needs the units of its contract: options multiplier=50 for 50 times the price"
        )
    return ""


@dataclass(frozen=True, slots=True)
class Market:
    """What a panel of positions meets; each (n_dates, n_symbols), NaN where not known.

    `returns`: simple return of the interval that starts with the fill of that date's decision.
    `sigma`: volatility per bar; `half_spread`: measured, fraction of mid; `dollar_volume`: mean
    traded value per bar in quote currency, of one unit per contract; `close`: the newest price.
    """

    returns: Array
    sigma: Array
    half_spread: Array
    dollar_volume: Array
    close: Array | None = None


@dataclass(frozen=True, slots=True)
class CostReport:
    """Portfolio per interval, (n_dates,), fractions of capital.

    `trading` is half spread + fees + slippage; `impact` is None where no volume is known at all;
    `borrow` holds funding too; `turnover` is the sum of |change of position|.
    `amounts`: what the costs are charged on.
    """

    gross: Array
    trading: Array
    impact: Array | None
    borrow: Array
    turnover: Array
    amounts: Mapping[str, Array] = field(default_factory=dict)

    def net(self, multiple: float = 1.0) -> Array:
        """Return the net return with all costs times `multiple`; unknown impact is not charged."""
        impact = 0.0 if self.impact is None else self.impact
        costs = self.trading + impact + self.borrow
        return np.asarray(self.gross - multiple * costs, dtype=np.float64)


def charge(positions: Array, market: Market, spec: CostSpec, bars_per_year: float) -> CostReport:
    """Return the returns and costs of positions, per interval.

    Args:
        positions: (n_dates, n_symbols), the position decided on a date as a fraction of capital;
            it is filled after the close of that date and earns `market.returns` of the same line.
            A bar-aligned series has the same meaning shifted: with closes only, the position
            decided at t-2 earns the return of bar t.

    A missing return counts as 0: the symbol did not trade. The first line enters from flat. A
    negative half spread (a crossed quote) is no rebate: the assumed one is paid.
    """
    flat = np.zeros((1, positions.shape[1]))
    traded = np.abs(np.diff(positions, axis=0, prepend=flat))
    measured = market.half_spread >= 0
    spread = np.where(measured, market.half_spread, spec.half_spread)
    unit = spread + spec.fee + spec.slippage + contract_fee(_prices(market), spec)
    trading = traded * np.where(traded > 0, unit, 0.0)
    borrow = np.maximum(-positions, 0.0) * (spec.borrow_per_year / bars_per_year)
    borrow += np.abs(positions) * (spec.funding_per_year / bars_per_year)
    return CostReport(
        (positions * np.nan_to_num(market.returns)).sum(axis=1),
        trading.sum(axis=1),
        _impact(traded, market, spec),
        borrow.sum(axis=1),
        traded.sum(axis=1),
        amounts(positions, market),
    )


def contract_fee(price: Array, spec: CostSpec) -> Array:
    """Return the fee per unit of turnover that a fee per contract makes at these prices."""
    if spec.fee_per_contract == 0:
        return np.zeros(price.shape)
    with np.errstate(divide="ignore"):
        return np.asarray(spec.fee_per_contract / (spec.multiplier * price), dtype=np.float64)


def _prices(market: Market) -> Array:
    """Return the newest prices; the lowest of its symbol, the dearest to trade, where missing.

    Zero without any price: a fee per contract is then infinite rather than left out.
    """
    close = np.full(market.returns.shape, np.nan) if market.close is None else market.close
    lowest = np.min(np.where(close > 0, close, np.inf), axis=0)
    return np.where(close > 0, close, np.where(np.isfinite(lowest), lowest, 0.0))


def amounts(positions: Array, market: Market) -> dict[str, Array]:
    """Return what costs are charged on, per interval, whatever the assumptions are.

    Law: the costs of `charge` are the sum over names of rate (`CostSpec.rates`) times amount, where
    every symbol has a price. So decisions can be charged again under other assumptions. `held` is
    the sum of |position|, `contracts` the turnover per unit of price.
    """
    flat = np.zeros((1, positions.shape[1]))
    traded = np.abs(np.diff(positions, axis=0, prepend=flat))
    quoted, price = market.half_spread >= 0, _prices(market)
    known = (market.dollar_volume > 0) & np.isfinite(market.sigma)
    volume = np.where(known, market.dollar_volume, 1.0)
    found = {
        "turnover": traded,
        "unquoted": np.where(quoted, 0.0, traded),
        "quoted": np.where(quoted, market.half_spread, 0.0) * traded,
        "contracts": traded * np.where(price > 0, 1 / np.where(price > 0, price, 1.0), 0.0),
        "impact": np.where(known, market.sigma * np.sqrt(traded / volume) * traded, 0.0),
        "short": np.maximum(-positions, 0.0),
        "held": np.abs(positions),
    }
    return {name: np.asarray(value.sum(axis=1)) for name, value in found.items()}


def recharged(returns: Array, amounts: Mapping[str, Array], rates: Mapping[str, float]) -> Array:
    """Return returns before costs, (T,), net of what the amounts cost at these rates."""
    costs = sum((rates[n] * values for n, values in amounts.items() if n in rates), np.zeros(1))
    return np.asarray(returns - costs, dtype=np.float64)


def _impact(traded: Array, market: Market, spec: CostSpec) -> Array | None:
    """Return k*sigma*sqrt(|Q|/ADV)*|dpos| summed over the symbols whose volume is known."""
    known = (market.dollar_volume > 0) & np.isfinite(market.sigma)
    if not known.any():
        return None
    volume = np.where(known, market.dollar_volume * spec.multiplier, 1.0)
    share = np.sqrt(traded * spec.capital / volume)
    cost = np.where(known, spec.impact * market.sigma * share * traded, 0.0)
    return np.asarray(cost.sum(axis=1), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class CostPoint:
    """One line of the cost grid; Sharpe annualised, return compounded over a year."""

    multiple: int
    sharpe: float
    return_per_year: float


def cost_grid(report: CostReport, bars_per_year: float) -> tuple[CostPoint, ...]:
    """Return the net result at 0, 1, 2 and 3 times the assumed costs."""
    points = []
    for multiple in MULTIPLES:
        net = report.net(multiple)
        sharpe = sharpe_ratio(net) * bars_per_year**0.5
        points.append(CostPoint(multiple, sharpe, compound_return(net, bars_per_year)))
    return tuple(points)


def break_even_cost(report: CostReport) -> float | None:
    """Return the cost per unit of turnover at which the mean net return is 0, a fraction.

    Returns:
        None without turnover. Negative when the gross return after borrow is already a loss.
    """
    turnover = float(report.turnover.sum())
    if turnover == 0:
        return None
    return float((report.gross - report.borrow).sum()) / turnover
