from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import sqlalchemy as sa

from registry import trials
from registry.errors import ShapeError, ValueRangeError
from registry.trials import TrialReturns

FAMILY = trials.family_key("trading_signals", {"a": 1.0}, {"fee": 0.0005}, ["B", "A"])


def test_family_key_ignores_order_and_sees_every_part():
    assert trials.family_key("trading_signals", {"a": 1.0}, {"fee": 0.0005}, ["A", "B"]) == FAMILY
    others = {
        trials.family_key("volatility_forecast", {"a": 1.0}, {"fee": 0.0005}, ["A", "B"]),
        trials.family_key("trading_signals", {"a": 2.0}, {"fee": 0.0005}, ["A", "B"]),
        trials.family_key("trading_signals", {"a": 1.0}, {"fee": 0.001}, ["A", "B"]),
        trials.family_key("trading_signals", {"a": 1.0}, {"fee": 0.0005}, ["A"]),
    }
    assert len(others | {FAMILY}) == 5


def test_a_refit_with_an_unchanged_recipe_is_no_new_trial(engine):
    assert trials.count(engine, FAMILY, "one", "m", "run-1", 0.05) == (1, (0.05,))
    assert trials.count(engine, FAMILY, "one", "m", "run-1", 0.05) == (1, (0.05,))
    assert trials.count(engine, FAMILY, "one", "m", "run-2", 0.07) == (1, (0.07,))
    assert trials.count(engine, FAMILY, "two", "m", "run-3", -0.01) == (2, (0.07, -0.01))


def test_a_trial_without_returns_counts_but_gives_no_sharpe_ratio(engine):
    assert trials.count(engine, FAMILY, "one", "m", "run-1", None) == (1, ())
    assert trials.count(engine, FAMILY, "one", "m", "run-1", 0.02) == (1, (0.02,))
    assert trials.count(engine, FAMILY, "one", "m", "run-1", None) == (1, (0.02,))


def test_families_are_counted_apart(engine):
    trials.count(engine, FAMILY, "one", "m", "run-1", 0.05)
    assert trials.known(engine, "another family") == (0, ())


def test_a_sharpe_ratio_that_is_not_finite_is_refused(engine):
    with pytest.raises(ValueRangeError, match="sharpe_per_period"):
        trials.count(engine, FAMILY, "one", "m", "run-1", float("nan"))
    assert trials.known(engine, FAMILY) == (0, ())


def count_at_once(engine):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: trials.count(engine, FAMILY, f"{i % 5}", "m", "r", 0.1), range(20)))
    assert trials.known(engine, FAMILY) == (5, (0.1,) * 5)


def test_counting_from_several_threads_loses_and_doubles_nothing(engine):
    count_at_once(engine)


@pytest.mark.postgres
def test_counting_at_once_on_postgresql_loses_and_doubles_nothing(postgres_engine):
    count_at_once(postgres_engine)


# Returns ---------------------------------------------------------------------------------------


def series(recipe, n=300, seed=0):
    rng = np.random.default_rng(seed)
    dates = 86_400_000_000 * np.cumsum(rng.integers(1, 4, n))
    return TrialReturns(recipe, dates, 0.01 * rng.standard_normal(n))


def round_trip(engine):
    trials.count(engine, FAMILY, "one", "m", "run-1", 0.05)
    trials.count(engine, FAMILY, "two", "m", "run-2", 0.01)
    trials.count(engine, FAMILY, "none", "m", "run-3", None)
    kept = [series("one"), series("two", 20, 1)]
    for each in reversed(kept):
        trials.keep_returns(engine, FAMILY, each)
    found = trials.known_returns(engine, FAMILY)
    assert [each.recipe for each in found] == ["one", "two"]
    for ours, theirs in zip(kept, found, strict=True):
        np.testing.assert_array_equal(theirs.dates, ours.dates)
        np.testing.assert_array_equal(theirs.returns, ours.returns)
        assert (theirs.dates.dtype, theirs.returns.dtype) == (np.int64, np.float64)


def test_returns_come_back_bit_by_bit_oldest_trial_first(engine):
    round_trip(engine)


@pytest.mark.postgres
def test_returns_come_back_bit_by_bit_from_postgresql(postgres_engine):
    round_trip(postgres_engine)


def test_a_newer_series_of_the_recipe_replaces_the_older(engine):
    trials.count(engine, FAMILY, "one", "m", "run-1", 0.05)
    trials.keep_returns(engine, FAMILY, series("one", 300))
    trials.keep_returns(engine, FAMILY, series("one", 40, 9))
    (found,) = trials.known_returns(engine, FAMILY)
    np.testing.assert_array_equal(found.returns, series("one", 40, 9).returns)


def test_returns_of_families_are_apart(engine):
    trials.count(engine, FAMILY, "one", "m", "run-1", 0.05)
    trials.keep_returns(engine, FAMILY, series("one"))
    assert trials.known_returns(engine, "another family") == ()


def test_returns_of_a_trial_that_was_not_counted_are_refused(engine):
    with pytest.raises(sa.exc.IntegrityError):
        trials.keep_returns(engine, FAMILY, series("never counted"))


@pytest.mark.parametrize(
    "broken",
    [
        TrialReturns("one", np.arange(3), np.zeros(2)),
        TrialReturns("one", np.array([0, 2, 2]), np.zeros(3)),
        TrialReturns("one", np.array([3, 2, 1]), np.zeros(3)),
    ],
)
def test_returns_without_a_rising_date_each_are_refused(engine, broken):
    with pytest.raises(ShapeError, match="one return per date, dates rising"):
        trials.keep_returns(engine, FAMILY, broken)


def test_returns_that_are_not_finite_are_refused(engine):
    broken = TrialReturns("one", np.arange(2), np.array([0.0, np.nan]))
    with pytest.raises(ValueRangeError, match="returns of a trial"):
        trials.keep_returns(engine, FAMILY, broken)
