"""Rows: what of the bars becomes an input, a label, a prediction."""

from types import MappingProxyType

import numpy as np
import pytest

from pipelines.method.labels import WARM_UP_BARS
from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes.dataset import read_dataset
from pipelines.recipes.inputs.bars import build_rows
from pipelines.templates import TEMPLATES
from registry.errors import MissingColumnsError, TooLittleHistoryError, UnknownNameError

VOLATILITY = TEMPLATES.get("volatility_forecast")
SPEC = {"horizon_bars": 5}


class TwoFeatures:
    """Return of one bar, and its mean over three; enough to see warm-up and windows."""

    name = "two"
    feature_names = ("move", "mean_move")
    needs = ("close",)
    instead = ""
    needs_trades = False
    aliases = MappingProxyType({})
    min_history = 4

    def compute(self, series):
        move = np.diff(np.log(series.close), prepend=np.nan)
        mean = np.full(len(move), np.nan)
        mean[3:] = (move[1:-2] + move[2:-1] + move[3:]) / 3
        return np.column_stack((move, mean))


def test_an_unknown_feature_set_is_refused_before_bars_are_read():
    wanted = RecipeParameters(feature_set="alpha1")
    with pytest.raises(UnknownNameError, match="unknown feature set 'alpha1'; known:"):
        read_dataset(SourceParameters(source="files", path="nowhere.csv"), wanted, None)


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
    assert rows.X.shape == (60 - WARM_UP_BARS - 5, 4, 2)
    first = times[WARM_UP_BARS]  # before it the label has no baseline to stand against
    assert (rows.t0[0], rows.t0[-1], rows.t1[-1]) == (first, times[54], times[59])


def test_inputs_are_the_window_that_ends_at_the_decision(make_bars):
    bars = make_bars(("AAA",), 40)
    features = TwoFeatures().compute(next(bars.series())).astype(np.float32)
    rows = build_rows(VOLATILITY, TwoFeatures(), bars, 3, SPEC)
    np.testing.assert_array_equal(rows.X[0], features[WARM_UP_BARS - 2 : WARM_UP_BARS + 1])


def test_unlabelled_rows_can_be_kept_for_scoring_but_never_fitted(make_bars):
    bars = make_bars(("AAA", "BBB"), 60)
    kept = build_rows(VOLATILITY, TwoFeatures(), bars, 1, SPEC, keep_unlabelled=True)
    labelled = build_rows(VOLATILITY, TwoFeatures(), bars, 1, SPEC)
    newest = (kept.t1 == -1) & (kept.t0 > labelled.t0.max())
    assert newest.sum() == 2 * 5
    assert np.isnan(kept.y[newest]).all() and not kept.fit[newest].any()
    np.testing.assert_array_equal(kept.take(kept.t1 >= 0).X, labelled.X)


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


# Predictions -----------------------------------------------------------------------------------
