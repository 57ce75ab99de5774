import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from monitoring.prediction_rows import (
    MOST_SCORES,
    SCHEMA,
    SCORE_LEVELS,
    LoggedPredictions,
    frame_of,
)
from pipelines.data.bars import to_microseconds
from pipelines.method.risk_measures import value_at_risk

AT = datetime(2026, 11, 30, 12, tzinfo=UTC)
RNG = np.random.default_rng(0)


def logged(n=2, n_features=3, n_scores=2, **changes) -> LoggedPredictions:
    facts = {
        "request_ids": ["r"] * n,
        "served_us": to_microseconds(AT),
        "latencies_ms": [1.5] * n,
        "model_id": "m",
        "version": 7,
        "flavor": "onnx",
        "backend": "cpu",
        "source_kind": "rows",
        "symbols": [f"S{i}" for i in range(n)],
        "as_of": [AT + i * timedelta(hours=1) for i in range(n)],
        "features": RNG.standard_normal((n, n_features)).astype(np.float32),
        "scores": RNG.standard_normal((n, n_scores)).astype(np.float32),
        "answers": [{"value": i, "as_of": AT} for i in range(n)],
    }
    return LoggedPredictions(**(facts | changes))


def test_every_column_holds_what_was_handed_over():
    first, second = logged(2), logged(1, request_ids=["q"], latencies_ms=[0.25], version=8)
    frame = frame_of([first, second])
    assert frame.schema == pl.Schema(SCHEMA)
    assert frame["request_id"].to_list() == ["r", "r", "q"]
    assert frame["version"].to_list() == [7, 7, 8]
    assert frame["latency_ms"].to_list() == [1.5, 1.5, 0.25]
    assert frame["symbol"].to_list() == ["S0", "S1", "S0"]
    assert frame["served_at"].to_list() == [AT] * 3
    assert frame["as_of"].to_list() == [AT, AT + timedelta(hours=1), AT]
    assert frame["features"].to_list() == [*first.features.tolist(), *second.features.tolist()]
    assert frame["scores"].to_list() == [*first.scores.tolist(), *second.scores.tolist()]
    assert frame["n_scores"].to_list() == [2, 2, 2]
    assert json.loads(frame["answer"][1]) == {"value": 1, "as_of": "2026-11-30T12:00:00Z"}


def test_a_row_without_a_time_has_none():
    frame = frame_of([logged(2, as_of=[None, AT])])
    assert frame["as_of"].to_list() == [None, AT]


def test_a_time_of_another_zone_is_the_same_moment():
    moved = AT.astimezone(datetime.now().astimezone().tzinfo)
    frame = frame_of([logged(2, as_of=[moved, AT])])
    assert frame["as_of"].to_list() == [AT, AT]


def test_calls_of_other_widths_stand_in_one_frame():
    frame = frame_of(
        [logged(1, 3, 2), logged(1, 0, 5), logged(2, 3, 2, request_ids=["q", "later"])]
    )
    assert frame["features"].list.len().to_list() == [3, 3, 3, 0]
    assert frame["n_scores"].to_list() == [2, 2, 2, 5]
    assert frame["request_id"].to_list() == ["r", "q", "later", "r"]


def test_no_predictions_are_no_rows():
    assert frame_of([]).schema == pl.Schema(SCHEMA)
    assert frame_of([logged(0)]).is_empty()


def test_of_many_draws_the_quantiles_are_kept():
    draws = (RNG.standard_t(3, (4, 1000)) * 0.02).astype(np.float32)
    frame = frame_of([logged(4, 3, 1000, scores=draws, is_sample=True)])
    assert frame["n_scores"].to_list() == [1000] * 4
    kept = np.array(frame["scores"].to_list())
    assert kept.shape == (4, len(SCORE_LEVELS)) and len(SCORE_LEVELS) <= MOST_SCORES
    for level in (0.95, 0.975, 0.99, 0.995):
        at = np.flatnonzero(np.isclose(SCORE_LEVELS, level)).item()
        assert kept[:, at] == pytest.approx(value_at_risk(draws, level), rel=1e-5)
    assert kept[:, 0].tolist() == draws.min(axis=1).tolist()
    assert kept[:, -1].tolist() == draws.max(axis=1).tolist()


def test_the_levels_rise_and_are_as_fine_in_both_tails():
    assert (np.diff(SCORE_LEVELS) > 0).all()
    assert pytest.approx(1 - SCORE_LEVELS[::-1]) == SCORE_LEVELS


@pytest.mark.parametrize(("n_scores", "is_sample"), [(MOST_SCORES, True), (100, False)])
def test_few_draws_and_scores_with_a_place_of_their_own_are_kept_whole(n_scores, is_sample):
    given = logged(2, 3, n_scores, is_sample=is_sample)
    frame = frame_of([given])
    assert frame["scores"].to_list() == given.scores.tolist()
    assert frame["n_scores"].to_list() == [n_scores] * 2


def test_the_head_has_the_first_rows_of_everything():
    given = logged(3)
    assert frame_of([given.head(2)]).equals(frame_of([given]).head(2))
    assert len(given.head(0)) == 0
