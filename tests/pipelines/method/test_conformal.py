"""Conformal intervals: coverage where it is promised, and where markets break the promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.data.sources import SOURCES, BarQuery
from pipelines.method import labels
from pipelines.method.conformal import GAMMA, adapt, adapted_alpha, keep_scores, quantile
from pipelines.method.statistics import conformal_quantile

LEVEL = 0.9


def one_fold(n):
    return np.zeros(n, dtype=np.int64)


def times(n, delay=1):
    t0 = np.arange(n, dtype=np.int64)
    return t0, t0 + delay


# Kept scores -----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=60), st.floats(0.05, 0.999))
def test_quantile_of_few_scores_is_the_split_conformal_one(drawn, level):
    scores = np.array(drawn)
    expected = conformal_quantile(scores, level)
    found = quantile(keep_scores(scores), level)
    assert found == (np.inf if expected is None else expected)


def test_kept_scores_are_never_below_the_quantile_of_all():
    scores = np.random.default_rng(0).exponential(size=50_000)
    kept = keep_scores(scores)
    assert len(kept) == 2000
    for level in (0.5, 0.8, 0.9, 0.95, 0.99):
        exact = conformal_quantile(scores, level)
        found = quantile(kept, level)
        assert exact <= found <= conformal_quantile(scores, level + 0.001)


def test_levels_beyond_the_scores_cover_everything_or_nothing():
    kept = keep_scores(np.array([1.0, 2.0, 3.0]))
    assert quantile(kept, 0.999) == np.inf
    assert quantile(kept, 1.4) == np.inf
    assert quantile(kept, 0.0) == quantile(kept, -0.2) == 0.0


# Adaptive --------------------------------------------------------------------------------------


def test_alpha_moves_by_gamma_after_each_known_outcome():
    score = np.array([5.0, 0.1, 0.1, 5.0])
    t0, t1 = times(4)
    calibration = {0: keep_scores(np.linspace(0, 1, 99))}
    found = adapt(score, t0, t1, one_fold(4), calibration, level=LEVEL, gamma=0.02)
    alphas = [0.1, 0.1 - 0.02 * 0.9]
    alphas += [alphas[-1] + 0.02 * 0.1]
    alphas += [alphas[-1] + 0.02 * 0.1]
    expected = [quantile(calibration[0], 1 - alpha) for alpha in alphas]
    np.testing.assert_allclose(found.half, expected)
    assert found.alpha == pytest.approx(alphas[-1] - 0.02 * 0.9)


def test_an_interval_knows_only_outcomes_complete_by_its_decision():
    rng = np.random.default_rng(1)
    score, (t0, t1) = rng.exponential(size=300), times(300, delay=7)
    calibration = {0: keep_scores(rng.exponential(size=400))}
    whole = adapt(score, t0, t1, one_fold(300), calibration, level=LEVEL).half
    for cut in (50, 173):
        later = np.where(t1 > cut, 99.0, score)
        changed = adapt(later, t0, t1, one_fold(300), calibration, level=LEVEL).half
        np.testing.assert_array_equal(changed[: cut + 1], whole[: cut + 1])


def test_symbols_of_one_time_move_alpha_once():
    t0 = np.repeat(np.arange(50), 4)
    score = np.tile([0.0, 0.0, 0.0, 9.0], 50)
    calibration = {0: keep_scores(np.linspace(0, 1, 999))}
    found = adapt(score, t0, t0 + 1, one_fold(200), calibration, level=LEVEL)
    assert found.alpha == pytest.approx(0.1 + 50 * GAMMA * (0.1 - 0.25))


def test_labels_that_complete_together_move_alpha_each():
    # two decision times of two rows; all four complete at 10
    t0, t1 = np.array([0, 0, 1, 1]), np.full(4, 10)
    t0, t1 = np.append(t0, 10), np.append(t1, 20)
    score = np.array([9.0, 9.0, 9.0, 0.0, 0.0])
    calibration = {0: keep_scores(np.linspace(0, 1, 999))}
    found = adapt(score, t0, t1, one_fold(5), calibration, level=LEVEL)
    alpha = 0.1 + GAMMA * ((0.1 - 1.0) + (0.1 - 0.5))
    assert found.half[4] == quantile(calibration[0], 1 - alpha)
    assert found.alpha == pytest.approx(alpha + GAMMA * 0.1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 15))
def test_alpha_accounts_for_every_miss_while_it_meets_no_bound(seed, delay):
    rng = np.random.default_rng(seed)
    n = 1000
    t0, t1 = times(n, delay)
    wander = np.exp(0.4 * np.sin(np.arange(n) / 60 + seed))
    score = wander * rng.exponential(size=n)
    calibration = {0: keep_scores(rng.exponential(size=400))}
    found = adapt(score, t0, t1, one_fold(n), calibration, level=LEVEL)
    missed = float((score > found.half).mean())
    assert missed - 0.1 == pytest.approx((0.1 - found.alpha) / (GAMMA * n), abs=1e-9)


@pytest.mark.parametrize(("size", "alpha"), [(99.0, 1 / 100), (0.0, 0.5)])
def test_every_interval_is_finite_however_often_it_missed(size, alpha):
    t0, t1 = times(3000)
    calibration = {0: keep_scores(np.linspace(0.5, 1, 99))}
    found = adapt(np.full(3000, size), t0, t1, one_fold(3000), calibration, level=LEVEL)
    assert np.isfinite(found.half).all()
    assert found.alpha == pytest.approx(alpha)
    assert found.half[-1] == quantile(calibration[0], 1 - alpha)


def test_a_row_without_a_score_moves_nothing_and_counts_for_nobody():
    t0 = np.repeat(np.arange(40), 2)
    score = np.tile([np.nan, 9.0], 40)
    calibration = {0: keep_scores(np.linspace(0, 1, 99))}
    alone = adapt(score[1::2], t0[1::2], t0[1::2] + 1, one_fold(40), calibration, level=LEVEL)
    found = adapt(score, t0, t0 + 1, one_fold(80), calibration, level=LEVEL)
    assert found.alpha == pytest.approx(alone.alpha)
    assert keep_scores(score).tolist() == [9.0] * 40


def barrier_coverage(close, horizon):
    """Return the coverage of adaptive intervals of triple-barrier labels, the first 1,000 kept."""
    sigma, n = labels.ewma_deviation(close), 1000
    path = labels.Path(labels.later(close, 1), 2, None, close, close, close)
    touches = labels.triple_barrier(path, sigma * horizon**0.5, horizon)
    row = np.flatnonzero((touches.bars >= 0) & np.isfinite(sigma))
    score = np.abs(touches.log_return[row]) / sigma[row]
    fold = (np.arange(len(row)) >= n).astype(np.int64)
    kept = {1: keep_scores(score[:n])}
    found = adapt(score, row, row + touches.bars[row], fold, kept, level=LEVEL)
    return (score[n:] <= found.half[n:]).mean()


def walk(seed, n):
    shocks = np.random.default_rng(seed).standard_t(5, n)
    return np.exp(0.01 * np.cumsum(shocks))


@pytest.mark.parametrize("horizon", [5, 20])
def test_adaptive_intervals_of_barriers_that_complete_together_keep_their_promise(horizon):
    found = [barrier_coverage(walk(seed, 11_200), horizon) for seed in range(3)]
    assert np.mean(found) == pytest.approx(0.9, abs=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("horizon", [1, 5, 20])
def test_mean_coverage_of_twenty_series_is_what_is_promised(horizon):
    found = [barrier_coverage(walk(seed, 11_200), horizon) for seed in range(20)]
    assert 0.895 < np.mean(found) < 0.905


@pytest.mark.slow
@pytest.mark.parametrize("horizon", [5, 20])
def test_adaptive_intervals_hold_on_each_bundled_stock(horizon):
    bars = SOURCES.get("sample").read(BarQuery()).frame
    closes = [c["close"].to_numpy() for c in bars.partition_by("symbol", maintain_order=True)]
    found = [barrier_coverage(close[-3500:], horizon) for close in closes]
    assert len(found) == 20 and min(found) > 0.88 and max(found) < 0.92


def test_adaptive_holds_after_a_break_that_split_does_not_survive():
    rng = np.random.default_rng(2)
    calm, wild = rng.exponential(size=2000), 2.5 * rng.exponential(size=2000)
    kept = keep_scores(calm)
    t0, t1 = times(2000)
    adaptive = adapt(wild, t0, t1, one_fold(2000), {0: kept}, level=LEVEL).half
    split = quantile(kept, LEVEL)
    assert (wild <= split).mean() < 0.65
    # a little below 0.9: no interval is wider than the largest score that was kept
    assert (wild[500:] <= adaptive[500:]).mean() > 0.87


def test_exchangeable_scores_keep_alpha_near_its_nominal_value():
    rng = np.random.default_rng(3)
    score, (t0, t1) = rng.exponential(size=4000), times(4000)
    calibration = {0: keep_scores(rng.exponential(size=20_000))}
    found = adapt(score, t0, t1, one_fold(4000), calibration, level=LEVEL)
    assert found.alpha == pytest.approx(0.1, abs=0.05)
    assert (score <= found.half).mean() == pytest.approx(0.9, abs=0.01)


def test_rows_of_a_fold_without_scores_have_no_interval_and_move_nothing():
    t0, t1 = times(10)
    fold = np.repeat([0, 1], 5)
    kept = keep_scores(np.linspace(0, 1, 99))
    found = adapt(np.full(10, 9.0), t0, t1, fold, {1: kept}, level=LEVEL)
    assert np.isnan(found.half[:5]).all()
    assert found.alpha == pytest.approx(0.1 - 5 * GAMMA * 0.9)


def test_the_state_after_all_folds_calibrates_each_on_those_before_it():
    rng = np.random.default_rng(4)
    score, (t0, t1) = rng.exponential(size=600), times(600)
    fold = np.repeat([0, 1, 2], 200)
    calibration = {1: keep_scores(score[:200]), 2: keep_scores(score[:400])}
    expected = adapt(score, t0, t1, fold, calibration, level=LEVEL).alpha
    assert adapted_alpha(score, t0, t1, fold, LEVEL) == expected
    assert adapted_alpha(score, t0, t1, one_fold(600), LEVEL) == pytest.approx(0.1)
    nothing = np.zeros(0, dtype=np.int64)
    assert adapted_alpha(np.zeros(0), nothing, nothing, nothing, LEVEL) == pytest.approx(0.1)
