"""Joins: parts of one symbol in several files, and its bid and its ask in two."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from pipelines.data.bar_rules import Ledger
from pipelines.data.bars import infer_interval
from registry.errors import BarsError

_KEY = ("symbol", "timestamp")
_PRICES = ("open", "high", "low", "close")
FEWEST_BARS = 5
"""Bars from which a file shows an interval."""


@dataclass(frozen=True, slots=True)
class FilePart:
    """The checked bars of one file; `side` is `bid` or `ask` where its name says so."""

    where: str
    frame: pl.DataFrame
    basis: str
    side: str
    lines: tuple[str, ...]


def check_one_interval(parts: Sequence[FilePart]) -> None:
    """Refuse files of one symbol that have different intervals.

    Raises:
        BarsError: there are some.
    """
    found: dict[str, tuple[str, str]] = {}
    for part in parts:
        for (symbol,), rows in part.frame.partition_by("symbol", as_dict=True).items():
            if len(rows) < FEWEST_BARS:
                continue
            interval = infer_interval(rows)
            where, other = found.setdefault(str(symbol), (part.where, interval))
            if other != interval:
                problem = f"{symbol} is in {where} ({other}) and in {part.where} ({interval})"
                raise BarsError(problem, "", "read files of one interval")


def join_sides(parts: Sequence[FilePart], ledger: Ledger) -> list[FilePart]:
    """Return the parts, bid and ask of one symbol joined to mid prices and the spread.

    A side without its other one is taken as it is, and noted.

    Raises:
        BarsError: a time that only one side has, if the policy is `strict`.
    """
    bids, asks = (_of_side(parts, side) for side in ("bid", "ask"))
    both = set(bids) & set(asks)
    for side, frames in (("bid", bids), ("ask", asks)):
        if alone := sorted(set(frames) - both):
            ledger.note(f"{', '.join(alone)}: {side} prices only")
    joined = [_mid(symbol, bids[symbol], asks[symbol], ledger) for symbol in sorted(both)]
    rest = [_without(part, both) if part.side else part for part in parts]
    return [part for part in (*rest, *joined) if len(part.frame) or part.lines]


def _of_side(parts: Sequence[FilePart], side: str) -> dict[str, pl.DataFrame]:
    frames = [part.frame for part in parts if part.side == side]
    if not frames:
        return {}
    by_symbol = pl.concat(frames).partition_by("symbol", as_dict=True)
    return {str(symbol): rows for (symbol,), rows in by_symbol.items()}


def _without(part: FilePart, symbols: set[str]) -> FilePart:
    rest = part.frame.filter(~pl.col("symbol").is_in(symbols))
    return FilePart(part.where, rest, part.basis if len(rest) else "mid", part.side, part.lines)


def _mid(symbol: str, bids: pl.DataFrame, asks: pl.DataFrame, ledger: Ledger) -> FilePart:
    _refuse_one_sided(symbol, bids, asks, ledger)
    both = bids.join(asks, on=_KEY, suffix="_ask", maintain_order="left")
    mids = [((pl.col(p) + pl.col(f"{p}_ask")) / 2).alias(p) for p in _PRICES]
    bid, ask = pl.col("close"), pl.col("close_ask")
    volume = (pl.col("volume") + pl.col("volume_ask")).alias("volume")
    spread = ((ask - bid) * 2 / (ask + bid)).alias("spread")
    ledger.note(f"{symbol}: bid and ask of two files joined to mid prices and the spread")
    return FilePart(
        symbol, both.with_columns(*mids, spread, volume).select(bids.columns), "mid", "", ()
    )


def _refuse_one_sided(symbol: str, bids: pl.DataFrame, asks: pl.DataFrame, ledger: Ledger) -> None:
    for side, frame, other in (("ask", bids, asks), ("bid", asks, bids)):
        lone = frame.join(other, on=_KEY, how="anti")
        if len(lone):
            first = f"{symbol} has no {side} at {lone['timestamp'][0]:%Y-%m-%d %H:%M}"
            removed = f"removed {len(lone)} bars of one side, first: {first}"
            ledger.repair(first, "give both sides of the same times", removed, first)
