"""Purge and folds: laws on random spans, the bugs other libraries had, skfolio and scikit-learn."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.method.folds import combinatorial, fold_map, purge, walk_forward
from registry.errors import ParameterError, ShapeError, TooLittleHistoryError
from tests.examples import make_labelled_rows


def rows_of(t0, t1):
    t0, t1 = np.asarray(t0, dtype=np.int64), np.asarray(t1, dtype=np.int64)
    return make_labelled_rows(len(t0), t0=t0, t1=t1)


@st.composite
def random_rows(draw):
    """Rows of up to three symbols on a shared timeline with gaps, labels of varying length."""
    timeline = np.cumsum(draw(st.lists(st.integers(1, 4), min_size=12, max_size=40)))
    picks = [(t, s) for t in timeline for s in range(3) if draw(st.booleans())]
    picks = picks or [(int(t), 0) for t in timeline]
    t0 = np.array([t for t, _ in picks])
    span = draw(st.lists(st.integers(1, 12), min_size=len(t0), max_size=len(t0)))
    return rows_of(t0, t0 + np.array(span))


# Purge -----------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(rows=random_rows(), data=st.data())
def test_no_training_span_meets_the_span_of_its_test_block(rows, data):
    times = np.unique(rows.t0)
    start = data.draw(st.integers(0, len(times) - 1))
    stop = data.draw(st.integers(start, len(times) - 1))
    test = np.flatnonzero((rows.t0 >= times[start]) & (rows.t0 <= times[stop]))
    keep = purge(rows.t0, rows.t1, test)
    last = rows.t1[test].max()
    meets = (rows.t0 <= last) & (rows.t1 >= times[start])
    assert not (keep & meets).any()
    assert (keep | meets).all()


def test_the_span_starts_at_the_decision_not_at_the_label_end():
    # mlfinlab #295, openquant #65: with windows taken from the label end, row 1 (known at 4)
    # would stay although its label overlaps the test label 3..6.
    keep = purge(np.array([0, 1, 3, 7]), np.array([2, 4, 6, 9]), np.array([2]))
    assert keep.tolist() == [True, False, False, True]


def test_rows_between_two_separate_test_groups_stay():
    # Vibe-Trading #1204 purged everything from the first group to the last.
    t0 = np.arange(20)
    test = np.array([2, 3, 15, 16])
    keep = purge(t0, t0 + 1, test)
    assert np.flatnonzero(~keep).tolist() == [1, 2, 3, 4, 14, 15, 16, 17]


def test_embargo_counts_bars_after_the_last_label_of_the_block():
    # timeseriescv PR 8 counted from the wrong index. Labels end two bars later.
    t0 = np.arange(12) * 10
    keep = purge(t0, t0 + 20, np.array([3, 4]), embargo=2)
    assert np.flatnonzero(keep).tolist() == [0, 9, 10, 11]


def test_embargo_counts_trading_bars_over_a_calendar_gap():
    # Two bars after a Friday are Monday and Tuesday, not Saturday and Sunday.
    days = np.array([0, 1, 2, 3, 4, 7, 8, 9, 10, 11])
    keep = purge(days, days, np.array([4]), embargo=2)
    assert np.flatnonzero(~keep).tolist() == [4, 5, 6]


# Walk-forward ----------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(rows=random_rows(), step=st.integers(1, 9), bars=st.none() | st.integers(1, 8))
def test_walk_forward_never_looks_ahead_or_splits_a_timestamp(rows, step, bars):
    times = np.unique(rows.t0)
    first = int(times[len(times) // 2])
    try:
        folds = walk_forward(rows, first, step, train_bars=bars)
    except TooLittleHistoryError:
        assert not (rows.t1 < first).any()
        return
    for fold in folds:
        assert rows.t1[fold.train].max() < rows.t0[fold.test].min()
        for part in (fold.train, fold.test):
            whole = np.isin(rows.t0, rows.t0[part])
            free = rows.t1 < rows.t0[fold.test].min()
            assert np.isin(np.flatnonzero(whole & (free | (part is fold.test))), part).all()
        assert bars is None or len(np.unique(rows.t0[fold.train])) <= bars
    tested = np.concatenate([fold.test for fold in folds])
    np.testing.assert_array_equal(tested, np.flatnonzero(rows.t0 >= first))


def test_expanding_folds_with_a_constant_horizon_equal_sklearn():
    from sklearn.model_selection import TimeSeriesSplit

    t0 = np.arange(100)
    folds = walk_forward(rows_of(t0, t0 + 3), 40, 20)
    oracle = TimeSeriesSplit(3, test_size=20, gap=3).split(t0)
    for fold, (train, test) in zip(folds, oracle, strict=True):
        np.testing.assert_array_equal(fold.train, train)
        np.testing.assert_array_equal(fold.test, test)


def microseconds(*date):
    return int(datetime(*date, tzinfo=UTC).timestamp()) * 1_000_000


def test_yearly_folds_follow_the_calendar():
    t0 = np.arange(microseconds(2000, 1, 1), microseconds(2004, 7, 1), 86_400_000_000)
    folds = walk_forward(rows_of(t0, t0 + 1), microseconds(2002, 1, 1), "1y")
    starts = [int(t0[fold.test[0]]) for fold in folds]
    assert starts == [microseconds(year, 1, 1) for year in (2002, 2003, 2004)]
    assert [fold.number for fold in folds] == [0, 1, 2]


def test_a_year_without_rows_makes_no_fold():
    years = [microseconds(year, 3, 1) for year in (2000, 2001, 2002, 2005)]
    folds = walk_forward(rows_of(years, np.array(years) + 1), microseconds(2001, 2, 28), "1y")
    assert [fold.test.tolist() for fold in folds] == [[1], [2], [3]]


@pytest.mark.parametrize("step", ["0y", "1q", "-3", "0", "y"])
def test_a_step_that_cannot_be_read_is_refused(step):
    with pytest.raises(ParameterError, match="step"):
        walk_forward(rows_of([0, 1, 2], [1, 2, 3]), 1, step)


def test_folds_without_training_or_test_rows_say_what_is_missing():
    rows = rows_of(np.arange(5), np.arange(5) + 1)
    with pytest.raises(TooLittleHistoryError, match="choose a first_test after"):
        walk_forward(rows, 1, 2)
    with pytest.raises(TooLittleHistoryError, match="newest labelled row"):
        walk_forward(rows, 50, 2)


def test_unlabelled_rows_are_refused():
    with pytest.raises(ShapeError, match="complete labels only"):
        walk_forward(rows_of([0, 1, 2], [1, 2, -1]), 1, 1)


def test_fold_map_shows_train_purged_and_test():
    t0 = np.arange(20)
    folds = walk_forward(rows_of(t0, t0 + 2), 10, 5)
    table = fold_map(folds, rows_of(t0, t0 + 2))
    assert table["part"].to_list() == ["train", "purged", "test"] * 2
    assert table["n_rows"].to_list() == [8, 2, 5, 13, 2, 5]


# Combinatorial ---------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(rows=random_rows(), groups=st.integers(3, 6), data=st.data())
def test_no_training_span_meets_any_test_span_of_a_combinatorial_fold(rows, groups, data):
    n_test = data.draw(st.integers(1, groups - 1))
    try:
        cut = combinatorial(rows, groups, n_test)
    except TooLittleHistoryError:
        return
    for fold in cut.folds:
        train0, train1 = rows.t0[fold.train][:, None], rows.t1[fold.train][:, None]
        test0, test1 = rows.t0[fold.test][None], rows.t1[fold.test][None]
        assert not ((train0 <= test1) & (train1 >= test0)).any()
        assert not np.isin(rows.t0[fold.train], rows.t0[fold.test]).any()


def test_six_groups_two_tested_are_fifteen_fits_and_five_paths():
    t0 = np.arange(600)
    cut = combinatorial(rows_of(t0, t0 + 5), 6, 2)
    assert len(cut.folds) == 15
    assert cut.paths.shape == (5, 6)


@settings(max_examples=30, deadline=None)
@given(rows=random_rows(), groups=st.integers(3, 6), data=st.data())
def test_every_row_is_predicted_once_on_each_path_and_no_prediction_twice(rows, groups, data):
    n_test = data.draw(st.integers(1, groups - 1))
    try:
        cut = combinatorial(rows, groups, n_test)
    except TooLittleHistoryError:
        return
    used = set()
    for path in cut.paths:
        for group, number in enumerate(path):
            members = np.flatnonzero(cut.group == group)
            assert np.isin(members, cut.folds[number].test).all()
            used.add((group, int(number)))
    assert len(used) == cut.paths.size
    assert sum(len(fold.test) for fold in cut.folds) == len(rows) * len(cut.paths)


@pytest.mark.parametrize(("horizon", "embargo"), [(1, 0), (3, 0), (3, 4), (7, 2)])
def test_combinatorial_folds_with_a_constant_horizon_equal_skfolio(horizon, embargo):
    from skfolio.model_selection import CombinatorialPurgedCV

    t0 = np.arange(180)
    ours = combinatorial(rows_of(t0, t0 + horizon), 6, 2, embargo)
    theirs = CombinatorialPurgedCV(6, 2, purged_size=horizon, embargo_size=embargo)
    for fold, (train, tests) in zip(ours.folds, theirs.split(t0[:, None]), strict=True):
        np.testing.assert_array_equal(fold.train, train)
        np.testing.assert_array_equal(fold.test, np.concatenate(tests))
    np.testing.assert_array_equal(ours.paths, theirs.recombined_paths.T)


def test_training_rows_between_two_separate_test_groups_stay():
    t0 = np.arange(60)
    cut = combinatorial(rows_of(t0, t0 + 2), 6, 2)
    (apart,) = [f for f in cut.folds if set(f.test // 10) == {0, 5}]
    assert apart.train.tolist() == list(range(12, 48))


@pytest.mark.parametrize(("groups", "n_test"), [(6, 0), (6, 6), (2, 3), (20, 10)])
def test_groups_that_make_no_sensible_split_are_refused(groups, n_test):
    with pytest.raises(ParameterError, match="paths"):
        combinatorial(rows_of(np.arange(50), np.arange(50) + 1), groups, n_test)


def test_combinatorial_folds_need_timestamps_labels_and_training_rows():
    with pytest.raises(TooLittleHistoryError, match="6 groups of timestamps"):
        combinatorial(rows_of(np.arange(5), np.arange(5) + 1))
    with pytest.raises(TooLittleHistoryError, match="combinatorial fold"):
        combinatorial(rows_of(np.arange(12), np.arange(12) + 12))
    with pytest.raises(ShapeError, match="complete labels only"):
        combinatorial(rows_of(np.arange(50), np.full(50, -1)))
