from concurrent.futures import ThreadPoolExecutor

import pytest

from registry import trials
from registry.errors import ValueRangeError

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
