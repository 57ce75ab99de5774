"""Inputs `portfolio`: returns on common dates, labels ahead of them, and its two checks."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from pipelines.parameters import RecipeParameters
from pipelines.recipes.dataset import final_rows, make_dataset
from pipelines.recipes.inputs import INPUT_KINDS
from pipelines.recipes.inputs.portfolio import common_closes
from pipelines.recipes.recipe import Recipe
from registry.errors import BarsError, TooLittleHistoryError

KIND = INPUT_KINDS.get("portfolio")
SYMBOLS = ("AAA", "BBB", "CCC")


@pytest.fixture
def recipe() -> Recipe:
    wanted = RecipeParameters(
        template="portfolio_risk",
        architecture="ewma_fhs",
        horizon=2,
        parameters='{"window": 100, "paths": 100}',
    )
    return Recipe.resolve(wanted)


@pytest.fixture
def bars(make_bars):
    return make_bars(SYMBOLS, 400)


@pytest.fixture
def spec(recipe, bars):
    return recipe.template.label_spec(2, KIND.training(bars), recipe.options)


def closes_of(bars) -> np.ndarray:
    parts = [series.close for series in bars.series()]
    return np.stack(parts, axis=1)


def test_rows_are_returns_up_to_a_date_and_the_label_comes_after_it(recipe, bars, spec) -> None:
    rows, closes = KIND.rows(recipe, bars, spec), closes_of(bars)
    assert rows.X.shape == (397, 3)
    np.testing.assert_allclose(rows.X[9], closes[10] / closes[9] - 1, rtol=1e-5)
    assert rows.y[9] == pytest.approx((closes[12] / closes[10] - 1).mean())
    dates = bars.frame["timestamp"].unique().sort().to_physical().to_numpy()
    assert rows.t0[9] == dates[10]
    assert rows.t1[9] == dates[12]


def test_the_newest_rows_have_no_label_yet(recipe, bars, spec) -> None:
    rows = KIND.rows(recipe, bars, spec, keep_unlabelled=True)
    assert len(rows) == 399
    assert (rows.t1[-2:] == -1).all()
    assert np.isnan(rows.y[-2:]).all()
    assert not rows.fit[-2:].any()


def test_baselines_are_quantiles_of_what_was_known(recipe, bars, spec) -> None:
    rows, closes = KIND.rows(recipe, bars, spec), closes_of(bars)
    path = (closes[1:] / closes[:-1] - 1).mean(axis=1)
    spanned = (1 + path[1:]) * (1 + path[:-1]) - 1
    t = 250
    assert rows.context["historical_var"][t] == pytest.approx(np.quantile(-spanned[:t], 0.99))
    variance = path[0] ** 2
    for value in path[1 : t + 1]:
        variance = 0.94 * variance + 0.06 * value**2
    expected = 2.3263478740408408 * np.sqrt(2 * variance)
    assert rows.context["ewma_normal_var"][t] == pytest.approx(expected)
    assert np.isnan(rows.context["historical_var"][50])


def test_dates_that_a_symbol_lacks_are_left_out(recipe, bars, spec) -> None:
    gone = bars.frame["timestamp"].unique().sort()[50]
    hole = (pl.col("symbol") == "BBB") & (pl.col("timestamp") == gone)
    dates, closes = common_closes(replace(bars, frame=bars.frame.filter(~hole)))
    assert len(dates) == 399
    np.testing.assert_array_equal(closes, np.delete(closes_of(bars), 50, axis=0))


def test_a_symbol_without_enough_history_is_named(recipe, make_bars, spec) -> None:
    bars = make_bars(SYMBOLS, 400)
    start = bars.frame["timestamp"].unique().sort()[100]
    late = (pl.col("symbol") == "BBB") & (pl.col("timestamp") < start)
    with pytest.raises(BarsError, match=r"BBB has bars on 300 of 400 dates.*symbols="):
        KIND.rows(recipe, replace(bars, frame=bars.frame.filter(~late)), spec)


def test_too_few_dates_are_refused(recipe, make_bars, spec) -> None:
    with pytest.raises(TooLittleHistoryError, match="labelled date"):
        KIND.rows(recipe, make_bars(SYMBOLS, 3), spec)


def test_sampled_portfolios_sum_to_one_and_some_are_short(recipe, bars, spec) -> None:
    found = KIND.sample(KIND.rows(recipe, bars, spec), 64)
    assert found.shape == (64, 3)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert (found.min(axis=1) < 0).any()
    np.testing.assert_allclose(found[0], 1 / 3, rtol=1e-6)


def test_checks_pass_on_honest_rows(recipe, bars) -> None:
    causality, parity = KIND.checks(recipe, make_dataset(recipe, bars))
    assert (causality.gate, parity.gate) == ("causality", "feature_parity")
    assert causality.passed
    assert parity.passed


def test_a_row_that_knows_tomorrow_is_caught(recipe, bars) -> None:
    dataset = make_dataset(recipe, bars)
    shifted = replace(dataset.rows, X=np.roll(dataset.rows.X, -1, axis=0))
    causality, parity = KIND.checks(recipe, replace(dataset, rows=shifted))
    assert not causality.passed
    assert not parity.passed


def test_the_final_fit_knows_the_newest_returns(recipe, bars) -> None:
    dataset = make_dataset(recipe, bars)
    rows = final_rows(recipe, dataset)
    assert len(rows) == len(dataset.rows) + 2
    closes = closes_of(bars)
    np.testing.assert_allclose(rows.X[-1], closes[-1] / closes[-2] - 1, rtol=1e-5)
    one_bar = replace(recipe, parameters={**recipe.parameters, "horizon_rule": "square_root"})
    found = one_bar.fit(rows).predict(np.eye(3, dtype=np.float32)).T
    shorter = one_bar.fit(dataset.rows).predict(np.eye(3, dtype=np.float32)).T
    assert (found != shorter).all()
