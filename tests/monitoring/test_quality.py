from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from monitoring.quality import check_window, failures, to_json

START = datetime(2007, 1, 2, 21, tzinfo=UTC)
SYMBOLS = ("AAPL", "MSFT", "XOM")


def make_panel(n_times: int, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    n = n_times * len(SYMBOLS)
    return pl.DataFrame(
        {
            "symbol": list(SYMBOLS) * n_times,
            "timestamp": [START + timedelta(days=i) for i in range(n_times) for _ in SYMBOLS],
            "r_1": 0.01 * rng.standard_normal(n),
            "rsi": 50 + 10 * rng.standard_normal(n),
        }
    )


REFERENCE = make_panel(500)
WINDOW = make_panel(21, seed=1)


def failed(window: pl.DataFrame) -> set[str]:
    return {check.name for check in check_window(window, REFERENCE) if not check.passed}


def test_an_ordinary_window_passes_every_check():
    checks = check_window(WINDOW, REFERENCE)
    assert [c.name for c in checks] == [
        "schema", "nulls", "range", "constant", "frozen", "unit", "fresh",
    ]  # fmt: skip
    assert failures(checks) == ""


def test_a_crisis_is_not_bad_data():
    assert failed(WINDOW.with_columns(pl.col("r_1") * 8, pl.col("rsi") - 35)) == set()


@pytest.mark.parametrize(
    ("feed", "caught_by"),
    [
        (WINDOW.drop("rsi"), "schema"),
        (WINDOW.clear(), "schema"),
        (WINDOW.with_columns(rsi=pl.when(pl.col("symbol") != "XOM").then("rsi")), "nulls"),
        (WINDOW.with_columns(rsi=pl.lit(float("nan"))), "nulls"),
        (WINDOW.with_columns(r_1=pl.col("r_1") * 1000), "unit"),
        (WINDOW.with_columns(rsi=pl.col("rsi") / 100), "unit"),
        (WINDOW.with_columns(rsi=pl.lit(9e9)), "range"),
        (WINDOW.with_columns(r_1=pl.lit(0.0)), "constant"),
        (WINDOW.with_columns(pl.col("r_1", "rsi").first().over("symbol")), "frozen"),
        (
            WINDOW.filter(
                (pl.col("symbol") != "MSFT") | (pl.col("timestamp") < START + timedelta(days=12))
            ),
            "fresh",
        ),
    ],
)
def test_a_broken_feed_is_caught(feed, caught_by):
    assert caught_by in failed(feed)


def test_a_failure_names_the_column():
    checks = check_window(WINDOW.with_columns(r_1=pl.col("r_1") * 1000), REFERENCE)
    assert "unit: r_1 is" in failures(checks)
    assert to_json(checks)["unit"]["passed"] is False


def test_a_column_that_is_constant_in_the_reference_may_be_constant():
    flat = {"r_1": pl.lit(1.0)}
    checks = check_window(WINDOW.with_columns(**flat), REFERENCE.with_columns(**flat))
    assert failures(checks) == ""


def test_gaps_and_rare_indicators_that_training_had_too_are_ordinary():
    rng = np.random.default_rng(5)
    gaps = pl.Series(np.where(rng.random(len(REFERENCE)) < 0.3, np.nan, 1 + rng.random(1500)))
    reference = REFERENCE.with_columns(gaps=gaps, rare=pl.Series(rng.random(1500) < 0.01) * 1.0)
    window = WINDOW.with_columns(gaps=gaps[: len(WINDOW)], rare=pl.lit(0.0))
    assert failures(check_window(window, reference)) == ""
    worse = window.with_columns(gaps=pl.lit(float("nan")), rare=pl.lit(1.0))
    found = {check.name for check in check_window(worse, reference) if not check.passed}
    assert {"nulls", "constant"} <= found
