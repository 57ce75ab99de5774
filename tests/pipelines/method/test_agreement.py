"""The one relative difference: what agrees, and what is infinitely far."""

import numpy as np
import pytest

from pipelines.method.agreement import difference


def column(*values):
    return np.array(values, np.float32)[:, None]


def test_small_numbers_are_compared_absolutely_and_large_ones_relatively():
    assert difference(column(0.0, 0.5), column(0.25, 0.5)) == 0.25
    assert difference(column(-8.0), column(-10.0)) == 0.25


def test_equal_numbers_differ_by_nothing_and_so_do_none():
    assert difference(column(1.0, -2.0), column(1.0, -2.0)) == 0.0
    assert difference(column(), column()) == 0.0


def test_two_nan_agree_and_so_do_two_infinities_of_one_sign():
    same = column(np.nan, np.inf, -np.inf, 1.0)
    assert difference(same, same) == 0.0
    assert difference(same, column(np.nan, np.inf, -np.inf, 1.5)) == 0.5


@pytest.mark.parametrize(
    ("one", "other"), [(1.0, np.nan), (1.0, np.inf), (np.inf, -np.inf), (np.inf, np.nan)]
)
def test_any_other_pair_that_is_not_finite_is_infinitely_far(one, other):
    assert difference(column(1.0, one), column(1.0, other)) == np.inf
    assert difference(column(1.0, other), column(1.0, one)) == np.inf


def test_two_shapes_are_infinitely_far():
    assert difference(column(1.0), np.array([1.0], np.float32)) == np.inf
    assert difference(np.zeros(2), np.zeros(3)) == np.inf
