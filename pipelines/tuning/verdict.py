"""The verdict of a search: whether its best recipe is more than the luck of having tried many.

Two questions, and both must be answered with yes. On the data of the search: is the best trial
significant as one of all that the engine has counted on these data? On the untouched period: is it
significant there, as one of all looks at that period? Hill-climbing on results answers the first
with yes whatever the formula; only untouched rows protect.

Skill is measured against the template's baseline, per date; of actions it is the Sharpe ratio of
active net returns.
"""

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pipelines.method.mean_tests import diebold_mariano
from pipelines.method.statistics import (
    ALONE,
    deflated_sharpe,
    kurtosis,
    probabilistic_sharpe,
    sharpe_ratio,
    significance_limit,
    skewness,
)
from pipelines.recipes.recipe import Recipe
from pipelines.recipes.trial_family import TrialFamily
from pipelines.templates import Evaluation
from pipelines.tuning.fold_trials import Predicted
from registry.contract import Json

Array = NDArray[np.float64]

PASSES = 0.95
"""The least deflated Sharpe ratio."""
NEARLY_ONE = 1 - 1e-15
"""A probability beyond which the normal quantile says nothing more."""
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Skill:
    """What a recipe is worth over its baseline: positive is better.

    `gain`: mean loss of the baseline minus its own, or the active Sharpe ratio per period; with a
    two-sided 90 % interval where there is one. `z` of the test that it is 0, None for too few
    dates. `skew`, `kurt`: of active returns.
    """

    gain: float
    lower: float | None
    upper: float | None
    z: float | None
    n_times: int
    skew: float = 0.0
    kurt: float = 3.0

    def to_json(self) -> dict[str, Json]:
        """Return it as it is stored."""
        return asdict(self)


def skill_of(recipe: Recipe, predicted: Predicted, found: Evaluation | None) -> Skill:
    """Return the skill that out-of-fold predictions show.

    Args:
        found: their judgement; None where they were given up before one.
    """
    if found is not None and found.returns is not None:
        return _of_returns(found.returns)
    loss, rival = predicted.loss(), predicted.baseline()
    test = diebold_mariano(loss, rival, predicted.times(), recipe.horizon_bars)
    low, high = test.lower(), test.upper()
    z = None if test.z is None else -test.z
    turned = (None if high is None else -high, None if low is None else -low)
    return Skill(-test.mean, *turned, z, test.n_dates)


def _of_returns(returns: Array) -> Skill:
    sharpe, n = sharpe_ratio(returns), len(returns)
    skew, kurt = skewness(returns), kurtosis(returns)
    if n < 4:
        return Skill(sharpe, None, None, None, n, skew, kurt)
    error = math.sqrt(max(1 - skew * sharpe + (kurt - 1) / 4 * sharpe**2, 1e-12) / (n - 1))
    probability = probabilistic_sharpe(sharpe, n, skew, kurt)
    z = _NORMAL.inv_cdf(min(max(probability, 1 - NEARLY_ONE), NEARLY_ONE))
    return Skill(sharpe, sharpe - ALONE * error, sharpe + ALONE * error, z, n, skew, kurt)


@dataclass(frozen=True, slots=True)
class Hurdle:
    """One of the two questions: what was measured, what it had to reach, and of how many."""

    value: float | None
    limit: float
    n: int
    note: str

    @property
    def passed(self) -> bool:
        return self.value is not None and self.value >= self.limit

    def to_json(self) -> dict[str, Json]:
        """Return it as it is stored."""
        return asdict(self) | {"passed": self.passed}


def among_trials(skill: Skill, found: Evaluation, family: TrialFamily) -> Hurdle:
    """Ask whether the best trial is significant as one of all that were counted."""
    n = family.n_trials
    if found.returns is None:
        limit = significance_limit(n)
        note = f"z over the baseline, as the best of {n} trials of these data"
        return Hurdle(skill.z, limit, n, note)
    deflated = deflated_sharpe(found.returns, n, family.sharpe_per_period)
    if deflated is None:
        return Hurdle(None, PASSES, n, "deflated Sharpe ratio: needs four returns")
    note = (
        f"deflated Sharpe ratio: {deflated.sharpe:.4f} per bar against {deflated.hurdle:.4f} "
        f"expected of {n} trials of these data"
    )
    return Hurdle(deflated.probability, PASSES, n, note)


def among_looks(skill: Skill, studies: list[str]) -> Hurdle:
    """Ask whether the winner is significant on the untouched period, as one of all looks at it."""
    n = len(studies)
    others = ", ".join(dict.fromkeys(studies[:-1]))
    before = f"; looked at before by {others}" if others else ""
    note = f"z over the baseline on the untouched period, look {n} at it{before}"
    return Hurdle(skill.z, significance_limit(n), n, note)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a search found: its best trial's skill and score, and the answers to both questions.

    What is about the untouched period is None where it was not looked at. `beyond` says which limit
    the recipe does not keep; nothing where it keeps them, or none was asked for.
    """

    search_score: float
    search: Skill
    of_search: Hurdle
    untouched_score: float | None = None
    untouched: Skill | None = None
    of_untouched: Hurdle | None = None
    beyond: str = ""

    @property
    def found(self) -> bool:
        """Whether both questions were asked and answered with yes, within the limits."""
        asked = (self.of_search, self.of_untouched)
        passed = all(question is not None and question.passed for question in asked)
        return passed and not self.beyond

    @property
    def optimism(self) -> float | None:
        """The gain that the search promised beyond the untouched one."""
        return None if self.untouched is None else self.search.gain - self.untouched.gain

    @property
    def reason(self) -> str:
        """Why it is one, or why not."""
        asked = (self.of_search, self.of_untouched)
        failed = [question for question in asked if question is not None and not question.passed]
        if not failed and not self.beyond:
            return "significant among all trials, and on the untouched period"
        refused = (_refused(question) for question in failed)
        return "; ".join([*filter(None, [self.beyond]), *refused])

    def to_json(self) -> dict[str, Json]:
        """Return it as it is stored."""
        return {
            "found": self.found,
            "reason": self.reason,
            "search_score": self.search_score,
            "search": self.search.to_json(),
            "of_search": self.of_search.to_json(),
            "untouched_score": self.untouched_score,
            "untouched": None if self.untouched is None else self.untouched.to_json(),
            "of_untouched": None if self.of_untouched is None else self.of_untouched.to_json(),
            "optimism": self.optimism,
        }


def _refused(asked: Hurdle) -> str:
    value = "not computed" if asked.value is None else f"{asked.value:.3f}"
    return f"{value} is below {asked.limit:.3f} ({asked.note})"
