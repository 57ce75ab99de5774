"""The choice among trials: good defaults unless something is clearly better, and what it costs."""

import numpy as np
import pytest

from pipelines.tuning.choice import choice_bias, chosen, of_same_dates

RNG = np.random.default_rng(3)
DATES = RNG.normal(1.0, 0.5, 48)
NOISE = RNG.normal(0.0, 0.1, 48)


def test_a_later_trial_that_is_better_by_luck_replaces_nothing():
    losses = np.stack([DATES, DATES + NOISE - NOISE.mean() - 0.01])
    assert losses[1].mean() < losses[0].mean() and chosen(losses) == 0


def test_what_is_no_better_is_not_chosen_for_being_noisy():
    first, noisy, best = DATES, DATES + 5 * (NOISE - NOISE.mean()) + 0.01, DATES - 0.02
    assert chosen(np.stack([first, noisy, best])) == 2


def test_a_later_trial_that_is_clearly_better_replaces_an_earlier_one():
    losses = np.stack([DATES, DATES - 0.1 + RNG.normal(0, 0.1, 48)])
    assert chosen(losses) == 1


def test_of_equals_the_first_is_chosen():
    assert chosen(np.stack([DATES, DATES, DATES])) == 0


def test_who_chooses_among_equals_is_told_what_they_lose():
    worthless = RNG.normal(1.0, 0.5, (300, 40, 48))
    apparent = np.mean([losses[chosen(losses)].mean() for losses in worthless])
    expected = apparent + np.mean(
        [choice_bias(losses, chosen(losses)) for losses in worthless[:60]]
    )
    assert apparent < 0.96, "the choice alone has taken this away"
    assert expected == pytest.approx(1.0, abs=0.02)


def test_one_trial_alone_was_not_chosen():
    assert choice_bias(DATES[None], 0) == 0.0


def test_a_clear_winner_pays_next_to_nothing():
    losses = np.stack([DATES, DATES - 0.5, DATES + 0.5])
    assert choice_bias(losses, chosen(losses)) == 0.0


@pytest.mark.parametrize("kept", [[(1.0, 2.0), (1.0,)], [(1.0,), (2.0,)], [(1.0, 2.0), ()]])
def test_trials_of_other_dates_are_not_compared(kept):
    assert of_same_dates(kept) is None


def test_losses_of_the_same_dates_are_one_array():
    found = of_same_dates([[1.0, 2.0], [3.0, 4.0]])
    assert found is not None and found.shape == (2, 2)


def test_the_luckiest_of_equals_is_expected_to_lose_what_all_of_them_do():
    worthless = RNG.normal(1.0, 0.5, (100, 40, 48))
    luckiest = [int(losses.mean(axis=1).argmin()) for losses in worthless]
    pairs = list(zip(worthless, luckiest, strict=True))
    apparent = np.mean([losses[row].mean() for losses, row in pairs])
    expected = apparent + np.mean([choice_bias(losses, row) for losses, row in pairs])
    assert apparent < 0.87
    assert expected == pytest.approx(1.0, abs=0.03)
