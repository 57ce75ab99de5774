"""Shuffled folds of overlapping labels look skilful; purged ones show that nothing was learnt.

S&P 500 closes 1999-2018 as they ship with arch; direction of the return at which a triple barrier
of twenty bars is left. The pipeline offers no shuffled split: scikit-learn's stands here for it.
"""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from pipelines.method import labels
from pipelines.method.folds import purge

HORIZON = 20
WINDOWS = (10, 20, 40, 60, 120)


def windowed(returns):
    """Mean, deviation, lowest and highest return of the bars up to t, over five windows."""
    columns = []
    for window in WINDOWS:
        parts = sliding_window_view(returns, window)
        for statistic in (np.mean, np.std, np.min, np.max):
            column = np.full(len(returns), np.nan)
            column[window - 1 :] = statistic(parts, axis=1)
            columns.append(column)
    return np.column_stack(columns)


@pytest.fixture(scope="module")
def rows():
    """X, y (1 where the return was positive), t0 and t1 in bars."""
    from arch.data import sp500

    close = sp500.load()["Close"].to_numpy(dtype=float)
    path = labels.Path(labels.later(close, 1), 2, None, close, close, close)
    width = labels.ewma_deviation(close) * HORIZON**0.5
    touches = labels.triple_barrier(path, width, HORIZON)
    X = windowed(labels.log_returns(close))
    keep = np.flatnonzero(np.isfinite(X).all(axis=1) & np.isfinite(touches.log_return))
    y = (touches.log_return[keep] > 0).astype(int)
    return X[keep], y, keep, keep + touches.bars[keep]


def hits(X, y, train, test):
    from sklearn.ensemble import ExtraTreesClassifier

    fitted = ExtraTreesClassifier(100, random_state=0).fit(X[train], y[train])
    return fitted.predict(X[test]) == y[test]


@pytest.mark.slow
def test_shuffled_folds_look_better_than_85_percent(rows):
    from sklearn.model_selection import KFold

    X, y, _, _ = rows
    train, test = next(KFold(5, shuffle=True, random_state=0).split(X))
    assert hits(X, y, train, test).mean() > 0.85


@pytest.mark.slow
def test_purged_folds_stay_below_60_percent(rows):
    from sklearn.model_selection import KFold

    X, y, t0, t1 = rows
    found = [hits(X, y, np.flatnonzero(purge(t0, t1, test)), test) for _, test in KFold(5).split(X)]
    assert np.concatenate(found).mean() < 0.60
