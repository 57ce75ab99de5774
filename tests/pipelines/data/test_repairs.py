"""Repairs: none moves what a bar says to an earlier time."""

from datetime import UTC, datetime, timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.data.adjustments import Adjustments
from pipelines.data.bars import check_bars
from registry.errors import BarsError

START = datetime(2024, 1, 1, tzinfo=UTC)

day_of_a_row = st.integers(0, 40)
price = st.floats(1.0, 200.0) | st.sampled_from([0.0, -1.0, float("nan"), None])
row = st.fixed_dictionaries(
    {
        "symbol": st.sampled_from(["A", "B", "", None]),
        "day": day_of_a_row | st.none(),
        "close": price,
        "high": st.floats(1.0, 300.0) | st.none(),
        "low": st.floats(1.0, 300.0) | st.none(),
        "volume": st.sampled_from([0.0, 1.0, 5.0, -1.0, None]),
        "spread": st.sampled_from([0.0, 0.001, -0.001, 0.2, None]),
    }
)


def repaired(rows: list[dict], stubs: str) -> pl.DataFrame | None:
    """Return what `repair` makes of rows; None where it refuses them."""
    stamps = [None if r["day"] is None else START + timedelta(days=r["day"]) for r in rows]
    schema = dict.fromkeys(("close", "high", "low", "volume", "spread"), pl.Float64)
    frame = pl.DataFrame(rows, schema={"symbol": pl.String, "day": pl.Int64, **schema})
    frame = frame.with_columns(timestamp=pl.Series(stamps, dtype=pl.Datetime("us", "UTC")))
    adjustments = Adjustments(stubs=stubs)
    try:
        return check_bars(frame, policy="repair", where="", adjustments=adjustments)[0]
    except BarsError:
        return None


@given(
    rows=st.lists(row, min_size=1, max_size=40),
    place=st.integers(0, 39),
    close=price,
    stubs=st.sampled_from(["keep", "merge", "drop"]),
)
@settings(max_examples=50, deadline=None)
def test_another_close_changes_no_close_of_an_earlier_time(rows, place, close, stubs):
    changed = [dict(r) for r in rows]
    its = changed[place % len(rows)]
    its["close"] = close
    one, other = repaired(rows, stubs), repaired(changed, stubs)
    if one is None or other is None or its["day"] is None:
        return
    known = pl.col("timestamp") < START + timedelta(days=its["day"])
    # which bars are left out may depend on all of them (a column that others have, a session)
    both = one.filter(known).join(other.filter(known), on=["symbol", "timestamp"])
    assert both["close"].equals(both["close_right"])
