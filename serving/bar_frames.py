"""Bars of a request body -> the frame that `pipelines.data.bars.check_bars` takes."""

from collections.abc import Iterable

import polars as pl

from pipelines.data.bars import SCHEMA
from serving.schemas import HistoryBar

NUMBERS = tuple(c for c in SCHEMA if c not in ("symbol", "timestamp"))


def frame_of(bars: Iterable[tuple[str, HistoryBar]]) -> pl.DataFrame:
    """Return one row per bar, sorted by symbol and time; an absent number is null.

    The column `row` is the bar's place in the request (1, 2, ...), which messages name.
    """
    pairs = list(bars)
    columns = {
        "row": list(range(1, len(pairs) + 1)),
        "symbol": [symbol for symbol, _ in pairs],
        "timestamp": [bar.timestamp for _, bar in pairs],
        **{name: [getattr(bar, name) for _, bar in pairs] for name in NUMBERS},
    }
    return pl.DataFrame(columns, schema={"row": pl.Int64(), **SCHEMA}).sort("symbol", "timestamp")
