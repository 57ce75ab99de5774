"""Sessions: stubs are named, dropped or merged into the next bar, never into one before."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.data.bar_rules import Ledger
from pipelines.data.sessions import drop_stubs, merge_stubs, note_stubs

SUNDAY = datetime(2024, 1, 7, tzinfo=UTC)


def day_bars(n_weeks: int = 10, sunday: float = 0.1) -> pl.DataFrame:
    """Bars of Sunday to Friday; Sunday's range and volume are a share of the others'."""
    days = [SUNDAY + timedelta(days=i) for i in range(7 * n_weeks) if i % 7 != 6]
    n = len(days)
    rng = np.random.default_rng(0)
    is_sunday = np.array([d.weekday() == 6 for d in days])
    size = np.where(is_sunday, sunday, 1.0)
    opened = 100 + rng.normal(size=n)
    close = opened + 0.3 * size * rng.uniform(-1, 1, n)
    return pl.DataFrame(
        {
            "row": range(1, n + 1),
            "symbol": ["EURUSD"] * n,
            "timestamp": pl.Series(days, dtype=pl.Datetime("us", "UTC")),
            "open": opened,
            "high": np.maximum(opened, close) + size,
            "low": np.minimum(opened, close) - size,
            "close": close,
            "volume": 1000 * size,
            "vwap": (opened + close) / 2,
            "spread": np.full(n, 0.0001),
        }
    )


def test_sunday_stubs_are_named():
    ledger = Ledger("test", "strict")
    frame = day_bars()
    assert note_stubs(frame, ledger).equals(frame)
    (line,) = ledger.lines
    assert "EURUSD: 10 bars outside its session (Sunday), first 2024-01-07" in line


def test_whole_sundays_are_bars_of_the_session():
    ledger = Ledger("test", "strict")
    note_stubs(day_bars(sunday=0.7), ledger)
    assert ledger.lines == []


def test_a_stub_is_merged_into_the_next_day():
    frame = day_bars()
    merged = merge_stubs(frame, Ledger("test", "strict"))
    assert len(merged) == 50
    sunday, monday, first = (
        frame.row(0, named=True),
        frame.row(1, named=True),
        merged.row(0, named=True),
    )
    assert first["timestamp"] == monday["timestamp"]
    assert (first["open"], first["close"]) == (sunday["open"], monday["close"])
    assert first["high"] == max(sunday["high"], monday["high"])
    assert first["low"] == min(sunday["low"], monday["low"])
    assert first["volume"] == 1100
    worth = 100 * sunday["vwap"] + 1000 * monday["vwap"]
    np.testing.assert_allclose(first["vwap"], worth / 1100)
    assert merged.row(1) == frame.row(2)


def test_a_stub_that_no_bar_follows_is_removed():
    frame = day_bars().slice(0, 55)  # the last is a Sunday
    assert merge_stubs(frame, Ledger("", "strict"))["timestamp"].max() < frame["timestamp"].max()


def test_dropping_keeps_the_other_bars_as_they_are():
    frame = day_bars()
    kept = drop_stubs(frame, Ledger("", "strict"))
    assert kept.equals(frame.filter(pl.col("timestamp").dt.weekday() != 7))


def test_an_odd_time_of_day_is_outside():
    hours = [
        SUNDAY + timedelta(days=d, hours=h)
        for d in range(7 * 30)
        for h in range(14, 21)
        if d % 7 not in (0, 6)
    ]
    odd = [*hours, SUNDAY + timedelta(days=12, hours=3)]
    close = pl.Series(np.arange(len(odd)) + 1.0)
    none = pl.lit(None, dtype=pl.Float64)
    frame = pl.DataFrame({"timestamp": pl.Series(odd, dtype=pl.Datetime("us", "UTC"))}).select(
        row=pl.int_range(1, len(odd) + 1),
        symbol=pl.lit("ABC"),
        timestamp="timestamp",
        **dict.fromkeys(("open", "high", "low", "volume", "vwap", "spread"), none),
        close=close,
    )
    ledger = Ledger("", "strict")
    note_stubs(frame.sort("timestamp"), ledger)
    assert "1 bar outside its session (Friday), first 2024-01-19 03:00" in ledger.lines[0]


@given(n_weeks=st.integers(6, 20), cut=st.integers(0, 8), change=st.floats(2.0, 5.0), at=st.data())
@settings(max_examples=40, deadline=None)
def test_merging_never_moves_what_a_bar_says_earlier(n_weeks, cut, change, at):
    frame = day_bars(n_weeks).slice(0, 6 * n_weeks - cut)
    place = at.draw(st.integers(0, len(frame) - 1))
    when = frame["timestamp"][place]
    later = pl.when(pl.col("row") == frame["row"][place])
    changed = frame.with_columns(
        later.then(pl.col("close") + change).otherwise("close").alias("close")
    )
    one, other = (merge_stubs(f, Ledger("", "strict")) for f in (frame, changed))
    known = pl.col("timestamp") < when
    assert one.filter(known).equals(other.filter(known))
