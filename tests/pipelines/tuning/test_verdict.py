"""Verdicts: both questions must be answered with yes, and each knows of how many it is one."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines.method.rows import OutOfFold
from pipelines.method.statistics import deflated_sharpe, sharpe_ratio, significance_limit
from pipelines.recipes.trial_family import TrialFamily
from pipelines.templates import Evaluation
from pipelines.tuning.fold_trials import Predicted
from pipelines.tuning.verdict import Hurdle, Skill, Verdict, among_looks, among_trials, skill_of

RECIPE = SimpleNamespace(horizon_bars=1)


def predicted_with(gain, n=1000, seed=0):
    """Predictions whose loss is lower than the baseline's by `gain` on average."""
    noise = np.random.default_rng(seed).standard_normal(n)
    rows = SimpleNamespace(t0=np.arange(n) * 86_400_000_000)
    part = OutOfFold(rows, np.zeros((n, 1), np.float32), np.zeros(n, np.int64))
    return Predicted([part], {}, [np.zeros(n)], [gain + noise])


def returns_of(sharpe, n=1000, seed=0):
    noise = np.random.default_rng(seed).standard_normal(n)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    return Evaluation({}, (), {}, returns=noise + sharpe, dates=np.arange(n))


def test_skill_over_a_baseline_is_a_gain_with_its_interval():
    skill = skill_of(RECIPE, predicted_with(0.2, seed=1), Evaluation({}, (), {}))
    assert skill.gain == pytest.approx(0.2, abs=0.07) and skill.n_times == 1000
    assert 0 < skill.lower < skill.gain < skill.upper and 3 < skill.z < 9
    assert skill_of(RECIPE, predicted_with(-0.2), None).z < -3
    assert skill_of(RECIPE, predicted_with(0.2, n=10), None).z is None


def test_intervals_hold_the_gain_as_often_as_they_say():
    inside = [
        skill.lower <= 0.1 <= skill.upper
        for skill in (skill_of(RECIPE, predicted_with(0.1, 200, seed), None) for seed in range(300))
    ]
    assert 0.85 < np.mean(inside) < 0.95


def test_skill_of_actions_is_the_sharpe_ratio_of_active_returns():
    found = returns_of(0.1)
    skill = skill_of(RECIPE, predicted_with(0.0), found)
    assert skill.gain == pytest.approx(sharpe_ratio(found.returns)) == pytest.approx(0.1)
    assert skill.lower == pytest.approx(0.1 - 1.645 / 1000**0.5, abs=0.003)
    assert skill.z == pytest.approx(0.1 * 1000**0.5, abs=0.15)
    still = Evaluation({}, (), {}, returns=np.zeros(100), dates=np.arange(100))
    assert skill_of(RECIPE, predicted_with(0.0), still).z == pytest.approx(0.0)


def test_the_more_trials_the_more_the_best_must_show():
    skill = Skill(0.1, 0.0, 0.2, 3.5, 500)
    alone = Evaluation({}, (), {})
    limits = [among_trials(skill, alone, TrialFamily(n)).limit for n in (1, 10, 1000)]
    assert limits == pytest.approx([1.645, significance_limit(10), significance_limit(1000)])
    passed = [among_trials(skill, alone, TrialFamily(n)).passed for n in (1, 10, 1000)]
    assert passed == [True, True, False]


def test_actions_are_judged_by_the_deflated_sharpe_ratio():
    found = returns_of(0.08)
    skill = skill_of(RECIPE, predicted_with(0.0), found)
    family = TrialFamily(50, tuple(np.random.default_rng(0).normal(0, 0.03, 50)))
    asked = among_trials(skill, found, family)
    expected = deflated_sharpe(found.returns, 50, family.sharpe_per_period)
    assert asked.value == expected.probability and asked.limit == 0.95
    assert not asked.passed and among_trials(skill, found, TrialFamily(1)).passed


def test_the_more_looks_the_more_the_untouched_period_must_show():
    skill = Skill(0.1, 0.0, 0.2, 2.0, 500)
    first, third = among_looks(skill, ["mine"]), among_looks(skill, ["a", "b", "mine"])
    assert first.passed and first.limit == pytest.approx(1.645) and "looked" not in first.note
    assert not third.passed and third.limit == significance_limit(3)
    assert third.note.endswith("look 3 at it; looked at before by a, b")


def test_a_verdict_needs_both():
    skill = Skill(0.3, 0.2, 0.4, 5.0, 500)
    yes, no = Hurdle(2.0, 1.6, 1, "why"), Hurdle(1.0, 1.6, 1, "why")
    searched = Verdict(1.0, skill, yes)
    assert not searched.found, "the second was not asked"
    both = replace(
        searched, untouched_score=1.1, untouched=replace(skill, gain=0.2), of_untouched=yes
    )
    assert both.found and both.optimism == pytest.approx(0.1)
    assert both.reason == "significant among all trials, and on the untouched period"
    one = replace(both, of_untouched=no)
    assert not one.found and one.reason == "1.000 is below 1.600 (why)"
    assert not replace(both, of_search=Hurdle(None, 1.6, 1, "few")).found
    assert one.to_json()["of_untouched"]["passed"] is False
