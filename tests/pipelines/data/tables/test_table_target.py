import numpy as np
import polars as pl
import pytest

from pipelines.data.tables.table_target import class_names, fit_target, read_target
from registry.errors import TableError

N = 60


def series(values):
    return pl.Series("y", values)


@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        (["yes", "no"] * 30, "classification", ("no", "yes")),
        ([True, False] * 30, "classification", ("false", "true")),
        ([0, 1, 2] * 20, "classification", ("0", "1", "2")),
        (["0", "1", "NA"] * 20, "classification", ("0", "1")),
        ([1.0, 2.0] * 30, "classification", ("1", "2")),
        ([float(i) for i in range(N)], "regression", ()),
        ([str(i + 0.5) for i in range(N)], "regression", ()),
    ],
)
def test_auto_takes_few_whole_numbers_texts_and_booleans_as_classes(values, kind, classes):
    spec = fit_target(series(values), "auto")
    assert (spec["kind"], class_names(spec)) == (kind, classes)


def test_a_task_that_was_asked_for_is_kept():
    assert fit_target(series([0, 1, 2] * 20), "regression")["kind"] == "regression"
    many = series([i % 6 for i in range(N)])
    assert fit_target(many, "classification")["kind"] == "classification"


def test_center_and_scale_are_those_of_the_rows():
    values = np.random.default_rng(0).normal(5, 2, N)
    spec = fit_target(series(values), "auto")
    assert (spec["center"], spec["scale"]) == pytest.approx((values.mean(), values.std()))


def test_targets_are_read_by_the_decision():
    spec = fit_target(series(["b", "a"] * 30), "auto")
    found = read_target(series(["a", "b", None, " b "]), spec, "file")
    np.testing.assert_array_equal(found, [0, 1, np.nan, 1])
    numbers = fit_target(series(np.arange(N) / 3), "auto")
    np.testing.assert_array_equal(read_target(series(["1.5", ""]), numbers, ""), [1.5, np.nan])


@pytest.mark.parametrize(
    ("values", "task", "problem"),
    [
        (["a"] * 10, "auto", "known in 10 rows"),
        (["a"] * N, "auto", "'a' in every row"),
        (["a"] * 55 + ["b"] * 5, "auto", "class 'b' .* has 5 rows"),
        ([str(i) for i in range(200)] * 10, "classification", "has 200 classes"),
        ([*["1.5"] * 40, *["many"] * 20], "regression", "holds 'many'"),
        ([*np.arange(50.5), np.inf], "auto", "not finite"),
    ],
)
def test_targets_that_teach_nothing_are_refused(values, task, problem):
    with pytest.raises(TableError, match=problem):
        fit_target(series(values), task)


def test_a_class_or_value_of_another_kind_is_refused_with_its_row():
    spec = fit_target(series(["b", "a"] * 30), "auto")
    with pytest.raises(TableError, match=r"row 2: target 'y' is 'c', not one of .*\(a, b\)"):
        read_target(series(["a", "c"]), spec, "file")
    numbers = fit_target(series(np.arange(N) / 3), "auto")
    with pytest.raises(TableError, match="row 1: target 'y' is 'x', expected a number"):
        read_target(series(["x"]), numbers, "file")
