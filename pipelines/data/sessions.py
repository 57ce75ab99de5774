"""Sessions: bars outside the hours and weekdays in which a market trades.

A daily feed that starts its week on Sunday evening has a bar of two hours beside bars of a day; a
feed of minutes has a few that an auction or a test has left. They are found by the symbol's own
weeks: a weekday or a time of day that is rare, or, of daily bars, a weekday whose bars are small.
A bar that is merged goes into the next one of the session, never into one before it.
"""

from collections.abc import Iterator

import polars as pl

from pipelines.data.bar_rules import Ledger

STUBS = ("keep", "merge", "drop")
"""What can be done about bars outside the session."""

DAY_US = 86_400_000_000
LEAST_WEEKS = 6
"""Fewest weeks that show a pattern."""
RARE_DAY, RARE_TIME = 0.1, 0.05
"""Share of the weeks below which a weekday, and a time of the week, are outside."""
SMALL_RANGE, SMALL_VOLUME = 0.4, 0.2
"""Share of the other days' median range, or volume, below which a weekday's bars are stubs."""
MOST_OUTSIDE = 0.25
"""Share of a symbol's bars above which there is no pattern."""

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def note_stubs(frame: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    """Note bars outside the session of their symbol; they are kept."""
    for rows in _outside_by_symbol(frame):
        ledger.note(f"{_found(rows)}: kept; stubs=merge or stubs=drop")
    return frame


def drop_stubs(frame: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    """Remove bars outside the session of their symbol."""
    gone = list(_outside_by_symbol(frame))
    for rows in gone:
        ledger.note(f"{_found(rows)}: dropped")
    return frame.join(pl.concat(gone), on=list(_KEY), how="anti") if gone else frame


def merge_stubs(frame: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    """Merge bars outside the session into the next bar of the session, whose time it keeps.

    The open is the first, high and low the extremes, volume the sum, close and spread the last.
    What no bar of the session follows is removed: its bar is not closed yet.
    """
    found = list(_outside_by_symbol(frame))
    for rows in found:
        ledger.note(f"{_found(rows)}: merged into the next bar of the session")
    if not found:
        return frame
    marked = frame.join(
        pl.concat(found).select(*_KEY, outside=pl.lit(value=True)), on=list(_KEY), how="left"
    ).with_columns(pl.col("outside").fill_null(value=False))
    is_main = (~pl.col("outside")).cast(pl.Int64)
    place = (is_main.cum_sum().over("symbol") - is_main).alias("place")
    merged = (
        marked.with_columns(place)
        .sort("symbol", "timestamp", maintain_order=True)
        .group_by("symbol", "place", maintain_order=True)
        .agg(*_merged(), pl.col("outside").last())
    )
    return merged.filter(~pl.col("outside")).select(frame.columns)


_KEY = ("symbol", "timestamp")


def _merged() -> Iterator[pl.Expr]:
    volume, known = pl.col("volume"), pl.col("vwap").is_not_null() & (pl.col("volume") > 0)
    worth = (pl.col("vwap") * volume).filter(known).sum()
    yield from (pl.col(c).last() for c in ("row", "timestamp", "close", "spread"))
    yield pl.col("open").drop_nulls().first()
    yield pl.col("high").max()
    yield pl.col("low").min()
    yield pl.when(volume.last().is_not_null()).then(volume.sum()).alias("volume")
    yield (
        pl.when(known.any())
        .then(worth / volume.filter(known).sum())
        .otherwise(pl.col("vwap").last())
        .alias("vwap")
    )


def _outside_by_symbol(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield the bars outside the session of each symbol that has some."""
    for one in frame.partition_by("symbol", maintain_order=True):
        if len(one) <= LEAST_WEEKS:
            continue
        step = one["timestamp"].to_physical().diff().mode().min()
        if not isinstance(step, int) or step > DAY_US:
            continue
        rows = one.filter(_stub_days(one) if step == DAY_US else _rare_times(one))
        if 0 < len(rows) <= MOST_OUTSIDE * len(one):
            yield rows


def _stub_days(one: pl.DataFrame) -> pl.Series:
    """Return which daily bars are on a weekday that is rare, or whose bars are small."""
    days = one.select(
        day=pl.col("timestamp").dt.weekday(),
        size=(pl.col("high") / pl.col("low")).log(),
        volume="volume",
        week=pl.col("timestamp").dt.truncate("1w"),
    )
    n_weeks = days["week"].n_unique()
    outside = [
        day
        for day in sorted(days["day"].unique())
        if _is_stub(days.filter(pl.col("day") == day), days.filter(pl.col("day") != day), n_weeks)
    ]
    return days["day"].is_in(outside if n_weeks >= LEAST_WEEKS else [])


def _is_stub(own: pl.DataFrame, others: pl.DataFrame, n_weeks: int) -> bool:
    if len(own) < RARE_DAY * n_weeks:
        return True
    limits = (("size", SMALL_RANGE), ("volume", SMALL_VOLUME))
    for column, limit in limits:
        mine, theirs = own[column].median(), others[column].median()
        if isinstance(mine, float) and isinstance(theirs, float) and mine < limit * theirs:
            return True
    return False


def _rare_times(one: pl.DataFrame) -> pl.Series:
    """Return which bars are at a time of the week that few weeks have."""
    slots = one.select(
        slot=pl.col("timestamp").dt.weekday().cast(pl.Int64) * DAY_US
        + pl.col("timestamp").to_physical() % DAY_US,
        week=pl.col("timestamp").dt.truncate("1w"),
    )
    n_weeks = slots["week"].n_unique()
    n_of_slot = slots.select(pl.len().over("slot")).to_series()
    return (n_of_slot < RARE_TIME * n_weeks) & (n_weeks >= LEAST_WEEKS)


def _found(rows: pl.DataFrame) -> str:
    symbol, first = rows["symbol"][0], rows["timestamp"][0]
    days = ", ".join(WEEKDAYS[day - 1] for day in sorted(rows["timestamp"].dt.weekday().unique()))
    n = "1 bar" if len(rows) == 1 else f"{len(rows)} bars"
    return f"{symbol}: {n} outside its session ({days}), first {first:%Y-%m-%d %H:%M}"
