"""Positions, threshold and beta by hand and by law."""

import numpy as np
import pytest

from pipelines.method.costs import CostSpec
from pipelines.method.strategy import (
    Strategy,
    beta,
    decisions,
    fit_threshold,
    make_panel,
    positions,
)
from tests.examples import make_labelled_rows

FREE = CostSpec(0.0, 0.0, 0.0, 0.0, 1e6, 0.0)
DEAR = CostSpec(0.05, 0.0, 0.0, 0.0, 1e6, 0.0)


def rows_of(returns, held=1):
    """Rows of a full (date, symbol) table of next returns; NaN cells are left out.

    `held`: fills until a decision is out, of each row or of all.
    """
    returns = np.asarray(returns, dtype=float)
    date, symbol = np.nonzero(np.isfinite(returns))
    unknown = np.full(len(date), np.nan)
    return make_labelled_rows(
        len(date),
        context={"sigma": unknown, "half_spread": unknown, "dollar_volume": unknown},
        outcome={"next_return": returns[date, symbol], "left_at": date + np.asarray(held, float)},
        symbol=symbol.astype(np.int32),
        symbols=("A", "B"),
        t0=date.astype(np.int64),
    )


def test_position_is_the_mean_of_the_last_decisions_shared_among_symbols():
    panel = make_panel(rows_of(np.zeros((4, 2)), held=2))
    decision = np.array([1, 0, 1, -1, -1, 0, 0, 1], dtype=float)
    expected = np.array([[1, 0], [2, -1], [0, -1], [-1, 1]]) / 4
    np.testing.assert_allclose(positions(panel, decision, 2), expected)


def test_one_bar_horizon_holds_only_the_newest_decision():
    panel = make_panel(rows_of(np.zeros((3, 1))))
    assert positions(panel, np.array([1.0, 0.0, -1.0]), 1).ravel().tolist() == [1.0, 0.0, -1.0]


def test_a_decision_is_out_when_its_label_is_not_before_and_not_after():
    held = [3, 1, 2, 3, np.nan, 1]  # NaN: its end is not known yet
    panel = make_panel(rows_of(np.zeros((6, 1)), held))
    decision = np.array([1.0, 1.0, -1.0, 1.0, 1.0, 0.0])
    expected = np.array([1, 2, 0, 0, 2, 2]) / 3
    np.testing.assert_allclose(positions(panel, decision, 3).ravel(), expected)


def test_a_symbol_without_a_row_on_the_date_of_its_exit_is_out_at_its_next_fill():
    rows = rows_of([[0.0, 0.0], [np.nan, 0.0], [0.0, 0.0]], held=1)
    found = positions(make_panel(rows), np.array([1.0, 0.0, 0.0, 0.0, 0.0]), 1)
    assert found[:, 0].tolist() == [0.5, 0.0, 0.0]


def test_universe_is_the_mean_of_the_symbols_present():
    panel = make_panel(rows_of([[0.1, 0.3], [np.nan, 0.2], [-0.1, np.nan]]))
    assert panel.universe == pytest.approx([0.2, 0.2, -0.1])
    assert panel.n_symbols == 2


def test_buy_and_hold_holds_and_never_rebalances():
    returns = [[0.5, -0.5], [0.5, -0.5], [np.nan, 0.2], [-0.1, np.nan]]
    panel = make_panel(rows_of(returns))
    first, second = [1.5, 2.25, 2.25, 2.025], [0.5, 0.25, 0.3, 0.3]
    wealth = (np.array(first) + second) / 2
    np.testing.assert_allclose(np.cumprod(1 + panel.held), wealth)
    assert np.prod(1 + panel.universe) != pytest.approx(wealth[-1])


def test_buy_and_hold_of_one_symbol_is_that_symbol():
    panel = make_panel(rows_of([[0.1], [-0.2], [0.05]]))
    np.testing.assert_allclose(panel.held, panel.universe)


def test_what_is_lost_whole_stays_lost():
    panel = make_panel(rows_of([[-1.0], [0.3]]))
    np.testing.assert_allclose(panel.held, [-1.0, 0.0])


def test_gross_return_of_always_long_is_the_universe():
    returns = 0.01 * np.random.default_rng(0).standard_normal((50, 2))
    panel = make_panel(rows_of(returns))
    report = Strategy(1, FREE, 252).run(panel, np.ones(100))
    np.testing.assert_allclose(report.net(), panel.universe)
    assert beta(report.net(), panel.universe) == pytest.approx(1.0)


def test_beta_is_the_regression_slope():
    rng = np.random.default_rng(1)
    universe = rng.standard_normal(300)
    returns = 0.7 * universe + rng.standard_normal(300)
    assert beta(returns, universe) == pytest.approx(np.polyfit(universe, returns, 1)[0])
    assert beta(returns, np.ones(300)) == 0.0


def test_decisions_compare_the_edge_with_the_threshold():
    edge = np.array([-0.3, -0.1, 0.0, 0.1, 0.3])
    assert decisions(edge, 0.1).tolist() == [-1, 0, 0, 0, 1]
    assert decisions(edge, None).tolist() == [0, 0, 0, 0, 0]


def skilful(n=2000, seed=2):
    """Edges whose sign is right only when they are large."""
    rng = np.random.default_rng(seed)
    edge = rng.uniform(-1, 1, n)
    move = np.where(np.abs(edge) > 0.5, np.sign(edge), rng.choice([-1, 1], n))
    return rows_of(0.01 * move[:, None]), edge


def test_threshold_leaves_out_edges_that_earn_nothing_after_costs():
    rows, edge = skilful()
    found = fit_threshold(rows, edge, Strategy(1, CostSpec(0.002, 0, 0, 0, 1e6, 0), 252))
    assert found.threshold == pytest.approx(0.5, abs=0.1)


def test_no_threshold_survives_costs_above_every_gain():
    rows, edge = skilful()
    found = fit_threshold(rows, edge, Strategy(1, DEAR, 252))
    assert (found.threshold, found.beta) == (None, 0.0)


def test_no_rows_give_no_threshold():
    rows, edge = skilful(10)
    nothing = np.zeros(0, dtype=np.intp)
    found = fit_threshold(rows.take(nothing), edge[nothing], Strategy(1, FREE, 252))
    assert found.threshold is None
