import numpy as np
import pytest
from scipy import stats

from pipelines.synthetic import stylised_facts
from pipelines.synthetic.stylised_facts import FACTS, compare


def garch(n=4000, seed=0, leverage=0.0):
    """A GARCH(1,1) path, or GJR-GARCH with leverage."""
    rng = np.random.default_rng(seed)
    returns, variance = np.empty(n), 1e-4
    for t in range(n):
        returns[t] = np.sqrt(variance) * rng.standard_normal()
        stir = 0.1 + leverage * (returns[t] < 0)
        variance = 2e-6 + stir * returns[t] ** 2 + (0.88 - leverage / 2) * variance
    return returns


def normal(n=4000, seed=0):
    return 0.01 * np.random.default_rng(seed).standard_normal(n)


def test_kurtosis_is_that_of_scipy():
    returns = garch()
    found = stylised_facts.excess_kurtosis(returns)
    assert found == pytest.approx(stats.kurtosis(returns), rel=1e-9)


def test_autocorrelations_are_close_to_those_of_statsmodels():
    from statsmodels.tsa.stattools import acf

    size = np.abs(garch())  # which centres both ends by one mean
    np.testing.assert_allclose(
        stylised_facts.autocorrelations(size, 20), acf(size, nlags=20)[1:], atol=0.01
    )


def test_the_hill_index_of_a_pareto_tail_is_its_exponent():
    draws = np.random.default_rng(0).pareto(3.0, 200_000) + 1
    assert stylised_facts.hill_index(draws) == pytest.approx(3.0, rel=0.03)


def test_facts_tell_a_market_from_noise():
    market, noise = garch(leverage=0.15), normal()
    assert FACTS["excess_kurtosis"](market) > 1 > 0.3 > FACTS["excess_kurtosis"](noise)
    assert (
        FACTS["absolute_autocorrelation"](market) > 0.1 > FACTS["absolute_autocorrelation"](noise)
    )
    assert FACTS["squared_autocorrelation"](market) > 0.1
    assert FACTS["leverage"](market) < -0.03 < FACTS["leverage"](noise)
    drawn = 0.01 * np.random.default_rng(0).standard_t(5, 8000)
    assert FACTS["excess_kurtosis_20"](drawn) < 0.5 * FACTS["excess_kurtosis"](drawn)


def test_a_series_of_the_same_kind_meets_every_fact_and_noise_does_not():
    real = [garch(seed=seed) for seed in range(4)]
    alike = compare(real, [garch(seed=seed) for seed in (8, 9)])
    assert sum(row.is_met for row in alike) >= 7
    missed = {row.fact for row in compare(real, [normal()]) if not row.is_met}
    assert {"absolute_autocorrelation", "squared_autocorrelation", "hill_index"} <= missed


def test_a_longer_synthetic_series_is_measured_on_pieces_as_long_as_the_real_ones():
    row = compare([garch(4000)], [np.tile(garch(1000, seed=3), 20)])[0]
    single = compare([garch(4000)], [garch(1000, seed=3)])[0]
    assert row.synthetic == pytest.approx(single.synthetic)
