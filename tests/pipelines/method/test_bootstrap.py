"""The champion comparison: what it says about clear cases, and its reproducibility."""

import numpy as np
import pytest

from pipelines.method.bootstrap import compare_losses
from registry.errors import TooLittleHistoryError


def difference(mean, n=250, seed=0):
    noise = np.random.default_rng(seed).standard_normal(n + 1)
    return mean + noise[1:] + 0.5 * noise[:-1]


def test_a_clearly_better_challenger_is_rarely_worse_and_bounded_below_zero():
    found = compare_losses(difference(-1.0), seed=1)
    assert found.p_worse < 0.01
    assert found.upper < 0


def test_a_clearly_worse_challenger_is_always_worse():
    assert compare_losses(difference(1.0), seed=1).p_worse > 0.99


def test_upper_bound_of_independent_differences_is_near_the_normal_one():
    values = np.random.default_rng(2).standard_normal(800)
    expected = values.mean() + 1.645 * values.std() / np.sqrt(800)
    found = compare_losses(values, seed=3, block=1)
    assert found.upper == pytest.approx(expected, abs=0.006)


def test_the_same_seed_gives_the_same_answer():
    values = difference(0.0)
    assert compare_losses(values, seed=4) == compare_losses(values, seed=4)


def test_identical_losses_are_not_better_and_not_inferior():
    found = compare_losses(np.zeros(126), seed=5)
    assert (found.mean, found.p_worse, found.upper) == (0.0, 1.0, 0.0)


def test_blocks_are_no_shorter_than_the_overlap_of_labels():
    values = np.random.default_rng(7).standard_normal(126)
    assert compare_losses(values, seed=8).block < 5
    assert compare_losses(values, seed=8, least_block=5).block == 5
    assert compare_losses(values, seed=8, least_block=500).block == 63


def test_too_few_timestamps_are_refused():
    with pytest.raises(TooLittleHistoryError, match="needs 10 bars but there are 9"):
        compare_losses(np.zeros(9), seed=6)
