from datetime import UTC, date, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.tables.table_columns import (
    LAYOUTS,
    Column,
    categorical,
    encoded,
    encoded_rows,
    feature_names,
    laid_out,
    read_columns,
    typed,
)
from registry.errors import ParameterError, TableError

FRAME = pl.DataFrame(
    {
        "age": ["31", "40", "NA", "25"],
        "smoker": ["yes", "no", "no", None],
        "city": ["Rome", "Oslo", "Rome", " "],
        "since": ["2020-01-01", "2021-06-30", "1970-01-02", ""],
        "size": [1.5, None, 2.5, float("nan")],
        "day": [date(1970, 1, 11), date(2000, 1, 1), None, date(2000, 1, 2)],
    }
)


def columns():
    return typed(FRAME, "file")


def test_each_column_gets_the_kind_of_its_values():
    assert {c.name: c.kind for c in columns()} == {
        "age": "number",
        "smoker": "boolean",
        "city": "category",
        "since": "date",
        "size": "number",
        "day": "date",
    }


def test_encoded_gives_numbers_codes_days_and_nan_where_missing():
    found = encoded(FRAME, columns(), "file")
    expected = np.array(
        [
            [31, 1, 0, 18262, 1.5, 10],
            [40, 0, 1, 18808, np.nan, 10957],
            [np.nan, 0, 0, 1, 2.5, np.nan],
            [25, np.nan, np.nan, np.nan, np.nan, 10958],
        ]
    )
    np.testing.assert_array_equal(found, expected)


def test_a_vocabulary_starts_with_the_most_frequent_text():
    (city,) = typed(pl.DataFrame({"city": ["b", "a", "c", "c", "a", "c"]}), "file")
    assert city.vocabulary == ("c", "a", "b")


def test_a_category_never_seen_is_missing():
    frame = FRAME.with_columns(pl.lit("Paris").alias("city"))
    assert np.isnan(encoded(frame, columns(), "file")[:, 2]).all()


def test_requests_say_the_same_as_frames():
    rows = [
        [31, True, "Rome", "2020-01-01", 1.5, "1970-01-11"],
        [40.0, False, "Oslo", "2021-06-30T00:00:00", None, "2000-01-01T00:00:00Z"],
    ]
    np.testing.assert_array_equal(
        encoded_rows(rows, columns()), encoded(FRAME, columns(), "file")[:2]
    )


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (0, "31", "number"),
        (0, True, "number"),
        (0, float("inf"), "number"),
        (0, 1e39, "number"),
        (1, 1, "true or false"),
        (2, 7, "a text"),
        (3, "yesterday", "ISO date"),
    ],
)
def test_a_value_of_another_kind_is_refused_by_row_and_column(place, value, expected):
    row = [31, True, "Rome", "2020-01-01", 1.5, "1970-01-11"]
    row[place] = value
    with pytest.raises(ParameterError, match=rf"rows\[0\]\.\w+=.*{expected}"):
        encoded_rows([row], columns())


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([None, None, None], "'x' has no value"),
        (["", "NA", "?"], "'x' has no value"),
        ([3, 3, 3], "'x' is 3 in every row"),
        (["a", "a", "a"], "'x' is 'a' in every row"),
        ([f"id{i}" for i in range(50)], "like a row's name"),
        ([str(i) for i in range(40)] + ["n.a."], "holds numbers and also 'n.a.'"),
        ([[1], [2]], "holds List"),
    ],
)
def test_a_column_that_teaches_nothing_is_refused_by_name(values, problem):
    with pytest.raises(TableError, match=problem):
        typed(pl.DataFrame({"x": values}, strict=False), "file")


def test_a_value_that_later_rows_have_wrong_is_refused_with_its_row():
    bad = FRAME.with_columns(pl.Series("age", ["31", "40", "many", "25"]))
    with pytest.raises(TableError, match=r"row 3: 'age' is 'many', expected a finite"):
        encoded(bad, columns(), "file")


def test_an_absent_column_is_refused_by_name():
    with pytest.raises(TableError, match="'age' is not there"):
        encoded(FRAME.drop("age"), columns(), "file")


def test_layouts_name_their_features():
    some = typed(FRAME.select("age", "city"), "file")
    assert feature_names(some, "codes") == ("age", "city")
    assert feature_names(some, "indicators") == ("age", "city=Rome", "city=Oslo")
    assert feature_names(some, "dense") == ("age", "age=missing", "city=Rome", "city=Oslo")
    assert categorical(some, "codes") == (1,)
    assert categorical(some, "dense") == ()


def test_the_dense_layout_fills_medians_and_says_where():
    some = typed(FRAME.select("age", "city"), "file")
    found = laid_out(encoded(FRAME, some, "file"), some, "dense")
    np.testing.assert_array_equal(
        found, [[31, 0, 1, 0], [40, 0, 0, 1], [31, 1, 1, 0], [25, 0, 0, 0]]
    )


@given(
    st.lists(
        st.tuples(
            st.none() | st.floats(-1e6, 1e6, allow_nan=False),
            st.none() | st.sampled_from(["a", "b", "never seen"]),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_every_layout_has_as_many_features_as_names_and_dense_has_no_gap(rows):
    some = (
        Column("x", "number", (), 1.0, has_missing=True),
        Column("c", "category", ("a", "b"), has_missing=True),
    )
    values = encoded_rows(rows, some)
    for layout in LAYOUTS:
        assert laid_out(values, some, layout).shape == (
            len(rows),
            len(feature_names(some, layout)),
        )
    assert np.isfinite(laid_out(values, some, "dense")).all()


def test_columns_survive_their_json():
    spec = {"columns": [column.to_json() for column in columns()]}
    assert read_columns(spec) == columns()


ISO_TEXTS = (
    *("2024-01-31", "2024-01-31T10:00", "2024-01-31T10:00:00Z", "2024-01-31T10:00:00+02:00"),
    *("2024-01-31 10:00-0500", "2024-01-31T10:00:00.5+02", "2024-01-31 10:00:00+05:30"),
)


def test_dates_with_an_offset_are_dates_in_files_and_in_requests():
    frame = pl.DataFrame({"since": ISO_TEXTS})
    columns = typed(frame, "t.csv")
    assert columns[0].kind == "date"
    expected = [datetime.fromisoformat(text) for text in ISO_TEXTS]
    utc = [time if time.tzinfo else time.replace(tzinfo=UTC) for time in expected]
    days = [[time.timestamp() / 86_400] for time in utc]
    assert encoded(frame, columns, "t.csv") == pytest.approx(np.array(days), rel=1e-12)
    assert encoded_rows([[text] for text in ISO_TEXTS], columns) == pytest.approx(np.array(days))
