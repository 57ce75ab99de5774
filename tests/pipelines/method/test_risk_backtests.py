"""Backtests against scipy, simulation, and Basel's own table."""

import numpy as np
import pytest
from scipy import stats

from pipelines.method import risk_backtests as backtests
from pipelines.method.risk_measures import expected_shortfall, value_at_risk


def hits_of(n: int, dates: list[int]) -> np.ndarray:
    hits = np.zeros(n, dtype=bool)
    hits[dates] = True
    return hits


def log_bernoulli(x: int, n: int, rate: float) -> float:
    return float(stats.bernoulli.logpmf(1, rate) * x + stats.bernoulli.logpmf(0, rate) * (n - x))


@pytest.mark.parametrize(("x", "n", "p"), [(0, 250, 0.01), (7, 250, 0.01), (60, 1000, 0.05)])
def test_kupiec_is_the_ratio_of_binomial_likelihoods(x: int, n: int, p: float) -> None:
    found = backtests.kupiec(hits_of(n, list(range(x))), p)
    ratio = stats.binom.logpmf(x, n, x / n) - stats.binom.logpmf(x, n, p)
    assert found.statistic == pytest.approx(2 * ratio, rel=1e-9)
    assert found.p_value == pytest.approx(stats.chi2.sf(2 * ratio, 1), rel=1e-9)


def test_kupiec_of_the_expected_number_is_zero() -> None:
    found = backtests.kupiec(hits_of(200, [5, 90]), 0.01)
    assert found.statistic == pytest.approx(0.0, abs=1e-9)
    assert found.p_value == pytest.approx(1.0, abs=1e-4)


def test_independence_is_the_g_test_of_the_transitions() -> None:
    rng = np.random.default_rng(1)
    hits = rng.random(800) < 0.08
    before, after = hits[:-1], hits[1:]
    table = [[int((after[before == a] == b).sum()) for b in (False, True)] for a in (False, True)]
    expected = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood")
    found = backtests.independence(hits)
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-9)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)


def test_clustered_hits_are_refused_and_scattered_ones_are_not() -> None:
    clustered = hits_of(1000, [*range(100, 105), *range(700, 705)])
    scattered = hits_of(1000, list(range(50, 1000, 100)))
    assert backtests.kupiec(clustered, 0.01) == backtests.kupiec(scattered, 0.01)
    assert backtests.independence(clustered).p_value < 1e-6
    assert backtests.conditional_coverage(clustered, 0.01).p_value < 1e-6
    assert backtests.conditional_coverage(scattered, 0.01).p_value > 0.5


def test_conditional_coverage_is_the_sum_of_both_after_the_first_date() -> None:
    hits = np.random.default_rng(2).random(500) < 0.03
    together = backtests.conditional_coverage(hits, 0.02)
    apart = backtests.independence(hits).statistic + backtests.kupiec(hits[1:], 0.02).statistic
    assert together.statistic == pytest.approx(apart)
    assert together.p_value == pytest.approx(stats.chi2.sf(apart, 2))


@pytest.mark.parametrize("hits", [hits_of(100, []), np.ones(100, dtype=bool), hits_of(1, [])])
def test_degenerate_hits_give_finite_statistics(hits: np.ndarray) -> None:
    for found in (
        backtests.kupiec(hits, 0.05),
        backtests.independence(hits),
        backtests.conditional_coverage(hits, 0.05),
    ):
        assert np.isfinite(found.statistic)
        assert 0 <= found.p_value <= 1


def test_right_forecasts_are_refused_as_often_as_the_p_value_says() -> None:
    rng = np.random.default_rng(0)
    trials = [rng.random(4000) < 0.05 for _ in range(500)]
    refused = np.mean([backtests.kupiec(hits, 0.05).p_value < 0.1 for hits in trials])
    both = np.mean([backtests.conditional_coverage(hits, 0.05).p_value < 0.1 for hits in trials])
    assert 0.06 < refused < 0.14
    assert 0.06 < both < 0.14


def test_z2_is_zero_for_normal_forecasts_and_falls_with_their_scale() -> None:
    losses = np.random.default_rng(4).standard_normal(200_000)
    var, shortfall = stats.norm.ppf(0.975), stats.norm.pdf(stats.norm.ppf(0.975)) / 0.025
    right = backtests.z2(losses, np.full(len(losses), var), np.full(len(losses), shortfall), 0.025)
    low = backtests.z2(
        losses, np.full(len(losses), 0.7 * var), np.full(len(losses), 0.7 * shortfall), 0.025
    )
    assert right == pytest.approx(0.0, abs=0.05)
    assert low < -1.0


def test_z2_critical_value_is_that_of_closed_forms() -> None:
    # Acerbi and Szekely (2014) give -0.70 for 250 dates at 2.5 % and 5 % significance
    rng = np.random.default_rng(5)
    scenarios = np.tile(rng.standard_normal(20_000), (250, 1))
    assert backtests.z2_critical(scenarios, 0.025, 0.05) == pytest.approx(-0.70, abs=0.05)
    var = stats.norm.ppf(0.95)
    shortfall = stats.norm.pdf(var) / 0.05
    draws = rng.standard_normal((20_000, 100))
    values = 1 - np.where(draws > var, draws, 0).sum(axis=1) / shortfall / (100 * 0.05)
    found = backtests.z2_critical(scenarios[:100], 0.05, 0.01)
    assert found == pytest.approx(np.quantile(values, 0.01), abs=0.12)


def test_right_shortfalls_are_below_the_critical_value_as_often_as_said() -> None:
    rng = np.random.default_rng(6)
    scenarios = np.tile(rng.standard_t(5, 5000), (250, 1))
    var, shortfall = value_at_risk(scenarios, 0.95), expected_shortfall(scenarios, 0.95)
    critical = backtests.z2_critical(scenarios, 0.05, 0.05)
    draws = [rng.choice(scenarios[0], 250) for _ in range(1000)]
    share = np.mean([backtests.z2(losses, var, shortfall, 0.05) < critical for losses in draws])
    assert 0.03 < share < 0.075


def test_pinball_loss_is_least_at_the_quantile() -> None:
    losses = np.random.default_rng(7).standard_t(4, 20_000)
    best = np.quantile(losses, 0.99)

    def score(at: float) -> float:
        return float(backtests.pinball_loss(losses, np.full(len(losses), at), 0.99).mean())

    assert score(best) < min(score(0.9 * best), score(1.1 * best))


def test_pinball_loss_is_scikit_learn_s() -> None:
    from sklearn.metrics import mean_pinball_loss

    rng = np.random.default_rng(8)
    losses, var = rng.standard_normal(100), rng.standard_normal(100)
    found = backtests.pinball_loss(losses, var, 0.99).mean()
    assert found == pytest.approx(mean_pinball_loss(losses, var, alpha=0.99), rel=1e-12)


@pytest.mark.parametrize(
    ("hits", "zone"), [(0, "green"), (4, "green"), (5, "yellow"), (9, "yellow"), (10, "red")]
)
def test_traffic_light_is_basel_s_table(hits: int, zone: str) -> None:
    assert backtests.traffic_light(hits, 250, 0.01) == zone


# Power -----------------------------------------------------------------------------------------


def kupiec_accepts(n: int, p: float) -> np.ndarray:
    x = np.arange(n + 1)
    ratio = stats.binom.logpmf(x, n, x / n) - stats.binom.logpmf(x, n, p)
    return stats.chi2.sf(2 * ratio, 1) > 0.01


@pytest.mark.parametrize(("n", "p"), [(250, 0.01), (290, 0.05), (1670, 0.01), (37, 0.3)])
def test_power_is_the_binomial_probability_of_a_refusal(n: int, p: float) -> None:
    accepted = np.flatnonzero(kupiec_accepts(n, p))
    expected = 1 - stats.binom.pmf(accepted, n, 2 * p).sum()
    assert backtests.power(n, p, 0.01) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("level", "needed"), [(0.95, 290), (0.975, 650), (0.99, 1670)])
def test_dates_needed_reach_four_fifths_and_fewer_do_not(level: float, needed: int) -> None:
    assert backtests.dates_needed(1 - level, 0.01) == needed
    assert backtests.power(needed - 10, 1 - level, 0.01) < 0.8
    later = [backtests.power(n, 1 - level, 0.01) for n in range(needed, 2 * needed, 10)]
    assert min(later) >= 0.8


def test_every_level_of_the_option_has_a_number_of_dates() -> None:
    assert [backtests.dates_needed(1 - level, 0.01) for level in (0.5, 0.9, 0.999)] == [
        10,
        140,
        16710,
    ]


def test_statistics_of_many_series_are_those_of_each() -> None:
    hits = np.random.default_rng(5).random((40, 300)) < 0.02
    hits[0], hits[1] = False, True
    found = backtests._coverage_statistics(hits, 0.02)
    each = [backtests.conditional_coverage(row, 0.02).statistic for row in hits]
    np.testing.assert_allclose(np.maximum(found, 0), each, atol=1e-9)


def test_simulated_p_values_refuse_right_forecasts_as_often_as_they_say() -> None:
    rng = np.random.default_rng(6)
    found = [backtests.conditional_coverage_p(rng.random(250) < 0.05, 0.05) for _ in range(100)]
    assert 0.02 < np.mean(np.asarray(found) <= 0.1) < 0.18
    assert backtests.conditional_coverage_p(hits_of(1000, [*range(100, 109)]), 0.01) < 0.001
    assert backtests.conditional_coverage_p(hits_of(1000, list(range(50, 1000, 100))), 0.01) > 0.3
