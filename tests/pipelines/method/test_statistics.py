"""Significance against statsmodels, pandas, SciPy, closed forms and the published example."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pipelines.method import statistics


def autocorrelated(n, seed=0, mean=0.1):
    noise = np.random.default_rng(seed).standard_normal(n)
    return mean + noise + 0.6 * np.concatenate(([0.0], noise[:-1]))


@pytest.mark.parametrize("lags", [0, 1, 5, 21])
def test_newey_west_equals_statsmodels(lags):
    import statsmodels.api as sm

    series = autocorrelated(400)
    options = {"maxlags": lags, "use_correction": False}
    fit = sm.OLS(series, np.ones(400)).fit(cov_type="HAC", cov_kwds=options)
    found = statistics.newey_west(series - series.mean(), lags)
    assert found == pytest.approx(400 * float(fit.bse[0]) ** 2, rel=1e-10)


def test_mean_per_date_averages_symbols_and_leaves_out_what_is_not_finite():
    values = np.array([1.0, 3.0, np.nan, 5.0])
    assert statistics.mean_per_date(values, np.array([1, 1, 2, 2])).tolist() == [2.0, 5.0]


def test_moments_equal_pandas_and_scipy():
    values = np.random.default_rng(4).standard_t(5, 250)
    assert statistics.skewness(values) == pytest.approx(pd.Series(values).skew(), rel=1e-10)
    assert statistics.kurtosis(values) == pytest.approx(pd.Series(values).kurt() + 3, rel=1e-10)
    assert statistics.skewness(values) == pytest.approx(stats.skew(values, bias=False), rel=1e-10)


def test_probabilistic_sharpe_of_normal_returns_is_the_closed_form():
    z = 0.1 * math.sqrt(249) / math.sqrt(1 + 0.5 * 0.01)
    assert statistics.probabilistic_sharpe(0.1, 250) == pytest.approx(stats.norm.cdf(z), rel=1e-12)


@pytest.mark.parametrize(("n_trials", "expected"), [(100, 0.9004), (46, 0.9505)])
def test_deflated_sharpe_reproduces_bailey_and_lopez_de_prado_2014(n_trials, expected):
    # Numerical example of section "A numerical example": annual SR 2.5, 1,250 daily returns,
    # skew -3, kurtosis 10, variance of the trials' annual Sharpe ratios 1/2.
    hurdle = statistics.expected_max_sharpe(n_trials, math.sqrt(0.5 / 250))
    found = statistics.probabilistic_sharpe(2.5 / math.sqrt(250), 1250, -3.0, 10.0, hurdle)
    assert found == pytest.approx(expected, abs=2e-4)


def test_expected_max_sharpe_is_zero_for_one_trial_and_near_the_simulated_maximum():
    assert statistics.expected_max_sharpe(1, 0.3) == 0.0
    maxima = np.random.default_rng(5).standard_normal((4000, 50)).max(axis=1)
    assert statistics.expected_max_sharpe(50, 1.0) == pytest.approx(maxima.mean(), abs=0.05)


def test_the_spread_of_trials_is_at_least_that_of_worthless_ones():
    returns = autocorrelated(100)
    floor = statistics.expected_max_sharpe(5, 0.1)  # 1 / sqrt(100)
    for alike in ((), (0.1,), (0.1, 0.1), (0.1, 0.101, 0.102)):
        assert statistics.deflated_sharpe(returns, 5, alike).hurdle == pytest.approx(floor)
    wide = statistics.deflated_sharpe(returns, 5, (0.5, -0.5))
    assert wide.hurdle == pytest.approx(np.sqrt(0.5) * 10 * floor)


def test_deflated_sharpe_needs_four_returns():
    returns = autocorrelated(100)
    assert statistics.deflated_sharpe(returns[:3], 1, ()) is None
    assert statistics.deflated_sharpe(returns, 1, ()).hurdle == 0.0


@pytest.mark.parametrize(
    ("n", "limit"), [(1, 1.645), (2, 2.16), (10, 3.2), (100, 4.2), (1000, 4.9)]
)
def test_a_test_of_skill_asks_for_more_with_every_trial(n, limit):
    assert statistics.significance_limit(n) == pytest.approx(limit, abs=0.025)


def test_the_limit_adds_the_expected_maximum_of_normals():
    maxima = np.random.default_rng(0).standard_normal((20_000, 10)).max(axis=1)
    assert statistics.significance_limit(10) - 1.645 == pytest.approx(maxima.mean(), abs=0.05)


def test_deflated_sharpe_refuses_the_best_of_correlated_worthless_trials():
    passed, n_trials, n = 0, 1000, 250
    for seed in range(60):
        rng = np.random.default_rng(seed)
        common, own = rng.standard_normal((n, 1)), rng.standard_normal((n, n_trials))
        returns = (common + own) / math.sqrt(2)
        sharpes = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
        best = statistics.deflated_sharpe(returns[:, sharpes.argmax()], n_trials, tuple(sharpes))
        passed += best.probability >= 0.95
    assert passed / 60 < 0.05


def test_sharpe_ratio_of_rounding_noise_is_zero():
    assert statistics.sharpe_ratio(1e-17 * np.random.default_rng(6).random(100)) == 0.0


def test_minimum_track_record_is_where_the_probabilistic_sharpe_reaches_its_level():
    n = statistics.minimum_track_record(0.1, -0.5, 5.0)
    z = stats.norm.ppf(statistics.probabilistic_sharpe(0.1, 101, -0.5, 5.0))
    assert z * math.sqrt((n - 1) / 100) == pytest.approx(stats.norm.ppf(0.95), rel=1e-9)
    assert statistics.minimum_track_record(-0.1) == math.inf


def test_conformal_quantile_covers_at_least_its_level_on_exchangeable_scores():
    rng = np.random.default_rng(7)
    inside = [
        rng.random() <= statistics.conformal_quantile(rng.random(99), 0.9) for _ in range(4000)
    ]
    assert np.mean(inside) == pytest.approx(0.9, abs=0.015)


def test_conformal_quantile_is_absent_when_there_are_too_few_scores():
    assert statistics.conformal_quantile(np.arange(8.0), 0.9) is None
    assert statistics.conformal_quantile(np.arange(9.0), 0.9) == 8.0
    assert statistics.conformal_quantile(np.empty(0), 0.9) is None
