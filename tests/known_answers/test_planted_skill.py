"""A first recipe that is good opens its trade lock: returns with an autocorrelation of 0.2.

Six symbols whose daily returns follow r_t = 0.2 r_{t-1} + e_t. Nothing else was tried on these
data, so that there is no choice to judge; worthless data of the same kind stay shut.
"""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from pipelines.data.bars import Bars, check_bars
from pipelines.parameters import RecipeParameters
from pipelines.recipes.dataset import make_dataset
from pipelines.recipes.plausible_data import dated_bars
from pipelines.recipes.recipe import Recipe, fit_decoders, fit_folds
from pipelines.recipes.selection_bias import among_trials
from pipelines.recipes.trial_family import TrialFamily
from registry.gates import GateRow, refusals

START, N_DATES, N_SYMBOLS, PHI = datetime(2010, 1, 1, tzinfo=UTC), 2500, 6, 0.2
FIRST_TEST = "2011-06-01"
WANTED = RecipeParameters(
    template="trading_signals", architecture="logistic", horizon=1, first_test=FIRST_TEST
)
NAMED = GateRow("edge.costs", 1.0, "is", 1.0)  # of the source, which declares equities


def planted(phi, seed):
    """Bars that open where they closed, so that a decision is filled at its own close."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal(N_DATES)
    times = pl.datetime_range(
        START, START + timedelta(days=N_DATES - 1), timedelta(days=1), eager=True
    )
    frames = []
    for number in range(N_SYMBOLS):
        noise = 0.01 * (np.sqrt(0.3) * common + np.sqrt(0.7) * rng.standard_normal(N_DATES))
        moves = np.zeros(N_DATES)
        for t in range(1, N_DATES):
            moves[t] = phi * moves[t - 1] + noise[t]
        close = 100 * np.exp(moves.cumsum())
        opened = np.concatenate(([100.0], close[:-1]))
        above, below = np.abs(0.003 * rng.standard_normal((2, N_DATES)))
        columns = {
            "symbol": ["ABCDEF"[number]] * N_DATES,
            "timestamp": times,
            "open": opened,
            "high": np.maximum(opened, close) * (1 + above),
            "low": np.minimum(opened, close) * (1 - below),
            "close": close,
            "volume": np.full(N_DATES, 1e8),
        }
        frames.append(pl.DataFrame(columns))
    frame, _ = check_bars(pl.concat(frames), policy="strict", where="planted")
    return Bars(frame, "1d", "adjusted", "files")


@pytest.fixture(params=[0, 1], scope="module")
def judged(request):
    """Return the evaluation of a first recipe on data with this autocorrelation."""

    def judge(phi):
        recipe, bars = Recipe.resolve(WANTED), planted(phi, request.param)
        dataset = make_dataset(recipe, bars, FIRST_TEST)
        oof = fit_folds(recipe, dataset.rows, dataset.folds)
        decoders = fit_decoders(recipe, dataset.rows, dataset.folds, oof)
        alone = recipe.template.evaluate(oof, decoders, dataset.label_spec, "1d")
        alone = alone.with_gates(*dated_bars(bars.series()))
        return among_trials(alone, TrialFamily(1, (0.1,)))

    return judge


def shut(evaluation):
    lines = refusals((*evaluation.gates, NAMED), "trade", "trading_signals")
    return {line.partition(":")[0] for line in lines}


@pytest.mark.slow
def test_a_first_recipe_that_is_good_opens_its_lock(judged):
    found = judged(PHI)
    assert shut(found) == set()
    choice = next(gate for gate in found.gates if gate.gate == "edge.choice_loss")
    assert not choice.applicable


@pytest.mark.slow
def test_a_first_recipe_on_worthless_data_does_not(judged):
    assert {"edge.direction", "edge.dsr"} <= shut(judged(0.0))
