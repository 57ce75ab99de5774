"""Overfitting by selection against ffn, by hand, and where the truth is known."""

import ffn.core
import numpy as np
import pandas as pd
import pytest

from pipelines.method.overfitting import (
    backtest_overfitting,
    distinguishable,
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
    returns = noise(900, 12, 5) + 0.0005 + 0.0005 * np.arange(12)
    sharpes = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
    assert sharpes.std(ddof=1) > 1 / 30  # so that the floor does not count
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
    assert found.choice_loss < 0.01


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


def trial(recipe, start, stop, every=1):
    dates = np.arange(start, stop, every)
    return TrialReturns(recipe, dates, dates / 1000.0)


def test_trials_are_compared_on_their_common_dates():
    judged = np.arange(600)
    panel = trial_panel((trial("a", 0, 600), trial("b", 200, 700)), judged)
    assert panel.dates.tolist() == list(range(200, 600))
    np.testing.assert_array_equal(panel.returns, np.tile(panel.dates / 1000.0, (2, 1)).T)
    assert (panel.recipes, panel.n_apart) == (("a", "b"), 0)


def test_a_trial_with_few_of_the_dates_stays_apart_and_spoils_nothing():
    judged = np.arange(600)
    short, other = trial("short", 500, 600), trial("other years", 1000, 1600)
    panel = trial_panel((short, trial("a", 0, 600), other, trial("b", 0, 500)), judged)
    assert (panel.recipes, panel.n_apart) == (("a", "b"), 2)
    assert len(panel.dates) == 500


def test_two_halves_of_the_dates_are_not_compared_with_each_other():
    series = trial("early", 0, 320), trial("late", 300, 600), trial("judged", 0, 600)
    panel = trial_panel(series, np.arange(600))
    assert panel.recipes == ("early", "judged")
    assert len(panel.dates) == 320


def test_no_trial_makes_an_empty_panel():
    assert trial_panel((), np.arange(600)).returns.shape == (0, 0)


def test_why_trials_cannot_be_compared_says_what_to_do():
    apart = (trial("a", 0, 500), trial("short", 400, 500))
    said = why_not(trial_panel(apart, np.arange(500)), apart)
    assert said.endswith(
        "recipe short is the shortest with 100 dates: validate it again on the whole span"
    )
    enough = (trial("a", 0, 500), trial("b", 200, 456))
    assert why_not(trial_panel(enough, np.arange(500)), enough) == ""


# Groups ----------------------------------------------------------------------------------------


def test_copies_follow_the_first_that_they_look_like():
    own = noise(500, 3)
    copies = own + 0.05 * noise(500, 3, 1)
    returns = np.column_stack((own[:, 0], copies[:, 0], own[:, 1], -own[:, 0], copies[:, 1]))
    assert distinguishable(returns) == [0, 2, 3]


def test_a_series_that_does_not_vary_leads_itself():
    assert distinguishable(np.column_stack((np.zeros(50), noise(50, 1)))) == [0, 1]


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
