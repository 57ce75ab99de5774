"""Tomorrow's high, low and close dated today: skill as it never was, and plausibility refuses it.

The bars are the two real indices that ship with arch; only the scores are made by hand (they follow
the past bar's return), so that no fit is needed.
"""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from pipelines.data.sources import SOURCES, BarQuery
from pipelines.method.rows import OutOfFold
from pipelines.parameters import RecipeParameters
from pipelines.recipes.dataset import make_dataset
from pipelines.recipes.inputs import kind_of
from pipelines.recipes.recipe import Recipe, fit_decoders
from registry.gates import PLAUSIBILITY

SIGNALS = RecipeParameters(template="trading_signals", architecture="logistic", horizon=1)


def bars(is_early):
    found = SOURCES.get("sample").read(BarQuery(symbols=("SP500", "NASDAQ")))
    if not is_early:
        return found
    shifted = pl.col("high", "low", "close").shift(-1).over("symbol")
    return replace(found, frame=found.frame.with_columns(shifted).drop_nulls("close"))


def past_return(data, rows):
    """The log return of the bar that a decision follows, in its sigmas."""
    known = {}
    for number, series in enumerate(data.series()):
        moves = np.diff(np.log(series.close), prepend=np.nan)
        known |= {(number, t): move for t, move in zip(series.timestamp, moves, strict=True)}
    past = [known[key] for key in zip(rows.symbol, rows.t0, strict=True)]
    return np.array(past) / rows.context["sigma"]


def judged(is_early):
    recipe, data = Recipe.resolve(SIGNALS), bars(is_early)
    dataset = make_dataset(recipe, data)
    tested = np.concatenate([fold.test for fold in dataset.folds])
    number = np.concatenate([np.full(len(fold.test), fold.number) for fold in dataset.folds])
    rows = dataset.rows.take(tested)
    lean = 2 * np.clip(past_return(data, rows), -2, 2)
    scores = np.column_stack((-lean, np.full(len(rows), 0.3), lean)).astype(np.float32)
    oof = OutOfFold(rows, scores, number)
    decoders = fit_decoders(recipe, dataset.rows, dataset.folds, oof)
    found = recipe.template.evaluate(oof, decoders, dataset.label_spec, data.interval)
    kind = kind_of(recipe.template)
    return found.metrics, (*found.gates, *kind.plausible_data(dataset))


def refused(gates):
    return {row.gate for row in gates if not row.passed and row.applicable}


@pytest.fixture(scope="module")
def early():
    return judged(is_early=True)


def test_with_tomorrow_s_prices_dated_today_the_gates_of_skill_pass(early):
    metrics, gates = early
    assert metrics["net_sharpe_1x"] > 9
    assert not {"edge.log_loss", "edge.direction", "edge.net_sharpe_2x"} & refused(gates)


def test_and_plausibility_refuses_them_four_times(early):
    _, gates = early
    names = ("sharpe", "direction", "opens", "ranges")
    found = {gate for gate in refused(gates) if gate.startswith(PLAUSIBILITY)}
    assert found == {PLAUSIBILITY + name for name in names}


def test_the_same_scores_on_honest_bars_are_plausible_and_worth_nothing():
    metrics, gates = judged(is_early=False)
    assert not {gate for gate in refused(gates) if gate.startswith(PLAUSIBILITY)}
    assert "edge.direction" in refused(gates)
    assert metrics["net_sharpe_1x"] < 1
