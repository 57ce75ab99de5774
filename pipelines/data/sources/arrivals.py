"""Arrivals: whether a bar that comes in can be believed, before anything is computed from it.

A bar is left out, and named, when its time has not come, when its close is far off the bars beside
it, or when its symbol is new and none is taken. The others are kept. Whoever knows better puts the
bar in (`corrections.py`), where none of this is asked.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.bars import parse_interval
from pipelines.data.sources.held_bars import HeldBars, SymbolRows, by_symbol

DAY = timedelta(days=1)
NEIGHBOURS = 30
"""Bars or days, whichever is longer: farther apart, bars say nothing of each other."""


@dataclass(frozen=True, slots=True)
class ArrivalLimits:
    """What is believed.

    Args:
        clock_tolerance: how far the clock of a feed may be ahead.
        largest_move: factor between the closes of neighbouring bars; 0: any.
        takes_new_symbols: whether a symbol that is not held may come in.
    """

    clock_tolerance: timedelta = timedelta(minutes=1)
    largest_move: float = 10.0
    takes_new_symbols: bool = True


def believed(
    fresh: pl.DataFrame,
    held: HeldBars,
    interval: str,
    limits: ArrivalLimits,
    now: datetime | None = None,
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the bars that can be believed, and a line for each of the others.

    Args:
        fresh: checked rows of times that are not held.
        now: the time of this machine; None asks it.
    """
    length, refusals = parse_interval(interval), dict[int, str]()
    latest = (now or datetime.now(UTC)) + limits.clock_tolerance
    if length >= DAY:
        latest += length  # a day may be labelled by its end, and come before that
    late = (fresh["timestamp"] > latest).to_numpy()
    refusals |= {int(i): "its time has not come" for i in np.flatnonzero(late)}
    for part in by_symbol(fresh):
        rows = range(part.start, part.start + part.n_rows)
        if not limits.takes_new_symbols and part.symbol not in held.frames:
            refusals |= dict.fromkeys(rows, "no bar of this symbol is held (NEW_SYMBOLS)")
        elif limits.largest_move:
            for i in _far_off(fresh, part, held, length, limits.largest_move):
                told = f"its close is {limits.largest_move:g} times off the bars beside it or more"
                refusals.setdefault(i, f"{told} (LARGEST_MOVE)")
    if not refusals:
        return fresh, ()
    keys = fresh.select("symbol", "timestamp").rows()
    lines = [f"{keys[i][0]} {keys[i][1]:%Y-%m-%d %H:%M}: {refusals[i]}" for i in sorted(refusals)]
    kept = ~np.isin(np.arange(len(fresh)), list(refusals))
    return fresh.filter(pl.Series(kept)), tuple(lines)


def _far_off(
    fresh: pl.DataFrame, part: SymbolRows, held: HeldBars, length: timedelta, factor: float
) -> list[int]:
    """Return the rows of a symbol whose close is far off the bars before and after.

    The newest has none after it. A level that the next bar confirms is no wrong bar but a split.
    """
    known = held.frames.get(part.symbol)
    closes = fresh["close"].slice(part.start, part.n_rows).to_numpy()
    if part.n_rows == 1 and known is not None and part.first > held.newest[part.symbol]:
        ratio = closes[0] / known["close"][-1]
        if 1 / factor <= ratio <= factor:
            return []
    times = fresh["timestamp"].slice(part.start, part.n_rows).to_numpy().view(np.int64)
    is_fresh = np.ones(len(closes), dtype=bool)
    if known is not None:
        start, end = part.first - 2 * _reach(length), part.last + _reach(length)
        near = known.filter(pl.col("timestamp").is_between(start, end))
        is_fresh = np.concatenate([is_fresh, np.zeros(len(near), dtype=bool)])
        closes = np.concatenate([closes, near["close"].to_numpy()])
        times = np.concatenate([times, near["timestamp"].to_numpy().view(np.int64)])
    order = np.argsort(times, kind="stable")
    off = _spikes(np.log(closes[order]), times[order], _reach(length), np.log(factor))
    return [part.start + int(i) for i in order[off & is_fresh[order]]]


def _spikes(
    values: NDArray[np.float64], times: NDArray[np.int64], reach: timedelta, limit: float
) -> NDArray[np.bool_]:
    """Return which values jump by more than a limit and back at the next; the last need only jump.

    The last is compared with the newest of the others that does not.
    """
    step = np.diff(values)
    step[np.diff(times) > reach // timedelta(microseconds=1)] = 0.0
    came, goes = np.concatenate([[0.0], step]), np.concatenate([step, [0.0]])
    off: NDArray[np.bool_] = (
        (np.abs(came) > limit) & (np.abs(goes) > limit) & (np.sign(came) != np.sign(goes))
    )
    if len(before := np.flatnonzero(~off[:-1])):
        is_near = times[-1] - times[before[-1]] <= reach // timedelta(microseconds=1)
        off[-1] = is_near and abs(values[-1] - values[before[-1]]) > limit
    return off


def _reach(length: timedelta) -> timedelta:
    return NEIGHBOURS * max(length, DAY)
