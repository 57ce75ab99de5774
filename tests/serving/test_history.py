from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from pipelines.data.bars import BarSeries
from pipelines.data.sources.store import BarStore
from serving.history import History
from serving.steps import Steps, compute

N = 60


@pytest.fixture
def store(tmp_path):
    return BarStore(tmp_path / "bars")


@pytest.fixture
def history(store):
    return History(store)


def append(history, frame):
    return history.append(frame, "1d", "adjusted")


def assert_same(found: BarSeries, expected: BarSeries):
    np.testing.assert_array_equal(found.timestamp, expected.timestamp)
    np.testing.assert_array_equal(found.close, expected.close)
    np.testing.assert_array_equal(found.volume, expected.volume)


def from_store(store, symbol, n_bars):
    return BarSeries.from_frame(symbol, store.tail("1d", symbol, n_bars))


def test_nothing_is_held_before_the_first_bar(history):
    assert history.look("1d").newest("AAPL", 10) is None
    assert history.symbols("1d") == ()


def test_newest_follows_every_append_bar_by_bar(history, store, make):
    frame = make.bars("AAPL", N)
    for i in range(N):
        append(history, frame[i : i + 1])
        found = history.look("1d").newest("AAPL", 10)
        assert_same(found.series, from_store(store, "AAPL", 10))
        assert len(found.series) == min(i + 1, 10)
    assert found.price_basis == "adjusted"


@pytest.mark.parametrize("late", [0, 30, 52, 58])
def test_a_bar_that_arrives_late_is_in_its_place(history, store, make, late):
    frame = make.bars("AAPL", N)
    append(history, pl.concat([frame[:late], frame[late + 1 :]]))
    history.look("1d").newest("AAPL", 10)
    append(history, frame[late : late + 1])
    assert_same(history.look("1d").newest("AAPL", 10).series, from_store(store, "AAPL", 10))


def test_bars_of_another_process_are_seen(history, store, make):
    append(history, make.bars("AAPL", N)[:-1])
    history.look("1d").newest("AAPL", 10)
    BarStore(store.directory).append(make.bars("AAPL", N)[-1:], "1d", "adjusted")
    assert_same(history.look("1d").newest("AAPL", 10).series, from_store(store, "AAPL", 10))


def test_unchanged_bars_are_the_same_object_and_computed_once(history, make, loaded):
    append(history, make.bars("AAPL"))
    steps, needed = Steps(), loaded.contract.min_history
    first = steps.of_held(history.look("1d").newest("AAPL", needed).series, loaded)
    assert steps.of_held(history.look("1d").newest("AAPL", needed).series, loaded) is first
    more = make.bars("AAPL")[-1:].with_columns(pl.col("timestamp") + timedelta(days=1))
    append(history, more)
    series = history.look("1d").newest("AAPL", needed).series
    second = steps.of_held(series, loaded)
    assert second is not first
    np.testing.assert_allclose(second.values, compute(series, loaded).values, rtol=1e-10)
