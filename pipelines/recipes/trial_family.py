"""The family of a trial: every recipe that was tried on the same data for the same question.

There is no key. The samples of the data say which trials share them with the one at hand
(`pipelines/method/shared_data.py`): trials of other horizons, costs, labels, seeds, names, sources
and intervals count. Their returns are compared where the interval is the same, all of them charged
with the costs of the trial at hand. Trials from before there were samples, whose data nobody knows,
count with their old family and with their model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa

from pipelines.data.bars import is_same_interval, to_microseconds
from pipelines.data.samples import sampled
from pipelines.method.costs import recharged
from pipelines.method.shared_data import share_data
from pipelines.method.statistics import CONSTANT, sharpe_ratio
from pipelines.recipes.inputs import Data, Dataset
from pipelines.recipes.recipe import Recipe
from pipelines.templates import Evaluation
from registry import trials
from registry.trial_data import TrialData
from registry.trials import KnownTrial, Trial, TrialReturns

if TYPE_CHECKING:
    from pipelines.recipes.candidate import Candidate

HELD = "held"
TRADES = 0.05
"""Least share of dates with a position of a recipe that trades."""


@dataclass(frozen=True, slots=True)
class TrialFamily:
    """How many recipes were tried, and what those of them earned that trade on this interval.

    `n_trials` counts all. `sharpe_per_period` and `series` (returns net of the costs of the trial
    at hand) are of the trials that trade, oldest first; `series` misses those whose returns were
    never kept.
    """

    n_trials: int
    sharpe_per_period: tuple[float, ...] = ()
    series: tuple[TrialReturns, ...] = ()


def count_trial(candidate: "Candidate", found: Evaluation, engine: sa.Engine) -> TrialFamily:
    """Count a candidate as a trial, keep its returns, and return its family."""
    data, asked_for = sampled_data(candidate.dataset.data), bool(candidate.wanted.first_test)
    trial = trial_of(candidate.recipe, candidate.dataset, data, found, asked_for=asked_for)
    trial = replace(trial, model_id=candidate.contract.model_id, run_id=candidate.run_id)
    keep_trial(engine, trial, found)
    return family_of(engine, trial, found)


def sampled_data(data: Data) -> TrialData:
    """Return the sample by which the data of a trial are known again."""
    return sampled(data.frame, data.interval, data.digest())


def trial_of(
    recipe: Recipe,
    dataset: Dataset,
    data: TrialData,
    found: Evaluation | None,
    *,
    asked_for: bool,
) -> Trial:
    """Return a recipe on some data as a trial, of no run yet.

    Args:
        data: the sample of the dataset's data.
        found: None where the recipe was given up before it could be judged.
        asked_for: whether a caller chose where the tests begin.
    """
    returns = None if found is None else found.returns
    return Trial(
        question=recipe.question,
        recipe=recipe.digest(),
        model_id=recipe.wanted.model_id,
        run_id="",
        data=data,
        first_test=to_microseconds(dataset.first_test),
        asked_for=asked_for,
        sharpe_per_period=None if returns is None else sharpe_ratio(returns),
        trading_share=None if found is None else trading_share(found),
        earlier=recipe.counted_before(dataset.label_spec, dataset.data.symbols),
    )


def keep_trial(engine: sa.Engine, trial: Trial, found: Evaluation | None) -> None:
    """Count a trial, and keep its returns before costs where it has any; idempotent."""
    key = trials.count(engine, trial)
    if found is not None and found.returns is not None and found.dates is not None:
        gross = recharged(found.returns, found.amounts, _credit(found))
        series = TrialReturns(trial.recipe, found.dates, gross, found.amounts)
        trials.keep_returns(engine, key, series)


def family_of(engine: sa.Engine, trial: Trial, found: Evaluation) -> TrialFamily:
    """Return every trial that counts with this one, at the costs of its evaluation."""
    return _family(engine, _members(engine, trial), found)


def _credit(found: Evaluation) -> dict[str, float]:
    """Return the rates that give a trial's costs back."""
    return {name: -rate for name, rate in found.rates.items()}


def trading_share(found: Evaluation) -> float | None:
    """Return the share of dates with a position; None where that is not known."""
    held = found.amounts.get(HELD)
    return None if held is None or not len(held) else float((held > 0).mean())


@dataclass(frozen=True, slots=True)
class _Member:
    """A trial of the family; `is_comparable` where its bars are as long, or may be."""

    trial: KnownTrial
    is_comparable: bool


def _members(engine: sa.Engine, ours: Trial) -> tuple[_Member, ...]:
    known = trials.known(engine, ours.question)
    digests = {trial.data_sha256 for trial in known if trial.data_sha256 is not None}
    data = {found.sha256: found for found in trials.known_data(engine, digests)}
    shared = {d: found for d, found in data.items() if share_data(ours.data, found)}
    found = (_member(trial, ours, shared) for trial in known)
    return tuple(member for member in found if member is not None)


def _member(trial: KnownTrial, ours: Trial, shared: dict[str, TrialData]) -> _Member | None:
    if trial.data_sha256 is not None:
        theirs = shared.get(trial.data_sha256)
        if theirs is None:
            return None
        return _Member(trial, is_same_interval(theirs.interval, ours.data.interval))
    may_be = trial.family == ours.earlier[0] or trial.model_id == ours.model_id
    return _Member(trial, is_comparable=True) if may_be else None


def _family(engine: sa.Engine, members: Sequence[_Member], found: Evaluation) -> TrialFamily:
    if found.returns is None:
        return TrialFamily(len(members))
    comparable = [member.trial for member in members if member.is_comparable]
    kept = trials.known_returns(engine, [trial.id for trial in comparable])
    series = {key: _net(theirs, found) for key, theirs in kept.items()}
    trading = [trial for trial in comparable if _trades(trial, series.get(trial.id))]
    sharpes = (_sharpe(trial, series.get(trial.id)) for trial in trading)
    return TrialFamily(
        len(members),
        tuple(sharpe for sharpe in sharpes if sharpe is not None),
        tuple(series[trial.id] for trial in trading if trial.id in series),
    )


def _net(series: TrialReturns, found: Evaluation) -> TrialReturns:
    """Return the series net of costs at the rates of the trial at hand."""
    return replace(
        series, returns=recharged(series.returns, series.amounts, found.rates), amounts={}
    )


def _sharpe(trial: KnownTrial, series: TrialReturns | None) -> float | None:
    return trial.sharpe_per_period if series is None else sharpe_ratio(series.returns)


def _trades(trial: KnownTrial, series: TrialReturns | None) -> bool:
    """Whether a trial trades; of one whose positions were not kept, its returns say it."""
    if trial.trading_share is not None:
        return trial.trading_share >= TRADES
    if series is not None:
        return float((np.abs(series.returns) > CONSTANT).mean()) >= TRADES
    return bool(trial.sharpe_per_period)
