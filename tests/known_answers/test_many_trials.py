"""The best of many worthless trials looks significant alone, and is not once trials are counted."""

import numpy as np
import pytest

from pipelines.method.statistics import (
    deflated_sharpe,
    expected_max_sharpe,
    kurtosis,
    probabilistic_sharpe,
    sharpe_ratio,
    skewness,
)

N_TRIALS, N_FAMILIES = 1000, 100


@pytest.fixture(scope="module")
def market():
    """Daily log returns of the S&P 500, 1999-2018."""
    from arch.data import sp500

    close = sp500.load()["Close"].to_numpy(dtype=float)
    return np.diff(np.log(close))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_the_best_of_a_thousand_random_strategies_is_deflated(market, seed):
    side = np.random.default_rng(seed).integers(0, 2, (len(market), N_TRIALS), dtype=np.int8)
    returns = np.where(side == 1, market[:, None], -market[:, None])
    sharpes = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
    best = returns[:, sharpes.argmax()]
    sharpe = sharpe_ratio(best)
    assert 0.6 < sharpe * 252**0.5 < 1.3
    assert probabilistic_sharpe(sharpe, len(best), skewness(best), kurtosis(best)) > 0.97
    assert deflated_sharpe(best, N_TRIALS, tuple(sharpes)).probability < 0.95


def families(n_families=N_FAMILIES, n_periods=250, rho=0.5):
    """Yield the returns of families of a thousand equicorrelated trials without skill."""
    for seed in range(n_families):
        rng = np.random.default_rng(seed)
        common = rng.standard_normal((n_periods, 1), dtype=np.float32)
        own = rng.standard_normal((n_periods, N_TRIALS), dtype=np.float32)
        yield np.sqrt(rho) * common + np.sqrt(1 - rho) * own


@pytest.mark.slow
def test_correlated_worthless_trials_pass_the_gate_in_at_most_5_percent():
    passed, opened = 0, 0
    for returns in families():
        sharpes = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
        best = returns[:, sharpes.argmax()].astype(np.float64)
        passed += deflated_sharpe(best, N_TRIALS, tuple(sharpes)).probability >= 0.95
        few = round(N_TRIALS / (1 + (N_TRIALS - 1) * 0.5))
        hurdle = expected_max_sharpe(few, float(sharpes.std(ddof=1)))
        lenient = probabilistic_sharpe(
            sharpe_ratio(best), len(best), skewness(best), kurtosis(best), hurdle
        )
        opened += lenient >= 0.95
    assert passed / N_FAMILIES <= 0.05
    assert (
        opened / N_FAMILIES > 0.4
    )  # what N_eff = N / (1 + (N - 1) rho) in the gate would let through
