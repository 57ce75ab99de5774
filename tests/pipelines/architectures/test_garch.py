"""GJR-GARCH fits: recovery of a known process, and what happens without convergence."""

import numpy as np
import pytest

from pipelines.architectures import garch
from pipelines.architectures.volatility_filters import Ewma, Gjr, run
from registry.errors import FitError


def simulated(n: int, seed: int = 0) -> np.ndarray:
    rng, variance, returns = np.random.default_rng(seed), 1e-4, np.empty(n)
    for t in range(n):
        returns[t] = np.sqrt(variance) * rng.standard_normal()
        slope = 0.03 + 0.12 * (returns[t] < 0)
        variance = 2e-6 + slope * returns[t] ** 2 + 0.88 * variance
    return returns


def test_a_known_process_is_found_again() -> None:
    found = garch.fit_gjr(simulated(8000)[:, None], ["A"], may_fall_back=False, notice=None)
    assert found.beta[0] == pytest.approx(0.88, abs=0.03)
    assert found.alpha[0] == pytest.approx(0.03, abs=0.03)
    assert found.gamma[0] == pytest.approx(0.12, abs=0.04)
    assert found.omega[0] == pytest.approx(2e-6, rel=0.6)


def test_residuals_of_the_right_process_have_unit_variance_that_does_not_cluster() -> None:
    returns = simulated(8000, seed=1)[:, None]
    fitted = garch.fit_gjr(returns, ["A"], may_fall_back=False, notice=None)
    residuals = run(fitted, returns).residuals[:, 0]
    assert residuals.std() == pytest.approx(1.0, abs=0.03)
    squares = residuals**2 - (residuals**2).mean()
    assert abs(squares[1:] @ squares[:-1]) / (squares @ squares) < 0.05


def test_without_convergence_the_error_names_symbol_and_remedy(monkeypatch) -> None:
    monkeypatch.setattr(garch, "MOST_ITERATIONS", 1)
    returns = np.stack([simulated(500), simulated(500, 1)], axis=1)
    with pytest.raises(FitError, match=r"symbol BRK\.B did not converge.*on_failure"):
        garch.fit_gjr(returns, ["BRK.B", "KO"], may_fall_back=False, notice=None)


def test_a_fallback_is_ewma_and_is_told(monkeypatch) -> None:
    monkeypatch.setattr(garch, "MOST_ITERATIONS", 1)
    said: list[str] = []
    returns = simulated(500)[:, None]
    found = garch.fit_gjr(returns, ["A"], may_fall_back=True, notice=said.append)
    assert len(said) == 1
    assert "symbol A did not converge" in said[0]
    assert "EWMA instead" in said[0]
    ewma = run(Ewma(np.zeros(1), 0.94), returns).variance
    np.testing.assert_allclose(run(found, returns).variance[-1], ewma[-1], rtol=1e-6)


@pytest.mark.parametrize(("beta", "n_problems"), [(0.94, 0), (0.95, 1)])
def test_a_persistence_of_one_is_usable_and_one_above_is_not(
    monkeypatch, beta: float, n_problems: int
) -> None:
    class Fitted:
        params = (0.0, 0.01, 0.06, 0.0, beta, 8.0)
        convergence_flag = 0

    class Model:
        volatility = garch.arch_model(np.ones(10)).volatility

        def fit(self, **options):
            return Fitted()

    monkeypatch.setattr(garch, "arch_model", lambda *_args, **_options: Model())
    said: list[str] = []
    garch.fit_gjr(simulated(300)[:, None], ["A"], may_fall_back=True, notice=said.append)
    assert len(said) == n_problems


def test_ewma_is_a_gjr_recursion() -> None:
    returns = simulated(300)[:, None]
    zero, begin = np.zeros(1), (returns[:21] ** 2).mean(axis=0)
    as_gjr = Gjr(zero, zero, np.array([0.06]), zero, np.array([0.94]), begin)
    expected = run(Ewma(zero, 0.94), returns)
    np.testing.assert_allclose(run(as_gjr, returns).variance, expected.variance, rtol=1e-12)
