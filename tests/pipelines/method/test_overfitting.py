"""Overfitting by selection against ffn, by hand, and where the truth is known."""

import ffn.core
import numpy as np
import pandas as pd
import pytest

from pipelines.method.overfitting import (
    backtest_overfitting,
    effective_trials,
    trial_panel,
    why_not,
)
from pipelines.method.statistics import deflated_sharpe, expected_max_sharpe
from registry.errors import ShapeError
from registry.trials import TrialReturns


def noise(n_periods, n_trials, seed=0):
    return 0.01 * np.random.default_rng(seed).standard_normal((n_periods, n_trials))


# ffn -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_periods", "n_trials", "n_blocks"), [(600, 7, 8), (403, 2, 6)])
def test_overfitting_equals_ffn(n_periods, n_trials, n_blocks):
    returns = noise(n_periods, n_trials) + 0.0004 * np.arange(n_trials)
    ours = backtest_overfitting(returns, n_blocks)
    frame = pd.DataFrame(returns)
    theirs = ffn.core.calc_prob_backtest_overfitting(frame, n_blocks, full_output=True)
    np.testing.assert_allclose(ours.logits, theirs["logits"], rtol=1e-12, atol=1e-12)
    assert ours.probability == theirs["pbo"]


def test_sixteen_blocks_are_all_their_halves():
    found = backtest_overfitting(noise(640, 4, 3))
    assert len(found.logits) == len(found.chosen) == 12_870


def test_deflated_sharpe_equals_ffn():
    returns = noise(900, 12, 5) + 0.0005
    sharpes = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
    best = returns[:, sharpes.argmax()]
    ours = deflated_sharpe(best, 12, tuple(sharpes))
    theirs = ffn.core.calc_deflated_sharpe_ratio(
        pd.Series(best), sharpes, nperiods=252, annualized_trials=False
    )
    assert ours.probability == pytest.approx(theirs, rel=1e-9)
    hurdle = ffn.core.calc_expected_max_sharpe(12, sharpes.std(ddof=1))
    assert expected_max_sharpe(12, sharpes.std(ddof=1)) == pytest.approx(hurdle, rel=1e-9)


# Truth known -----------------------------------------------------------------------------------


def test_the_winner_of_two_is_followed_by_hand():
    # four periods, one to a block: six halves
    returns = np.array([[1.0, 0.0], [2.0, 0.5], [-1.0, 3.0], [2.5, 1.0]])
    found = backtest_overfitting(returns, 4)
    expected = []
    for half in ([0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]):
        other = [i for i in range(4) if i not in half]
        ratio = [
            returns[rows].mean(axis=0) / returns[rows].std(axis=0, ddof=1) for rows in (half, other)
        ]
        winner = int(np.argmax(ratio[0]))
        rank = 1 + int((ratio[1] < ratio[1][winner]).sum())
        expected.append(np.log(rank / (3 - rank)))
    np.testing.assert_allclose(found.logits, expected)


def test_one_trial_with_skill_among_many_without_is_found_again():
    returns = noise(1280, 20)
    returns[:, 7] += 0.003
    found = backtest_overfitting(returns)
    assert found.probability < 0.01
    assert found.loss_probability < 0.01


def test_choosing_among_trials_without_skill_is_a_coin_flip():
    found = [backtest_overfitting(noise(640, 10, seed), 8).probability for seed in range(30)]
    assert 0.4 < np.mean(found) < 0.6


def test_trials_that_are_all_the_same_show_nothing_and_read_one():
    found = backtest_overfitting(np.repeat(noise(320, 1), 3, axis=1))
    assert found.probability == 1.0
    np.testing.assert_allclose(found.logits, 0.0)


def test_a_strategy_that_never_traded_has_sharpe_ratio_zero():
    returns = noise(320, 2) - 0.002
    returns[:, 1] = 0.0
    found = backtest_overfitting(returns)
    assert found.probability == 0.0
    assert set(found.chosen) == {0.0}


def test_many_trials_are_handled_in_parts(monkeypatch):
    returns = noise(320, 5)
    whole = backtest_overfitting(returns, 8)
    monkeypatch.setattr("pipelines.method.overfitting.CHUNK", 50)
    np.testing.assert_array_equal(backtest_overfitting(returns, 8).logits, whole.logits)


@pytest.mark.parametrize(("shape", "n_blocks"), [((100, 1), 4), ((100, 3), 5), ((3, 3), 4)])
def test_what_cannot_be_halved_is_refused(shape, n_blocks):
    with pytest.raises(ShapeError, match="at least 2 trials"):
        backtest_overfitting(np.zeros(shape), n_blocks)


# Panel -----------------------------------------------------------------------------------------


def test_trials_are_compared_on_their_common_dates():
    first = TrialReturns("a", np.arange(10), np.arange(10.0))
    second = TrialReturns("b", np.arange(4, 12), np.arange(8.0))
    panel = trial_panel((first, second))
    assert panel.dates.tolist() == [4, 5, 6, 7, 8, 9]
    np.testing.assert_array_equal(panel.returns, np.column_stack((np.arange(4, 10), range(6))))
    assert panel.recipes == ("a", "b")


def test_no_trial_makes_an_empty_panel():
    assert trial_panel(()).returns.shape == (0, 0)


def trial(recipe, start, stop):
    return TrialReturns(recipe, np.arange(start, stop), np.zeros(stop - start))


def test_why_there_is_no_probability_says_what_to_do():
    one = (trial("a", 0, 500),)
    assert "validate another recipe" in why_not(trial_panel(one), one)
    apart = (trial("a", 0, 500), trial("short", 400, 500))
    assert "recipe short is the shortest with 100 dates: validate it again" in why_not(
        trial_panel(apart), apart
    )
    enough = (trial("a", 0, 500), trial("b", 200, 456))
    assert why_not(trial_panel(enough), enough) == ""


# N_eff -----------------------------------------------------------------------------------------


def test_effective_trials_lie_between_one_and_all():
    alike = np.repeat(noise(500, 1), 4, axis=1)
    assert effective_trials(alike) == pytest.approx(1.0)
    assert effective_trials(noise(5000, 8)) == pytest.approx(8.0, abs=0.2)


def test_effective_trials_interpolate_with_the_mean_correlation():
    common, own = noise(20_000, 1, 1), noise(20_000, 10, 2)
    half = common + own  # every pair has correlation 0.5
    assert effective_trials(half) == pytest.approx(0.5 + 0.5 * 10, abs=0.1)


def test_effective_trials_need_two_that_vary():
    flat = np.column_stack((noise(100, 1), np.zeros(100)))
    assert effective_trials(flat) is None
    assert effective_trials(flat[:1]) is None
