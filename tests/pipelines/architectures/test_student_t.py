"""Multivariate Student t against scipy and by its own moments."""

import numpy as np
import pytest
from scipy import stats

from pipelines.architectures.student_t import StudentT, draw, fit_student_t

COVARIANCE = np.array([[1.0, 0.5], [0.5, 2.0]])


def sample(freedom: float, n: int) -> np.ndarray:
    shape = COVARIANCE * (freedom - 2) / freedom
    return stats.multivariate_t(np.zeros(2), shape, df=freedom, seed=0).rvs(n)


@pytest.mark.parametrize("freedom", [4.0, 8.0])
def test_degrees_of_freedom_are_found_again(freedom: float) -> None:
    found = fit_student_t(sample(freedom, 20_000))
    assert found.freedom == pytest.approx(freedom, rel=0.12)
    np.testing.assert_allclose(found.covariance, COVARIANCE, atol=0.15)


def test_the_likelihood_is_greatest_where_scipy_s_is() -> None:
    residuals = sample(5.0, 2000)
    found = fit_student_t(residuals)

    def log_likelihood(freedom: float) -> float:
        shape = found.covariance * (freedom - 2) / freedom
        return float(stats.multivariate_t(np.zeros(2), shape, df=freedom).logpdf(residuals).sum())

    best = log_likelihood(found.freedom)
    assert best >= max(log_likelihood(found.freedom * f) for f in (0.9, 0.98, 1.02, 1.1)) - 1e-6


def test_draws_have_the_covariance_and_the_tails() -> None:
    drawn = draw(StudentT(COVARIANCE, 5.0, 0.0), 200_000, 0, "cpu")
    np.testing.assert_allclose(np.cov(drawn, rowvar=False), COVARIANCE, atol=0.05)
    for column, variance in zip(drawn.T, np.diag(COVARIANCE), strict=True):
        scaled = column / np.sqrt(variance * 3 / 5)
        assert np.quantile(scaled, 0.99) == pytest.approx(stats.t.ppf(0.99, 5), rel=0.03)


def test_symbols_that_move_as_one_can_be_drawn() -> None:
    one = np.random.default_rng(0).standard_normal((500, 1))
    fitted = fit_student_t(np.hstack([one, one]))
    assert np.isfinite(draw(fitted, 100, 0, "cpu")).all()


def test_a_seed_gives_the_same_draws() -> None:
    fitted = StudentT(COVARIANCE, 5.0, 0.0)
    first = draw(fitted, 50, 3, "cpu")
    np.testing.assert_array_equal(first, draw(fitted, 50, 3, "cpu"))
    assert (first != draw(fitted, 50, 4, "cpu")).any()
