"""Uniqueness by its definition, written out bar by bar."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.method.uniqueness import average_uniqueness, uniqueness_weights

ONE = np.zeros(3, dtype=np.int32)


def test_labels_that_do_not_overlap_are_unique():
    found = average_uniqueness(np.array([0, 3, 6]), np.array([2, 5, 8]), ONE)
    assert found.tolist() == [1.0, 1.0, 1.0]


def test_two_labels_that_share_half_their_bars():
    # bars 0 1 2 3 and 2 3 4 5: two alone, two shared; mean of 1, 1, 1/2, 1/2. Bar 1 and bar 4 are
    # bars of the timeline because a third label of another symbol does not count.
    t0, t1 = np.array([0, 2, 1, 4]), np.array([3, 5, 1, 4])
    symbol = np.array([0, 0, 1, 1], dtype=np.int32)
    found = average_uniqueness(t0, t1, symbol)
    # the symbol's own times are 0, 2, 3, 5: of 0..3 one is alone, two are shared
    np.testing.assert_allclose(found[:2], [(1 + 0.5 + 0.5) / 3] * 2)
    assert found[2:].tolist() == [1.0, 1.0]


def test_labels_of_other_symbols_do_not_matter():
    t0, t1 = np.array([0, 0, 0]), np.array([5, 5, 5])
    assert average_uniqueness(t0, t1, np.arange(3, dtype=np.int32)).tolist() == [1.0, 1.0, 1.0]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8), st.integers(0, 1)), min_size=1))
def test_uniqueness_is_the_mean_of_one_over_the_labels_alive(drawn):
    t0 = np.array([start for start, _, _ in drawn])
    t1 = t0 + np.array([length for _, length, _ in drawn])
    symbol = np.array([name for _, _, name in drawn], dtype=np.int32)
    found = average_uniqueness(t0, t1, symbol)
    for i in range(len(t0)):
        mine = (symbol == symbol[i]) & (t1 > t0)
        if t1[i] <= t0[i]:
            assert found[i] == 1.0
            continue
        times = np.unique(np.concatenate((t0[mine], t1[mine])))
        bars = times[(times >= t0[i]) & (times <= t1[i])]
        alive = [int((mine & (t0 <= bar) & (t1 >= bar)).sum()) for bar in bars]
        assert found[i] == pytest.approx(np.mean([1 / n for n in alive]))


def test_weights_have_mean_one_and_favour_labels_that_stand_alone():
    t0 = np.array([0, 1, 2, 3, 4, 50])
    found = uniqueness_weights(t0, t0 + 5, np.zeros(6, dtype=np.int32))
    assert found.mean() == pytest.approx(1.0)
    assert found.argmax() == 5


def test_weights_of_no_rows_are_no_weights():
    nothing = np.zeros(0, dtype=np.int64)
    assert len(uniqueness_weights(nothing, nothing, nothing.astype(np.int32))) == 0
