"""Combinatorial paths: nothing that is fitted has seen the rows it is judged on."""

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
import pytest

from pipelines.data.features import FEATURE_SETS
from pipelines.parameters import RecipeParameters
from pipelines.recipes.combinatorial import judge_paths, parse_paths
from pipelines.recipes.dataset import make_dataset
from pipelines.recipes.inputs import Dataset
from pipelines.recipes.recipe import Recipe
from registry.errors import ParameterError, TooLittleHistoryError
from tests.examples import make_labelled_rows

DAY = 86_400_000_000
HORIZON = 5


@dataclass
class Recorder:
    """An architecture whose inputs are times: remembers what each fit saw and then predicted."""

    name: str = "recorder"
    native_format: str = ""
    default_window: int = 1
    objectives: tuple[str, ...] = ("softmax",)
    meetings: list = field(default_factory=list)

    def parameters(self, objective):
        return {}

    def fit(self, rows, objective, parameters, seed, context=None):
        return Remembering(rows.X[:, 0].copy(), rows.weight, self.meetings)


@dataclass
class Remembering:
    trained: np.ndarray
    weight: np.ndarray
    meetings: list
    n_scores: int = 3

    def predict(self, X):
        self.meetings.append((self.trained, X[:, 0].copy(), self.weight))
        return np.zeros((len(X), 3), dtype=np.float32)


@dataclass(frozen=True)
class ShortLooking:
    min_history: int = 20


SPEC = {"horizon_bars": HORIZON, "fill": "next_close", "path": "close", "width": 0.4}


def timed_rows(n=1200):
    """Signals on independent returns, whose only input is the bar's number."""
    rng = np.random.default_rng(0)
    time, moves = np.arange(n, dtype=np.int64), 0.01 * rng.standard_normal(n)
    y = np.where(moves > 0.004, 2.0, np.where(moves < -0.004, 0.0, 1.0))
    unknown = np.full(n, np.nan)
    context = {
        "close": np.ones(n),
        "sigma": np.full(n, 0.01),
        "half_spread": unknown,
        "dollar_volume": unknown,
    }
    outcome = {
        "log_return": moves,
        "touched": (y != 1).astype(float),
        "ambiguous": np.zeros(n),
        "next_return": np.expm1(moves),
        "left_at": (time + HORIZON) * float(DAY),
    }
    X, t0 = time[:, None].astype(np.float32), time * DAY
    found = {"context": context, "outcome": outcome, "spec": SPEC}
    return make_labelled_rows(n, X=X, y=y, t0=t0, t1=t0 + HORIZON * DAY, **found)


def timed_dataset(n=1200):
    return Dataset(None, timed_rows(n), (), SPEC, datetime(2000, 1, 1, tzinfo=UTC))


@pytest.fixture(scope="module", autouse=True)
def short_looking():
    """Offer feature sets by the name of their look-back."""
    with pytest.MonkeyPatch.context() as patch:
        for look_back in (20, 900):
            patch.setitem(FEATURE_SETS._resolved, str(look_back), ShortLooking(look_back))
        yield


def recording(recorder, look_back=20):
    recipe = Recipe.resolve(RecipeParameters(template="trading_signals"))
    return replace(recipe, architecture=recorder, feature_set=str(look_back), window=1)


@pytest.fixture(scope="module")
def judged():
    """The judgement of six groups with two tested, and every (fitted, predicted) meeting."""
    recorder = Recorder()
    found = judge_paths(recording(recorder), timed_dataset(), "6,2", "1d")
    return found, recorder.meetings


def test_every_fold_costs_three_fits(judged):
    assert len(judged[1]) == 45


def test_no_fit_has_seen_a_label_that_meets_what_it_predicts(judged):
    for trained, predicted, _ in judged[1]:
        gap = np.abs(trained[:, None] - predicted[None]).min()
        assert gap > HORIZON


def test_what_follows_a_tested_block_is_embargoed_by_the_look_back(judged):
    for trained, predicted, _ in judged[1]:
        ends = predicted[~np.isin(predicted + 1, predicted)]
        for end in ends:
            banned = np.arange(end + 1, end + HORIZON + 20 + 1)
            assert not np.isin(trained, banned).any()


def test_fits_weight_rows_by_uniqueness(judged):
    _, _, weight = judged[1][0]
    assert weight.mean() == pytest.approx(1.0)
    assert weight.max() > 1.5 * weight.min()


def test_each_path_has_a_line_and_their_spread_is_reported(judged):
    table, metrics = judged[0].table, judged[0].metrics
    assert table["path"].to_list() == [0, 1, 2, 3, 4]
    gain = (table["baseline_loss"] - table["loss"]).min()
    assert metrics["path_loss_gain_min"] == pytest.approx(gain)
    assert metrics["path_sharpe_max"] == table["active_sharpe"].max()
    # the same scores everywhere: every path is the uniform forecast
    np.testing.assert_allclose(table["loss"], np.log(3), rtol=0.05)


@pytest.mark.slow
def test_signals_have_a_sharpe_ratio_on_each_path(make_bars):
    wanted = RecipeParameters(
        template="trading_signals", parameters=json.dumps({"rounds": 5, "nthread": 1})
    )
    recipe = Recipe.resolve(wanted)
    found = judge_paths(recipe, make_dataset(recipe, make_bars(n=7000)), "4,2", "1d")
    assert found.table.columns == ["path", "loss", "baseline_loss", "active_sharpe", "net_sharpe"]
    assert len(found.table) == 3
    assert found.metrics["path_sharpe_min"] <= found.metrics["path_sharpe_mean"]


def test_nothing_is_done_unless_asked():
    assert judge_paths(None, None, " ", "1d") is None


@pytest.mark.parametrize("text", ["6", "6,2,1", "six,two", "6;2", "-6,2"])
def test_groups_that_cannot_be_read_are_refused(text):
    with pytest.raises(ParameterError, match="groups,tested"):
        parse_paths(text)


def test_too_long_a_look_back_leaves_nothing_to_fit():
    with pytest.raises(TooLittleHistoryError, match="combinatorial"):
        judge_paths(recording(Recorder(), 900), timed_dataset(300), "6,2", "1d")
