"""Which trials count for the one at hand, and at whose costs they are compared."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa

from pipelines.data.bars import Bars, check_bars
from pipelines.data.tables.row_data import RowData
from pipelines.parameters import RecipeParameters
from pipelines.recipes.recipe import Recipe
from pipelines.recipes.trial_family import count_trial
from pipelines.templates import Evaluation
from registry import tables

START = datetime(2010, 1, 1, tzinfo=UTC)
N = 600
SIGNALS = RecipeParameters(template="trading_signals")


def bars(seed=0, symbol="A", interval="1d", n=N, start=START):
    step = timedelta(hours=1) if interval == "1h" else timedelta(days=1)
    moves = np.random.default_rng(seed).standard_normal(n * (24 if interval == "1h" else 1))
    times = pl.datetime_range(start, start + (len(moves) - 1) * step, step, eager=True)
    close = np.exp(0.01 * moves.cumsum())
    frame = pl.DataFrame({"symbol": [symbol] * len(moves), "timestamp": times, "close": close})
    return checked(frame, interval)


def checked(frame, interval):
    frame, _ = check_bars(frame, policy="strict", where="here")
    return Bars(frame, interval, "adjusted", "files")


def evaluation(seed=0, turnover=0.1, rate=0.001, held=1.0, n=400, shift=0.0):
    rng = np.random.default_rng(seed)
    amounts = {"turnover": np.full(n, turnover), "held": np.full(n, held)}
    net = 0.01 * rng.standard_normal(n) + shift - turnover * rate
    dates = 86_400_000_000 * np.arange(n)
    return Evaluation({}, (), {}, net, dates, amounts, {"turnover": rate})


FORECAST = Evaluation({}, (), {})


@pytest.fixture
def tried(engine):
    """Count a trial; return its family."""

    def count(data, wanted=SIGNALS, found=None, model_id="m", spec=None):
        recipe = Recipe.resolve(wanted)
        dataset = SimpleNamespace(data=data, label_spec=spec or {}, first_test=data.span()[0])
        candidate = SimpleNamespace(
            recipe=recipe,
            dataset=dataset,
            contract=SimpleNamespace(model_id=model_id),
            run_id="run",
            wanted=wanted,
        )
        found = found or (evaluation() if recipe.template.is_action else FORECAST)
        return count_trial(candidate, found, engine)

    return count


VARIANTS = [
    {"horizon": 20},
    {"options": '{"fee": 0.00005000001}'},
    {"options": '{"label": "fixed_horizon"}'},
    {"options": '{"instrument": "fx"}'},
    {"seed": 4},
]


def test_variants_of_horizon_cost_label_and_seed_count_together(tried):
    for n, changed in enumerate(VARIANTS, 1):
        assert tried(bars(), replace(SIGNALS, **changed)).n_trials == n
    assert tried(bars(), replace(SIGNALS, **VARIANTS[0])).n_trials == len(VARIANTS)


def test_a_renamed_symbol_and_model_do_not_start_the_count_again(tried):
    tried(bars())
    other = replace(SIGNALS, seed=1, model_name="fresh")
    assert tried(bars(symbol="FRESH"), other, model_id="fresh").n_trials == 2


def test_other_data_under_the_same_names_do_not_poison(tried):
    for seed in range(5):
        tried(bars(1), replace(SIGNALS, seed=seed))
    assert tried(bars(2)).n_trials == 1


def test_hours_count_for_days_but_are_not_compared_with_them(tried):
    hours = bars(3, interval="1h")
    days = hours.frame.group_by_dynamic("timestamp", every="1d", closed="right").agg(
        pl.col("symbol", "close").last()
    )
    tried(hours, found=evaluation(1))
    tried(hours, replace(SIGNALS, seed=2), found=evaluation(2))
    family = tried(checked(days, "1d"))
    assert family.n_trials == 3
    assert len(family.sharpe_per_period) == len(family.series) == 1


def test_a_refit_on_more_bars_is_no_new_trial_and_a_sooner_end_is_one(tried):
    assert tried(bars()).n_trials == 1
    longer = bars(n=N + 100)
    assert tried(longer).n_trials == 1
    assert tried(bars()).n_trials == 2


def test_forecasts_of_one_template_count_apart_from_others(tried):
    volatility = RecipeParameters(template="volatility_forecast")
    for seed in range(3):
        found = tried(bars(), replace(volatility, seed=seed))
    assert (found.n_trials, found.series) == (3, ())
    assert tried(bars(), RecipeParameters(template="return_forecast")).n_trials == 1
    assert tried(bars()).n_trials == 1


def test_tables_with_the_same_rows_count_together(tried):
    rng = np.random.default_rng(0)
    times = pl.datetime_range(START, START + timedelta(days=299), timedelta(days=1), eager=True)
    table = pl.DataFrame({"timestamp": times, "x": rng.random(300), "y": rng.random(300)})
    tabular = RecipeParameters(template="tabular", options='{"target": "y"}')
    assert tried(RowData(table, "files"), tabular).n_trials == 1
    wider = table.with_columns(z=rng.random(300))
    assert tried(RowData(wider, "files"), replace(tabular, seed=1)).n_trials == 2
    other = table.with_columns(x=rng.random(300), y=rng.random(300))
    assert tried(RowData(other, "files"), replace(tabular, seed=1)).n_trials == 1


def test_all_trials_are_charged_at_the_costs_of_the_judged_one(tried):
    cheap = evaluation(1, turnover=0.5, rate=0.0)
    tried(bars(), replace(SIGNALS, seed=1), found=cheap)
    family = tried(bars(), found=evaluation(2, turnover=0.1, rate=0.01))
    theirs, ours = family.series
    np.testing.assert_allclose(theirs.returns, cheap.returns - 0.5 * 0.01, atol=1e-15)
    np.testing.assert_allclose(ours.returns, evaluation(2, 0.1, 0.01).returns, atol=1e-15)
    net = theirs.returns
    assert family.sharpe_per_period[0] == pytest.approx(net.mean() / net.std(ddof=1))


@pytest.mark.parametrize(("dates", "trades"), [(19, False), (20, True)])
def test_a_recipe_trades_from_a_position_on_five_percent_of_its_dates_on(tried, dates, trades):
    held = np.where(np.arange(400) < dates, 0.5, 0.0)
    tried(bars(), replace(SIGNALS, seed=1), found=evaluation(held=held))
    family = tried(bars(), found=evaluation(2))
    assert family.n_trials == 2
    assert len(family.series) == 1 + trades


# Trials from before samples of data were kept --------------------------------------------------


def old_trial(engine, family, model_id, question="", sharpe=0.03):
    values = {
        "id": f"{family} {model_id}",
        "question": question,
        "recipe": "old",
        "family": family,
        "model_id": model_id,
        "run_id": "run",
        "sharpe_per_period": sharpe,
        "first_seen_at": START,
    }
    with engine.begin() as connection:
        connection.execute(sa.insert(tables.trials).values(values))


def test_an_old_trial_counts_with_its_family_and_with_its_model(tried, engine):
    spec = {"kind": "triple_barrier"}
    family, _ = Recipe.resolve(SIGNALS).counted_before(spec, ("A",))
    old_trial(engine, family, "another")
    old_trial(engine, "unknown", "m")
    old_trial(engine, "unknown", "nobody's")
    old_trial(engine, family, "forecasts", question="volatility_forecast")
    found = tried(bars(), spec=spec)
    assert found.n_trials == 3
    assert len(found.sharpe_per_period) == 3
    assert len(found.series) == 1


def test_an_old_trial_without_a_sharpe_ratio_is_none_that_trades(tried, engine):
    old_trial(engine, "unknown", "m", sharpe=None)
    found = tried(bars())
    assert (found.n_trials, len(found.sharpe_per_period)) == (2, 1)
