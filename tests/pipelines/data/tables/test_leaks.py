import numpy as np
import pytest

from pipelines.data.tables.leaks import leak, refuse_leaks, suspicions
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


# Nearly the target -----------------------------------------------------------------------------


def suspected(x, y, n_classes=0, name="x"):
    return suspicions(np.column_stack([np.zeros(len(y)), x]), ["constant", name], y, n_classes)


def classes_and_score(n=400, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n).astype(float)
    return y, rng


@pytest.mark.parametrize("seed", range(5))
def test_honest_columns_and_noise_raise_no_suspicion(seed):
    y, rng = classes_and_score(seed=seed)
    assert suspected(y + rng.standard_normal(400), y, 2) == []  # an area of 0.76
    assert suspected(rng.standard_normal(400), y, 2) == []
    number = rng.standard_normal(400)
    assert suspected(number + 0.5 * rng.standard_normal(400), number) == []  # a rank of 0.88
    assert suspected(rng.standard_normal(400), number) == []
    assert suspected(rng.integers(0, 400, 400).astype(float), number) == []  # identifiers


def test_a_column_that_ranks_the_target_is_named():
    number = np.random.default_rng(1).standard_normal(500)
    noise = 0.05 * np.random.default_rng(2).standard_normal(500)
    (line,) = suspected(-np.exp(number + noise), number, name="paid_later")
    assert line.startswith("column 'paid_later' ranks the target by 0.99")


def test_a_column_that_ranks_the_size_of_the_target_is_named():
    rng = np.random.default_rng(3)
    number = rng.standard_normal(500)
    signed = np.abs(number) * rng.choice([-1, 1], 500)
    (line,) = suspected(signed, number)
    assert "ranks the size of the target by 1.000" in line


def test_a_column_that_tells_a_class_is_named_either_way_round():
    y, rng = classes_and_score()
    for sign in (1, -1):
        (line,) = suspected(sign * (3 * y + rng.standard_normal(400)), y, 2, "settled")
        assert line.startswith("column 'settled' tells a class with an area under the ROC curve")


def test_a_column_that_tells_without_an_order_is_named():
    rng = np.random.default_rng(4)
    number = rng.standard_normal(2000)
    folded = np.where(number > 0, number, number + 10)  # one to one, but in another order
    (line,) = suspected(folded, number)
    assert "of the target's entropy" in line


def test_a_value_that_is_missing_only_for_one_class_is_named():
    y, rng = classes_and_score()
    column = np.where(y == 1, np.nan, rng.standard_normal(400))
    (line,) = suspected(column, y, 2, "closed_on")
    assert line.startswith("column 'closed_on' by being missing tells a class")


def test_rare_classes_and_short_tables_are_not_judged():
    rng = np.random.default_rng(5)
    y = np.zeros(400)
    y[:3] = 1
    assert suspected(y + 0.1 * rng.standard_normal(400), y, 2) == []
    number = rng.standard_normal(99)
    assert suspected(number + 0.001 * rng.standard_normal(99), number) == []
