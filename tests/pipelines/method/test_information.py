"""Information coefficients against pandas and scipy, as Qlib computes them."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pipelines.method.information import (
    decay,
    forward_returns,
    information,
    quantile_spread,
    rank_autocorrelation,
    top_turnover,
)

N_DATES, N_SYMBOLS = 200, 12


@pytest.fixture
def panel():
    rng = np.random.default_rng(0)
    prediction = np.round(rng.standard_normal((N_DATES, N_SYMBOLS)), 1)  # with ties
    returns = 0.01 * (0.1 * prediction + rng.standard_normal((N_DATES, N_SYMBOLS)))
    prediction[rng.random(prediction.shape) < 0.1] = np.nan
    returns[rng.random(returns.shape) < 0.1] = np.nan
    prediction[7, 4:] = np.nan  # four symbols: too few for a correlation
    return prediction, returns


def daily(prediction, returns, method):
    """Qlib's calc_ic: correlation per date, of dates with at least five symbols."""
    pairs = [
        (p[keep], r[keep])
        for p, r in zip(prediction, returns, strict=True)
        if (keep := np.isfinite(p) & np.isfinite(r)).sum() >= 5
    ]
    return np.array([pd.Series(p).corr(pd.Series(r), method=method) for p, r in pairs])


def test_coefficients_equal_pandas(panel):
    found = information(*panel)
    ic, rank = daily(*panel, "pearson"), daily(*panel, "spearman")
    assert found.n_dates == len(ic) == N_DATES - 1
    assert found.ic == pytest.approx(ic.mean())
    assert found.icir == pytest.approx(ic.mean() / ic.std(ddof=1))
    assert found.rank_ic == pytest.approx(rank.mean())
    assert found.rank_icir == pytest.approx(rank.mean() / rank.std(ddof=1))


def test_a_signal_that_is_the_return_has_coefficient_one(panel):
    _, returns = panel
    found = information(returns, returns)
    assert (found.ic, found.rank_ic) == (pytest.approx(1.0), pytest.approx(1.0))


def test_a_constant_prediction_has_no_coefficient(panel):
    _, returns = panel
    assert information(np.ones_like(returns), returns) is None


def test_few_symbols_or_dates_have_no_coefficient(panel):
    prediction, returns = panel
    assert information(prediction[:, :4], returns[:, :4]) is None
    assert information(prediction[:50], returns[:50]) is None


def test_forward_returns_compound_and_need_every_interval():
    returns = np.array([[0.1], [-0.1], [np.nan], [0.2], [0.3]])
    found = forward_returns(returns, 2)[:, 0]
    np.testing.assert_allclose(found, [-0.01, np.nan, np.nan, 0.56, np.nan])
    assert np.isnan(forward_returns(returns, 9)).all()


def test_decay_has_a_line_per_horizon(panel):
    prediction, returns = panel
    table = decay(prediction, np.nan_to_num(returns))
    assert table["horizon_bars"].to_list() == [1, 2, 5, 10, 20]
    assert table["ic"][0] > table["ic"][4]
    assert len(decay(prediction[:, :3], returns[:, :3])) == 0


def test_a_ranking_that_stays_has_autocorrelation_one_and_no_turnover():
    fixed = np.tile(np.arange(10.0), (80, 1))
    assert rank_autocorrelation(fixed) == pytest.approx(1.0)
    assert top_turnover(fixed) == 0.0


def test_a_ranking_that_turns_over_is_seen():
    flipped = np.tile(np.arange(10.0), (80, 1)) * np.where(np.arange(80) % 2, -1, 1)[:, None]
    assert rank_autocorrelation(flipped) == pytest.approx(-1.0)
    assert top_turnover(flipped) == 1.0
    assert rank_autocorrelation(flipped, lag=2) == pytest.approx(1.0)


def test_autocorrelation_equals_scipy(panel):
    prediction, _ = panel
    expected = []
    for now, before in zip(prediction[1:], prediction[:-1], strict=True):
        keep = np.isfinite(now) & np.isfinite(before)
        if keep.sum() >= 5:
            expected.append(stats.spearmanr(now[keep], before[keep]).statistic)
    assert rank_autocorrelation(prediction) == pytest.approx(np.mean(expected))


def test_spread_is_the_top_fifth_minus_the_bottom_fifth():
    prediction = np.array([[3.0, 1.0, 2.0, 5.0, 4.0, np.nan], [1.0, np.nan, 2.0, 3.0, 4.0, np.nan]])
    returns = np.array([[0.0, -0.02, 0.0, 0.03, 0.0, 9.0], [0.1] * 6])
    np.testing.assert_allclose(quantile_spread(prediction, returns), [0.05, np.nan])
