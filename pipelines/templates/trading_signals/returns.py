"""What trading signals earn, and whether that is more than the luck of having tried often.

Net returns at several costs, the deflated Sharpe ratio of active returns with N counted by the
engine, the probability of backtest overfitting from the returns of every trial, and the tables a
reader wants to see of a strategy. Numpy and polars only.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.bars import TIMESTAMP
from pipelines.method import metrics
from pipelines.method.costs import CostReport, break_even_cost, cost_grid
from pipelines.method.overfitting import (
    Overfitting,
    backtest_overfitting,
    effective_trials,
    trial_panel,
    why_not,
)
from pipelines.method.statistics import (
    deflated_sharpe,
    kurtosis,
    minimum_track_record,
    probabilistic_sharpe,
    sharpe_ratio,
    skewness,
)
from pipelines.method.strategy import Panel
from pipelines.templates import TrialFamily
from registry.gates import GateRow, not_computed

Array = NDArray[np.float64]

MOST_HALVES = 1000
"""Lines of the table `pbo`, spread evenly over all halves."""


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
    earned: Earned, family: TrialFamily
) -> tuple[dict[str, float], tuple[GateRow, ...], dict[str, pl.DataFrame]]:
    """Return metrics, the gates `edge.dsr` and `edge.net_sharpe_2x`, and tables of the run."""
    report, active, per_year = earned.report, earned.active, earned.bars_per_year
    grid = cost_grid(report, per_year)
    impact = "no volume: impact not charged" if report.impact is None else "impact charged"
    gates = (
        _deflation_gate(active, family),
        GateRow("edge.net_sharpe_2x", grid[2].sharpe, ">", 0.0, f"annualised; {impact}"),
    )
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
    return found | _luck(earned, family), gates, tables


def _deflation_gate(active: Array, family: TrialFamily) -> GateRow:
    deflated = deflated_sharpe(active, family.n_trials, family.sharpe_per_period)
    if deflated is None:
        why = "needs four returns, and the Sharpe ratios of two of several trials"
        return not_computed("edge.dsr", ">=", 0.95, why)
    note = (
        f"active Sharpe {deflated.sharpe:.4f} per bar against {deflated.hurdle:.4f} expected "
        f"of {family.n_trials} trials"
    )
    return GateRow("edge.dsr", deflated.probability, ">=", 0.95, note)


def _luck(earned: Earned, family: TrialFamily) -> dict[str, float]:
    """Return how sure the active Sharpe ratio is, before and after the trials are counted."""
    active = earned.active
    sharpe, moments = sharpe_ratio(active), (skewness(active), kurtosis(active))
    deflated = deflated_sharpe(active, family.n_trials, family.sharpe_per_period)
    track = minimum_track_record(sharpe, *moments)
    optional = {
        "break_even_cost": break_even_cost(earned.report),
        "deflated_sharpe": None if deflated is None else deflated.probability,
        "expected_max_sharpe": None if deflated is None else deflated.hurdle,
        "minimum_track_record_bars": track if np.isfinite(track) else None,
    }
    found = {
        "active_sharpe_per_period": sharpe,
        "probabilistic_sharpe": probabilistic_sharpe(sharpe, max(len(active), 2), *moments),
        "n_trials": float(family.n_trials),
    }
    return found | {name: value for name, value in optional.items() if value is not None}


# Overfitting -----------------------------------------------------------------------------------


def judge_overfitting(
    family: TrialFamily,
) -> tuple[dict[str, float], GateRow, dict[str, pl.DataFrame]]:
    """Return metrics, the gate `edge.pbo`, and the tables `trials` and `pbo`.

    Trials that were counted before their returns were kept are missing from it; the note says how
    many, and N of the deflated Sharpe ratio has them all.
    """
    panel = trial_panel(family.series)
    tables = {"trials": _trials(family)} if family.series else {}
    effective = effective_trials(panel.returns)
    found = {} if effective is None else {"n_effective_trials": effective}
    if why := why_not(panel, family.series):
        return found, not_computed("edge.pbo", "<", 0.5, why), tables
    overfitting = backtest_overfitting(panel.returns)
    found |= {"pbo": overfitting.probability, "pbo_loss_share": overfitting.loss_probability}
    n_dates, n_trials = panel.returns.shape
    note = (
        f"{len(overfitting.logits)} halves of {n_dates} common dates of {n_trials} trials, "
        f"{family.n_trials} counted"
    )
    gate = GateRow("edge.pbo", overfitting.probability, "<", 0.5, note)
    return found, gate, tables | {"pbo": _halves(overfitting)}


def _trials(family: TrialFamily) -> pl.DataFrame:
    """Return one line per trial with returns, oldest first: recipe, n_periods, first, last, ..."""
    series = family.series
    first = pl.Series([int(trial.dates[0]) for trial in series]).cast(TIMESTAMP)
    last = pl.Series([int(trial.dates[-1]) for trial in series]).cast(TIMESTAMP)
    return pl.DataFrame(
        {
            "recipe": [trial.recipe[:12] for trial in series],
            "n_periods": [len(trial.dates) for trial in series],
            "first": first,
            "last": last,
            "sharpe_per_period": [sharpe_ratio(trial.returns) for trial in series],
        }
    )


def _halves(overfitting: Overfitting) -> pl.DataFrame:
    """Return logit, and the winner's Sharpe ratio where it was chosen and in the other half."""
    n = len(overfitting.logits)
    lines = np.unique(np.linspace(0, n - 1, min(n, MOST_HALVES)).astype(np.intp))
    return pl.DataFrame(
        {
            "logit": overfitting.logits[lines],
            "chosen_sharpe": overfitting.chosen[lines],
            "realised_sharpe": overfitting.realised[lines],
        }
    )


# Tables ----------------------------------------------------------------------------------------


def _times(panel: Panel) -> pl.Series:
    return pl.Series("timestamp", panel.dates).cast(TIMESTAMP)


def _equity(earned: Earned) -> pl.DataFrame:
    """Return log wealth per decision date of four return series; drawdown of net (fraction)."""
    report, panel = earned.report, earned.panel
    curves = {
        "net": report.net(),
        "gross": report.gross,
        "buy_and_hold": panel.universe,
        "active": earned.active,
    }
    return pl.DataFrame(
        {"timestamp": _times(panel)}
        | {name: np.log(metrics.equity(returns)) for name, returns in curves.items()}
        | {"drawdown": metrics.drawdown(metrics.equity(report.net()))}
    )


def _returns(earned: Earned) -> pl.DataFrame:
    """Return what each decision date earned and cost, fractions of capital."""
    report, panel = earned.report, earned.panel
    return pl.DataFrame(
        {
            "timestamp": _times(panel),
            "net": report.net(),
            "gross": report.gross,
            "active": earned.active,
            "buy_and_hold": panel.universe,
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
                "net_sharpe": sharpe_ratio(net) * per_year**0.5,
                "active_sharpe": sharpe_ratio(active) * per_year**0.5,
                "max_drawdown": float(metrics.drawdown(metrics.equity(net)).min()),
                "turnover": float(part["turnover"].sum()),
                "n_bars": len(part),
            }
        )
    return pl.DataFrame(lines)
