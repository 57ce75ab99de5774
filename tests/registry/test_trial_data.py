"""Samples of data: nested whatever was sampled, and the same after they were stored."""

import numpy as np
import pytest

from registry.trial_data import (
    SAMPLE,
    SymbolSample,
    TrialData,
    from_columns,
    hashed,
    sample_dates,
    sample_digests,
    to_columns,
    untold,
)


def closes(n, seed=0):
    return np.exp(0.01 * np.random.default_rng(seed).standard_normal(n).cumsum())


def test_a_short_history_is_kept_whole():
    sample = sample_dates(np.arange(100), closes(100))
    assert sample.dates.tolist() == list(range(100))
    assert sample.n_dates == 100
    np.testing.assert_allclose(sample.step[1:], np.diff(np.log(closes(100))))
    assert np.isnan(sample.step[0])


@pytest.mark.parametrize(("first", "n"), [(0, 1000), (3000, 2000), (4990, 10), (0, 5000)])
def test_what_both_histories_have_both_samples_keep(first, n):
    close = closes(5000)
    whole = sample_dates(np.arange(5000), close)
    part = sample_dates(np.arange(first, first + n), close[first : first + n])
    assert len(whole.dates) == SAMPLE
    inside = whole.dates[(whole.dates >= first) & (whole.dates < first + n)]
    assert np.isin(inside, part.dates).all()
    assert len(part.dates) == min(n, SAMPLE)


def test_the_hash_spreads_neighbouring_dates_evenly():
    share = hashed(np.arange(100_000)).astype(np.float64) / 2**64
    counts, _ = np.histogram(share, bins=20, range=(0, 1))
    assert np.abs(counts - 5000).max() < 300


def test_hashes_are_those_of_the_reference_implementation():
    # Vigna's splitmix64.c from seed 0 and from seed 1234567: its first output each
    expected = [0xE220A8397B1DCDAF, 6457827717110365317]
    assert hashed(np.array([0, 1234567])).tolist() == expected


def test_digests_count_once_and_the_smallest_stay():
    digests = sample_digests(np.array([5, 5, 9, 1], dtype=np.uint64))
    assert (digests.values.tolist(), digests.n_values) == ([1, 5, 9], 3)
    assert digests.highest == 2**64 - 1
    many = sample_digests(hashed(np.arange(10_000)))
    assert (len(many.values), many.n_values) == (SAMPLE, 10_000)
    assert many.highest == many.values[-1]


@pytest.mark.parametrize("times", [1, 3])
def test_of_many_digests_how_many_differ_is_estimated(times):
    many = hashed(np.tile(np.arange(50_000), times))
    digests = sample_digests(many)
    np.testing.assert_array_equal(digests.values, np.unique(many)[:SAMPLE])
    assert digests.n_values == pytest.approx(50_000, rel=0.03)
    few = sample_digests(hashed(np.tile(np.arange(700), 100)))
    assert few.n_values == 700


def test_samples_come_back_as_they_were_stored():
    daily, bars = sample_dates(np.arange(700), closes(700)), sample_dates(np.arange(90), closes(90))
    symbols = SymbolSample("A", 0, 699, daily, bars), SymbolSample("B", 3, 699, daily)
    rows = sample_digests(hashed(np.arange(2000)))
    ours = TrialData("sha", ("A", "B"), "1h", 5, 9, symbols, (rows, sample_digests(rows.values)))
    theirs = from_columns(to_columns(ours))
    assert (theirs.sha256, theirs.names, theirs.interval) == ("sha", ("A", "B"), "1h")
    assert (theirs.first, theirs.last) == (5, 9)
    assert theirs.symbols[1].bars is None
    pairs = zip(theirs.symbols, ours.symbols, strict=True)
    for found, kept in pairs:
        assert (found.symbol, found.first, found.last) == (kept.symbol, kept.first, kept.last)
        np.testing.assert_array_equal(found.daily.dates, kept.daily.dates)
        np.testing.assert_allclose(found.daily.close, kept.daily.close, atol=1e-6)
        np.testing.assert_allclose(found.daily.step, kept.daily.step, atol=1e-8)
    np.testing.assert_array_equal(theirs.symbols[0].bars.dates, bars.dates)
    for found, kept in zip(theirs.digests, ours.digests, strict=True):
        np.testing.assert_array_equal(found.values, kept.values)
        assert found.n_values == kept.n_values


def test_data_from_before_samples_come_back_too():
    ours = untold("key", ("A",), "1d", 0, 10 * 86_400_000_000)
    (symbol,) = from_columns(to_columns(ours)).symbols
    assert (symbol.symbol, symbol.first, symbol.last, symbol.daily.n_dates) == ("A", 0, 10, 0)
