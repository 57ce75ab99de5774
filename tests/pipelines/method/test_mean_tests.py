"""The test of a mean: its parts against SciPy, its size by simulation, and what it cannot say."""

import numpy as np
import pytest
from scipy import stats
from scipy.fft import dct

from pipelines.method import mean_tests
from pipelines.method.mean_tests import mean_test


def autocorrelated(n, seed=0, mean=0.1):
    noise = np.random.default_rng(seed).standard_normal(n)
    return mean + noise + 0.6 * np.concatenate(([0.0], noise[:-1]))


def moving_sums(shocks, h):
    totals = np.cumsum(np.pad(shocks, ((0, 0), (1, 0))), axis=1)
    return totals[:, h:] - totals[:, :-h]


def decaying(shocks, h):
    out = shocks.copy()
    for i in range(1, out.shape[1]):
        out[:, i] += np.exp(-1 / h) * out[:, i - 1]
    return out[:, 20 * h :]


def share_rejected(series, h):
    """Return the two-sided and the larger one-sided share at 5 %, by the product's own parts."""
    n = series.shape[1]
    b = mean_tests.degrees_of_freedom(n, h)
    t = series.mean(axis=1) / np.sqrt(mean_tests.cosine_variance(series, b) / n)
    two = (np.abs(t) > mean_tests.student_quantile(0.975, b)).mean()
    beyond = mean_tests.student_quantile(0.95, b)
    return two, max((t < -beyond).mean(), (t > beyond).mean())


# Parts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [3, 4, 17, 129, 2000])
def test_student_equals_scipy_far_into_the_tail(degrees):
    for t in (0.0, 1e-3, 0.7, 2.0, 8.0, 100.0):
        found = mean_tests.student_tail(t, degrees)
        assert found == pytest.approx(float(stats.t.sf(t, degrees)), rel=1e-9)
    for level in (0.5, 0.95, 0.99999):
        found = mean_tests.student_quantile(level, degrees)
        assert found == pytest.approx(float(stats.t.ppf(level, degrees)), rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("n", [100, 101])
def test_cosine_variance_is_the_mean_square_of_scipys_cosine_transform(n):
    series = 5 + np.random.default_rng(0).standard_normal((3, n))
    expected = (dct(series, type=2, axis=1)[:, 1:9] / 2 * np.sqrt(2 / n)) ** 2
    found = mean_tests.cosine_variance(series, 8)
    np.testing.assert_allclose(found, expected.mean(axis=1), rtol=1e-9)


def test_degrees_follow_length_and_horizon():
    cases = [(21, 1), (250, 1), (250, 5), (250, 21), (5800, 5)]
    assert [mean_tests.degrees_of_freedom(n, h) for n, h in cases] == [3, 15, 15, 3, 129]


# What it says ----------------------------------------------------------------------------------


def test_t_z_and_bounds_are_those_of_students_t():
    series = autocorrelated(400)
    found = mean_test(series)
    b = found.degrees
    error = np.sqrt((dct(series, type=2)[1 : b + 1] ** 2).mean() / (2 * 400**2))
    assert b == 21 and found.error == pytest.approx(error)
    assert found.t == pytest.approx(series.mean() / error)
    assert stats.norm.sf(found.z) == pytest.approx(float(stats.t.sf(found.t, b)))
    assert found.upper() == pytest.approx(series.mean() + stats.t.ppf(0.95, b) * error)
    assert found.lower() == pytest.approx(series.mean() - stats.t.ppf(0.95, b) * error)
    assert mean_test(-series).z == pytest.approx(-found.z)


def test_an_enormous_t_stays_a_number():
    found = mean_test(1 + 1e-9 * np.random.default_rng(0).standard_normal(50_000))
    assert found.t > 1e6 and 30 < found.z < 40


@pytest.mark.parametrize(("horizon", "needed"), [(1, 21), (2, 21), (5, 45), (10, 90), (21, 189)])
def test_too_few_dates_say_how_many_are_needed(horizon, needed):
    series = autocorrelated(needed)
    assert mean_tests.least_dates(horizon) == needed
    assert mean_test(series, horizon).z is not None
    found = mean_test(series[:-1], horizon)
    assert (found.t, found.z, found.upper()) == (None, None, None)
    assert f"{needed - 1} dates are too few, {needed} are needed" in found.note


def test_nothing_is_said_about_a_constant_or_nothing():
    assert mean_test(np.full(50, 0.3)).missing == "the values of 50 dates do not vary"
    assert mean_test(np.empty(0)).z is None


def test_diebold_mariano_counts_copies_of_a_symbol_once():
    loss, rival = autocorrelated(300, 1), autocorrelated(300, 2)
    t0 = np.arange(300)
    once = mean_tests.diebold_mariano(loss, rival, t0, 5)
    thrice = [np.tile(x, 3) for x in (loss, rival, t0)]
    assert mean_tests.diebold_mariano(*thrice, 5).t == pytest.approx(once.t, rel=1e-9)


def test_diebold_mariano_is_negative_when_the_first_loss_is_lower():
    rng = np.random.default_rng(3)
    loss = rng.random(500)
    worse = loss + 0.1 * rng.random(500)
    assert mean_tests.diebold_mariano(loss, worse, np.arange(500), 5).z < -5


# Size, by simulation ---------------------------------------------------------------------------

CASES = [(21, 1), (63, 1), (45, 5), (126, 5), (189, 21), (252, 21)]


@pytest.mark.parametrize(("n", "h"), CASES)
def test_true_nulls_of_overlapping_labels_are_rejected_in_four_to_six_percent(n, h):
    shocks = np.random.default_rng(n).standard_normal((8000, n + h - 1))
    two, one = share_rejected(moving_sums(shocks, h), h)
    assert 0.04 < two < 0.0625 and one < 0.0625


@pytest.mark.parametrize(("n", "h"), CASES)
def test_slowly_decaying_and_skewed_nulls_are_rejected_in_at_most_ten_percent(n, h):
    rng = np.random.default_rng(n)
    assert max(share_rejected(decaying(rng.standard_normal((4000, n + 20 * h)), h), h)) < 0.1
    skewed = rng.standard_normal((4000, n + h - 1)) ** 2 - 1
    assert share_rejected(moving_sums(skewed, h), h)[0] < 0.1
