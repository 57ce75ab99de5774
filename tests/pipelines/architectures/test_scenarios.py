"""Scenario architectures: their laws, causality day by day, and independent computations."""

import numpy as np
import pytest

from pipelines.architectures import Objective, TrainingRows
from pipelines.architectures.scenarios import (
    EWMA_FHS,
    GJR_GARCH_FHS,
    HISTORICAL,
    STUDENT_T_MC,
    ScenarioArchitecture,
)
from registry.errors import ParameterError, TooLittleHistoryError, ValueRangeError

WINDOW, N_SYMBOLS = 250, 3
ALL = [HISTORICAL, EWMA_FHS, GJR_GARCH_FHS, STUDENT_T_MC]
ONE_BAR = Objective("scenarios", 0)
EQUAL = np.full(N_SYMBOLS, 1 / N_SYMBOLS)
each = pytest.mark.parametrize("architecture", ALL, ids=lambda a: a.name)


def market(n: int = 400, seed: int = 0) -> np.ndarray:
    """Return float32 returns with a common factor and volatility that clusters."""
    rng = np.random.default_rng(seed)
    variance, returns = 1e-4, np.empty((n, N_SYMBOLS))
    for row in returns:
        shock = np.sqrt(variance) * (0.7 * rng.standard_t(5) + 0.7 * rng.standard_normal(N_SYMBOLS))
        variance = 2e-6 + 0.1 * shock.mean() ** 2 + 0.88 * variance
        row[:] = shock
    return returns.astype(np.float32)


def fit(architecture: ScenarioArchitecture, X, objective=ONE_BAR, seed=0, **changed):
    parameters = architecture.parameters(objective) | {"window": WINDOW, "paths": 200} | changed
    rows = TrainingRows(X, np.zeros(len(X)), np.ones(len(X)))
    return architecture.fit(rows, objective, parameters, seed)


def matrix(fitted) -> np.ndarray:
    """Return the fitted losses (n_scenarios, n_symbols)."""
    return fitted.predict(np.eye(N_SYMBOLS, dtype=np.float32)).T


@each
@pytest.mark.parametrize("horizon", [1, 5])
def test_walking_to_the_last_row_of_the_fit_gives_the_fitted_matrix(architecture, horizon) -> None:
    X = market()
    fitted = fit(architecture, X, Objective("scenarios", 0, horizon))
    assert fitted.is_rolling
    weights = np.array([0.5, 0.8, -0.3])
    walked = fitted.walk(X[:-1], X[-1:], {"weights": weights})[0]
    np.testing.assert_allclose(walked, matrix(fitted) @ weights, atol=2e-7)


@each
def test_walking_knows_nothing_of_later_days(architecture) -> None:
    X = market()
    fitted = fit(architecture, X[:300])
    whole = fitted.walk(X[:300], X[300:], {"weights": EQUAL})
    part = fitted.walk(X[:300], X[300:340], {"weights": EQUAL})
    np.testing.assert_array_equal(part, whole[:40])


@each
def test_the_same_seed_gives_the_same_scenarios(architecture) -> None:
    X, weekly = market(), Objective("scenarios", 0, 5)
    first, second = matrix(fit(architecture, X, weekly)), matrix(fit(architecture, X, weekly))
    np.testing.assert_array_equal(first, second)
    assert (matrix(fit(architecture, X, weekly, seed=1)) != first).any()


@each
def test_losses_are_linear_in_the_weights(architecture) -> None:
    fitted = fit(architecture, market())
    weights = np.array([[0.5, 0.5, 0.0], [1.0, -1.0, 1.0]], np.float32)
    np.testing.assert_allclose(
        fitted.predict(weights), weights @ matrix(fitted).T, rtol=1e-5, atol=1e-7
    )
    assert fitted.predict(weights).shape == (2, fitted.n_scores)


@pytest.mark.parametrize("architecture", [EWMA_FHS, STUDENT_T_MC])
def test_nothing_loses_more_than_everything(architecture) -> None:
    X = market()
    X[:, 0] = np.maximum(40 * X[:, 0], -0.95)
    assert matrix(fit(architecture, X, Objective("scenarios", 0, 5))).max() == 1.0


@each
def test_the_square_root_rule_scales_one_bar(architecture) -> None:
    X = market()
    scaled = fit(architecture, X, Objective("scenarios", 0, 4), horizon_rule="square_root")
    np.testing.assert_allclose(matrix(scaled), 2 * matrix(fit(architecture, X)), rtol=1e-6)


def test_historical_scenarios_are_the_newest_returns() -> None:
    X = market()
    np.testing.assert_array_equal(matrix(fit(HISTORICAL, X)), -X[-WINDOW:])


def test_ewma_scenarios_are_returns_scaled_to_today_s_volatility() -> None:
    X = market().astype(np.float64)
    newest = X[-WINDOW:]
    variance = (newest[:21] ** 2).mean(axis=0)
    before = []
    for row in newest:
        before.append(variance)
        variance = 0.94 * variance + 0.06 * row**2
    expected = -newest / np.sqrt(before) * np.sqrt(variance)
    np.testing.assert_allclose(matrix(fit(EWMA_FHS, X.astype(np.float32))), expected, rtol=2e-4)


def test_paths_compound_drawn_days() -> None:
    X = market()
    found = matrix(fit(HISTORICAL, X, Objective("scenarios", 0, 3), paths=5000))
    order = np.random.default_rng(0).integers(0, WINDOW, (5000, 3))
    expected = 1 - np.prod(1 + X[-WINDOW:].astype(np.float64)[order], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_a_calm_month_is_followed_by_calmer_paths() -> None:
    X = market()
    flat = fit(HISTORICAL, X, Objective("scenarios", 0, 20), paths=5000)
    calm = X.copy()
    calm[-30:] *= 0.1
    filtered = fit(EWMA_FHS, calm, Objective("scenarios", 0, 20), paths=5000)
    assert matrix(filtered).std() < 0.7 * matrix(flat).std()


def test_too_short_a_history_says_how_long_it_must_be() -> None:
    with pytest.raises(TooLittleHistoryError, match=r"needs 250.*100.*window"):
        fit(HISTORICAL, market(100))
    with pytest.raises(TooLittleHistoryError, match="walking"):
        fit(HISTORICAL, market()).walk(market(100), market(10), {"weights": EQUAL})


def test_returns_that_cannot_be_are_refused() -> None:
    X = market()
    X[-1, 0] = -1.5
    with pytest.raises(ValueRangeError, match="above -1"):
        fit(HISTORICAL, X)
    X[-1, 0] = np.nan
    with pytest.raises(ValueRangeError, match="above -1"):
        fit(HISTORICAL, X)
    X[:, 0] = 0.0
    with pytest.raises(ValueRangeError, match="prices that move"):
        fit(EWMA_FHS, X)


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(ParameterError, match="decay"):
        fit(HISTORICAL, market(), decay=0.9)
