from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from pipelines.data.tables.table_columns import encoded, laid_out, typed
from registry.errors import InvalidInputError, ParameterError, ShapeError
from serving.forms import gather
from serving.schemas import PredictRequest

FRAME = pl.DataFrame(
    {
        "age": [31.0, 40.0, None, 25.0],
        "city": ["Rome", "Oslo", "Rome", None],
        "member": [True, False, False, True],
        "since": ["2020-01-01", "2021-06-30", None, "2000-02-29"],
    }
)
COLUMNS = typed(FRAME, "file")


@pytest.fixture(params=["codes", "indicators", "dense"])
def version(request):
    contract = SimpleNamespace(
        label_spec={"columns": [column.to_json() for column in COLUMNS]},
        feature_set=request.param,
        horizon="",
    )
    template = SimpleNamespace(inputs="table")
    return SimpleNamespace(model_id="tabular", number=1, contract=contract, template=template)


def ask(version, rows, **more):
    request = PredictRequest(model="tabular", rows=rows, **more)
    return gather(request, version, None, 10)


def test_rows_are_read_as_training_read_the_file(version):
    found = ask(version, [list(row) for row in FRAME.iter_rows()])
    expected = laid_out(encoded(FRAME, COLUMNS, ""), COLUMNS, version.contract.feature_set)
    np.testing.assert_array_equal(found.X, expected)
    assert found.keys == ("0", "1", "2", "3")


def test_objects_may_name_the_columns_in_any_order(version):
    rows = FRAME.to_dicts()
    backwards = [dict(reversed(row.items())) for row in rows]
    np.testing.assert_array_equal(ask(version, rows).X, ask(version, backwards).X)


def test_a_bad_row_is_its_own_error_and_leaves_the_others_alone(version):
    good, bad = [31, "Rome", True, None], ["old", "Rome", True, None]
    found = ask(version, [good, bad, good])
    assert found.keys == ("0", "2")
    assert "rows 1" in str(found.errors["1"]) and "'old'" in str(found.errors["1"])
    np.testing.assert_array_equal(found.X, ask(version, [good, good]).X)


def test_no_good_row_gives_an_empty_array_of_the_right_width(version):
    found = ask(version, [["old", "Rome", True, None]])
    assert found.X.shape == (0, ask(version, [[31, None, None, None]]).X.shape[1])


def test_a_category_never_seen_is_missing_and_said_so(version):
    found = ask(version, [[31, "Lima", True, None]])
    np.testing.assert_array_equal(found.X, ask(version, [[31, None, True, None]]).X)
    assert found.ignored == ("rows[0].city='Lima': never seen in training, taken as missing",)


def test_rows_may_be_named(version):
    rows = [[31, "Rome", True, None]] * 2
    assert ask(version, rows, symbols=["a", "b"]).keys == ("a", "b")
    with pytest.raises(ShapeError, match="2 names, one per row"):
        ask(version, rows, symbols=["a"])


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ([1, 2], "expected 4 values"),
        ({"age": 3}, "the column 'city' too"),
        ({**FRAME.to_dicts()[0], "colour": "red"}, "only the version's columns"),
        (7, "expected 4 values .* but got int"),
    ],
)
def test_a_row_of_another_shape_says_what_is_wrong(version, row, problem):
    (error,) = ask(version, [row]).errors.values()
    assert isinstance(error, InvalidInputError)
    with pytest.raises(InvalidInputError, match=problem):
        raise error


def test_what_is_no_question_to_a_table_is_refused(version):
    with pytest.raises(ShapeError, match="1 to 10 rows"):
        ask(version, [[31, "Rome", True, None]] * 11)
    with pytest.raises(ParameterError, match="a table has columns"):
        ask(version, [[31, "Rome", True, None]], context={"close": [1]})
    with pytest.raises(ParameterError, match="rows=None"):
        gather(PredictRequest(model="tabular", symbols=["AAPL"]), version, None, 10)
    with pytest.raises(ParameterError, match="texts=1"):
        gather(PredictRequest(model="tabular", texts=["a"]), version, None, 10)
