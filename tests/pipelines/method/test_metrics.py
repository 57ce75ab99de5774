"""Scores against scikit-learn and closed forms."""

import numpy as np
import pytest
from sklearn import metrics as oracle

from pipelines.method import metrics


@pytest.fixture
def probabilities():
    return np.random.default_rng(0).dirichlet((2.0, 3.0, 2.0), 3000)


@pytest.fixture
def classes(probabilities):
    draw = np.random.default_rng(1).random((len(probabilities), 1))
    return (draw > probabilities.cumsum(axis=1)).sum(axis=1).astype(float)


def calibrated(n, seed=0):
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.2, 0.8, n)
    return confidence, (rng.random(n) < confidence).astype(float)


def test_qlike_is_half_the_gamma_deviance():
    rng = np.random.default_rng(2)
    forecast, realised = rng.gamma(2.0, 1.0, 500), rng.gamma(2.0, 1.0, 500)
    expected = oracle.mean_gamma_deviance(realised, forecast) / 2
    assert metrics.qlike(forecast, realised).mean() == pytest.approx(expected, rel=1e-12)


def test_qlike_leaves_out_zero_variance_which_the_log_score_keeps_finite():
    forecast, realised = np.array([0.5, 2.0]), np.array([0.0, 2.0])
    assert np.isnan(metrics.qlike(forecast, realised)).tolist() == [True, False]
    assert metrics.qlike(forecast, realised)[1] == 0.0
    assert metrics.log_score(forecast, realised).tolist() == [np.log(0.5), np.log(2.0) + 1]


def test_log_score_and_qlike_differ_by_what_no_forecast_can_change():
    rng = np.random.default_rng(3)
    f, g, rv = rng.gamma(2.0, 1.0, (3, 100))
    by_qlike = metrics.qlike(f, rv) - metrics.qlike(g, rv)
    assert metrics.log_score(f, rv) - metrics.log_score(g, rv) == pytest.approx(by_qlike)


def test_log_loss_equals_sklearn(probabilities, classes):
    found = metrics.log_loss(probabilities, classes).mean()
    assert found == pytest.approx(oracle.log_loss(classes, probabilities), rel=1e-12)


def test_brier_equals_sklearn(probabilities, classes):
    expected = oracle.brier_score_loss(classes, probabilities, scale_by_half=False)
    assert metrics.brier(probabilities, classes).mean() == pytest.approx(expected, rel=1e-12)


def test_brier_parts_add_up_and_within_vanishes_when_bins_hold_one_value():
    confidence = np.repeat([0.2, 0.5, 0.7], 100)
    hit = (np.random.default_rng(4).random(300) < confidence).astype(float)
    parts = metrics.brier_parts(confidence, hit)
    total = parts.reliability - parts.resolution + parts.uncertainty + parts.within
    assert parts.score == pytest.approx(oracle.brier_score_loss(hit, confidence), rel=1e-12)
    assert total == pytest.approx(parts.score, rel=1e-12)
    assert parts.within == pytest.approx(0.0, abs=1e-12)


def test_equal_mass_bins_hold_equal_numbers_and_keep_ties_together():
    bins = metrics.equal_mass_bins(np.random.default_rng(5).random(1500))
    assert np.bincount(bins).tolist() == [100] * 15
    assert metrics.equal_mass_bins(np.full(40, 0.3)).tolist() == [0] * 40


def test_calibration_error_of_a_constant_forecast_is_its_distance_from_the_frequency():
    hit = np.array([1.0] * 30 + [0.0] * 70)
    assert metrics.calibration_error(np.full(100, 0.5), hit) == pytest.approx(0.2)


def test_calibration_error_interval_of_calibrated_forecasts_does_not_claim_an_error():
    confidence, hit = calibrated(6000)
    found = metrics.calibration_error_interval(confidence, hit, np.repeat(np.arange(600), 10))
    assert found.estimate == pytest.approx(metrics.calibration_error(confidence, hit))
    assert found.lower < 0.01


def test_calibration_error_interval_holds_a_known_error():
    confidence, hit = calibrated(20_000, seed=6)
    t0 = np.repeat(np.arange(1000), 20)
    found = metrics.calibration_error_interval(confidence + 0.1, hit, t0)
    assert found.lower < 0.1 < found.upper
    assert found.lower > 0.08


def test_few_rows_share_five_bins():
    assert [metrics.bins_for(n) for n in (30, 2999, 3000, 60_000)] == [5, 5, 15, 15]
    confidence, hit = calibrated(2999)
    found = metrics.calibration_error_interval(confidence, hit, np.arange(2999))
    assert found.estimate == pytest.approx(metrics.calibration_error(confidence, hit, 5))


def passing_share(n_dates, n_symbols, error, n_series):
    """Return how often the upper bound stays within 0.05, for a model that is off by `error`."""
    passed = []
    for seed in range(n_series):
        rng = np.random.default_rng(seed)
        confidence = np.clip(rng.normal(0.45, 0.15, n_dates * n_symbols), 0.1, 0.95)
        hit = (rng.random(len(confidence)) < confidence - error).astype(float)
        t0 = np.repeat(np.arange(n_dates), n_symbols)
        passed.append(metrics.calibration_error_interval(confidence, hit, t0).upper <= 0.05)
    return np.mean(passed)


def test_the_upper_bound_lets_calibrated_models_pass_and_an_error_of_eight_points_not():
    assert passing_share(200, 5, 0.0, 60) > 0.75
    assert passing_share(200, 5, 0.08, 60) <= 0.04
    assert passing_share(600, 5, 0.0, 30) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize(("n_dates", "n_symbols"), [(1000, 1), (200, 5), (50, 20)])
def test_a_thousand_rows_pass_as_often_as_is_said(n_dates, n_symbols):
    assert 0.82 < passing_share(n_dates, n_symbols, 0.0, 300) < 0.94
    assert passing_share(n_dates, n_symbols, 0.08, 300) <= 0.02
    assert passing_share(3 * n_dates, n_symbols, 0.0, 100) >= 0.99
    assert passing_share(3 * n_dates, n_symbols, 0.08, 100) <= 0.01


def test_calibration_error_interval_is_wider_when_dates_move_together():
    rng = np.random.default_rng(7)
    confidence = np.full(6000, 0.5)
    alone = (rng.random(6000) < 0.5).astype(float)
    together = np.repeat((rng.random(300) < 0.5).astype(float), 20)
    t0 = np.repeat(np.arange(300), 20)
    wide = metrics.calibration_error_interval(confidence, together, t0)
    narrow = metrics.calibration_error_interval(confidence, alone, t0)
    assert wide.upper - wide.lower > 2 * (narrow.upper - narrow.lower)


def test_reliability_table_rows_add_up():
    confidence, hit = calibrated(1000)
    table = metrics.reliability_table(confidence, hit)
    assert table["n_rows"].sum() == 1000
    assert (table["confidence"] * table["n_rows"]).sum() == pytest.approx(confidence.sum())
    assert (table["frequency"] * table["n_rows"]).sum() == pytest.approx(hit.sum())


def test_confusion_equals_sklearn():
    rng = np.random.default_rng(8)
    actual, predicted = rng.integers(0, 3, (2, 500)).astype(float)
    table = metrics.confusion(actual, predicted, ("SELL", "HOLD", "BUY"))
    expected = oracle.confusion_matrix(actual, predicted)
    assert table.select("SELL", "HOLD", "BUY").to_numpy().tolist() == expected.tolist()
    assert table["realised"].to_list() == ["SELL", "HOLD", "BUY"]


def test_drawdown_is_measured_from_the_highest_wealth_including_the_start():
    wealth = metrics.equity(np.array([-0.1, 0.2, 0.0, -0.5]))
    assert metrics.drawdown(wealth) == pytest.approx([-0.1, 0.0, 0.0, -0.5])


@pytest.mark.parametrize(
    ("start", "stop", "step", "expected"),
    [("2000-01-01", "2010-01-01", "1D", 365.25), ("2000-01-03", "2009-12-31", "1B", 260.9)],
)
def test_bars_per_year_are_counted_on_the_calendar_of_the_data(start, stop, step, expected):
    import pandas as pd

    t0 = pd.date_range(start, stop, freq=step).as_unit("us").asi8
    found = metrics.bars_per_year(t0, np.zeros(len(t0), dtype=np.int32))
    assert found == pytest.approx(expected, rel=0.002)


@pytest.mark.parametrize("frequency", ["1D", "1B", "1h", "W"])
def test_a_hole_of_nine_years_changes_no_year(frequency):
    import pandas as pd

    whole = pd.date_range("1998-01-02", "2012-12-31", freq=frequency).as_unit("us").asi8
    start, stop = pd.Timestamp("2000-06-01").value // 1000, pd.Timestamp("2009-06-01").value // 1000
    holed = whole[(whole < start) | (whole > stop)]
    of_one = np.zeros(len(whole), dtype=np.int32)
    expected = metrics.bars_per_year(whole, of_one)
    assert metrics.bars_per_year(holed, of_one[: len(holed)]) == pytest.approx(expected, rel=0.005)
    blind = (len(holed) - 1) * metrics.MICROSECONDS_PER_YEAR / (holed[-1] - holed[0])
    assert blind < 0.5 * expected


def test_a_hole_is_longer_than_ten_days_and_twenty_spacings():
    day = 86_400_000_000
    daily = np.arange(400) * day
    holiday = daily + np.where(np.arange(400) > 200, 9 * day, 0)  # a gap of ten days is none
    assert metrics.times_per_year(holiday) == pytest.approx(399 * 365.25 / 408)
    hole = daily + np.where(np.arange(400) > 200, 25 * day, 0)
    assert metrics.times_per_year(hole) == pytest.approx(365.25)
    monthly = np.arange(60) * 30 * day
    year_off = monthly + np.where(np.arange(60) > 30, 365 * day, 0)  # thirteen spacings
    assert metrics.times_per_year(year_off) == pytest.approx(59 * 365.25 / (59 * 30 + 365))


def test_a_compound_return_is_the_yearly_growth_of_wealth():
    returns = np.random.default_rng(0).normal(0.0005, 0.02, 504)
    expected = np.prod(1 + returns) ** 0.5 - 1
    assert metrics.compound_return(returns, 252) == pytest.approx(expected)
    assert metrics.compound_return(np.array([0.5, -0.5]), 1) == pytest.approx(0.75**0.5 - 1)
    assert metrics.compound_return(np.array([0.1, -1.0, 3.0]), 252) == -1.0
    assert metrics.compound_return(np.empty(0), 252) == 0.0
