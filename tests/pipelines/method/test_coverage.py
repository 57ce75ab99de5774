"""Coverage: what is measured, and when its gate refuses."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pipelines.method.coverage import Intervals, judge_coverage, naive_band

N = 1500


def intervals(miss_rate=0.1, seed=0, n=N):
    """Errors of a unit normal inside half widths that miss as often as told."""
    error = np.random.default_rng(seed).standard_normal(n)
    half = np.full(n, stats.norm.isf(miss_rate / 2))
    naive = np.full(n, 2.0)
    return Intervals(error, half, 1.1 * half, naive, np.arange(n), 0.9, {"interval": half})


def test_naive_band_is_the_normal_quantile():
    np.testing.assert_allclose(naive_band(np.array([0.01]), 4, 0.9), stats.norm.isf(0.05) * 0.02)


def test_honest_intervals_pass_and_are_measured():
    given = intervals()
    found, gate, tables = judge_coverage(given, 21)
    assert gate.passed
    error = np.abs(given.error)
    assert found["interval_coverage"] == pytest.approx((error <= given.split).mean())
    assert found["interval_coverage_adaptive"] > found["interval_coverage"]
    assert found["interval_width_naive"] == pytest.approx(4.0)
    covered = (error <= given.split).astype(float)
    worst = min(covered[i : i + 500].mean() for i in range(N - 499))
    assert found["interval_coverage_worst_500"] == pytest.approx(worst)
    last = tables["coverage_over_time"].row(-1, named=True)
    assert last["split"] == pytest.approx(covered[-300:].mean())
    assert last["n_dates"] == 300


def test_interval_score_is_width_plus_what_was_missed():
    given = intervals()
    found, _, _ = judge_coverage(given, 21)
    half, error = given.split, given.error
    below, above = np.maximum(-half - error, 0), np.maximum(error - half, 0)
    expected = (2 * half + 2 / 0.1 * below + 2 / 0.1 * above).mean()
    assert found["interval_score"] == pytest.approx(expected)


@pytest.mark.parametrize("miss_rate", [0.04, 0.18])
def test_intervals_that_promise_too_much_or_too_little_are_refused(miss_rate):
    _, gate, _ = judge_coverage(intervals(miss_rate), 21)
    assert gate.value is not None and not gate.passed


def test_a_small_miss_is_not_refused_while_the_sample_cannot_tell():
    _, gate, _ = judge_coverage(intervals(0.135, n=300), 21)
    assert gate.passed


def test_the_interval_covers_the_truth_as_often_as_it_says():
    hits = []
    for seed in range(60):
        found, _, _ = judge_coverage(intervals(seed=seed, n=800), 5)
        hits.append(found["interval_coverage_lower"] <= 0.9 <= found["interval_coverage_upper"])
    assert np.mean(hits) > 0.78  # 90 % within three standard errors of 60 draws


def test_rows_without_an_interval_are_left_out():
    given = intervals()
    unknown = np.where(np.arange(N) < 700, np.nan, given.split)
    partly = replace(given, split=unknown)
    found, gate, _ = judge_coverage(partly, 21)
    expected = (np.abs(given.error[700:]) <= given.split[700:]).mean()
    assert found["interval_coverage"] == pytest.approx(expected)
    assert "800 rows" in gate.note


def test_an_interval_without_bound_covers_nothing_and_has_no_width():
    given = intervals()
    wide = np.where(np.arange(N) < 10, np.inf, given.adaptive)
    found, _, _ = judge_coverage(replace(given, adaptive=wide), 21)
    assert found["interval_width_adaptive"] == pytest.approx(2 * given.adaptive[0])
    covered = (np.abs(given.error) <= given.adaptive)[10:].sum() / N
    assert found["interval_coverage_adaptive"] == pytest.approx(covered)
    _, gate, _ = judge_coverage(replace(given, answered={"interval": np.full(N, np.inf)}), 21)
    assert gate.value == 0.0


def test_the_gate_looks_at_what_is_answered_and_at_the_worst_of_it():
    given = intervals()
    far = 0.7 * given.split
    both = replace(given, answered={"interval": given.split, "adaptive_interval": far})
    found, gate, _ = judge_coverage(both, 21)
    assert not gate.passed and gate.note.startswith("`adaptive_interval` as answered")
    inside = (np.abs(given.error) <= far).mean()
    assert found["interval_coverage_answered"] == pytest.approx(inside)
    honest, gate, _ = judge_coverage(replace(given, split=far, adaptive=far), 21)
    assert gate.passed and honest["interval_coverage"] == pytest.approx(inside)


def test_too_few_decision_times_leave_the_gate_shut():
    found, gate, tables = judge_coverage(intervals(n=60), 21)
    assert (found, tables, gate.value, gate.passed) == ({}, {}, None, False)
    assert "60 decision times" in gate.note
