import math

import numpy as np
import pytest

from pipelines.recipes.inputs.feature_rows import columns, finite, matrix
from registry.contract import ModelContract
from registry.errors import ParameterError, ShapeError, ValueRangeError
from tests.examples import make_contract

NAMES = ("a", "b", "c")


def contract(window: int = 1) -> ModelContract:
    return make_contract(feature_names=NAMES, window=window)


def test_lists_become_float32_rows_in_order():
    X = matrix([[1, 2.5, -3], [4, 5, 6]], contract(), 10)
    assert X.dtype == np.float32
    np.testing.assert_array_equal(X, np.array([[1, 2.5, -3], [4, 5, 6]], np.float32))


def test_objects_are_put_into_the_contracts_order():
    X = matrix([{"c": 3, "a": 1, "b": 2}], contract(), 10)
    np.testing.assert_array_equal(X, [[1, 2, 3]])


def test_sequence_rows_have_axes_sample_step_feature():
    X = matrix([[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]], contract(2), 10)
    assert X.shape == (2, 2, 3)
    np.testing.assert_array_equal(X[1, 0], [7, 8, 9])


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, 1e39, 10**400, "0.5", True, None, [1.0], {}],
    ids=str,
)
def test_a_bad_value_is_named_by_row_and_column(value):
    with pytest.raises(ValueRangeError, match=r"rows\[1\]\.b \(column 1\): expected a finite"):
        matrix([[1, 2, 3], [1, value, 3]], contract(), 10)


def test_the_largest_float32_is_taken():
    largest = float(np.finfo(np.float32).max)
    assert np.isfinite(matrix([[largest, -largest, 0]], contract(), 10)).all()


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([], "rows: expected 1 to 2 rows (MAX_BATCH_SIZE) but got 0 rows"),
        ([[1, 2, 3]] * 3, "rows: expected 1 to 2 rows (MAX_BATCH_SIZE) but got 3 rows"),
        ([[]], "rows[0]: expected 3 values (a, b, c) but got 0 values"),
        ([[1, 2]], "rows[0]: expected 3 values (a, b, c) but got 2 values"),
        ([[1, 2, 3], [1, 2, 3, 4]], "rows[1]: expected 3 values (a, b, c) but got 4 values"),
        ([7], "rows[0]: expected 3 values (a, b, c) but got int"),
        (["abc"], "rows[0]: expected 3 values (a, b, c) but got str"),
    ],
)
def test_a_wrong_shape_is_one_line(rows, line):
    with pytest.raises(ShapeError) as raised:
        matrix(rows, contract(), 2)
    assert str(raised.value) == line


def test_a_sequence_of_another_length_than_the_window_is_refused():
    with pytest.raises(ShapeError, match="a list of 2 steps"):
        matrix([[[1, 2, 3]]], contract(2), 10)


@pytest.mark.parametrize("row", [{"a": 1, "b": 2}, {"a": 1, "b": 2, "c": 3, "d": 4}])
def test_an_object_with_other_features_is_refused(row):
    with pytest.raises(ParameterError):
        matrix([row], contract(), 10)


def test_context_that_is_not_given_is_nan():
    found = columns({"close": [1.0, None]}, ("close", "variance"), 2)
    np.testing.assert_array_equal(found["close"], [1.0, np.nan])
    assert np.isnan(found["variance"]).all()


def test_unknown_context_and_wrong_length_are_refused():
    with pytest.raises(ParameterError, match="one of close"):
        columns({"clse": [1.0]}, ("close",), 1)
    with pytest.raises(ShapeError, match="2 values"):
        columns({"close": [1.0]}, ("close",), 2)


def test_finite_refuses_what_is_below_the_lowest():
    assert finite(0, "v", low=0.0) == 0.0
    with pytest.raises(ValueRangeError, match="at least 0"):
        finite(-1e-9, "v", low=0.0)
