"""Labelled rows and what is predicted for them."""

from dataclasses import replace

import numpy as np

from pipelines.method.folds import walk_forward
from pipelines.method.rows import OutOfFold, known_to
from tests.examples import make_labelled_rows


def rows_of(t0, t1):
    t0, t1 = np.asarray(t0, dtype=np.int64), np.asarray(t1, dtype=np.int64)
    return make_labelled_rows(len(t0), t0=t0, t1=t1)


def test_take_keeps_rows_together():
    t0 = np.arange(8)
    rows = replace(
        rows_of(t0, t0 + 1), symbol=np.tile(np.int32([0, 1]), 4), spec={"horizon_bars": 1}
    )
    rows = replace(rows, context={"close": np.linspace(1.0, 2.0, 8)})
    part = rows.take(rows.symbol == 1)
    assert set(part.symbol.tolist()) == {1}
    assert part.spec == {"horizon_bars": 1}
    np.testing.assert_array_equal(part.context["close"], rows.context["close"][rows.symbol == 1])


def test_what_is_fitted_after_the_scores_never_sees_a_label_of_its_fold():
    t0 = np.arange(30)
    rows = rows_of(t0, t0 + 3)
    first, second = walk_forward(rows, 10, 10)
    earlier = OutOfFold(rows.take(first.test), np.zeros((10, 1), dtype=np.float32), np.zeros(10))
    known = known_to(rows.take(second.train), earlier)
    assert known.rows.t0.tolist() == [10, 11, 12, 13, 14, 15, 16]
    assert known.rows.t1.max() < t0[second.test].min()
    assert len(known_to(rows, earlier).rows) == 10
