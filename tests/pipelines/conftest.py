"""Seeded bars that the tests of rows, labels and templates share."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from pipelines.bars import SCHEMA, TIMESTAMP, Bars, BarSeries

DAY = 86_400_000_000


@pytest.fixture(scope="session")
def make_series() -> Callable[..., BarSeries]:
    """Factory of one symbol's bars: daily, with volatility that clusters; see `seed`."""

    def make(n: int, symbol: str = "AAA", seed: int = 0, closes_only: bool = False) -> BarSeries:
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal(n)
        wave = 1 + 0.8 * np.sin(np.arange(n) / 60 + seed)
        close = 100 * np.exp(np.cumsum(0.012 * wave * noise))
        opened = np.concatenate(([100.0], close[:-1])) * np.exp(0.004 * rng.standard_normal(n))
        high = np.maximum(opened, close) * np.exp(0.006 * wave * rng.random(n))
        low = np.minimum(opened, close) * np.exp(-0.006 * wave * rng.random(n))
        volume = 1e6 * np.exp(0.3 * rng.standard_normal(n))
        stamp = np.arange(n, dtype=np.int64) * DAY
        unknown = np.full(n, np.nan)
        if closes_only:
            return BarSeries(
                symbol, stamp, unknown, unknown, unknown, close, unknown, unknown, unknown
            )
        return BarSeries(symbol, stamp, opened, high, low, close, volume, unknown, unknown)

    return make


@pytest.fixture(scope="session")
def make_bars(make_series: Callable[..., BarSeries]) -> Callable[..., Bars]:
    """Factory of a checked frame of several symbols; symbol k starts `stagger * k` days late."""

    def make(
        symbols: tuple[str, ...] = ("AAA", "BBB"),
        n: int = 400,
        stagger: int = 0,
        closes_only: bool = True,
    ) -> Bars:
        frames = []
        for k, symbol in enumerate(symbols):
            series = make_series(n, symbol, k, closes_only)
            columns = {c: getattr(series, c) for c in SCHEMA if c != "symbol"}
            frame = pl.DataFrame({"symbol": [symbol] * n} | columns)
            frames.append(frame.with_columns(pl.col("timestamp") + stagger * k * DAY))
        frame = pl.concat(frames).with_columns(pl.col("timestamp").cast(TIMESTAMP))
        return Bars(frame.fill_nan(None).cast(SCHEMA), "1d", "adjusted", "test")

    return make
