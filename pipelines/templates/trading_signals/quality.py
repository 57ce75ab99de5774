"""How trading signals are judged: probabilities, direction, confidence, intervals, information.

Two edge tests run on pooled out-of-fold rows (docs/templates/trading_signals.md). The log loss of
the three classes is compared with that of the prior of the training slice. Among rows whose barrier
was touched, the log loss of the direction is compared with that of its prior. Then confidence and
intervals are checked for what they promise. Net returns of the decisions are judged in
`pipelines/templates/trading_signals/returns.py`. The rows become gates of the trade lock; a value
that cannot be computed reads `not computed`, with the reason.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.method import metrics, plausibility
from pipelines.method.coverage import Intervals, judge_coverage
from pipelines.method.information import (
    DECAY_TABLE,
    decay,
    information,
    rank_autocorrelation,
    top_turnover,
)
from pipelines.method.information import quantile_spread as spread_of
from pipelines.method.mean_tests import diebold_mariano, mean_test
from pipelines.method.meta_label import ACCEPTED, MetaForecast
from pipelines.method.rows import LabelledRows
from pipelines.method.strategy import Book, Panel, Strategy, make_panel, positions
from pipelines.templates import Evaluation
from pipelines.templates.trading_signals.returns import Earned, judge_returns
from registry.gates import PLAUSIBLE_DIRECTION, PLAUSIBLE_SHARPE, TRADING_SIGNALS, GateRow

Array = NDArray[np.float64]

CLASSES = ("SELL", "HOLD", "BUY")
ECE_ROWS, ECE_DATES = 1000, 50
"""Fewest for a bound that a calibrated model meets in four of five cases or more."""


@dataclass(frozen=True, slots=True)
class SignalForecast:
    """The forecast of each row, made before its outcome was known.

    `probabilities`, `prior`: (n, 3), calibrated and of the training slice; `decision`: (n,) +1, 0
    or -1; `beta`: (n,) of the strategy to the universe, fitted on earlier rows; `intervals` of the
    log return from fill to exit; `meta` of the secondary model, None without one.
    """

    probabilities: Array
    prior: Array
    decision: Array
    beta: Array
    intervals: Intervals
    meta: MetaForecast | None = None

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
    rows: LabelledRows, forecast: SignalForecast, strategy: Strategy, interval: str = ""
) -> Evaluation:
    """Return metrics, gates of both locks, tables and the active net returns.

    Args:
        interval: of the bars; what is too good to be true depends on their length.
    """
    panel = make_panel(rows)
    report = strategy.run(panel, forecast.decision)
    beta = np.bincount(panel.date, forecast.beta) / np.bincount(panel.date)
    earned = Earned(panel, report, report.net() - beta * panel.universe, strategy.bars_per_year)
    horizon, block = strategy.horizon, metrics.block_dates(strategy.horizon)
    scores, edge_gates = _judge_probabilities(rows, forecast, horizon)
    calibration, ece_gate = _judge_confidence(rows, forecast, block)
    coverage, coverage_gate, over_time = judge_coverage(forecast.intervals, block)
    money, money_gate, returns = judge_returns(earned)
    content, horizons = _judge_information(panel, forecast)
    content |= _judge_meta(rows, forecast, horizon)
    net = plausibility.sharpe(report.net(), strategy.bars_per_year)
    plausible = (
        net.row(
            PLAUSIBLE_SHARPE, "the annualised net Sharpe ratio", plausibility.SHARPE.of(interval)
        ),
        _plausible_direction(rows, forecast, horizon, interval),
    )
    tables = {
        "confusion": metrics.confusion(rows.y, _most_probable(forecast), CLASSES),
        "reliability": metrics.reliability_table(forecast.confidence, _hit(rows, forecast)),
        "per_symbol": _per_symbol(rows, forecast),
    }
    return Evaluation(
        scores | calibration | coverage | money | content,
        (*edge_gates, money_gate, ece_gate, coverage_gate, *plausible),
        returns | tables | over_time | horizons,
        earned.active,
        panel.dates,
        report.amounts,
        strategy.costs.rates(strategy.bars_per_year),
        _book(rows, forecast, strategy, earned),
    )


def _book(rows: LabelledRows, forecast: SignalForecast, strategy: Strategy, earned: Earned) -> Book:
    panel, report = earned.panel, earned.report
    return Book(
        panel.dates,
        tuple(rows.symbols[k] for k in np.unique(rows.symbol)),
        positions(panel, forecast.decision, strategy.horizon),
        report.gross,
        report.net(),
        earned.active,
        panel.universe,
        report.turnover,
        at_open=rows.spec.get("fill") == "next_open",
        capital=strategy.costs.capital,
    )


def _most_probable(forecast: SignalForecast) -> Array:
    chosen: Array = forecast.probabilities.argmax(axis=1).astype(np.float64)
    return chosen


def _hit(rows: LabelledRows, forecast: SignalForecast) -> Array:
    return np.asarray(rows.y == forecast.emitted, dtype=np.float64)


# Probabilities ---------------------------------------------------------------------------------


def _judge_probabilities(
    rows: LabelledRows, forecast: SignalForecast, horizon: int
) -> tuple[dict[str, float], tuple[GateRow, ...]]:
    loss = metrics.log_loss(forecast.probabilities, rows.y)
    prior = metrics.log_loss(forecast.prior, rows.y)
    touched = rows.outcome["touched"] == 1
    side = (rows.y[touched] == 2).astype(np.float64)
    direction = metrics.log_loss(_direction(forecast.probabilities[touched]), side)
    rival = metrics.log_loss(_direction(forecast.prior[touched]), side)
    of_loss = diebold_mariano(loss, prior, rows.t0, horizon)
    of_direction = diebold_mariano(direction, rival, rows.t0[touched], horizon)
    note = "log loss minus that of the training prior, per date"
    gates = (
        TRADING_SIGNALS.row(
            "edge.log_loss", of_loss.z, f"{note}: {of_loss.note}; {len(rows)} rows"
        ),
        TRADING_SIGNALS.row(
            "edge.direction",
            of_direction.z,
            f"{note}, BUY against SELL where a barrier was touched: {of_direction.note}; "
            f"{int(touched.sum())} rows",
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
        up = _direction(forecast.probabilities[touched])[:, 1]
        area = metrics.area_under_curve(up, side == 1)
        found |= {} if area is None else {"auc_direction": area}
    ts = {"t_log_loss": of_loss.z, "t_direction": of_direction.z}
    return found | {name: t for name, t in ts.items() if t is not None}, gates


def _plausible_direction(
    rows: LabelledRows, forecast: SignalForecast, horizon: int, interval: str
) -> GateRow:
    touched = rows.outcome["touched"] == 1
    up = _direction(forecast.probabilities[touched])[:, 1]
    t0, bought = rows.t0[touched], rows.y[touched] == 2
    area = plausibility.area_under_curve(up, bought, t0, horizon)
    if area is None:
        return PLAUSIBLE_DIRECTION.absent("only one side was ever touched")
    what = f"the area under the ROC curve of BUY against SELL on {len(up)} rows that touched"
    return area.row(PLAUSIBLE_DIRECTION, what, plausibility.DIRECTION.of(interval))


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
    n_dates = len(np.unique(rows.t0))
    if len(rows) < ECE_ROWS or n_dates < ECE_DATES:
        why = (
            f"{len(rows)} out-of-fold rows on {n_dates} dates; {ECE_ROWS} rows on {ECE_DATES} "
            "dates are needed"
        )
        return found, TRADING_SIGNALS.row("edge.ece", None, why)
    note = (
        f"upper one-sided 95 % block-bootstrap bound; ECE {interval.estimate:.4f} over "
        f"{interval.n_bins} bins of {len(rows)} rows, {n_dates} dates"
    )
    return found, TRADING_SIGNALS.row("edge.ece", interval.upper, note)


def _judge_meta(rows: LabelledRows, forecast: SignalForecast, horizon: int) -> dict[str, float]:
    """Score how the secondary model separates right sides from wrong ones; reported only."""
    meta = forecast.meta
    if meta is None:
        return {}
    keep = np.isfinite(meta.confidence) & np.isfinite(meta.right)
    confidence, right, prior = meta.confidence[keep], meta.right[keep], meta.prior[keep]
    loss, rival = metrics.binary_log_loss(confidence, right), metrics.binary_log_loss(prior, right)
    accepted = confidence > ACCEPTED
    found = {
        "meta_log_loss": float(loss.mean()),
        "meta_log_loss_prior": float(rival.mean()),
        "meta_right_share": float(right.mean()),
        "meta_accepted_share": float(accepted.mean()),
    }
    t = diebold_mariano(loss, rival, rows.t0[keep], horizon).z
    if accepted.any():
        found["meta_precision"] = float(right[accepted].mean())
    return found if t is None else found | {"meta_t": t}


# Information -----------------------------------------------------------------------------------


def _judge_information(
    panel: Panel, forecast: SignalForecast
) -> tuple[dict[str, float], dict[str, pl.DataFrame]]:
    """Score P(BUY) - P(SELL) across symbols; nothing for fewer than five of them."""
    signal = panel.matrix(forecast.probabilities[:, 2] - forecast.probabilities[:, 0])
    returns = panel.market.returns
    found = information(signal, returns)
    if found is None:
        return {}, {}
    spread = spread_of(signal, returns)
    spread = spread[np.isfinite(spread)]
    optional = {
        "ic_t": found.ic_t,
        "rank_autocorrelation": rank_autocorrelation(signal),
        "top_quantile_turnover": top_turnover(signal),
        "quantile_spread_t": mean_test(spread).z,
    }
    measured = {
        "ic": found.ic,
        "icir": found.icir,
        "rank_ic": found.rank_ic,
        "rank_icir": found.rank_icir,
        "quantile_spread": float(spread.mean()),
    }
    measured |= {name: value for name, value in optional.items() if value is not None}
    return measured, {DECAY_TABLE: decay(signal, returns)}


# Tables ----------------------------------------------------------------------------------------


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
