"""Selection bias: how good a result is when it is one of many trials.

Every test of skill asks for more with every trial of the same data: z >= 1.645 + E[max N]. Returns
are judged by the deflated Sharpe ratio, with N counted by the engine, and by how often the recipe
that was best in one half of the history loses in the other. All of it needs the trial itself to be
counted first. So it follows the template's evaluation and repeats nothing of it.
"""

from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.bars import TIMESTAMP
from pipelines.method.overfitting import (
    DISTINGUISHABLE,
    Overfitting,
    TrialPanel,
    backtest_overfitting,
    distinguishable,
    effective_trials,
    trial_panel,
    why_not,
)
from pipelines.method.statistics import deflated_sharpe, sharpe_ratio, significance_limit
from pipelines.recipes.trial_family import TrialFamily
from pipelines.templates import Evaluation
from registry.gates import CHOICE_LOSS, DEFLATED_SHARPE, SIGNIFICANT, GateRow

Array = NDArray[np.float64]

MOST_HALVES = 1000
"""Lines of the tables `choice_loss` and `pbo`, spread evenly over all halves."""


def among_trials(alone: Evaluation, family: TrialFamily) -> Evaluation:
    """Add to an evaluation what the trials on the same data say about it.

    Raises the limit of every test of skill to what N trials ask for, and adds the metric
    `n_trials`. Where there are returns it adds the gates `edge.dsr` and `edge.choice_loss`, and the
    tables `trials`, `choice_loss` and `pbo`.

    Args:
        family: every trial, this one included.
    """
    tested = replace(
        alone,
        metrics=dict(alone.metrics) | {"n_trials": float(family.n_trials)},
        gates=tuple(_as_one_of(row, family.n_trials) for row in alone.gates),
    )
    if alone.returns is None or alone.dates is None:
        return tested
    deflated, deflation = _deflation(alone.returns, family)
    chosen, choice, tables = _choice(family, alone.dates)
    return replace(
        tested,
        metrics=dict(tested.metrics) | deflated | chosen,
        gates=(*tested.gates, deflation, choice),
        tables=dict(alone.tables) | tables,
    )


def _as_one_of(row: GateRow, n_trials: int) -> GateRow:
    """Return a test of skill with the limit that N trials ask for; other rows as they are."""
    if row.limit not in (SIGNIFICANT, -SIGNIFICANT):
        return row
    limit = significance_limit(n_trials)
    note = f"{row.note}; {n_trials} trials of these data ask for {limit:.2f}"
    return replace(row, limit=limit if row.limit == -SIGNIFICANT else -limit, note=note)


def _deflation(returns: Array, family: TrialFamily) -> tuple[dict[str, float], GateRow]:
    deflated = deflated_sharpe(returns, family.n_trials, family.sharpe_per_period)
    if deflated is None:
        return {}, DEFLATED_SHARPE.row(None, "needs four returns")
    found = {"deflated_sharpe": deflated.probability, "expected_max_sharpe": deflated.hurdle}
    note = (
        f"active Sharpe {deflated.sharpe:.4f} per bar against {deflated.hurdle:.4f} expected "
        f"of {family.n_trials} trials, {len(family.sharpe_per_period)} of which trade"
    )
    return found, DEFLATED_SHARPE.row(deflated.probability, note)


def _choice(
    family: TrialFamily, dates: NDArray[np.int64]
) -> tuple[dict[str, float], GateRow, dict[str, pl.DataFrame]]:
    """Return metrics, the gate `edge.choice_loss`, and the tables of the trials' returns.

    Trials that were counted before their returns were kept are missing from it; the note says how
    many are compared, and N of the deflated Sharpe ratio has them all.
    """
    series = family.series
    tables = {"trials": _trials(family)} if series else {}
    if len(family.sharpe_per_period) < 2:
        why = "needs two recipes that trade; there is no choice among fewer"
        return {}, replace(CHOICE_LOSS.row(None, why), applicable=False), tables
    if len(series) < 2:
        why = "the returns of the other recipes were never kept: validate one of them again"
        return {}, CHOICE_LOSS.row(None, why), tables
    panel = trial_panel(series, dates)
    effective = effective_trials(panel.returns)
    found = {} if effective is None else {"n_effective_trials": effective}
    if why := why_not(panel, series):
        return found, CHOICE_LOSS.row(None, why), tables
    halves = backtest_overfitting(panel.returns)
    overfitted, overfitting = _overfitting(panel)
    found |= {"choice_loss": halves.choice_loss} | overfitted
    gate = CHOICE_LOSS.row(halves.choice_loss, _compared(panel, halves, family))
    return found, gate, tables | {"choice_loss": _halves(halves).drop("logit")} | overfitting


def _compared(panel: TrialPanel, halves: Overfitting, family: TrialFamily) -> str:
    n_dates, n_trials = panel.returns.shape
    apart = f", {panel.n_apart} that trade have too few of them" if panel.n_apart else ""
    return (
        f"winners with a loss in the other half, of {len(halves.logits)} halves of the {n_dates} "
        f"dates that {n_trials} trials have in common{apart}; {family.n_trials} are counted"
    )


def _overfitting(panel: TrialPanel) -> tuple[dict[str, float], dict[str, pl.DataFrame]]:
    """Return the probability of overfitting of ten or more distinguishable trials; for reading."""
    leaders = distinguishable(panel.returns)
    found = {"n_distinguishable_trials": float(len(leaders))}
    if len(leaders) < DISTINGUISHABLE:
        return found, {}
    overfitting = backtest_overfitting(panel.returns[:, leaders])
    return found | {"pbo": overfitting.probability}, {"pbo": _halves(overfitting)}


def _trials(family: TrialFamily) -> pl.DataFrame:
    """Return one line per trial that trades, oldest first: recipe, n_periods, first, last, ..."""
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
