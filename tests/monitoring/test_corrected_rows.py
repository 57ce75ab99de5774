"""Answers from bars that were put right since: nothing is rewritten, and none of them counts."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from monitoring.corrected_rows import append_corrected
from monitoring.logged_answers import by_request
from monitoring.outcomes import latest, with_all_scores
from monitoring.prediction_log import PredictionLog, read_predictions
from pipelines.data.bars import BarSeries
from pipelines.data.features import FEATURE_SETS, fingerprint
from pipelines.data.sources.corrections import Author, Removal
from pipelines.data.sources.store import BarStore
from tests.examples import make_contract, make_logged

START, DAY = datetime(2020, 1, 1, tzinfo=UTC), timedelta(days=1)
CLOSE_ONLY = FEATURE_SETS.get("close_only")
N_BARS = CLOSE_ONLY.min_history + 20
PERSON = Author("ada", "cents")
MODEL = "volatility_forecast"


def make_bars(symbol, seed):
    close = 100 * np.exp(np.cumsum(0.01 * np.random.default_rng(seed).standard_normal(N_BARS)))
    times = [START + i * DAY for i in range(N_BARS)]
    return pl.DataFrame({"symbol": symbol, "timestamp": times, "close": close})


def features_of(store, symbol):
    return CLOSE_ONLY.compute(BarSeries.from_frame(symbol, store.held("1d").frames[symbol]))


@pytest.fixture
def world(settings, engine):
    """Right bars of SPY and QQQ but for one of SPY, and the answers about the newest ten days."""
    store = BarStore(settings.bars_dir)
    bars = pl.concat([make_bars("QQQ", 1), make_bars("SPY", 2)])
    right = bars.filter(symbol="SPY")[N_BARS - 5]
    wrong = bars.with_columns(
        pl.when((pl.col("symbol") == "SPY") & (pl.col("timestamp") == right["timestamp"][0]))
        .then(pl.col("close") * 1.2)
        .otherwise("close")
        .alias("close")
    )
    store.append(wrong, "1d", "raw")
    contract = make_contract(
        model_id=MODEL,
        feature_names=CLOSE_ONLY.feature_names,
        feature_fingerprint=fingerprint(CLOSE_ONLY),
        symbols=("QQQ", "SPY"),
    )
    version = SimpleNamespace(model_id=MODEL, number=1, contract=contract)
    log = PredictionLog(settings.predictions_dir)
    for symbol in ("QQQ", "SPY"):
        values = features_of(store, symbol)
        for i in range(N_BARS - 10, N_BARS):
            log.append(make_logged(row(symbol, i, values[i])))
    log.append(make_logged(row("SPY", N_BARS - 1, np.ones(len(values[0])), request_id="own")))
    log.close()
    return SimpleNamespace(
        store=store, right=right, version=version, platform=settings, engine=engine, log=log
    )


def row(symbol, i, values, **changes):
    return {
        "request_id": f"{symbol}-{i}",
        "served_at": datetime.now(UTC) - timedelta(hours=1),
        "as_of": START + i * DAY,
        "model_id": MODEL,
        "version": 1,
        "flavor": "onnx",
        "backend": "cpu",
        "symbol": symbol,
        "latency_ms": 0.5,
        "features": values.tolist(),
        "scores": [0.5],
        "answer": "{}",
        "source_kind": "bars",
    } | changes


def logged(world):
    return read_predictions(world.platform.predictions_dir, MODEL)


def test_answers_from_a_wrong_bar_get_rows_of_the_right_ones(world):
    before = logged(world)
    assert append_corrected(world.version, world.platform) == 0
    found = world.store.put(world.right, "1d", "raw", PERSON, world.engine)
    assert append_corrected(world.version, world.platform) == 5
    assert append_corrected(world.version, world.platform) == 0
    after = logged(world)
    added = after.filter(pl.col("corrected_by") == found.id)
    assert added["symbol"].unique().to_list() == ["SPY"]
    assert added["as_of"].to_list() == [START + i * DAY for i in range(N_BARS - 5, N_BARS)]
    expected = features_of(world.store, "SPY")[-5:]
    np.testing.assert_allclose(np.array(added["features"].to_list()), expected, rtol=1e-5)
    assert after.filter(pl.col("corrected_by").is_null()).equals(before)
    whole = with_all_scores(latest(after), world.version)
    assert len(latest(after)) == 20
    assert len(whole) == 15  # no loss of what a wrong bar gave
    assert whole.filter(symbol="SPY")["as_of"].max() == START + (N_BARS - 6) * DAY
    (answer,) = by_request(world.log, [MODEL], [f"SPY-{N_BARS - 1}"])[f"SPY-{N_BARS - 1}"]
    assert answer.served_at < datetime.now(UTC) - timedelta(minutes=59)  # the one that was given


def test_of_a_removed_bar_nothing_counts(world):
    at = world.right["timestamp"][0]
    world.store.remove("1d", Removal("SPY", at, at), PERSON, world.engine)
    assert append_corrected(world.version, world.platform) == 5
    (gone,) = latest(logged(world)).filter(symbol="SPY", as_of=at)["features"].to_list()
    assert gone is None


def test_a_correction_of_a_correction_is_followed(world):
    first = world.right.with_columns(pl.col("close") * 1.1)
    world.store.put(first, "1d", "raw", PERSON, world.engine)
    world.store.put(world.right, "1d", "raw", PERSON, world.engine)
    assert append_corrected(world.version, world.platform) == 5
    newest = latest(logged(world)).filter(symbol="SPY").tail(1)["features"].to_list()[0]
    np.testing.assert_allclose(newest, features_of(world.store, "SPY")[-1], rtol=1e-5)
    assert append_corrected(world.version, world.platform) == 0
