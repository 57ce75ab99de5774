"""Streams of bars that arrive late, twice, with holes or without a price."""

from dataclasses import replace

import numpy as np
import pytest
import talib

from pipelines.data.bars import SCHEMA, BarSeries
from pipelines.data.features import FEATURE_SETS
from pipelines.data.features.streaming import Bar, BarTape, Counts, FeatureStream, bar_at
from pipelines.data.sources import SOURCES, BarQuery

OHLCV = FEATURE_SETS.get("ohlcv")
START, END = 560, 600
DAY = 86_400_000_000

FROM_TALIB = (
    *("rsi_14", "macd_12_26_9", "macd_histogram_12_26_9", "drawdown_252", "atr_14", "adx_14"),
    *("plus_di_14", "minus_di_14", "cci_20", "williams_r_14", "aroon_oscillator_25"),
    "ultimate_oscillator",
)


@pytest.fixture(scope="module")
def series() -> BarSeries:
    bars = SOURCES.get("sample").read(BarQuery(symbols=("SP500",)))
    return next(bars.series()).slice(0, END)


@pytest.fixture
def stream(series) -> FeatureStream:
    return FeatureStream(OHLCV, series.slice(0, START), "1d")


def without(series: BarSeries, at: int) -> BarSeries:
    arrays = {c: np.delete(getattr(series, c), at) for c in SCHEMA if c != "symbol"}
    return BarSeries(series.symbol, **arrays)


def test_what_talib_gives_is_bit_identical(stream, series):
    rows = np.array([stream.update(bar_at(series, at)) for at in range(START, END)])
    columns = [OHLCV.feature_names.index(name) for name in FROM_TALIB]
    np.testing.assert_array_equal(rows[:, columns], OHLCV.compute(series)[START:, columns])
    expected = talib.RSI(series.close, 14)[START:]
    np.testing.assert_array_equal(rows[:, OHLCV.feature_names.index("rsi_14")], expected)


def test_late_and_duplicate_bars_are_rejected_and_counted(stream, series):
    before = stream.newest.copy()
    assert stream.update(bar_at(series, START - 1)) is None
    assert stream.update(bar_at(series, START - 9)) is None
    assert stream.update(Bar(int(series.timestamp[START]), close=float("nan"))) is None
    assert stream.update(Bar(int(series.timestamp[START]), close=-1.0)) is None
    assert stream.counts == Counts(late=1, duplicate=1, invalid=2)
    np.testing.assert_array_equal(stream.newest, before)
    row = stream.update(bar_at(series, START))
    np.testing.assert_allclose(row, OHLCV.compute(series)[START], rtol=1e-10)


def test_a_gap_is_counted_and_the_row_is_that_of_the_bars_there_are(stream, series):
    stream.follow(series.slice(0, START + 1))
    gaps = stream.counts.gaps
    bar = replace(bar_at(series, START + 1), timestamp=int(series.timestamp[START]) + 3 * DAY)
    stream.update(bar)
    assert stream.counts.gaps == gaps + 1


def test_a_bar_inserted_late_opens_the_stream_anew(series):
    missing = without(series, START + 5)
    stream = FeatureStream(OHLCV, missing.slice(0, START), "1d")
    stream.follow(missing)
    assert stream.counts.resynchronised == 0
    np.testing.assert_allclose(stream.newest[-1], OHLCV.compute(missing)[-1], rtol=1e-10)
    stream.follow(series)
    assert stream.counts.resynchronised == 1
    np.testing.assert_allclose(stream.newest[-1], OHLCV.compute(series)[-1], rtol=1e-10)


def test_following_bars_that_begin_later_carries_on(stream, series):
    stream.follow(series.slice(40, END))
    assert (stream.counts.accepted, stream.counts.resynchronised) == (END - START, 0)
    np.testing.assert_allclose(stream.newest[-1], OHLCV.compute(series)[-1], rtol=1e-10)


def test_many_new_bars_open_the_stream_anew(series):
    stream = FeatureStream(OHLCV, series.slice(0, 300), "1d")
    stream.follow(series)
    assert stream.counts.accepted == 0
    np.testing.assert_array_equal(stream.newest[-1], OHLCV.compute(series)[-1])


def test_a_bar_without_high_and_low_gives_nan_and_the_stream_goes_on(stream, series):
    bar = Bar(int(series.timestamp[START]), close=float(series.close[START]))
    peeked = stream.peek(bar)
    close_only = len(FEATURE_SETS.get("close_only").feature_names)
    assert np.isfinite(peeked[:close_only]).all()
    assert np.isnan(peeked[OHLCV.feature_names.index("atr_14")])
    row = stream.update(bar_at(series, START))
    np.testing.assert_allclose(row, OHLCV.compute(series)[START], rtol=1e-10)


def test_prices_beyond_what_floats_hold_give_the_row_of_the_batch(series):
    scale = np.where(np.arange(END) < START, 1e300, 1e-300)
    prices = {c: getattr(series, c) * scale for c in ("open", "high", "low", "close")}
    absurd = replace(series, **prices)
    stream = FeatureStream(OHLCV, absurd.slice(0, START), "1d")
    rows = [stream.update(bar_at(absurd, at)) for at in range(START, START + 3)]
    with np.errstate(all="ignore"):
        expected = OHLCV.compute(absurd.slice(START + 3 - 520, START + 3))[-1]
    np.testing.assert_allclose(rows[-1], expected, rtol=1e-6, atol=1e-6)


def test_window_keeps_the_newest_rows(series):
    stream = FeatureStream(OHLCV, series.slice(0, START), "1d", window=4)
    stream.follow(series)
    expected = OHLCV.compute(series)[-4:]
    np.testing.assert_allclose(stream.newest, expected, rtol=1e-10)


def test_an_empty_stream_takes_its_first_bar(series):
    stream = FeatureStream(OHLCV, series.slice(0, 0), "1d")
    assert stream.last is None and stream.newest.shape == (0, len(OHLCV.feature_names))
    stream.update(bar_at(series, 0))
    assert (stream.last, stream.newest.shape[0]) == (int(series.timestamp[0]), 1)


def test_tape_keeps_the_newest_bars_whatever_its_place(series):
    tape = BarTape(series.slice(0, 2), keep=5)
    for at in range(2, 40):
        kept = tape.append(bar_at(series, at))
        expected = series.slice(max(0, at - 4), at + 1)
        np.testing.assert_array_equal(kept.close, expected.close)
        np.testing.assert_array_equal(kept.timestamp, expected.timestamp)
