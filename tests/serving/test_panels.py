"""Versions on a panel feature set: the whole universe is gathered, those missing are named."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from pipelines.data.features import FEATURE_SETS, compute_all
from pipelines.data.sources.store import BarStore
from registry.contract import tensor_input
from registry.errors import BarsError, ParameterError, TooFewSymbolsError
from serving import loading
from serving.batch_inputs import of_symbols
from serving.engine import warnings_of
from serving.forms import OnlineStore, gather
from serving.history import History
from serving.panels import Panels
from serving.schemas import PredictRequest
from serving.steps import Steps

MODEL = "volatility_forecast"
PANEL = FEATURE_SETS.get("cross_section")
UNIVERSE = tuple(f"U{i:02}" for i in range(12))


@pytest.fixture
def version(loaded):
    contract = replace(
        loaded.contract,
        feature_set="cross_section",
        feature_names=PANEL.feature_names,
        symbols=UNIVERSE,
        inputs=tensor_input(len(PANEL.feature_names), 1),
        min_history=PANEL.min_history,
    )
    return replace(loaded, contract=contract, features=PANEL)


@pytest.fixture
def bars(make) -> dict[str, pl.DataFrame]:
    return {symbol: make.bars(symbol, seed=i) for i, symbol in enumerate(UNIVERSE)}


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


@pytest.fixture
def online(tmp_path, bars, clock) -> OnlineStore:
    history = History(BarStore(tmp_path / "bars"))
    history.append(pl.concat(bars.values()), "1d", "adjusted")
    return OnlineStore(history, Steps(), Panels(60.0, lambda: clock[0]))


def ask(symbols, version, online, **request):
    return gather(PredictRequest(model=MODEL, symbols=symbols, **request), version, online, 50)


def expected_rows(online: OnlineStore, symbols=UNIVERSE) -> dict[str, np.ndarray]:
    held = [online.history.look("1d").newest(symbol, PANEL.min_history) for symbol in symbols]
    rows = compute_all(PANEL, [one.series for one in held])
    return {symbol: row[-1] for symbol, row in zip(symbols, rows, strict=True)}


def append(online: OnlineStore, bars, symbols) -> None:
    """Give the symbols one more bar, a day after their last."""
    newest = pl.concat(bars[symbol].tail(1) for symbol in symbols)
    later = newest.with_columns(pl.col("timestamp") + timedelta(days=1), pl.col("close") * 1.01)
    online.history.append(later, "1d", "adjusted")


def test_one_symbol_asked_for_is_computed_among_all(version, online):
    batch = ask(["U03"], version, online)
    assert batch.keys == ("U03",) and not batch.errors and batch.missing == ()
    np.testing.assert_allclose(batch.X[0], expected_rows(online)["U03"], rtol=1e-5, atol=1e-6)


def test_a_panel_is_computed_once_until_a_bar_comes(version, online, bars):
    first = ask(["U01"], version, online)
    known = dict(online.panels._known)
    ask(["U02"], version, online)
    assert all(online.panels._known[key][1] is panel for key, (_, panel) in known.items())
    append(online, bars, UNIVERSE)
    assert not np.array_equal(ask(["U01"], version, online).X, first.X)


def test_within_the_grace_period_the_last_whole_timestamp_answers(version, online, bars, clock):
    whole = ask(["U05"], version, online)
    append(online, bars, UNIVERSE[1:])
    waiting = ask(["U05"], version, online)
    assert waiting.provenance[0].as_of == whole.provenance[0].as_of and waiting.missing == ()
    clock[0] = 60.0
    after = ask(["U05", "U00"], version, online)
    assert after.provenance[0].as_of == whole.provenance[0].as_of + timedelta(days=1)
    assert after.missing == ("U00",)
    assert isinstance(after.errors["U00"], BarsError)
    lines = warnings_of((), after.unseen, after.missing, version)
    assert "universe: no bar at this time of U00" in lines


def test_too_few_symbols_with_a_bar_are_a_clear_error(version, online, bars, clock):
    ask(["U05"], version, online)
    append(online, bars, UNIVERSE[:9])
    ask(["U05"], version, online)
    clock[0] = 61.0
    with pytest.raises(TooFewSymbolsError, match="at least 10 symbols .* but there are 9"):
        ask(["U05"], version, online)


def test_a_symbol_outside_the_universe_is_its_own_error(version, online, make):
    online.history.append(make.bars("ELSE"), "1d", "adjusted")
    batch = ask(["U05", "ELSE"], version, online)
    assert batch.keys == ("U05",)
    assert isinstance(batch.errors["ELSE"], ParameterError)


def test_bars_of_the_request_are_the_universe(version, online, bars, make):
    given = {symbol: make.body(frame.drop("symbol")) for symbol, frame in list(bars.items())[:11]}
    batch = ask(["U05"], version, online, bars=given)
    expected = expected_rows(online, UNIVERSE[:11])["U05"]
    np.testing.assert_allclose(batch.X[0], expected, rtol=1e-5, atol=1e-6)
    assert batch.missing == ("U11",) and batch.ignored == ()


def test_the_columns_a_panel_version_uses_are_found(version):
    scores = np.zeros((1, 1), dtype=np.float32)
    assert loading._used_columns(version, scores) == {"close"}


def test_a_stream_of_steps_agrees_with_the_whole_window(loaded, online, bars):
    steps = Steps()
    for day in range(3):
        series = online.history.look("1d").newest("U00", 520).series
        found = steps.of_held(series, loaded)
        expected = FEATURE_SETS.get("close_only").compute(series)[-1:]
        np.testing.assert_allclose(found.values, expected, rtol=1e-8, atol=1e-10)
        assert steps.of_held(series, loaded) is found
        frame = bars["U00"].tail(1).with_columns(pl.col("timestamp") + timedelta(days=day + 1))
        online.history.append(frame, "1d", "adjusted")


def test_a_batch_in_slices_sees_one_panel_and_sets_back_nobodys_wait(version, online, bars, clock):
    before = ask(list(UNIVERSE), version, online)
    asked = PredictRequest(model=MODEL, symbols=list(UNIVERSE))
    questions = of_symbols(asked, version, online)
    append(online, bars, UNIVERSE[:-1])
    waiting = ask(["U03"], version, online)  # the wait for the last symbol begins
    clock[0] = 50.0
    parts = list(questions.rows.slices(5, 0))
    assert np.array_equal(np.concatenate([part.rows.X for part in parts]), before.X)
    assert pl.concat([part.kept for part in parts])["symbol"].to_list() == list(UNIVERSE)
    clock[0] = 61.0
    after = ask(["U03"], version, online)
    assert after.missing == UNIVERSE[-1:]
    assert after.provenance[0].as_of > waiting.provenance[0].as_of
