"""Measures and their bounds against independent oracles and by simulation."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pipelines.method import plausibility
from pipelines.method.plausibility import Measure
from registry.gates import PLAUSIBLE_SHARPE


def test_limits_follow_the_length_of_the_bars():
    limits = plausibility.SHARPE
    assert [limits.of(length) for length in ("30d", "1w", "1d", "")] == [4.0] * 4
    assert [limits.of(length) for length in ("4h", "1h", "59m", "5m", "1s")] == [6, 6, 10, 10, 10]
    assert plausibility.DIRECTION.of("1h") == 0.65
    assert plausibility.RETURN_R2.of("1d") == 0.05


def test_sharpe_is_annualised_and_its_error_is_lo_s():
    returns = np.random.default_rng(0).normal(0.001, 0.01, 5000)
    found = plausibility.sharpe(returns, 252.0)
    ratio = returns.mean() / returns.std(ddof=1)
    assert found.value == pytest.approx(ratio * 252**0.5, rel=1e-3)
    error = (found.value - found.lower) / 1.645
    expected = ((1 + ratio**2 / 2) / 5000 * 252) ** 0.5
    assert error == pytest.approx(expected, rel=0.15)


def test_the_bound_of_the_sharpe_ratio_covers_it_19_times_in_20():
    rng = np.random.default_rng(1)
    lower = [plausibility.sharpe(rng.normal(0.1, 1, 500), 1.0).lower for _ in range(60)]
    assert 0.88 <= np.mean(np.array(lower) < 0.1) <= 1


def test_a_strategy_that_never_trades_is_plausible_and_one_that_is_never_wrong_is_not():
    assert plausibility.sharpe(np.zeros(100), 252.0) == Measure(0.0, 0.0)
    assert plausibility.sharpe(np.full(100, -0.01), 252.0).lower == 0.0
    certain = plausibility.sharpe(np.full(100, 0.01), 252.0)
    assert not certain.row(PLAUSIBLE_SHARPE, "it", 4.0).passed


def test_too_few_dates_are_not_computed():
    row = plausibility.sharpe(np.random.default_rng(0).normal(size=10), 252.0).row(
        PLAUSIBLE_SHARPE, "it", 4.0
    )
    assert (row.value, row.passed) == (None, False)
    assert row.note.startswith("10 dates are too few")


def test_area_is_scikit_learn_s_with_ties():
    rng = np.random.default_rng(2)
    up = rng.random(600) < 0.4
    score = np.round(up * 0.5 + rng.normal(size=600), 1)
    found = plausibility.area_under_curve(score, up, np.arange(600), 1)
    assert found.value == pytest.approx(roc_auc_score(up, score))
    assert found.lower < found.value


def test_area_and_its_bound_cover_19_times_in_20():
    rng, areas, t0 = np.random.default_rng(3), [], np.arange(200)
    for _ in range(60):
        up = rng.random(200) < 0.5
        areas.append(plausibility.area_under_curve(up + rng.normal(size=200), up, t0, 1))
    truth = 0.7602  # Phi(1 / sqrt 2)
    assert np.mean([area.value for area in areas]) == pytest.approx(truth, abs=0.015)
    assert 0.88 <= np.mean([area.lower < truth for area in areas]) <= 1


def test_symbols_of_one_date_count_as_one_date():
    rng = np.random.default_rng(4)
    up = rng.random(300) < 0.5
    score = up + rng.normal(size=300)
    alone = plausibility.area_under_curve(score, up, np.arange(300), 1)
    twenty = plausibility.area_under_curve(
        np.repeat(score, 20), np.repeat(up, 20), np.repeat(np.arange(300), 20), 1
    )
    assert twenty.value == pytest.approx(alone.value)
    assert twenty.lower == pytest.approx(alone.lower)


def test_area_of_one_class_is_not_there():
    assert plausibility.area_under_curve(np.ones(9), np.ones(9, bool), np.arange(9), 1) is None


def test_share_explained_is_r2():
    rng = np.random.default_rng(5)
    y = rng.normal(size=2000)
    forecast = 0.5 * y + 0.2 * rng.normal(size=2000)
    found = plausibility.share_explained((y - forecast) ** 2, y**2, np.arange(2000), 1)
    assert found.value == pytest.approx(1 - ((y - forecast) ** 2).sum() / (y**2).sum())
    assert found.value - 0.05 < found.lower < found.value
    perfect = plausibility.share_explained(np.zeros(50), np.ones(50), np.arange(50), 1)
    assert (perfect.value, perfect.lower) == (1.0, 1.0)


def test_mean_gain_weighs_rows():
    t0 = np.repeat(np.arange(100), np.arange(100) % 3 + 1)
    gain = np.random.default_rng(6).normal(0.3, 0.1, len(t0))
    assert plausibility.mean_gain(gain, t0, 1).value == pytest.approx(gain.mean())
