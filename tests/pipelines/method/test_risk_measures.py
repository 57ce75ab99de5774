"""Risk measures against empyrical, scikit-learn and their own laws."""

import empyrical
import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf as sklearn_ledoit_wolf

from pipelines.method import risk_measures as risk

SEED = 3


def returns(n: int = 1000, n_symbols: int = 4) -> np.ndarray:
    rng = np.random.default_rng(SEED)
    common = rng.standard_t(4, (n, 1))
    return 0.01 * (0.6 * common + rng.standard_t(5, (n, n_symbols))) + 2e-4


@pytest.mark.parametrize("n", [250, 999, 1000, 5003])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_var_and_es_are_empyrical_s_with_the_sign_turned(n: int, level: float) -> None:
    path = returns(n)[:, 0]
    var = risk.value_at_risk(-path, level)
    shortfall = risk.expected_shortfall(-path, level)
    assert var == pytest.approx(-empyrical.value_at_risk(path, 1 - level), rel=1e-12)
    expected = -empyrical.conditional_value_at_risk(path, 1 - level)
    assert shortfall == pytest.approx(expected, rel=1e-12)


def test_drawdown_and_sharpe_are_empyrical_s() -> None:
    path = returns()[:, 1]
    assert risk.max_drawdown(path) == pytest.approx(-empyrical.max_drawdown(path), rel=1e-12)
    expected = empyrical.sharpe_ratio(path, annualization=252)
    assert risk.annual_sharpe(path, 252) == pytest.approx(expected, rel=1e-12)


def test_beta_without_shrinkage_is_empyrical_s() -> None:
    matrix, market = returns(), np.full(4, 0.25)
    weights = np.array([0.7, 0.3, 0.0, 0.0])
    found = risk.beta(np.cov(matrix, rowvar=False), weights, market)
    expected = empyrical.beta(matrix @ weights, matrix @ market)
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_first_bar_that_loses_is_a_drawdown() -> None:
    assert risk.max_drawdown(np.array([-0.1, 0.05])) == pytest.approx(0.1)
    assert risk.max_drawdown(np.array([0.1, 0.05])) == 0.0


def test_rows_of_losses_are_judged_one_by_one() -> None:
    losses = -returns().T
    var, shortfall = risk.value_at_risk(losses, 0.95), risk.expected_shortfall(losses, 0.95)
    for row in range(len(losses)):
        assert var[row] == risk.value_at_risk(losses[row], 0.95)
        assert shortfall[row] == pytest.approx(risk.expected_shortfall(losses[row], 0.95))
    assert (shortfall > var).all()


def test_components_sum_to_the_whole() -> None:
    scenarios, weights = -returns(2000), np.array([0.5, 0.8, -0.4, 0.1])
    parts = risk.breakdown(scenarios, weights, 0.99)
    losses = scenarios @ weights
    assert parts.component_var.sum() == pytest.approx(risk.value_at_risk(losses, 0.99))
    assert parts.component_es.sum() == pytest.approx(risk.expected_shortfall(losses, 0.99))


def test_marginal_var_is_the_slope_of_the_delta_normal_var() -> None:
    scenarios, weights = -returns(50_000), np.array([0.4, 0.3, 0.2, 0.1])
    covariance = np.cov(scenarios, rowvar=False)
    losses = scenarios @ weights
    ratio = risk.value_at_risk(losses, 0.95) / np.sqrt(weights @ covariance @ weights)

    def delta_normal(w: np.ndarray) -> float:
        return float(ratio * np.sqrt(w @ covariance @ w))

    step = 1e-6 * np.eye(4)
    slopes = [(delta_normal(weights + e) - delta_normal(weights - e)) / 2e-6 for e in step]
    found = risk.breakdown(scenarios, weights, 0.95).marginal_var
    assert found == pytest.approx(slopes, rel=1e-5)


def test_a_portfolio_without_risk_has_no_components() -> None:
    parts = risk.breakdown(np.zeros((100, 2)), np.array([0.5, 0.5]), 0.95)
    assert parts.component_var.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("n", [30, 1000])
def test_ledoit_wolf_is_scikit_learn_s(n: int) -> None:
    matrix = returns(n, 10)
    expected, share = sklearn_ledoit_wolf(matrix)
    found, found_share = risk.ledoit_wolf(matrix)
    assert found_share == pytest.approx(share, rel=1e-9)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_one_symbol_is_not_shrunk() -> None:
    matrix = returns(100, 1)
    found, share = risk.ledoit_wolf(matrix)
    assert share == 0.0
    assert found[0, 0] == pytest.approx(matrix.var())


def test_what_does_not_vary_has_neither_sharpe_nor_beta() -> None:
    flat = np.full(10, 0.001)
    assert risk.annual_sharpe(flat, 252) is None
    assert risk.beta(np.zeros((2, 2)), np.array([1.0, 0.0]), np.array([0.5, 0.5])) is None
