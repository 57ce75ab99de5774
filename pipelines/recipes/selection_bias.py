"""Selection bias: how good a strategy's returns are when it is the best of many trials.

Two measures: the deflated Sharpe ratio of the returns, with N counted by the engine, and the
probability of backtest overfitting from the returns of every trial of the family. Both need the
trial itself to be counted first. So they follow the template's evaluation and repeat nothing of it.
"""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.bars import TIMESTAMP
from pipelines.method.overfitting import (
    Overfitting,
    backtest_overfitting,
    effective_trials,
    trial_panel,
    why_not,
)
from pipelines.method.statistics import deflated_sharpe, sharpe_ratio
from pipelines.templates import Evaluation
from registry.gates import DEFLATED_SHARPE, OVERFITTING, GateRow
from registry.trials import TrialReturns

Array = NDArray[np.float64]

MOST_HALVES = 1000
"""Lines of the table `pbo`, spread evenly over all halves."""


@dataclass(frozen=True, slots=True)
class TrialFamily:
    """How many recipes this family has tried, their Sharpe ratios per period and return series.

    `series` misses trials whose returns were never kept, as `sharpe_per_period` does.
    """

    n_trials: int
    sharpe_per_period: tuple[float, ...]
    series: tuple[TrialReturns, ...] = ()


def among_trials(alone: Evaluation, family: TrialFamily) -> Evaluation:
    """Add to an evaluation what the trials of its family say about its returns.

    Adds metrics, the gates `edge.dsr` and `edge.pbo`, and the tables `trials` and `pbo`; nothing
    where there are no returns.

    Args:
        family: every trial, this one included.
    """
    if alone.returns is None:
        return alone
    deflated, deflation = _deflation(alone.returns, family)
    overfitted, overfitting, tables = _overfitting(family)
    return replace(
        alone,
        metrics=dict(alone.metrics) | deflated | overfitted,
        gates=(*alone.gates, deflation, overfitting),
        tables=dict(alone.tables) | tables,
    )


def _deflation(returns: Array, family: TrialFamily) -> tuple[dict[str, float], GateRow]:
    found = {"n_trials": float(family.n_trials)}
    deflated = deflated_sharpe(returns, family.n_trials, family.sharpe_per_period)
    if deflated is None:
        why = "needs four returns; with several trials also the Sharpe ratios of two of them"
        return found, DEFLATED_SHARPE.row(None, why)
    found |= {"deflated_sharpe": deflated.probability, "expected_max_sharpe": deflated.hurdle}
    note = (
        f"active Sharpe {deflated.sharpe:.4f} per bar against {deflated.hurdle:.4f} expected "
        f"of {family.n_trials} trials"
    )
    return found, DEFLATED_SHARPE.row(deflated.probability, note)


def _overfitting(
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
        return found, OVERFITTING.row(None, why), tables
    overfitting = backtest_overfitting(panel.returns)
    found |= {"pbo": overfitting.probability, "pbo_loss_share": overfitting.loss_probability}
    n_dates, n_trials = panel.returns.shape
    note = (
        f"{len(overfitting.logits)} halves of the {n_dates} dates that {n_trials} trials have in "
        f"common; {family.n_trials} trials are counted"
    )
    gate = OVERFITTING.row(overfitting.probability, note)
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
