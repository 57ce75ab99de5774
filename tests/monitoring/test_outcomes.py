from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from monitoring.outcomes import latest, new_labelled_times, per_time, realised
from monitoring.prediction_rows import SCHEMA
from pipelines.data.bars import Bars, check_bars
from pipelines.templates import TEMPLATES

DAY = timedelta(days=1)
START = datetime(2003, 1, 1, tzinfo=UTC)
CLOSES = {
    "AAPL": 100 * np.exp(np.cumsum(0.01 * np.random.default_rng(1).standard_normal(120))),
    "XOM": 50 * np.exp(np.cumsum(0.02 * np.random.default_rng(2).standard_normal(120))),
}
SPEC = {"horizon_bars": 5}


def make_bars(n: int = 120) -> Bars:
    frame = pl.DataFrame(
        {
            "symbol": [s for s in CLOSES for _ in range(n)],
            "timestamp": [START + i * DAY for _ in CLOSES for i in range(n)],
            "close": np.concatenate([close[:n] for close in CLOSES.values()]),
        }
    )
    checked, _ = check_bars(frame, policy="strict", where="test")
    return Bars(checked, "1d", "adjusted", "test")


def logged(day: int, symbol: str = "AAPL", score: float = 0.25, **changes) -> dict:
    return {
        "served_at": START + day * DAY + timedelta(seconds=1),
        "as_of": START + day * DAY,
        "model_id": "watched",
        "version": 1,
        "symbol": symbol,
        "features": [0.0] * 4,
        "scores": [score],
    } | changes


def frame(*rows: dict) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=SCHEMA, orient="row")


def ewma(close: np.ndarray, day: int) -> float:
    context = TEMPLATES.get("volatility_forecast").context(
        next(s for s in make_bars().series() if s.close[0] == close[0])
    )
    return float(context["ewma_variance"][day])


def test_the_loss_is_that_of_the_logged_score_on_the_realised_label(version):
    found = realised(frame(logged(60)), version, make_bars()).row(0, named=True)
    squared = np.diff(np.log(CLOSES["AAPL"])) ** 2
    y, base = squared[60:65].mean(), ewma(CLOSES["AAPL"], 60)
    forecast = np.exp(0.25) * base
    assert found["y"] == pytest.approx(y, rel=1e-12)
    assert found["known_at"] == START + 65 * DAY
    assert found["loss"] == pytest.approx(np.log(forecast) + y / forecast, rel=1e-9)
    assert found["baseline_loss"] == pytest.approx(np.log(base) + y / base, rel=1e-9)


def test_rows_whose_scores_were_not_kept_have_no_loss_and_are_said(version, capsys):
    kept = frame(logged(60), logged(61) | {"n_scores": 1})
    other = frame(logged(62, scores=[0.1, 0.2]), logged(63) | {"n_scores": 1000})
    found = realised(pl.concat([kept, other]), version, make_bars())
    assert found.equals(realised(kept, version, make_bars())) and len(found) == 2
    assert "outcomes not computed" in capsys.readouterr().out


def test_a_label_counts_only_when_it_is_complete(version):
    rows = frame(*(logged(day) for day in (60, 61, 114, 115)))
    at = START + 65 * DAY
    known = realised(rows, version, make_bars(), known_by=at)
    assert known["as_of"].to_list() == [START + 60 * DAY]
    assert realised(rows, version, make_bars())["as_of"].max() == START + 114 * DAY


def test_bars_after_a_time_do_not_change_what_was_known_then(version):
    rows = frame(*(logged(day) for day in range(40, 80)))
    at = START + 70 * DAY
    later = realised(rows, version, make_bars(), known_by=at)
    assert later.equals(realised(rows, version, make_bars(71), known_by=at))


def test_the_latest_prediction_of_a_bar_counts():
    early, late = logged(60, score=1.0), logged(60, score=2.0, served_at=START + 61 * DAY)
    assert latest(frame(late, early))["scores"].to_list() == [[2.0]]


def test_other_versions_symbols_and_bars_without_a_store_entry_are_left_out(version):
    rows = frame(
        logged(60),
        logged(60, "XOM", version=2),
        logged(60, "MSFT"),
        logged(60, as_of=START + 60 * DAY + timedelta(hours=1)),
        logged(60, as_of=None),
    )
    assert realised(rows, version, make_bars()).height == 1


def test_outcomes_are_averaged_over_symbols_per_time(version):
    found = realised(frame(logged(60), logged(60, "XOM"), logged(61)), version, make_bars())
    means = per_time(found)
    assert means["n_rows"].to_list() == [2, 1]
    both = found.filter(pl.col("as_of") == START + 60 * DAY)["loss"].mean()
    assert means["loss"][0] == pytest.approx(both)


def test_nothing_logged_means_no_outcome(version):
    assert realised(frame(), version, make_bars()).is_empty()


def test_new_labelled_times_count_bar_times_after_training_when_their_label_is_complete():
    template = TEMPLATES.get("volatility_forecast")
    times = new_labelled_times(template, make_bars(), SPEC, START + 100 * DAY)
    first = int((START + 106 * DAY).timestamp() * 1e6)
    assert len(times) == 14 and times[0] == first  # t0 = 101 .. 114, each five bars later
