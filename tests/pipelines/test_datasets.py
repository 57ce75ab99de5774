"""Rows, purge and folds: laws on random spans, and the bugs other libraries had."""

from datetime import UTC, datetime
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import TimeSeriesSplit

from pipelines.datasets import (
    LabelledRows,
    OutOfFold,
    build_rows,
    fold_map,
    known_to,
    purge,
    walk_forward,
)
from pipelines.templates import TEMPLATES
from registry.errors import (
    MissingColumnsError,
    ParameterError,
    ShapeError,
    TooLittleHistoryError,
)

VOLATILITY = TEMPLATES.get("volatility_forecast")
SPEC = {"horizon_bars": 5}


class TwoFeatures:
    """Return of one bar, and its mean over three; enough to see warm-up and windows."""

    name = "two"
    feature_names = ("move", "mean_move")
    needs = ("close",)
    aliases = MappingProxyType({})
    min_history = 4

    def compute(self, series):
        move = np.diff(np.log(series.close), prepend=np.nan)
        mean = np.full(len(move), np.nan)
        mean[3:] = (move[1:-2] + move[2:-1] + move[3:]) / 3
        return np.column_stack((move, mean))


def rows_of(t0, t1):
    t0, t1 = np.asarray(t0, dtype=np.int64), np.asarray(t1, dtype=np.int64)
    n = len(t0)
    flat = np.zeros(n)
    X, symbol = np.zeros((n, 1), dtype=np.float32), np.zeros(n, dtype=np.int32)
    return LabelledRows(X, flat, flat, {}, {}, symbol, ("A",), t0, t1, np.ones(n, dtype=bool))


@st.composite
def random_rows(draw):
    """Rows of up to three symbols on a shared timeline with gaps, labels of varying length."""
    timeline = np.cumsum(draw(st.lists(st.integers(1, 4), min_size=12, max_size=40)))
    picks = [(t, s) for t in timeline for s in range(3) if draw(st.booleans())]
    picks = picks or [(int(t), 0) for t in timeline]
    t0 = np.array([t for t, _ in picks])
    span = draw(st.lists(st.integers(1, 12), min_size=len(t0), max_size=len(t0)))
    return rows_of(t0, t0 + np.array(span))


# Rows ------------------------------------------------------------------------------------------


def test_rows_are_sorted_by_time_and_symbol_and_complete(make_bars):
    rows = build_rows(VOLATILITY, TwoFeatures(), make_bars(("BBB", "AAA"), 60), 1, SPEC)
    order = np.lexsort((rows.symbol, rows.t0))
    assert (order == np.arange(len(rows))).all()
    assert rows.symbols == ("AAA", "BBB")
    assert np.isfinite(rows.X).all() and np.isfinite(rows.y).all()
    assert rows.X.dtype == np.float32 and rows.X.flags.c_contiguous
    assert (rows.t1 > rows.t0).all()


def test_first_row_needs_finite_inputs_and_last_a_complete_label(make_bars):
    bars = make_bars(("AAA",), 60)
    times = bars.frame["timestamp"].to_physical().to_numpy()
    rows = build_rows(VOLATILITY, TwoFeatures(), bars, 4, SPEC)
    assert rows.X.shape == (60 - 6 - 5, 4, 2)
    assert (rows.t0[0], rows.t0[-1], rows.t1[-1]) == (times[6], times[54], times[59])


def test_inputs_are_the_window_that_ends_at_the_decision(make_bars):
    bars = make_bars(("AAA",), 40)
    features = TwoFeatures().compute(next(bars.series())).astype(np.float32)
    rows = build_rows(VOLATILITY, TwoFeatures(), bars, 3, SPEC)
    np.testing.assert_array_equal(rows.X[0], features[3:6])


def test_unlabelled_rows_can_be_kept_for_scoring_but_never_fitted(make_bars):
    bars = make_bars(("AAA", "BBB"), 60)
    kept = build_rows(VOLATILITY, TwoFeatures(), bars, 1, SPEC, keep_unlabelled=True)
    labelled = build_rows(VOLATILITY, TwoFeatures(), bars, 1, SPEC)
    newest = kept.t1 == -1
    assert newest.sum() == 2 * 5
    assert np.isnan(kept.y[newest]).all() and not kept.fit[newest].any()
    np.testing.assert_array_equal(kept.take(~newest).X, labelled.X)


def test_labels_do_not_reach_the_inputs(make_bars):
    bars = make_bars(("AAA",), 80)
    shorter = bars.between(None, bars.frame["timestamp"][59])
    whole = build_rows(VOLATILITY, TwoFeatures(), bars, 2, SPEC, keep_unlabelled=True)
    cut = build_rows(VOLATILITY, TwoFeatures(), shorter, 2, SPEC, keep_unlabelled=True)
    np.testing.assert_array_equal(whole.X[: len(cut)], cut.X)


def test_too_few_bars_are_one_clear_error(make_bars):
    with pytest.raises(TooLittleHistoryError, match="labelled row of feature set 'two'"):
        build_rows(VOLATILITY, TwoFeatures(), make_bars(("AAA",), 5), 1, SPEC)


def test_a_missing_column_is_named(make_bars):
    needs_volume = TwoFeatures()
    needs_volume.needs = ("volume",)
    with pytest.raises(MissingColumnsError, match="volume"):
        build_rows(VOLATILITY, needs_volume, make_bars(), 1, SPEC)


def test_take_keeps_rows_together(make_bars):
    rows = build_rows(VOLATILITY, TwoFeatures(), make_bars(), 1, SPEC)
    part = rows.take(rows.symbol == 1)
    assert set(part.symbol.tolist()) == {1}
    assert part.spec == SPEC
    np.testing.assert_array_equal(part.context["close"], rows.context["close"][rows.symbol == 1])


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


def test_what_is_fitted_after_the_scores_never_sees_a_label_of_its_fold():
    t0 = np.arange(30)
    rows = rows_of(t0, t0 + 3)
    first, second = walk_forward(rows, 10, 10)
    earlier = OutOfFold(rows.take(first.test), np.zeros((10, 1), dtype=np.float32), np.zeros(10))
    known = known_to(rows.take(second.train), earlier)
    assert known.rows.t0.tolist() == [10, 11, 12, 13, 14, 15, 16]
    assert known.rows.t1.max() < t0[second.test].min()
    assert len(known_to(rows, earlier).rows) == 10
