"""99 % value at risk of the S&P 500, 1999-2018: a normal fails, filtered historical shocks hold.

Window 1000 days, parameters fitted anew every 250, the filter moved every day.
"""

import numpy as np
import pytest

from pipelines.architectures import Objective, TrainingRows
from pipelines.architectures.garch import fit_gjr
from pipelines.architectures.scenarios import EWMA_FHS, GJR_GARCH_FHS
from pipelines.architectures.volatility_filters import Ewma, run
from pipelines.method import risk_backtests as backtests
from pipelines.method.risk_measures import value_at_risk

WINDOW, REFIT, LEVEL = 1000, 250, 0.99
NORMAL_99 = 2.3263478740408408
ONE = np.array([1.0])


@pytest.fixture(scope="module")
def returns() -> np.ndarray:
    from arch.data import sp500

    closes = sp500.load()["Adj Close"].to_numpy()
    return closes[1:] / closes[:-1] - 1


def walked_var(architecture, returns: np.ndarray) -> np.ndarray:
    """Return the forecast for each day from number WINDOW on, made the day before."""
    X, parts = returns[:, None].astype(np.float32), []
    for start in range(WINDOW, len(X), REFIT):
        rows = TrainingRows(X[:start], np.zeros(start), np.ones(start))
        fitted = architecture.fit(
            rows, Objective("scenarios", 0), architecture.parameters(Objective("scenarios", 0)), 0
        )
        stop = min(start + REFIT, len(X))
        losses = fitted.walk(X[: start - 1], X[start - 1 : stop - 1], {"weights": ONE})
        parts.append(value_at_risk(losses, LEVEL))
    return np.concatenate(parts)


def ewma_normal_var(returns: np.ndarray) -> np.ndarray:
    variance = run(Ewma(np.zeros(1), 0.94), returns[:, None]).variance[:, 0]
    return NORMAL_99 * np.sqrt(variance[WINDOW - 1 : -1])


def test_a_normal_is_exceeded_twice_as_often_as_it_says(returns: np.ndarray) -> None:
    hits = -returns[WINDOW:] > ewma_normal_var(returns)
    assert hits.mean() > 0.02
    assert backtests.kupiec(hits, 1 - LEVEL).p_value < 1e-6


@pytest.mark.slow
def test_filtered_shocks_of_a_gjr_garch_hold(returns: np.ndarray) -> None:
    losses, var = -returns[WINDOW:], walked_var(GJR_GARCH_FHS, returns)
    hits = losses > var
    assert 0.007 < hits.mean() < 0.014
    assert backtests.kupiec(hits, 1 - LEVEL).p_value > 0.01
    ours = backtests.pinball_loss(losses, var, LEVEL).mean()
    assert ours < backtests.pinball_loss(losses, ewma_normal_var(returns), LEVEL).mean()


def test_filtered_shocks_of_an_ewma_hold(returns: np.ndarray) -> None:
    losses, var = -returns[WINDOW:], walked_var(EWMA_FHS, returns)
    hits = losses > var
    assert 0.007 < hits.mean() < 0.014
    assert backtests.kupiec(hits, 1 - LEVEL).p_value > 0.01
    ours = backtests.pinball_loss(losses, var, LEVEL).mean()
    assert ours < backtests.pinball_loss(losses, ewma_normal_var(returns), LEVEL).mean()


def test_the_garch_recursion_is_arch_s(returns: np.ndarray) -> None:
    from arch import arch_model

    sample = returns[:WINDOW]
    model = arch_model(
        100 * sample, mean="Constant", vol="GARCH", p=1, o=1, q=1, dist="t", rescale=False
    )
    fitted = model.fit(disp="off", show_warning=False)
    ours = fit_gjr(sample[:, None], ["A"], may_fall_back=False, notice=None)
    filtered = run(ours, sample[:, None])
    deviation = np.sqrt(filtered.variance[:, 0])
    np.testing.assert_allclose(deviation[:-1], fitted.conditional_volatility[1:] / 100, rtol=2e-4)
    ahead = fitted.forecast(horizon=1, reindex=False).variance.to_numpy()[-1, 0]
    assert filtered.variance[-1, 0] == pytest.approx(ahead / 1e4, rel=4e-4)
    np.testing.assert_allclose(filtered.residuals[:, 0], fitted.std_resid, rtol=2e-3, atol=1e-4)
