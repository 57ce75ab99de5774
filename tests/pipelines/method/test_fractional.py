"""Fractional differentiation against its binomial series and statsmodels' unit-root test."""

import numpy as np
import pytest
from scipy.special import binom
from statsmodels.tsa.stattools import adfuller

from pipelines.method.fractional import differentiate, smallest_degree, weights
from registry.errors import ParameterError, TooLittleHistoryError


@pytest.mark.parametrize("d", [0.3, 0.5, 0.95, 1.4])
def test_weights_are_the_binomial_series_of_one_minus_lag(d):
    found = weights(d, 1e-3)
    k = np.arange(len(found))
    np.testing.assert_allclose(found, (-1.0) ** k * binom(d, k), rtol=1e-9)
    following = abs(binom(d, len(found)))
    assert following < 1e-3 <= abs(found[-1])


def test_whole_degrees_are_the_series_and_its_differences():
    values = np.cumsum(np.random.default_rng(0).standard_normal(50))
    np.testing.assert_array_equal(differentiate(values, 0), values)
    np.testing.assert_allclose(differentiate(values, 1)[1:], np.diff(values))
    np.testing.assert_allclose(differentiate(values, 2)[2:], np.diff(values, 2))


def test_a_value_does_not_depend_on_what_follows():
    values = np.cumsum(np.random.default_rng(1).standard_normal(600))
    whole, cut = differentiate(values, 0.4, 1e-3), differentiate(values[:400], 0.4, 1e-3)
    np.testing.assert_array_equal(cut, whole[:400])


def test_a_series_shorter_than_its_window_has_no_value():
    assert np.isnan(differentiate(np.ones(5), 0.5)).all()


def test_the_degree_is_the_smallest_that_statsmodels_calls_stationary():
    walk = np.cumsum(0.01 * np.random.default_rng(2).standard_normal(500))
    found = smallest_degree(walk, 1e-2)

    def p_value(d):
        values = differentiate(walk, d, 1e-2)
        values = values[np.isfinite(values)]
        return adfuller(values, regression="c", autolag="AIC", result_object=False)[1]

    assert 0 < found < 1
    assert p_value(found) < 0.05
    assert p_value(round(found - 0.05, 2)) >= 0.05


def test_what_is_stationary_is_left_alone():
    assert smallest_degree(np.random.default_rng(3).standard_normal(800)) == 0.0


def test_too_few_training_bars_are_one_clear_error():
    with pytest.raises(TooLittleHistoryError, match="a fractional degree"):
        smallest_degree(np.arange(60.0))


@pytest.mark.parametrize(("d", "smallest"), [(-0.1, 1e-4), (2.5, 1e-4), (0.5, 0.0), (0.5, 1.0)])
def test_degrees_and_cuts_outside_their_range_are_refused(d, smallest):
    with pytest.raises(ParameterError):
        weights(d, smallest)
