"""Limits and several objectives, on real fits of a fast and a slow model.

The next return depends on the last one (a line sees that) and on its size (only trees see that).
"""

import json
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from optuna.trial import TrialState

from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes.inputs import kind_of
from pipelines.recipes.trial_family import sampled_data
from pipelines.tuning.asked import Asked, Question
from pipelines.tuning.decision import best_of, decide, front_of
from pipelines.tuning.leaderboard import leaderboard
from pipelines.tuning.memory import MemoryLimit, held_megabytes
from pipelines.tuning.page import render, sections
from pipelines.tuning.parameters import SearchParameters
from pipelines.tuning.search import Search, search
from pipelines.tuning.served import NO_LIMITS, Limits
from pipelines.tuning.shared_rows import SharedRows
from pipelines.tuning.studies import KeptStudy, Plan, place_of, point_of, result_of
from pipelines.tuning.untouched import hold_back
from registry import events
from registry.errors import AllTrialsFailedError, ParameterError

SPACE = {
    "architectures": ["ridge", "xgboost"],
    "parameters": {"ridge": {"alpha": [0.1, 1]}, "xgboost": {"rounds": [150, 200]}},
}
ROWS = 2048
"""Rows of a call: trees take milliseconds for so many, a line takes a hundredth of that."""
FAST = {"latency_ms": 1.0, "latency_batch": ROWS}


class Unwritten:
    """Takes what would become MLflow runs."""

    def write(self, trial):
        """Keep nothing."""


@pytest.fixture(scope="session")
def bars(tmp_path_factory):
    path, n, parts = tmp_path_factory.mktemp("sizes") / "bars.csv", 1100, []
    for number, symbol in enumerate(("AAA", "BBB", "CCC")):
        shocks = np.random.default_rng([7, number]).standard_normal(n)
        returns = np.zeros(n)
        for t in range(1, n):
            last = returns[t - 1]
            returns[t] = 0.3 * last + 0.9 * (min(abs(last), 2) - 0.75) + shocks[t]
        close = 100 * np.exp(np.cumsum(0.01 * returns))
        opened = np.concatenate(([100.0], close[:-1]))
        prices = {
            "open": opened,
            "high": np.maximum(opened, close),
            "low": np.minimum(opened, close),
            "close": close,
        }
        start = np.datetime64("2010-01-01") + np.arange(n)
        parts.append(pl.DataFrame({"symbol": [symbol] * n, "timestamp": start, **prices}))
    pl.concat(parts).write_csv(path)
    return str(path)


@pytest.fixture
def searched(bars, engine, settings, tmp_path):
    """Search the four recipes; return what was searched and its decision."""
    names = iter(range(10))

    def run(memory=0, space=SPACE, **asked_for):
        asked = Asked(
            SourceParameters(source="files", path=bars),
            RecipeParameters("return_forecast", feature_set="returns", horizon=1),
            SearchParameters(**{"space": json.dumps(space), "sampler": "grid", **asked_for}),
        )
        question = Question.of(asked)
        data = kind_of(question.template).read(asked.source, asked.recipe, settings)
        held = hold_back(data, question.template, 20, 1)
        name = f"s{next(names)}"
        study = KeptStudy(tmp_path / name, name)
        first, *others = (metric.higher_is_better for metric in question.metrics)
        study.make({}, higher_is_better=first, others=others)
        study.join()
        plan = Plan(question.space, "grid", question.pruner, 0, question.space.grid(0))
        todo = Search(
            *(study, plan, question.metric, SharedRows(held.search, ""), held),
            *(sampled_data(held.search), engine, "r"),
            others=question.metrics[1:],
            limits=question.limits,
            memory=MemoryLimit(memory),
        )
        search(todo, 4, 0, Unwritten())
        return todo, decide(todo, data)

    return run


@pytest.mark.slow
def test_the_same_request_with_a_latency_limit_chooses_another_model(searched):
    free, chosen = searched()
    assert chosen.recipe.architecture.name == "xgboost" and chosen.verdict.found
    assert not any("latency_ms" in result_of(trial) for trial in free.study.ended())
    todo, chosen = searched(**FAST)
    assert chosen.recipe.architecture.name == "ridge" and chosen.verdict.found
    found = result_of(chosen.best)
    assert 0 < found["latency_ms"] <= 1 and 0 < found["artifact_kb"] < 5
    within = [result_of(t) for t in todo.study.ended() if todo.limits.hold(result_of(t))]
    assert found["score"] == min(result["score"] for result in within)
    for trial in todo.study.ended():  # who is not measured is behind one within the limit
        is_measured = "latency_ms" in result_of(trial)
        assert is_measured or result_of(trial)["score"] >= found["score"]
        if point_of(trial)["architecture"] == "xgboost":
            assert trial.constraints["latency_ms"] > 0, "the sampler is told, too"
    board = leaderboard(todo.study.ended(), todo.metrics, chosen, todo.limits)
    assert board["trial"][0] == place_of(chosen.best) + 1 and board["within_limits"][0]


def test_limits_that_nothing_keeps_find_nothing_and_cost_no_look(searched, engine):
    trees = {"architectures": ["xgboost"], "parameters": {"xgboost": {"rounds": [20]}}}
    _, chosen = searched(artifact_kb=1, space=trees)
    assert chosen.verdict.of_search.passed and not chosen.verdict.found
    expected = "none of 1 complete trials keeps within 1 kB; the nearest is trial 1 with "
    assert chosen.verdict.reason.startswith(expected)
    assert not events.of_kind(engine, "untouched_looked")


def test_several_objectives_give_a_front_and_the_first_says_who_is_judged(searched, engine):
    todo, chosen = searched(metric="rmse, auc, artifact_kb")
    ended, front = todo.study.ended(), {place_of(trial) for trial in chosen.front}
    by_optuna = {place_of(trial) for trial in todo.study.loaded().best_trials}
    assert front == by_optuna and 1 < len(front) <= 4
    assert place_of(chosen.best) in front and chosen.recipe.architecture.name == "xgboost"
    assert result_of(chosen.best)["score"] == min(result_of(trial)["score"] for trial in ended)
    assert all(result_of(trial)["artifact_kb"] > 0 for trial in ended), "each one is measured"
    assert len(events.of_kind(engine, "untouched_looked")) == 1
    assert len(chosen.to_json()["front"]) == len(front)
    board = leaderboard(ended, todo.metrics, chosen, todo.limits)
    assert {"auc", "artifact_kb", "front", "gap_random_walk", "pbo"} <= set(board.columns)
    parts = sections(todo.study.loaded(), board, chosen, todo.metrics)
    named = ["decision", "front", "history", "importance", "leaderboard"]
    assert [part.name for part in parts] == named
    page = render("s", "", parts)
    assert "Pareto front" in page and "which was named first before the search" in page
    assert f"Best trial {place_of(chosen.best) + 1}: xgboost (returns, " in page
    assert "deflated sharpe" not in page, "no trial has one"
    assert ">n trials<" in page and "n_trials" not in page
    assert ">yes</td>" in page and ">True</td>" not in page
    assert "(PBO)" not in page, "trials without returns have none, however many they are"


def test_trials_that_are_far_worse_do_not_press_the_others_together(searched):
    todo, chosen = searched(metric="rmse, auc, artifact_kb")
    ended = todo.study.ended()
    far = deepcopy(ended[-1])
    far.values = [50.0, *far.values[1:]]
    study = SimpleNamespace(get_trials=lambda **_: [*ended, far])
    board = leaderboard(ended, todo.metrics, chosen, todo.limits)
    parts = {part.name: part.blocks for part in sections(study, board, chosen, todo.metrics)}
    chart, remark = parts["history"][:2]
    low, high = chart.figure.layout.yaxis.range
    assert low < min(trial.values[0] for trial in ended)
    assert max(trial.values[0] for trial in ended) < high < 2
    assert remark.text == "Far worse, and beyond the axis: 1 of 5 trials."
    assert all(part.figure.layout.yaxis.range is None for part in parts["front"][:1])


@pytest.mark.integration
def test_where_the_chosen_trial_is_not_significant_and_others_are_one_of_those_is_chosen(
    searched, monkeypatch
):
    shrunk = {"architectures": ["ridge"], "parameters": {"ridge": {"alpha": [1e12, 1]}}}
    monkeypatch.setattr("pipelines.tuning.decision.chosen", lambda _: 0)  # the earliest
    todo, decided = searched(space=shrunk)
    earliest, *others = todo.study.ended()
    assert point_of(earliest)["ridge.alpha"] == 1e12
    limit = decided.verdict.of_search.limit
    assert result_of(earliest)["z"] < limit <= result_of(decided.best)["z"]
    assert decided.best.number in {other.number for other in others}
    assert decided.verdict.of_search.passed and decided.verdict.untouched is not None


def trial_of(todo, values, latency=None):
    """End a made-up trial with these values."""
    taken = todo.study.take(todo.plan, 100)
    result = {"score": values[0]} | ({} if latency is None else {"latency_ms": latency})
    return todo.study.end(taken, TrialState.COMPLETE, result, values)


@pytest.fixture
def two_objectives(tmp_path):
    asked = Asked(
        SourceParameters(),
        RecipeParameters("return_forecast"),
        SearchParameters(metric="rmse,ic", sampler="random", latency_ms=1.0),
    )
    question = Question.of(asked)
    study = KeptStudy(tmp_path / "s", "s")
    study.make({}, higher_is_better=False, others=[True])
    study.join()
    plan = Plan(question.space, "random", "none", 0, ())
    nothing = (None, None, None, None, "r")
    others, limits = question.metrics[1:], question.limits
    return Search(study, plan, question.metric, *nothing, others=others, limits=limits)


def test_the_front_holds_who_is_not_beaten_within_the_limits(two_objectives):
    todo = two_objectives
    for values, latency in (
        ((1.0, 0.1), 0.5),  # the best by the first
        ((2.0, 0.3), 0.5),  # the best by the second
        ((2.0, 0.2), 0.5),  # beaten by the one before
        ((0.5, 0.9), 2.0),  # too slow
        ((0.4, 0.9), None),  # not measured
        ((1.0, 0.1), 0.7),  # as good as the first
    ):
        trial_of(todo, values, latency)
    ended = todo.study.ended()
    assert [place_of(trial) for trial in front_of(todo, ended)] == [0, 1, 5]
    assert place_of(best_of(todo, ended)) == 0
    assert place_of(best_of(replace(todo, limits=NO_LIMITS), ended)) == 4
    assert todo.leads(0.9) and not todo.leads(1.0), "those too slow lead nobody"


def test_equals_by_the_first_objective_are_told_apart_by_the_second(two_objectives):
    todo = replace(two_objectives, limits=NO_LIMITS)
    for values in ((1.0, 0.1), (1.0, 0.3), (1.0, 0.2)):
        trial_of(todo, values)
    assert place_of(best_of(todo, todo.study.ended())) == 1


def test_a_limit_says_itself_in_words():
    assert Limits(2.5, 100, 64).said() == "2.5 ms for 64 rows and 100 kB"
    assert Limits(0.5).said() == "0.5 ms for 1 row" and not NO_LIMITS.are_asked
    assert Limits(2.0).excess({"latency_ms": 3.0, "artifact_kb": 9.0}) == {"latency_ms": 0.5}


def test_a_trial_that_needs_more_memory_fails_with_the_reason(searched):
    with pytest.raises(AllTrialsFailedError, match=r"holds [\d,]+ MB, and memory_mb=10 allows"):
        searched(memory=10)
    MemoryLimit(int(2 * held_megabytes())).check(SharedRows(None, ""))


@pytest.mark.parametrize(
    ("columns", "sets", "usable"),
    [
        ("", ["close_only", "ohlcv"], ("close_only", "ohlcv")),
        ("close", ["close_only", "ohlcv"], ("close_only",)),
        ("open, high,low,close,volume", ["close_only", "ohlcv"], ("close_only", "ohlcv")),
        ("close", [], ("",)),
    ],
)
def test_feature_sets_that_the_server_cannot_compute_are_left_out(columns, sets, usable):
    space = {"feature_sets": sets} if sets else {}
    search = SearchParameters(space=json.dumps(space), served_columns=columns)
    found = Question.of(Asked(SourceParameters(), RecipeParameters("return_forecast"), search))
    assert found.space.feature_sets == usable
    assert set(found.left_out) == set(sets) - set(usable)


@pytest.mark.parametrize(
    ("template", "asked", "expected"),
    [
        ("return_forecast", {"metric": "latency_ms"}, "not chosen by its cost alone"),
        ("return_forecast", {"metric": "latency_ms,rmse"}, "not chosen by its cost alone"),
        ("return_forecast", {"metric": "rmse,rmse"}, "1 to 3 different names"),
        ("return_forecast", {"metric": "rmse,mae,ic,auc"}, "1 to 3 different names"),
        ("return_forecast", {"metric": "rmse,,ic"}, "expected one of rmse"),
        ("return_forecast", {"metric": "rmse,qlike"}, "metric='qlike': expected one of rmse"),
        (
            "return_forecast",
            {"metric": "rmse,ic", "pruner": "wilcoxon"},
            "none with several metric",
        ),
        (
            "return_forecast",
            {"pruner": "halving", "latency_ms": 1.0},
            "wilcoxon or none with a limit",
        ),
        ("return_forecast", {"latency_batch": 0}, "latency_batch=0: expected 1 to 65,536"),
        ("return_forecast", {"served_columns": "open"}, "enough for close_only; .* none is"),
        ("return_forecast", {"served_columns": "bid,close"}, "'bid': expected some of close, high"),
        ("tabular", {"served_columns": "close"}, "nothing for tabular"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_in_one_line(template, asked, expected):
    wanted = Asked(SourceParameters(), RecipeParameters(template), SearchParameters(**asked))
    with pytest.raises(ParameterError, match=expected):
        Question.of(wanted)


def test_cma_es_takes_one_metric_only():
    space = {
        "architectures": ["elastic_net"],
        "parameters": {"elastic_net": {n: {"low": 0.1, "high": 1} for n in ("alpha", "l1_ratio")}},
    }
    search = SearchParameters(space=json.dumps(space), sampler="cmaes", metric="rmse,ic")
    with pytest.raises(ParameterError, match=r"another one for several metrics \(rmse,ic\)"):
        Question.of(Asked(SourceParameters(), RecipeParameters("return_forecast"), search))
