"""Always-BUY, the prior and momentum on the twenty bundled stocks: refused by the trade lock.

The gates are those of trading_signals on the real bars that ship with skfolio (2005 to 2022), with
the walk-forward folds of the pipeline; only the scores are made by hand instead of by a fit.
"""

from datetime import UTC, datetime

import numpy as np
import pytest

from pipelines.data.sources import SOURCES, BarQuery
from pipelines.method.rows import OutOfFold
from pipelines.parameters import RecipeParameters
from pipelines.recipes.dataset import make_dataset
from pipelines.recipes.recipe import Recipe, fit_decoders
from pipelines.recipes.selection_bias import among_trials
from pipelines.recipes.trial_family import TrialFamily
from registry.gates import refusals
from registry.trials import TrialReturns

START = datetime(2005, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def recipe():
    return Recipe.resolve(RecipeParameters(template="trading_signals", horizon=5))


@pytest.fixture(scope="module")
def dataset(recipe):
    return make_dataset(recipe, SOURCES.get("sample").read(BarQuery(start=START)))


def always_buy(rows):
    return np.tile(np.log([0.05, 0.15, 0.8]), (len(rows), 1))


def prior_only(rows):
    share = np.bincount(rows.y.astype(int), minlength=3) / len(rows)
    return np.tile(np.log(share), (len(rows), 1))


def momentum(rows):
    """Logits that follow the newest step's first feature, standardised: the past return."""
    newest = rows.X if rows.X.ndim == 2 else rows.X[:, -1]
    z = np.clip((newest[:, 0] - newest[:, 0].mean()) / newest[:, 0].std(), -2, 2)
    return np.column_stack((-0.3 * z, np.zeros(len(rows)), 0.3 * z))


STRATEGIES = {f.__name__: f for f in (always_buy, prior_only, momentum)}


@pytest.fixture(scope="module")
def alone(recipe, dataset):
    """Strategy name -> its evaluation."""
    tested = np.concatenate([fold.test for fold in dataset.folds])
    number = np.concatenate([np.full(len(f.test), f.number) for f in dataset.folds])
    rows = dataset.rows.take(tested)

    def judge(strategy):
        oof = OutOfFold(rows, strategy(rows).astype(np.float32), number)
        decoders = fit_decoders(recipe, dataset.rows, dataset.folds, oof)
        return recipe.template.evaluate(oof, decoders, dataset.label_spec, "1d")

    return {name: judge(strategy) for name, strategy in STRATEGIES.items()}


@pytest.fixture(scope="module")
def evaluations(alone):
    """Each strategy judged as one of three trials of the family."""
    series = tuple(TrialReturns(name, e.dates, e.returns) for name, e in alone.items())
    sharpes = tuple(e.metrics["active_sharpe_per_period"] for e in alone.values())
    family = TrialFamily(len(series), sharpes, series)
    return {name: among_trials(found, family) for name, found in alone.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_the_trade_lock_stays_shut(evaluations, name):
    found = evaluations[name]
    gates = {gate.gate: gate for gate in found.gates}
    assert [name for name, gate in gates.items() if gate.value is None] == []
    shut = {line.split(":")[0] for line in refusals(found.gates, "trade", "trading_signals")}
    assert {"edge.direction", "edge.dsr"} <= shut


@pytest.mark.slow
def test_most_of_what_buying_survivors_earns_is_the_universe(evaluations):
    found = evaluations["always_buy"]
    earned = found.tables["returns"]["net"].mean()
    assert 0 < found.returns.mean() < earned / 3
    assert found.metrics["active_sharpe_per_period"] * 252**0.5 < found.metrics["net_sharpe_1x"]
