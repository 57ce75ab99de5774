"""The search bench: every tool is judged on the same rows, ranked and compared as it says."""

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from bench.automl import __main__ as command
from bench.automl.results import Result, figures, judged, losses_of, ranks, worse_than
from bench.automl.sets import TABLES, TARGET, asked_of, rows_of, table
from pipelines.data.tables.row_data import timed
from pipelines.templates import TEMPLATES
from pipelines.tuning.untouched import hold_back

HALF_A_MINUTE = command.Budget(30, "wall")
OURS = Result("wine", 0, "ours", 0.2, 0.3, 1.0, (0.2, 0.4, 0.3), 30.0, 12, 40.0, "")


def of(tool, untouched, seed=0, **more):
    losses = tuple(untouched + d for d in (-0.1, 0.1, 0.0))
    changed = {"tool": tool, "seed": seed, "untouched": untouched, "losses": losses}
    return replace(OURS, **changed | more)


@pytest.mark.parametrize("name", TABLES)
def test_the_search_holds_back_the_rows_that_the_peers_do_not_see(name, settings):
    rows, frame = rows_of(name, 3, settings), table(name, 3)
    data, _ = timed(frame, "")
    held = hold_back(data, TEMPLATES.get("tabular"), 20, 0)
    assert held.n_times == len(rows.y_test)
    searched = held.search.frame.drop("timestamp")
    assert np.array_equal(searched[TARGET].to_numpy(), rows.y)
    assert np.array_equal(searched.drop(TARGET).to_numpy(), rows.X)
    assert set(rows.arrays()) == {"kind", "X", "y", "X_test"}, "no peer gets y_test"


def test_a_seed_makes_another_split(settings):
    first, again, other = (rows_of("wine", seed, settings).y_test for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_losses_are_those_of_the_metric():
    shares = np.array([[0.75, 0.25], [0.5, 0.5]])
    assert losses_of("classes", np.array([0.0, 1.0]), shares) == pytest.approx(
        [-math.log(0.75), math.log(2)]
    )
    assert losses_of("number", np.array([1.0]), np.array([3.0])) == [4.0]
    found = losses_of("variance", np.array([1.0, 2.0, 0.0]), np.array([1.0, 1.0, 1.0]))
    assert found[:2] == pytest.approx([0.0, 1 - math.log(2)]) and np.isnan(found[2])


def test_what_was_forecast_is_judged_against_a_constant(settings):
    rows = rows_of("diabetes", 0, settings)
    mean = np.full(len(rows.y_test), rows.y.mean())
    found = {"predicted": mean, "search_score": 50.0, "seconds": 1.0, "trials": 2, "note": "x"}
    result = judged(rows, 0, "flaml", {k: np.asarray(v) for k, v in found.items()})
    assert result.score == 0.0
    assert result.optimism == pytest.approx(1 - 50.0 / result.constant)


def test_ranks_are_means_over_cases_that_every_tool_has_and_equals_share():
    results = [
        *(of("ours", 0.1), of("flaml", 0.2), of("lightgbm", 0.3)),
        *(of("ours", 0.2, 1), of("flaml", 0.2, 1), of("lightgbm", 0.1, 1)),
        *(of("ours", 0.1, 2), of("flaml", 0.9, 2)),
    ]
    assert ranks(results) == {"ours": 1.75, "flaml": 2.25, "lightgbm": 2.0}


def test_worse_is_positive_and_counts_blocks_of_all_seeds():
    pairs = [
        *(of("ours", 0.3), of("lightgbm", 0.2)),
        *(of("ours", 0.3, 1, losses=(0.5, 0.3, 0.1)), of("lightgbm", 0.2, 1)),
    ]
    differences = np.array([0.1, 0.1, 0.1, 0.4, 0.0, -0.1])
    t = differences.mean() / (differences.std(ddof=1) / math.sqrt(6))
    assert worse_than(pairs, "ours", "lightgbm", "wine") == pytest.approx(t)


def test_the_figures_have_the_names_that_others_read():
    names = {
        f.name: f.value
        for f in figures(
            [
                of("ours", 0.1, losses=(0, 0.2, 0.4)),
                of("flaml", 0.2, search=0.1),
                of("lightgbm", 0.3, seconds=1.5),
            ],
            seconds=30,
        )
    }
    assert names["mean_rank_ours"] == 1 and names["mean_rank_lightgbm"] == 3
    assert names["mean_rank_flaml"] == 2 and names["trial_overhead_ms"] == 40.0
    assert names["optimism_ours"] == pytest.approx(0.1 - 0.2)
    assert names["optimism_flaml"] == pytest.approx(0.1)
    assert names["overrun_ours"] == 0.0 and names["overrun_lightgbm"] == -28.5
    assert names["wine_flaml"] == 0.2


@pytest.mark.parametrize("tools", [("flaml",), ("ours", "flaml"), ("lightgbm", "flaml")])
def test_some_of_the_tools_have_figures_too(tools):
    names = {f.name for f in figures([of(tool, 0.1) for tool in tools], seconds=30)}
    assert {f"mean_rank_{tool}" for tool in tools} <= names
    assert ("trial_overhead_ms" in names) == ("ours" in tools)


def test_a_run_that_was_stopped_goes_on_with_what_is_kept(tmp_path, monkeypatch):
    kept, seen = tmp_path / "kept.jsonl", []

    def searched(rows, seed, tool, python, budget):
        seen.append((tool, seed))
        return of(tool, 0.1, seed)

    monkeypatch.setattr(command, "_searched", searched)
    monkeypatch.setattr(command, "_rows", lambda *_: None)
    tools = {"ours": "python", "flaml": "python"}
    first = list(command._measured([("wine", 0)], tools, HALF_A_MINUTE, kept))
    again = list(command._measured([("wine", 0), ("wine", 1)], tools, HALF_A_MINUTE, kept))
    assert again[:2] == first and seen == [(t, s) for s in (0, 1) for t in tools]


def test_every_tool_has_one_thread():
    assert asked_of("wine", "x", 0)[1].changed_parameters() == {"nthread": 1}
    assert set(command.ONE_THREAD.values()) == {"1"}


@pytest.mark.integration
def test_by_the_processor_s_clock_waiting_takes_no_time():
    code = "import time; began = time.time(); time.sleep(0.5); print(time.time() - began < 0.4)"
    clocked = command.Budget(5, "processor").clocked
    done = subprocess.run(
        [sys.executable, *clocked, "-m", "timeit", "-n1", "-r1", "-s", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("True")
