import numpy as np
import pytest

from pipelines.data.tables.leaks import leak, refuse_leaks
from registry.errors import TableError

RNG = np.random.default_rng(0)
NUMBER = RNG.normal(size=200)
CLASS = RNG.integers(0, 3, 200).astype(float)


@pytest.mark.parametrize(
    ("column", "y", "how"),
    [
        (NUMBER, NUMBER, "equals"),
        (2 - 3 * NUMBER, NUMBER, "is a linear function of"),
        (np.exp(NUMBER), NUMBER, "is a monotonic function of"),
        (-(NUMBER**3), NUMBER, "is a monotonic function of"),
        (CLASS * 7 % 3 + 1, CLASS, "is a one-to-one function of"),
        (np.where(np.arange(200) < 5, np.nan, CLASS), CLASS, "equals"),
    ],
)
def test_a_column_that_says_the_target_is_found(column, y, how):
    assert leak(column, y) == how


@pytest.mark.parametrize(
    ("column", "y"),
    [
        (NUMBER + 0.01 * RNG.normal(size=200), NUMBER),
        (RNG.normal(size=200), NUMBER),
        (np.minimum(CLASS, 1), CLASS),  # many to one: less than the target says
        (CLASS + 3 * RNG.integers(0, 2, 200), CLASS),
        (RNG.normal(size=200), CLASS),
        (np.full(200, np.nan), CLASS),
        (NUMBER[:10], NUMBER[:10]),
    ],
)
def test_other_columns_are_let_through(column, y):
    assert leak(column, y) == ""


def test_the_refusal_names_column_target_and_what_to_do():
    values = np.column_stack((RNG.normal(size=200), CLASS))
    with pytest.raises(TableError, match="'b' equals the target 'y'.*options drop=b"):
        refuse_leaks(values, ("a", "b"), CLASS, "y")
