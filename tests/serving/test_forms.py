from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from pipelines.data.bars import BarSeries, check_bars
from pipelines.data.features import FEATURE_SETS
from pipelines.data.sources.store import BarStore
from registry.contract import tensor_input
from serving.forms import OnlineStore, gather
from serving.history import History
from serving.schemas import PredictRequest
from serving.steps import Steps

MODEL = "volatility_forecast"
WINDOW = 4


@pytest.fixture
def sequence(loaded):
    """The tiny version as one that sees four steps."""
    n_features = len(loaded.contract.feature_names)
    contract = replace(
        loaded.contract,
        window=WINDOW,
        inputs=tensor_input(n_features, WINDOW),
        min_history=loaded.feature_set.min_history + WINDOW - 1,
    )
    return replace(loaded, contract=contract)


@pytest.fixture
def online(tmp_path, make):
    history = History(BarStore(tmp_path / "bars"))
    history.append(make.bars("AAPL"), "1d", "adjusted")
    return OnlineStore(history, Steps())


def test_a_sequence_model_sees_the_newest_steps_in_time_order(sequence, online, make):
    request = PredictRequest(model=MODEL, symbols=["AAPL"])
    batch = gather(request, sequence, online, 10)
    checked, _ = check_bars(make.bars("AAPL"), policy="strict", where="test")
    whole = FEATURE_SETS.get("close_only").compute(BarSeries.from_frame("AAPL", checked))
    assert batch.X.shape == (1, WINDOW, len(sequence.contract.feature_names))
    np.testing.assert_allclose(batch.X[0], whole[-WINDOW:], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(batch.newest_step, batch.X[:, -1])


def test_an_override_changes_the_newest_step_only(sequence, online):
    plain = gather(PredictRequest(model=MODEL, symbols=["AAPL"]), sequence, online, 10)
    features = {"technical_indicators": {"rsi": [77.0]}}
    request = PredictRequest(model=MODEL, symbols=["AAPL"], features=features)
    changed = gather(request, sequence, online, 10)
    rsi = sequence.contract.feature_names.index("rsi_14")
    assert changed.X[0, -1, rsi] == 77.0
    expected = plain.X.copy()
    expected[0, -1, rsi] = 77.0
    np.testing.assert_array_equal(changed.X, expected)


@pytest.mark.parametrize("close", [100.0, 173.5])
def test_a_forming_bar_gives_the_steps_that_the_bars_with_it_have(sequence, online, make, close):
    now = make.bars("AAPL")["timestamp"][-1] + timedelta(days=1)
    asked = {"model": MODEL, "symbols": ["AAPL"], "timestamp": now.isoformat()}
    request = PredictRequest(features={"price_data": [close]}, **asked)
    before = gather(PredictRequest(model=MODEL, symbols=["AAPL"]), sequence, online, 10)
    batch = gather(request, sequence, online, 10)
    online.history.append(bar_after(make.bars("AAPL"), now, close), "1d", "adjusted")
    closed = gather(PredictRequest(model=MODEL, symbols=["AAPL"]), sequence, online, 10)
    fresh = gather(PredictRequest(model=MODEL, symbols=["AAPL"]), sequence, anew(online), 10)
    np.testing.assert_array_equal(batch.X, closed.X)
    np.testing.assert_allclose(batch.X, fresh.X, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(batch.X[0, :-1], before.X[0, 1:])
    assert not np.array_equal(batch.X[0, -1], before.X[0, -1])


def bar_after(bars, timestamp, close):
    nothing = {name: None for name in bars.columns if name not in ("symbol", "timestamp", "close")}
    columns = {"symbol": "AAPL", "timestamp": timestamp, "close": close, **nothing}
    return pl.DataFrame([columns], schema=bars.schema)


def anew(online):
    return OnlineStore(online.history, Steps())


def test_no_answerable_symbol_gives_empty_arrays_of_the_right_shape(sequence, online):
    batch = gather(PredictRequest(model=MODEL, symbols=["NONE"]), sequence, online, 10)
    assert batch.X.shape == (0, WINDOW, len(sequence.contract.feature_names))
    assert list(batch.errors) == ["NONE"]


def test_a_forming_bar_before_the_last_one_held_is_that_symbols_error(loaded, online):
    request = PredictRequest(
        model=MODEL,
        symbols=["AAPL"],
        features={"price_data": [100.0]},
        timestamp="2004-01-05T00:00:00Z",
    )
    batch = gather(request, loaded, online, 10)
    assert "a time after the last bar held" in str(batch.errors["AAPL"])
