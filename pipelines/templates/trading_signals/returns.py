"""What trading signals earn.

Net returns at several costs, how sure the Sharpe ratio of the active ones is, and the tables a
reader wants to see of a strategy. Whether that is more than the luck of having tried often is
judged when the trial is counted (`pipelines/recipes/selection_bias.py`). Numpy and polars only.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.bars import TIMESTAMP
from pipelines.method import metrics
from pipelines.method.costs import CostReport, break_even_cost, cost_grid
from pipelines.method.statistics import (
    kurtosis,
    minimum_track_record,
    probabilistic_sharpe,
    sharpe_ratio,
    skewness,
)
from pipelines.method.strategy import Panel
from registry.gates import TRADING_SIGNALS, GateRow

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Earned:
    """A strategy's run: its panel, what it earned and cost, and its active net returns.

    `active`: (n_dates,) net return minus beta times the equal-weight universe.
    """

    panel: Panel
    report: CostReport
    active: Array
    bars_per_year: float


def judge_returns(
    earned: Earned,
) -> tuple[dict[str, float], GateRow, dict[str, pl.DataFrame]]:
    """Return metrics, the gate `edge.net_sharpe_2x`, and tables of the run."""
    report, per_year = earned.report, earned.bars_per_year
    grid = cost_grid(report, per_year)
    impact = "no volume: impact not charged" if report.impact is None else "impact charged"
    gate = TRADING_SIGNALS.row("edge.net_sharpe_2x", grid[2].sharpe, f"annualised; {impact}")
    found = {f"net_sharpe_{point.multiple}x": point.sharpe for point in grid}
    found |= {
        "net_return_per_year": grid[1].return_per_year,
        "max_drawdown": float(metrics.drawdown(metrics.equity(report.net())).min()),
        "turnover_per_year": float(report.turnover.mean()) * per_year,
    }
    tables = {
        "equity": _equity(earned),
        "returns": _returns(earned),
        "per_year": _per_year(earned),
        "cost_grid": pl.DataFrame(grid),
    }
    return found | _certainty(earned), gate, tables


def _certainty(earned: Earned) -> dict[str, float]:
    """Return the certainty of the active Sharpe ratio, of one trial alone."""
    active = earned.active
    sharpe, moments = sharpe_ratio(active), (skewness(active), kurtosis(active))
    track = minimum_track_record(sharpe, *moments)
    optional = {
        "break_even_cost": break_even_cost(earned.report),
        "minimum_track_record_bars": track if np.isfinite(track) else None,
    }
    found = {
        "active_sharpe_per_period": sharpe,
        "probabilistic_sharpe": probabilistic_sharpe(sharpe, max(len(active), 2), *moments),
    }
    return found | {name: value for name, value in optional.items() if value is not None}


# Tables ----------------------------------------------------------------------------------------


def _times(panel: Panel) -> pl.Series:
    return pl.Series("timestamp", panel.dates).cast(TIMESTAMP)


def _equity(earned: Earned) -> pl.DataFrame:
    """Return log wealth per decision date of five return series; drawdown of net (fraction)."""
    report, panel = earned.report, earned.panel
    curves = {
        "net": report.net(),
        "gross": report.gross,
        "buy_and_hold": panel.held,
        "equal_weight": panel.universe,
        "active": earned.active,
    }
    return pl.DataFrame(
        {"timestamp": _times(panel)}
        | {name: np.log(metrics.equity(returns)) for name, returns in curves.items()}
        | {"drawdown": metrics.drawdown(metrics.equity(report.net()))}
    )


def _returns(earned: Earned) -> pl.DataFrame:
    """Return the returns and costs of each decision date, fractions of capital."""
    report, panel = earned.report, earned.panel
    return pl.DataFrame(
        {
            "timestamp": _times(panel),
            "net": report.net(),
            "gross": report.gross,
            "active": earned.active,
            "buy_and_hold": panel.held,
            "equal_weight": panel.universe,
            "costs": report.gross - report.net(),
            "turnover": report.turnover,
        }
    )


def _per_year(earned: Earned) -> pl.DataFrame:
    """Return per calendar year: compounded returns, annualised Sharpe ratios, turnover, bars."""
    per_year = earned.bars_per_year
    years = _returns(earned).with_columns(pl.col("timestamp").dt.year().alias("year"))
    lines = []
    for (year,), part in years.group_by("year", maintain_order=True):
        net, active = part["net"].to_numpy(), part["active"].to_numpy()
        lines.append(
            {
                "year": year,
                "net_return": float(metrics.equity(net)[-1] - 1),
                "active_return": float(metrics.equity(active)[-1] - 1),
                "buy_and_hold": float(metrics.equity(part["buy_and_hold"].to_numpy())[-1] - 1),
                "equal_weight": float(metrics.equity(part["equal_weight"].to_numpy())[-1] - 1),
                "net_sharpe": sharpe_ratio(net) * per_year**0.5,
                "active_sharpe": sharpe_ratio(active) * per_year**0.5,
                "max_drawdown": float(metrics.drawdown(metrics.equity(net)).min()),
                "turnover": float(part["turnover"].sum()),
                "n_bars": len(part),
            }
        )
    return pl.DataFrame(lines)
