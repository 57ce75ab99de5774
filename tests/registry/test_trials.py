from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import sqlalchemy as sa

from registry import tables, trials
from registry.database import reading
from registry.errors import ShapeError, ValueRangeError
from registry.trial_data import SymbolSample, TrialData, sample_dates
from registry.trials import Trial, TrialReturns

DAY = 86_400_000_000


def data(sha256="data", n_days=300, interval="1d"):
    days = np.arange(n_days)
    close = np.exp(0.01 * np.random.default_rng(0).standard_normal(n_days).cumsum())
    symbol = SymbolSample("A", 0, n_days - 1, sample_dates(days, close))
    return TrialData(sha256, ("A",), interval, 0, (n_days - 1) * DAY, (symbol,))


TRIAL = Trial("returns", "one", "m", "run-1", data(), 100 * DAY, sharpe_per_period=0.05)


def known(engine, question="returns"):
    return [(t.recipe, t.sharpe_per_period) for t in trials.known(engine, question)]


def test_the_family_key_of_old_trials_ignores_order_and_sees_every_part():
    ours = trials.family_key("trading_signals", {"a": 1.0}, {"fee": 0.0005}, ["B", "A"])
    assert trials.family_key("trading_signals", {"a": 1.0}, {"fee": 0.0005}, ["A", "B"]) == ours
    others = {
        trials.family_key("volatility_forecast", {"a": 1.0}, {"fee": 0.0005}, ["A", "B"]),
        trials.family_key("trading_signals", {"a": 2.0}, {"fee": 0.0005}, ["A", "B"]),
        trials.family_key("trading_signals", {"a": 1.0}, {"fee": 0.001}, ["A", "B"]),
        trials.family_key("trading_signals", {"a": 1.0}, {"fee": 0.0005}, ["A"]),
    }
    assert len(others | {ours}) == 5


def test_a_refit_with_an_unchanged_recipe_is_no_new_trial(engine):
    first = trials.count(engine, TRIAL)
    newer = replace(TRIAL, run_id="run-2", data=data("newer", 400), sharpe_per_period=0.07)
    assert trials.count(engine, TRIAL) == trials.count(engine, newer) == first
    assert known(engine) == [("one", 0.07)]
    trials.count(engine, replace(newer, recipe="two", sharpe_per_period=-0.01))
    assert known(engine) == [("one", 0.07), ("two", -0.01)]


@pytest.mark.parametrize(
    "chosen",
    [
        {"data": data("sooner", 200)},
        {"first_test": 150 * DAY, "asked_for": True},
        {"data": data("later", 300, "1h")},
        {"data": replace(data("renamed"), names=("B",))},
        {"data": replace(data("cut"), first=DAY)},
        {"question": "another"},
    ],
    ids=lambda chosen: next(iter(chosen)),
)
def test_a_span_that_somebody_chose_is_another_trial(engine, chosen):
    first = trials.count(engine, TRIAL)
    other = trials.count(engine, replace(TRIAL, **chosen))
    assert other != first
    assert trials.count(engine, replace(TRIAL, **chosen)) == other


def test_tests_that_begin_later_by_default_make_no_other_trial(engine):
    first = trials.count(engine, TRIAL)
    moved = replace(TRIAL, first_test=120 * DAY)
    assert trials.count(engine, moved) == first
    asked_again = replace(TRIAL, first_test=120 * DAY, asked_for=True)
    assert trials.count(engine, asked_again) == first


def test_a_trial_without_returns_counts_but_gives_no_sharpe_ratio(engine):
    without = replace(TRIAL, sharpe_per_period=None)
    trials.count(engine, without)
    assert known(engine) == [("one", None)]
    trials.count(engine, TRIAL)
    trials.count(engine, without)
    assert known(engine) == [("one", 0.05)]


def test_questions_are_counted_apart(engine):
    trials.count(engine, TRIAL)
    assert known(engine, "volatility_forecast") == []


def test_a_sharpe_ratio_that_is_not_finite_is_refused(engine):
    with pytest.raises(ValueRangeError, match="sharpe_per_period"):
        trials.count(engine, replace(TRIAL, sharpe_per_period=float("nan")))
    assert known(engine) == []


def test_samples_that_no_trial_names_any_more_are_deleted(engine):
    for n in (300, 301, 302):
        trials.count(engine, replace(TRIAL, data=data(f"{n}", n)))
    trials.count(engine, replace(TRIAL, recipe="two", data=data("301", 301)))
    with reading(engine) as connection:
        kept = connection.scalars(sa.select(tables.trial_data.c.sha256)).all()
    assert sorted(kept) == ["301", "302"]


def count_at_once(engine):
    def one(i):
        return trials.count(engine, replace(TRIAL, recipe=f"{i % 5}", data=data(f"{i % 3}")))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(20)))
    assert sorted(known(engine)) == [(f"{i}", 0.05) for i in range(5)]
    named = {t.data_sha256 for t in trials.known(engine, "returns")}
    assert {found.sha256 for found in trials.known_data(engine, named)} == named


def test_counting_from_several_threads_loses_and_doubles_nothing(engine):
    count_at_once(engine)


@pytest.mark.postgres
def test_counting_at_once_on_postgresql_loses_and_doubles_nothing(postgres_engine):
    count_at_once(postgres_engine)


# Returns ---------------------------------------------------------------------------------------


def series(recipe, n=300, seed=0):
    rng = np.random.default_rng(seed)
    dates = DAY * np.cumsum(rng.integers(1, 4, n))
    amounts = {"turnover": rng.random(n), "held": rng.random(n)}
    return TrialReturns(recipe, dates, 0.01 * rng.standard_normal(n), amounts)


def round_trip(engine):
    ids = [trials.count(engine, replace(TRIAL, recipe=r)) for r in ("one", "two", "none")]
    kept = {ids[0]: series("one"), ids[1]: replace(series("two", 20, 1), amounts={})}
    for key, each in kept.items():
        trials.keep_returns(engine, key, each)
    found = trials.known_returns(engine, ids)
    assert found.keys() == kept.keys()
    for key, ours in kept.items():
        theirs = found[key]
        np.testing.assert_array_equal(theirs.dates, ours.dates)
        np.testing.assert_array_equal(theirs.returns, ours.returns)
        assert (theirs.dates.dtype, theirs.returns.dtype) == (np.int64, np.float64)
        assert (theirs.recipe, [*theirs.amounts]) == (ours.recipe, [*ours.amounts])
        for name, values in ours.amounts.items():
            np.testing.assert_array_equal(theirs.amounts[name], values)


def test_returns_and_amounts_come_back_bit_by_bit(engine):
    round_trip(engine)


@pytest.mark.postgres
def test_returns_and_amounts_come_back_bit_by_bit_from_postgresql(postgres_engine):
    round_trip(postgres_engine)


def test_a_newer_series_replaces_the_older(engine):
    key = trials.count(engine, TRIAL)
    trials.keep_returns(engine, key, series("one", 300))
    trials.keep_returns(engine, key, series("one", 40, 9))
    found = trials.known_returns(engine, [key])[key]
    np.testing.assert_array_equal(found.returns, series("one", 40, 9).returns)


def test_returns_of_a_trial_that_was_not_counted_are_refused(engine):
    with pytest.raises(sa.exc.IntegrityError):
        trials.keep_returns(engine, "never counted", series("one"))


@pytest.mark.parametrize(
    "broken",
    [
        TrialReturns("one", np.arange(3), np.zeros(2)),
        TrialReturns("one", np.array([0, 2, 2]), np.zeros(3)),
        TrialReturns("one", np.array([3, 2, 1]), np.zeros(3)),
        TrialReturns("one", np.arange(3), np.zeros(3), {"turnover": np.zeros(2)}),
    ],
)
def test_returns_without_a_rising_date_each_are_refused(engine, broken):
    with pytest.raises(ShapeError, match="one return per date, dates rising"):
        trials.keep_returns(engine, trials.count(engine, TRIAL), broken)


@pytest.mark.parametrize("where", ["returns", "amounts"])
def test_numbers_that_are_not_finite_are_refused(engine, where):
    bad = np.array([0.0, np.nan])
    given = {"returns": bad} if where == "returns" else {"amounts": {"turnover": bad}}
    broken = replace(TrialReturns("one", np.arange(2), np.zeros(2)), **given)
    with pytest.raises(ValueRangeError, match="returns of a trial"):
        trials.keep_returns(engine, trials.count(engine, TRIAL), broken)
