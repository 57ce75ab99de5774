"""The sample bars as a stream: history until a day, then one day after the other."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from pipelines.data.bars import Bars
from pipelines.data.iso_times import parse_time
from pipelines.data.sources import SOURCES, BarQuery

Message = dict[str, str | float]


@dataclass(frozen=True, slots=True)
class Replay:
    """Real bars, handed out as POST /bars wants them."""

    bars: Bars

    @classmethod
    def of_sample(cls) -> "Replay":
        """Return the 20 sample stocks, 1990-2022."""
        return cls(SOURCES.get("sample").read(BarQuery()))

    def history(self, end: str) -> list[Message]:
        """Return every bar until `end`, oldest first."""
        until = self.bars.frame.filter(pl.col("timestamp") <= parse_time("end", end))
        return _messages(until.sort("timestamp", "symbol"))

    def days(self, start: str, end: str) -> Iterator[tuple[datetime, list[Message]]]:
        """Yield each day's bars."""
        span = self.bars.between(parse_time("start", start), parse_time("end", end)).frame
        for (day,), rows in (
            span.sort("timestamp")
            .partition_by("timestamp", as_dict=True, maintain_order=True)
            .items()
        ):
            assert isinstance(day, datetime)
            yield day, _messages(rows)

    def last_close(self, symbol: str, until: str) -> float:
        """Return a symbol's newest close at or before a day."""
        rows = self.bars.frame.filter(
            pl.col("symbol") == symbol, pl.col("timestamp") <= parse_time("until", until)
        )
        return float(rows.sort("timestamp")["close"][-1])


def _messages(frame: pl.DataFrame) -> list[Message]:
    there = [c for c in frame.columns if frame[c].null_count() < len(frame)]
    stamped = frame.select(there).with_columns(
        pl.col("timestamp").dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    )
    return stamped.to_dicts()
