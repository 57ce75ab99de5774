"""How trading signals are judged: probabilities, direction, and net returns.

Two edge tests on pooled out-of-fold rows (docs/templates.md): the log loss of the three classes
against the prior of the training slice, and among rows whose barrier was touched the log loss of
the direction against its prior. The strategy's active net returns give the deflated Sharpe ratio
(section 3). Rows become gates of the trade lock; what this module does not compute reads
`not computed`.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines import metrics
from pipelines.bars import TIMESTAMP
from pipelines.costs import CostReport, break_even_cost, cost_grid
from pipelines.datasets import LabelledRows
from pipelines.statistics import (
    SIGNIFICANT,
    deflated_sharpe,
    diebold_mariano,
    hac_lags,
    kurtosis,
    minimum_track_record,
    sharpe_ratio,
    skewness,
)
from pipelines.strategy import Panel, Strategy, make_panel
from pipelines.templates import Evaluation, TrialFamily
from registry.gates import GateRow, not_computed

Array = NDArray[np.float64]

CLASSES = ("SELL", "HOLD", "BUY")
ECE_ROWS = 5000
LARGEST_ECE = 0.05


@dataclass(frozen=True, slots=True)
class SignalForecast:
    """What was said about each row before it was known.

    `probabilities`, `prior`: (n, 3), calibrated and of the training slice; `decision`: (n,) +1, 0
    or -1; `beta`: (n,) of the strategy to the universe, fitted on earlier rows.
    """

    probabilities: Array
    prior: Array
    decision: Array
    beta: Array

    @property
    def emitted(self) -> Array:
        """Class number of the signal."""
        return self.decision + 1

    @property
    def confidence(self) -> Array:
        """Calibrated probability of the signal."""
        rows = np.arange(len(self.decision))
        chosen: Array = self.probabilities[rows, self.emitted.astype(np.intp)]
        return chosen


def judge(
    rows: LabelledRows, forecast: SignalForecast, strategy: Strategy, family: TrialFamily
) -> Evaluation:
    """Return metrics, gates of the trade lock, tables and the active net returns."""
    panel = make_panel(rows)
    report = strategy.run(panel, forecast.decision)
    beta = np.bincount(panel.date, forecast.beta) / np.bincount(panel.date)
    active = report.net() - beta * panel.universe
    lags = hac_lags(strategy.horizon)
    scores, edge_gates = _judge_probabilities(rows, forecast, lags)
    calibration, ece_gate = _judge_confidence(rows, forecast, lags)
    money, money_gates = _judge_returns(report, active, strategy.bars_per_year, family)
    gates = (
        *edge_gates,
        *money_gates,
        not_computed("edge.pbo", "<", 0.5, "needs the out-of-fold returns of every trial"),
        ece_gate,
        GateRow(
            "edge.coverage",
            None,
            "between",
            (0.88, 0.92),
            "needs conformal coverage over time with its interval",
        ),
    )
    tables = {
        "equity": _equity(panel, report),
        "confusion": metrics.confusion(rows.y, _most_probable(forecast), CLASSES),
        "reliability": metrics.reliability_table(forecast.confidence, _hit(rows, forecast)),
        "cost_grid": pl.DataFrame(cost_grid(report, strategy.bars_per_year)),
        "per_symbol": _per_symbol(rows, forecast),
    }
    return Evaluation(scores | calibration | money, gates, tables, active, panel.dates)


def _most_probable(forecast: SignalForecast) -> Array:
    chosen: Array = forecast.probabilities.argmax(axis=1).astype(np.float64)
    return chosen


def _hit(rows: LabelledRows, forecast: SignalForecast) -> Array:
    return np.asarray(rows.y == forecast.emitted, dtype=np.float64)


# Probabilities ---------------------------------------------------------------------------------


def _judge_probabilities(
    rows: LabelledRows, forecast: SignalForecast, lags: int
) -> tuple[dict[str, float], tuple[GateRow, ...]]:
    loss = metrics.log_loss(forecast.probabilities, rows.y)
    prior = metrics.log_loss(forecast.prior, rows.y)
    touched = rows.outcome["touched"] == 1
    side = (rows.y[touched] == 2).astype(np.float64)
    direction = metrics.log_loss(_direction(forecast.probabilities[touched]), side)
    rival = metrics.log_loss(_direction(forecast.prior[touched]), side)
    t_loss = diebold_mariano(loss, prior, rows.t0, lags)
    t_direction = diebold_mariano(direction, rival, rows.t0[touched], lags)
    note = f"HAC t per date (lag {lags}) of log loss minus that of the training prior"
    gates = (
        GateRow("edge.log_loss", t_loss, "<", SIGNIFICANT, f"{note}; {len(rows)} rows"),
        GateRow(
            "edge.direction",
            t_direction,
            "<",
            SIGNIFICANT,
            f"{note}, BUY against SELL where a barrier was touched; {int(touched.sum())} rows",
        ),
    )
    found = {
        "log_loss": float(loss.mean()),
        "log_loss_prior": float(prior.mean()),
        "brier": float(metrics.brier(forecast.probabilities, rows.y).mean()),
        "accuracy": float((_most_probable(forecast) == rows.y).mean()),
        "label_hold_share": float((rows.y == 1).mean()),
        "label_ambiguous_share": float(rows.outcome["ambiguous"].mean()),
        "n_oof_rows": float(len(rows)),
    }
    if touched.any():
        found["log_loss_direction"] = float(direction.mean())
        found["log_loss_direction_prior"] = float(rival.mean())
    ts = {"t_log_loss": t_loss, "t_direction": t_direction}
    return found | {name: t for name, t in ts.items() if t is not None}, gates


def _direction(probabilities: Array) -> Array:
    """Return (n, 2): P(SELL) and P(BUY) given that it is one of them."""
    two = probabilities[:, [0, 2]]
    return np.asarray(two / two.sum(axis=1, keepdims=True), dtype=np.float64)


def _judge_confidence(
    rows: LabelledRows, forecast: SignalForecast, block: int
) -> tuple[dict[str, float], GateRow]:
    confidence, hit = forecast.confidence, _hit(rows, forecast)
    interval = metrics.calibration_error_interval(confidence, hit, rows.t0, block=block)
    parts = metrics.brier_parts(confidence, hit)
    found = {
        "ece": interval.estimate,
        "ece_lower": interval.lower,
        "ece_upper": interval.upper,
        "signal_brier": parts.score,
        "signal_brier_reliability": parts.reliability,
        "signal_brier_resolution": parts.resolution,
        "signal_brier_uncertainty": parts.uncertainty,
        "signal_accuracy": float(hit.mean()),
    }
    if len(rows) < ECE_ROWS:
        why = f"{len(rows)} out-of-fold rows, {ECE_ROWS} are needed"
        return found, not_computed("edge.ece", "<=", LARGEST_ECE, why)
    note = f"lower 90 % block-bootstrap bound; ECE {interval.estimate:.4f} on {len(rows)} rows"
    return found, GateRow("edge.ece", interval.lower, "<=", LARGEST_ECE, note)


# Returns ---------------------------------------------------------------------------------------


def _judge_returns(
    report: CostReport, active: Array, per_year: float, family: TrialFamily
) -> tuple[dict[str, float], tuple[GateRow, ...]]:
    grid = cost_grid(report, per_year)
    deflated = deflated_sharpe(active, family.n_trials, family.sharpe_per_period)
    impact = "no volume: impact not charged" if report.impact is None else "impact charged"
    if deflated is None:
        why = "needs four returns, and the Sharpe ratios of two of several trials"
        dsr = not_computed("edge.dsr", ">=", 0.95, why)
    else:
        note = (
            f"active Sharpe {deflated.sharpe:.4f} per bar against {deflated.hurdle:.4f} expected "
            f"of {family.n_trials} trials"
        )
        dsr = GateRow("edge.dsr", deflated.probability, ">=", 0.95, note)
    gates = (
        dsr,
        GateRow("edge.net_sharpe_2x", grid[2].sharpe, ">", 0.0, f"annualised; {impact}"),
    )
    found = {f"net_sharpe_{point.multiple}x": point.sharpe for point in grid}
    found |= {
        "active_sharpe_per_period": sharpe_ratio(active),
        "net_return_per_year": grid[1].return_per_year,
        "max_drawdown": float(metrics.drawdown(metrics.equity(report.net())).min()),
        "turnover_per_year": float(report.turnover.mean()) * per_year,
        "n_trials": float(family.n_trials),
    }
    track = minimum_track_record(sharpe_ratio(active), skewness(active), kurtosis(active))
    optional = {
        "break_even_cost": break_even_cost(report),
        "deflated_sharpe": None if deflated is None else deflated.probability,
        "expected_max_sharpe": None if deflated is None else deflated.hurdle,
        "minimum_track_record_bars": track if np.isfinite(track) else None,
    }
    return found | {k: v for k, v in optional.items() if v is not None}, gates


# Tables ----------------------------------------------------------------------------------------


def _equity(panel: Panel, report: CostReport) -> pl.DataFrame:
    """Return log wealth per decision date: net, gross, buy_and_hold; drawdown of net (fraction)."""
    curves = {"net": report.net(), "gross": report.gross, "buy_and_hold": panel.universe}
    return pl.DataFrame(
        {"timestamp": pl.Series(panel.dates).cast(TIMESTAMP)}
        | {name: np.log(metrics.equity(returns)) for name, returns in curves.items()}
        | {"drawdown": metrics.drawdown(metrics.equity(report.net()))}
    )


def _per_symbol(rows: LabelledRows, forecast: SignalForecast) -> pl.DataFrame:
    names = pl.Series("symbol", list(rows.symbols)).gather(rows.symbol.astype(np.uint32))
    frame = pl.DataFrame(
        {
            "symbol": names,
            "log_loss": metrics.log_loss(forecast.probabilities, rows.y),
            "log_loss_prior": metrics.log_loss(forecast.prior, rows.y),
            "hit": _hit(rows, forecast),
            "decision": forecast.decision,
        }
    )
    return (
        frame.group_by("symbol")
        .agg(
            pl.len().alias("n_rows"),
            pl.col("log_loss", "log_loss_prior").mean(),
            pl.col("hit").mean().alias("signal_accuracy"),
            (pl.col("decision") > 0).mean().alias("buy_share"),
            (pl.col("decision") < 0).mean().alias("sell_share"),
        )
        .sort("symbol")
    )
