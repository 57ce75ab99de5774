"""The best of many worthless trials looks significant alone, and is not once trials are counted.

Simulated over families of worthless recipes: judged once at the end, judged after every trial until
one passes, with variants that only hold, with copies of the best, and by somebody who climbs on the
results. And what the choice loss says of worthless and of good families.
"""

import math

import numpy as np
import pytest

from pipelines.method.overfitting import backtest_overfitting
from pipelines.method.statistics import (
    deflated_sharpe,
    expected_max_sharpe,
    kurtosis,
    probabilistic_sharpe,
    sharpe_ratio,
    significance_limit,
    skewness,
)
from registry.gates import CHOICE_LOSS

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


# Simulated Sharpe ratios -------------------------------------------------------------------------

T = 1000
HURDLES = np.array([expected_max_sharpe(max(n, 1), 1.0) for n in range(4001)])


def worthless(n_families, n_trials, rho, seed=0):
    """Estimated Sharpe ratios (n_families, n_trials) of T normal returns without skill."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((n_families, 1))
    own = rng.standard_normal((n_families, n_trials))
    return (math.sqrt(rho) * common + math.sqrt(1 - rho) * own) / math.sqrt(T)


def passes(sharpe, n_trials, spread):
    """Whether the deflated Sharpe ratio of T normal returns reaches 0.95; broadcast."""
    hurdle = HURDLES[n_trials] * np.maximum(spread, 1 / math.sqrt(T))
    return (sharpe - hurdle) * math.sqrt(T - 1) / np.sqrt(1 + sharpe**2 / 2) >= 1.6448536


def spreads(sharpes):
    """Standard deviation (ddof 1) of the first n trials, for every n; 0 of one."""
    n = np.arange(1, sharpes.shape[1] + 1)
    squares = np.cumsum(sharpes**2, axis=1) - np.cumsum(sharpes, axis=1) ** 2 / n
    return np.sqrt(np.maximum(squares / np.maximum(n - 1, 1), 0.0))


def test_the_simulated_gate_is_the_deflated_sharpe_ratio():
    rng = np.random.default_rng(1)
    for shift in (0.06, 0.08, 0.1, 0.12):
        returns = rng.standard_normal(T) + shift
        returns[::2], returns[1::2] = returns[::2], 2 * returns.mean() - returns[::2]  # no skew
        known = 0.05 * rng.standard_normal(20)
        found = deflated_sharpe(returns, 20, known)
        z = (found.sharpe - found.hurdle) * math.sqrt(T - 1)
        z /= math.sqrt(1 + (kurtosis(returns) - 1) / 4 * found.sharpe**2)
        assert found.hurdle == pytest.approx(HURDLES[20] * max(known.std(ddof=1), T**-0.5))
        assert (found.probability >= 0.95) == (z >= 1.6448536)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_worthless_families_judged_once_at_the_end_pass_in_at_most_5_percent(rho):
    sharpes = worthless(2000, 1000, rho)
    for n in (2, 3, 5, 10, 30, 100, 300, 1000):
        tried = sharpes[:, :n]
        assert passes(tried.max(axis=1), n, tried.std(axis=1, ddof=1)).mean() <= 0.05
        n_with_holds = 3 * n
        held = passes(tried.max(axis=1), n_with_holds, tried.std(axis=1, ddof=1))
        assert held.mean() <= 0.05


@pytest.mark.parametrize("likeness", [0.95, 0.99, 0.999])
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_copies_of_the_best_do_not_dilute_the_hurdle(rho, likeness):
    tried = worthless(2000, 30, rho)
    best = tried.max(axis=1, keepdims=True)
    other = np.random.default_rng(7).standard_normal((2000, 970)) / math.sqrt(T)
    copies = likeness * best + math.sqrt(1 - likeness**2) * other
    everything = np.concatenate((tried, copies), axis=1)
    last = passes(everything.max(axis=1), 1000, everything.std(axis=1, ddof=1))
    assert last.mean() <= 0.05


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("held_between", [0, 1, 3])
def test_worthless_families_stopped_at_the_first_pass_pass_in_at_most_8_percent(rho, held_between):
    sharpes = worthless(2000, 1000 // (1 + held_between), rho, seed=3)
    n_trials = (1 + held_between) * np.arange(1, sharpes.shape[1] + 1) - held_between
    found = passes(sharpes, n_trials, spreads(sharpes))
    of_best = passes(np.maximum.accumulate(sharpes, axis=1), n_trials, spreads(sharpes))
    assert found.any(axis=1).mean() <= 0.08
    assert of_best.any(axis=1).mean() <= 0.08


def test_variants_that_only_hold_no_longer_lift_the_best_of_thirty():
    tried = worthless(500, 30, 0.0)
    best = tried.max(axis=1) * math.sqrt(T)
    every = np.concatenate((tried, np.zeros((500, 1000))), axis=1)

    def probability(n_trials, spread):
        z = best - HURDLES[n_trials] * spread * math.sqrt(T)
        return float(np.mean([0.5 * math.erfc(-value / math.sqrt(2)) for value in z]))

    alone = probability(30, tried.std(axis=1, ddof=1))
    diluted = probability(1030, every.std(axis=1, ddof=1))
    floored = probability(1030, np.maximum(tried.std(axis=1, ddof=1), 1 / math.sqrt(T)))
    assert alone == pytest.approx(0.49, abs=0.04)
    assert diluted == pytest.approx(0.92, abs=0.03)
    assert floored < 0.2


@pytest.mark.parametrize("n_trials", [1, 2, 10, 100, 1000])
def test_the_best_of_worthless_tests_of_skill_passes_in_at_most_5_percent(n_trials):
    z = np.random.default_rng(2).standard_normal((4000, n_trials)).max(axis=1)
    assert (z >= significance_limit(n_trials)).mean() <= 0.056


def test_climbing_on_results_passes_whatever_the_formula():
    rng = np.random.default_rng(0)
    n_families, n_steps, n_changed = 300, 300, 20
    market = rng.standard_normal((n_families, T))
    side = rng.choice([-1.0, 1.0], (n_families, T))
    rows = np.arange(n_families)[:, None]
    best = (side * market).mean(axis=1)
    for _ in range(n_steps):
        changed = side.copy()
        changed[rows, rng.integers(0, T, (n_families, n_changed))] *= -1
        found = (changed * market).mean(axis=1)
        better = found > best
        side[better], best[better] = changed[better], found[better]
    sharpe = best / (side * market).std(axis=1, ddof=1)
    assert passes(sharpe, n_steps + 1, 1 / math.sqrt(T)).mean() > 0.69


# Choice ----------------------------------------------------------------------------------------


def share_open(n_trials, drift, rho=0.0, n_families=25):
    """Share of families whose choice loss passes; `drift` in standard deviations per bar."""
    opened = []
    for seed in range(n_families):
        rng = np.random.default_rng(seed)
        common, own = rng.standard_normal((1250, 1)), rng.standard_normal((1250, n_trials))
        returns = math.sqrt(rho) * common + math.sqrt(1 - rho) * own + drift
        loss = backtest_overfitting(returns).choice_loss
        opened.append(CHOICE_LOSS.row(loss).passed)
    return float(np.mean(opened))


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.5])
@pytest.mark.parametrize("n_trials", [2, 5, 10, 30])
def test_the_choice_loss_opens_for_good_families_and_seldom_for_worthless_ones(n_trials, rho):
    assert 0.04 <= share_open(n_trials, 0.0, rho) <= 0.32
    assert share_open(n_trials, 0.1, rho) >= 0.96


def test_the_choice_loss_of_good_recipes_is_low_and_of_worthless_ones_high():
    assert share_open(5, 0.12, n_families=2) == 1.0
    assert share_open(5, 0.0, n_families=2) == 0.0
