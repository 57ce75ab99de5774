"""The untouched period: cut off before anything is made, and every look at it counted."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from pipelines.parameters import RecipeParameters
from pipelines.recipes.recipe import Recipe
from pipelines.recipes.trial_family import keep_trial, sampled_data, trial_of
from pipelines.templates import TEMPLATES
from pipelines.tuning.fold_trials import predict_folds
from pipelines.tuning.shared_rows import SharedRows
from pipelines.tuning.untouched import Look, count_looks, hold_back, walk
from registry.errors import UntouchedPeriodError

RETURNS = TEMPLATES.get("return_forecast")
RIDGE = RecipeParameters("return_forecast", "ridge", "returns", horizon=1)


def look_of(bars, held, study="s", recipe=RIDGE):
    data = sampled_data(held.search)
    return Look.of(study, Recipe.resolve(recipe), data, held), data


def looked(engine, bars, held, study="s", recipe=RIDGE):
    """Look as a study does that has counted its trials."""
    chosen = Recipe.resolve(recipe)
    dataset = SharedRows(held.search, "").of(chosen).dataset
    look, data = look_of(bars, held, study, recipe)
    keep_trial(engine, trial_of(chosen, dataset, data, None, asked_for=False), None)
    return count_looks(engine, look, data, "m", "run")


def test_a_share_of_the_times_is_held_back_and_no_less_than_the_template_needs(make_bars):
    bars = make_bars(n=1000)
    held = hold_back(bars, RETURNS, 20, horizon_bars=5)
    times = bars.frame["timestamp"].unique().sort()
    assert held.n_times == 200 and held.start == times[800] and held.end == times[-1]
    assert held.search.frame["timestamp"].max() == times[799]
    assert hold_back(bars, RETURNS, 1, horizon_bars=5).n_times == 126 + 6
    assert hold_back(bars, RETURNS, 1, horizon_bars=21).n_times == 9 * 21 + 22


def test_it_is_at_most_half_of_them(make_bars):
    with pytest.raises(UntouchedPeriodError, match="of 250 here it would hold back 132"):
        hold_back(make_bars(n=250), RETURNS, 20, horizon_bars=5)


def test_the_winner_is_walked_through_it_as_its_folds_are(make_bars):
    bars = make_bars(n=1400)
    recipe = Recipe.resolve(RIDGE)
    held = hold_back(bars, RETURNS, 20, 1)
    searched = SharedRows(held.search, "").of(recipe)
    known = predict_folds(recipe, searched.dataset.rows, searched.folds())
    walked = walk(recipe, bars, searched.dataset, held, known)
    times = walked.predicted.times()
    begins = int(held.start.timestamp() * 1e6)
    assert times.min() == begins, "its first row is decided at its first time"
    assert len(np.unique(times)) == held.n_times - 2  # the newest labels are not complete
    first = min(walked.predicted.decoders)
    assert first == len(searched.dataset.folds)
    n_before = len(known.times())
    facts = walked.predicted.decoders[first].facts
    assert n_before - 10 < facts["n_calibration_rows"] <= n_before
    assert walked.evaluation.metrics["loss"] > 0


def test_other_rows_before_it_are_predicted_anew(make_bars):
    bars = make_bars(n=1400)
    recipe, held = Recipe.resolve(RIDGE), hold_back(bars, RETURNS, 20, 1)
    searched = SharedRows(held.search, "").of(recipe)
    known = predict_folds(recipe, searched.dataset.rows, searched.folds())
    whole = walk(recipe, bars, searched.dataset, held, known)
    rows = searched.dataset.rows
    other = replace(searched.dataset, rows=replace(rows, y=-rows.y))
    unlike = predict_folds(recipe, other.rows, searched.folds())
    unlike.parts[0] = replace(unlike.parts[0], scores=-unlike.parts[0].scores)
    again = walk(recipe, bars, other, held, unlike)
    assert again.evaluation.metrics == whole.evaluation.metrics


def test_looks_at_one_period_are_counted_whoever_looks(engine, make_bars):
    bars = make_bars(n=1400)
    held = hold_back(bars, RETURNS, 20, 1)
    assert looked(engine, bars, held) == ["s"]
    assert looked(engine, bars, held) == ["s"], "after an interruption it is the same look"
    other = replace(RIDGE, seed=1)
    assert looked(engine, bars, held, "t") == ["s", "t"]
    assert looked(engine, bars, held, "t", other) == ["s", "t", "t"], "another winner"


def test_a_renamed_copy_and_a_longer_share_are_the_same_period(engine, make_bars):
    bars = make_bars(n=1400)
    looked(engine, bars, hold_back(bars, RETURNS, 20, 1))
    assert looked(engine, bars, hold_back(bars, RETURNS, 30, 1), "t") == ["s", "t"]
    renamed = replace(
        bars, frame=bars.frame.with_columns(pl.concat_str(pl.lit("Y"), "symbol").alias("symbol"))
    )
    assert looked(engine, renamed, hold_back(renamed, RETURNS, 20, 1), "u")[:2] == ["s", "t"]


def test_other_data_and_other_years_are_another_period(engine, make_bars):
    bars = make_bars(n=1400)
    looked(engine, bars, hold_back(bars, RETURNS, 20, 1))
    early = make_bars(n=1000)
    assert looked(engine, early, hold_back(early, RETURNS, 20, 1), "t") == ["t"]
    steps = np.random.default_rng(9).standard_normal(len(bars.frame))
    other = bars.frame.with_columns(pl.Series("close", 100 * np.exp(0.01 * np.cumsum(steps))))
    others = replace(
        bars, frame=other.with_columns(pl.concat_str(pl.lit("X"), "symbol").alias("symbol"))
    )
    assert looked(engine, others, hold_back(others, RETURNS, 20, 1), "u") == ["u"]


def test_a_look_overlaps_where_half_of_the_shorter_period_is_common():
    start = datetime(2020, 1, 1, tzinfo=UTC)
    look = Look("s", "r", "returns", "d", start, start + timedelta(days=100))
    for first, last, expected in (
        (50, 150, True),
        (51, 151, False),
        (-300, 60, True),
        (100, 200, False),
    ):
        other = replace(look, start=start + timedelta(days=first), end=start + timedelta(days=last))
        assert look.overlaps(other.to_json()) == expected
    assert not look.overlaps(replace(look, question="volatility_forecast").to_json())
