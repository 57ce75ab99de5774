"""Spans of data: times where there are some, rows where there are none."""

from registry.contract import NO_TIMES, DataSpan

DAY, SECOND = "2020-01-02T00:00:00+00:00", "1970-01-01T00:04:59+00:00"


def span(start: str, end: str, note: str = "") -> DataSpan:
    return DataSpan("files", "0" * 64, start, end, 300, note)


def test_rows_without_times_are_counted_and_never_of_1970():
    rows = span("1970-01-01T00:00:00+00:00", SECOND, f"synthetic; {NO_TIMES}: their order")
    assert rows.span == "row 1 to row 300"
    assert rows.shown("1970-01-01T00:04:59.000001+00:00") == "row 300"  # a label known at once


def test_times_are_dates_at_midnight():
    assert span(DAY, "2020-01-03T16:00:00+00:00").span == "2020-01-02 to 2020-01-03T16:00:00+00:00"
    assert span("1970-01-01T00:00:00+00:00", DAY).span == "1970-01-01 to 2020-01-02"
