"""Features: rows per second in batch, microseconds per bar streamed.

Batch is 50 symbols x 2,000 days. Its peer in the same run is polars, which computes as many columns
of Alpha158 as plain expressions give (with its own threads, the whole frame at once). The ceiling
is writing the same output without computing it. Streaming has two peers: computing the newest
`min_history` bars as a batch, which a stream saves, and TA-Lib's handles alone.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from bench.figures import Figure, report, spread
from pipelines.data.bars import BarSeries
from pipelines.data.features import FEATURE_SETS, compute_all
from pipelines.data.features.streaming import FeatureStream, bar_at
from registry.command_line import run

WINDOWS = (5, 10, 20, 30, 60)
STREAMED = ("close_only", "ohlcv", "alpha158")


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser("python -m bench.features", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer symbols, fewer repetitions")
    quick = parser.parse_args().quick
    n_symbols, n_days, repeats = (10, 1000, 2) if quick else (50, 2000, 5)
    every = [_bars(f"S{i:02}", n_days, seed=i) for i in range(n_symbols)]
    figures = [*_batch(every, repeats), *_streams(every[0])]
    report("features", figures, {"quick": quick, "n_symbols": n_symbols, "n_days": n_days})


def _batch(every: list[BarSeries], repeats: int) -> Iterator[Figure]:
    n_rows = sum(map(len, every))
    began = time.perf_counter()
    FEATURE_SETS.get("alpha158").compute(every[0])
    note = "numba's import and compilation, or reading what it compiled before"
    yield Figure("alpha158_first_use_s", time.perf_counter() - began, "s", note)
    frame = _frame(every)
    expressions = _expressions()
    out = np.empty((n_rows, 158))
    tasks: dict[str, Callable[[], object]] = {
        "alpha158_rows_per_s": lambda: compute_all(FEATURE_SETS.get("alpha158"), every),
        f"polars_{len(expressions)}_columns_rows_per_s": lambda: frame.select(expressions),
        "write_158_columns_rows_per_s": lambda: out.fill(1.0),
        "ohlcv_rows_per_s": lambda: compute_all(FEATURE_SETS.get("ohlcv"), every),
        "close_only_rows_per_s": lambda: compute_all(FEATURE_SETS.get("close_only"), every),
        "cross_section_rows_per_s": lambda: compute_all(FEATURE_SETS.get("cross_section"), every),
    }
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            taken[name].append(_seconds(task))
    for name, seconds in taken.items():
        rates = [n_rows / s for s in seconds]
        yield Figure(name, float(np.median(rates)), "rows/s", spread(rates))
    began = time.process_time()
    compute_all(FEATURE_SETS.get("alpha158"), every)
    rate = n_rows / (time.process_time() - began)
    note = "one thread, its processor time alone: what other processes on the machine hide"
    yield Figure("alpha158_rows_per_cpu_s", rate, "rows/s", note)


def _streams(series: BarSeries) -> Iterator[Figure]:
    bars = [bar_at(series, at) for at in range(600, len(series))]
    for name in STREAMED:
        stream = FeatureStream(FEATURE_SETS.get(name), series.slice(0, 600), "1d")
        us = [_seconds(partial(stream.update, bar)) * 1e6 for bar in bars]
        yield Figure(f"{name}_stream_us_per_bar", float(np.median(us)), "us", spread(us))
        us = [_seconds(partial(stream.peek, bar)) * 1e6 for bar in bars[-200:]]
        yield Figure(f"{name}_peek_us", float(np.median(us)), "us", spread(us))
    ohlcv = FEATURE_SETS.get("ohlcv")
    held = series.slice(len(series) - ohlcv.min_history, len(series))
    us = [_seconds(lambda: ohlcv.compute(held)) * 1e6 for _ in range(100)]
    yield Figure("ohlcv_window_us_per_bar", float(np.median(us)), "us", spread(us))
    handles = ohlcv.stream(series)._trend  # type: ignore[attr-defined] # TA-Lib's part alone
    us = [_seconds(lambda: [h.peek(1.0, 1.0, 1.0) for h in handles]) * 1e6 for _ in range(1000)]
    yield Figure(f"ta_lib_{len(handles)}_handles_us", float(np.median(us)), "us", spread(us))


def _expressions() -> list[pl.Expr]:
    """Return the columns that polars' rolling expressions give, by their published definitions."""
    c, v = pl.col("close"), pl.col("volume")
    change, traded = c.diff(), v.diff()
    weighted = (c / c.shift(1) - 1).abs() * v
    found: list[pl.Expr] = []
    for n in WINDOWS:
        roll: dict[str, Any] = {"window_size": n, "min_samples": 1}
        top, bottom = pl.col("high").rolling_max(**roll), pl.col("low").rolling_min(**roll)
        up = (c > c.shift(1)).cast(pl.Float64).rolling_mean(**roll)
        down = (c < c.shift(1)).cast(pl.Float64).rolling_mean(**roll)
        columns = {
            "ROC": c.shift(n) / c,
            "MA": c.rolling_mean(**roll) / c,
            "STD": c.rolling_std(**roll) / c,
            "MAX": top / c,
            "MIN": bottom / c,
            "QTLU": c.rolling_quantile(0.8, "linear", **roll) / c,
            "QTLD": c.rolling_quantile(0.2, "linear", **roll) / c,
            "RSV": (c - bottom) / (top - bottom + 1e-12),
            "CNTP": up,
            "CNTN": down,
            "CNTD": up - down,
            "VMA": v.rolling_mean(**roll) / (v + 1e-12),
            "VSTD": v.rolling_std(**roll) / (v + 1e-12),
            "WVMA": weighted.rolling_std(**roll) / (weighted.rolling_mean(**roll) + 1e-12),
        }
        for name, moved in (("SUM", change), ("VSUM", traded)):
            total = moved.abs().rolling_sum(**roll) + 1e-12
            rises = pl.max_horizontal(moved, 0.0).rolling_sum(**roll) / total
            falls = pl.max_horizontal(-moved, 0.0).rolling_sum(**roll) / total
            columns |= {f"{name}P": rises, f"{name}N": falls, f"{name}D": rises - falls}
        found += [e.over("symbol").alias(f"{name}{n}") for name, e in columns.items()]
    return found


def _frame(every: list[BarSeries]) -> pl.DataFrame:
    names = ("open", "high", "low", "close", "volume")
    return pl.concat(
        pl.DataFrame({"symbol": [one.symbol] * len(one)} | {n: getattr(one, n) for n in names})
        for one in every
    )


def _bars(symbol: str, n: int, seed: int) -> BarSeries:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(0.01 * rng.standard_normal(n)))
    opened = close * np.exp(0.003 * rng.standard_normal(n))
    high = np.maximum(opened, close) * (1 + 0.005 * rng.random(n))
    low = np.minimum(opened, close) * (1 - 0.005 * rng.random(n))
    volume = 1e6 * np.exp(0.5 * rng.standard_normal(n))
    time_us = np.arange(n, dtype=np.int64) * 86_400_000_000
    typical = (high + low + close) / 3
    return BarSeries(symbol, time_us, opened, high, low, close, volume, typical, np.full(n, np.nan))


def _seconds(task: Callable[[], object]) -> float:
    began = time.perf_counter()
    task()
    return time.perf_counter() - began


if __name__ == "__main__":
    run(main)
