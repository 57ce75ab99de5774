from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from pipelines.data.sources import BarQuery
from pipelines.data.tables.row_data import (
    UNTIMED,
    label_ends,
    place_in_time,
    read_rows,
    timed,
)
from registry.errors import BarsError, ParameterError, TableError

FRAME = pl.DataFrame({"when": ["2024-01-02", "2024-01-01", "2024-01-02"], "x": [1, 2, 3]})


def test_rows_are_sorted_by_their_time_and_it_is_said():
    data, lines = timed(FRAME, "when")
    assert data.frame["x"].to_list() == [2, 1, 3]
    assert data.span() == (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC))
    assert lines == ("rows: sorted by when",)
    assert data.between(datetime(2024, 1, 2, tzinfo=UTC), None).frame["x"].to_list() == [1, 3]


def test_without_times_the_order_is_the_time_and_the_note_says_so():
    data, lines = timed(FRAME, "")
    assert data.frame["timestamp"].dt.epoch("s").to_list() == [0, 1, 2]
    assert (data.note, lines) == (UNTIMED, ())


def test_times_are_read_in_their_zone():
    frame = pl.DataFrame({"when": ["2024-07-01 10:00"] * 2})
    data, _ = timed(frame, "when", "America/New_York")
    assert data.frame["timestamp"][0] == datetime(2024, 7, 1, 14, tzinfo=UTC)


def test_the_digest_is_that_of_what_the_rows_say():
    one, other = timed(FRAME, "when")[0], timed(FRAME.sort("when", "x"), "when")[0]
    changed = timed(FRAME.with_columns(x=pl.col("x") + 1), "when")[0]
    assert one.digest() == other.digest() != changed.digest()


@pytest.mark.parametrize(
    ("frame", "time", "error"),
    [
        (FRAME, "day", ParameterError),
        (FRAME.with_columns(when=pl.Series([None, "2024-01-01", "2024-01-02"])), "when", BarsError),
        (FRAME.with_columns(when=pl.lit("soon")), "when", BarsError),
    ],
)
def test_times_that_cannot_be_used_are_refused(frame, time, error):
    with pytest.raises(error):
        timed(frame, time)


@pytest.mark.parametrize("time", ["", "when"])
def test_a_column_may_be_called_as_ours_is(time):
    named = FRAME.with_columns(timestamp=pl.Series(["b", "a", "c"]), timestamp_=pl.lit("z"))
    data, _ = timed(named, time)
    assert data.frame["timestamp"].to_list() == (["a", "b", "c"] if time else ["b", "a", "c"])
    assert data.times().to_list() == sorted(data.times().to_list())
    assert ("its column 'timestamp' is a feature" in data.note) == (not time)
    first = data.times()[0]
    assert len(data.between(first, first).frame) == 1
    assert data.span()[0] == first


def test_rows_of_files_are_read_as_bars_are(tmp_path):
    lines = "".join(f"{10 + i % 20}/01/2024 10:00;{i},5;text {i}\n" for i in range(60))
    path = tmp_path / "rows.csv"
    path.write_text(f"row;x;label\n{lines}")
    query = BarQuery(path=path, timezone="America/New_York")
    data = read_rows(query, "row")
    assert data.times()[0] == datetime(2024, 1, 10, 15, tzinfo=UTC)
    assert data.frame.columns == ["timestamp", "x", "label"]
    assert data.frame["x"].to_list()[:2] == ["0.5", "20.5"]
    assert any("x: decimal commas" in line for line in data.repairs)
    path.write_text(f"row;x;label\n{lines}1/2\n")
    with pytest.raises(BarsError, match="row 62 has 1 columns, the table has 3"):
        read_rows(query, "row")
    repaired = read_rows(replace(query, policy="repair"), "row")
    assert len(repaired.frame) == 60


def test_rows_of_one_time_are_numbered():
    t0 = np.array([5, 5, 7, 9, 9, 9], dtype=np.int64)
    assert place_in_time(t0).tolist() == [0, 1, 0, 0, 1, 2]


def test_a_label_ends_at_once_or_some_times_later():
    t0 = np.array([10, 10, 20, 30], dtype=np.int64)
    assert label_ends(t0, 0).tolist() == [11, 11, 21, 31]
    assert label_ends(t0, 2).tolist() == [30, 30, 40, 50]
    assert label_ends(t0, 0, t0 + 4).tolist() == [14, 14, 24, 34]
    with pytest.raises(TableError, match="row 3: its label ends at or before"):
        label_ends(t0, 0, np.array([11, 11, 20, 31], dtype=np.int64))
