"""Asking models, posting bars and outcomes, with both clients, against a real application."""

import json
from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from nautilus_ml_client import (
    InputError,
    InvalidRequestError,
    NotFoundError,
    PredictionError,
    UnavailableError,
    UnexpectedAnswerError,
)
from nautilus_ml_client.answers import (
    PortfolioRiskAnswer,
    SentimentAnswer,
    TradingSignalsAnswer,
    VolatilityForecastAnswer,
)
from nautilus_ml_client.bars import portfolio_of
from nautilus_ml_client.calls import predicting
from serving import examples

VOLATILITY = "volatility_forecast"
NAIVE = datetime(2007, 1, 3)


@pytest.fixture
def held(ask, bars):
    """The same, with bars posted."""
    kept = ask(lambda c: c.post_bars(bars, interval="1d", price_basis="adjusted"))
    assert (kept.accepted, kept.duplicates, kept.conflicts) == (len(bars), 0, [])
    return ask


def n_features(loaded):
    return len(loaded.contract.feature_names)


def test_the_bars_held_are_answered_in_the_class_of_the_template(held):
    answer = held(lambda c: c.predict(VOLATILITY, symbols=["AAPL", "MSFT", "GOOGL"]))
    found = answer.of(VolatilityForecastAnswer)["AAPL"]
    assert 0 < found.interval.lower < found.volatility_annualised
    assert found.as_of.tzinfo is not None
    assert (answer.model_version, answer.hardware_used, len(answer)) == (1, "cpu", 3)
    assert answer.errors["GOOGL"].details == {"symbol": "GOOGL", "known": ["AAPL", "MSFT"]}
    with pytest.raises(PredictionError, match="GOOGL: no_history: no history for 'GOOGL'"):
        answer["GOOGL"]
    with pytest.raises(PredictionError, match="GOOGL"):
        answer.raise_for_errors()
    with pytest.raises(KeyError):
        answer["never_asked"]
    with pytest.raises(UnexpectedAnswerError, match="not SentimentAnswer"):
        answer.of(SentimentAnswer)


def test_what_is_known_of_the_newest_step_goes_along(held):
    asked = {name: value for name, value in examples.COLUMNS.items() if name != "model_type"}
    answer = held(lambda c: c.predict("trading_signals", **asked))
    assert answer.of(TradingSignalsAnswer)["MSFT"].abstained == "no_edge"
    assert "GOOGL" in answer.errors


POSITIONS = [{"symbol": "AAPL", "weight": 0.6}, {"symbol": "MSFT", "weight": 0.4}]


@pytest.mark.parametrize(
    "given",
    [{"AAPL": 0.6, "MSFT": 0.4}, {"positions": POSITIONS}, POSITIONS, pl.DataFrame(POSITIONS)],
    ids=["weights", "portfolio", "positions", "frame"],
)
def test_a_portfolio_is_weights_or_positions(given):
    assert portfolio_of(given) == {"positions": POSITIONS}


def test_a_portfolio_is_measured(held):
    asked = {"portfolio": {"AAPL": 0.6, "MSFT": 0.4}, "risk_metrics": ["var_95", "beta"]}
    answer = held(lambda c: c.predict("portfolio_risk", **asked))
    measured = answer.of(PortfolioRiskAnswer)["portfolio"]
    assert measured["var_95"] == answer.risk_assessment.var_95 > 0
    assert answer.confidence_interval.lower == -measured["var_95"]
    assert measured.volatility is None


def test_own_bars_are_taken_by_symbol_or_in_one_frame(ask, bars):
    whole = ask(lambda c: c.predict(VOLATILITY, bars=bars, price_basis="adjusted"))
    apart = {symbol: part for (symbol,), part in bars.partition_by("symbol", as_dict=True).items()}
    split = ask(lambda c: c.predict(VOLATILITY, bars=apart, price_basis="adjusted"))
    assert whole.predictions == split.predictions
    assert set(whole.predictions) == {"AAPL", "MSFT"}


def test_rows_are_lists_mappings_arrays_or_frames(ask, loaded):
    names = loaded.contract.feature_names
    matrix = np.linspace(-1, 1, 2 * len(names)).reshape(2, -1)
    forms = [
        matrix,
        matrix.tolist(),
        [dict(zip(names, row, strict=True)) for row in matrix],
        pl.DataFrame(matrix, schema=list(names)),
        pa.table(dict(zip(names, matrix.T, strict=True))),
        pl.DataFrame(matrix, schema=list(names)).to_pandas(),
    ]
    context = {"ewma_variance": np.array([0.0002, 0.0003])}
    answers = [
        ask(lambda c, form=form: c.predict(VOLATILITY, rows=form, context=context))
        for form in forms
    ]
    assert all(answer.predictions == answers[0].predictions for answer in answers)
    assert answers[0]["1"].volatility_annualised > 0


def test_hardware_that_is_absent_falls_back_or_is_an_error(held):
    asked = {"symbols": ["AAPL"], "hardware": "neural_engine"}
    answer = held(lambda c: c.predict(VOLATILITY, **asked))
    assert "neural_engine" in answer.fallback
    with pytest.raises(UnavailableError) as caught:
        held(lambda c: c.predict(VOLATILITY, **asked, strict=True))
    assert caught.value.code == "backend_unavailable"
    assert caught.value.request_id


def test_what_the_server_refuses_is_an_error_with_its_facts(ask, loaded):
    with pytest.raises(InvalidRequestError) as caught:
        ask(lambda c: c.predict(VOLATILITY, rows=[[0.1]]))
    assert (caught.value.status, caught.value.code) == (422, "shape")
    assert caught.value.details["name"] == "rows[0]"
    with pytest.raises(NotFoundError, match="model_not_found"):
        ask(lambda c: c.predict("no_such", symbols=["AAPL"]))


# Batches ------------------------------------------------------------------------------------------


def test_a_batch_is_the_whole_of_its_parts(ask, loaded):
    rows = np.linspace(-1, 1, 7 * n_features(loaded)).reshape(7, -1)
    asked = {"rows": rows, "context": {"ewma_variance": [0.0002] * 7}}
    batch = ask(lambda c: c.predict_batch(VOLATILITY, **asked, batch_size=3))
    whole = ask(lambda c: c.predict(VOLATILITY, **asked))
    assert batch.predictions == whole.predictions
    assert list(batch.predictions) == [str(i) for i in range(7)]
    assert batch.of(VolatilityForecastAnswer)["6"].volatility_annualised > 0


def test_a_batch_of_symbols_keeps_their_names(held):
    answer = held(
        lambda c: c.predict_batch(VOLATILITY, symbols=["AAPL", "KO", "MSFT"], batch_size=1)
    )
    alone = held(lambda c: c.predict(VOLATILITY, symbols=["AAPL", "MSFT"]))
    assert answer.predictions == alone.predictions
    assert answer.errors["KO"].code == "no_history"


def test_questions_say_what_is_known_of_each_symbol(held):
    known = [{"symbol": s, "features": {"price_data": 150.0}} for s in ("AAPL", "MSFT")]
    answer = held(lambda c: c.predict_batch("trading_signals", questions=known))
    columns = {"price_data": [150.0, 150.0]}
    asked = {"symbols": ["AAPL", "MSFT"], "features": columns}
    assert answer.predictions == held(lambda c: c.predict("trading_signals", **asked)).predictions


def batch_answer(*rows, version=1):
    facts = {n: v for n, v in examples.ANSWER.items() if n not in ("predictions", "errors")}
    listed = [{"row": i, "x": row, "error": None} for i, row in enumerate(rows)]
    told = {"model_type": "newer", "model_version": version, "n_rows": len(rows), "n_errors": 0}
    return httpx.Response(200, json=facts | told | {"answers": listed})


def test_every_part_asks_the_version_that_answered_the_first(scripted):
    client = scripted(batch_answer(1, version=4), batch_answer(1, version=4))
    client.predict_batch("m", texts=["a", "b"], batch_size=1, alias="staging")
    first, second = (json.loads(request.read()) for request in client.sent)
    assert first == {"model": "m", "alias": "staging", "texts": ["a"]}
    assert second == {"model": "m", "version": 4, "texts": ["b"]}


def test_rows_are_numbered_through_and_named_texts_keep_their_names(scripted):
    client = scripted(batch_answer("a", "b"), batch_answer("c"))
    texts = ["a", {"id": "n-1", "text": "b"}, "c"]
    found = client.predict_batch("m", texts=texts, batch_size=2)
    assert {name: found[name]["x"] for name in found.predictions} == {
        "0": "a",
        "n-1": "b",
        "2": "c",
    }


@pytest.mark.parametrize("size", [1, 2])
def test_two_rows_of_one_name_are_an_error(scripted, size):
    client = scripted(*[batch_answer(*range(size))] * 2)
    texts = [{"id": "n", "text": "a"}, {"id": "n", "text": "b"}]
    with pytest.raises(UnexpectedAnswerError, match="one name"):
        client.predict_batch("m", texts=texts, batch_size=size)


def test_a_part_that_is_refused_says_which_it_was(ask, loaded):
    rows = [[0.1] * n_features(loaded)] * 3 + ["no row"]
    context = {"no_such": [1.0] * 4}
    with pytest.raises(InvalidRequestError) as caught:
        ask(lambda c: c.predict_batch(VOLATILITY, rows=rows, context=context, batch_size=2))
    assert caught.value.__notes__ == ["of rows 0 to 1"]


def test_a_row_that_cannot_be_answered_leaves_the_others(ask, loaded):
    rows = [[0.1] * n_features(loaded)] * 3 + [[0.1]]
    answer = ask(lambda c: c.predict_batch(VOLATILITY, rows=rows, batch_size=2))
    assert list(answer.predictions) == ["0", "1", "2"]
    assert answer.errors["3"].code == "shape"


def test_more_than_is_answered_at_once_says_what_to_do(scripted):
    job = {"job_id": "j1", "state": "queued", "entry_point": "score", "model_id": "m"}
    client = scripted(httpx.Response(202, json=job | {"results": "/predict/results/j1"}))
    with pytest.raises(InputError, match="made job j1 of 2 rows.*smaller batch_size"):
        client.predict_batch("m", rows=[[1], [2]])


@pytest.mark.parametrize("text", ["{}", "[]", '{"answers": []}', '{"answers": [{"row": 7}]}'])
def test_a_batch_of_something_else_is_an_error(scripted, text):
    with pytest.raises(UnexpectedAnswerError):
        scripted(httpx.Response(200, text=text)).predict_batch("m", rows=[[1]])


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"rows": [[1]], "texts": ["a"]},
        {"rows": []},
        {"rows": [[1]], "batch_size": 0},
        {"questions": ["A"]},
        {"texts": "a"},
    ],
    ids=["nothing", "two forms", "no row", "no size", "no mapping", "one text"],
)
def test_a_batch_that_is_none_is_refused(scripted, asked):
    client = scripted()
    with pytest.raises(InputError):
        client.predict_batch("m", **asked)
    assert client.sent == []


# Bars and outcomes --------------------------------------------------------------------------------


def test_many_bars_are_sent_in_several_requests(ask, bars, monkeypatch):
    monkeypatch.setattr(predicting, "MOST_BARS", 400)
    kept = ask(lambda c: c.post_bars(bars.sample(fraction=1, shuffle=True, seed=1), interval="1d"))
    assert kept.accepted == len(bars) == 1080
    again = ask(lambda c: c.post_bars(bars.to_dicts(), interval="1d"))
    assert (again.accepted, again.duplicates) == (0, 1080)


def test_bars_held_are_corrected_and_removed(whole, bars):
    last = bars.filter(symbol="MSFT").tail(1)
    at = last["timestamp"][0]
    fixed = last.with_columns(close=pl.lit(7.0), symbol=pl.lit("M&M.NS"))
    client = whole.client
    found = client.bars.put(fixed, interval="24h", reason="the feed sent cents")
    assert (found.replaced, found.added, found.removed) == (0, 1, 0)
    assert client.bars.put(fixed, interval="1d", reason="again").correction is None
    span = {"interval": "1d", "first": at, "last": at, "reason": "a holiday"}
    assert client.bars.delete("M&M.NS", **span).removed == 1
    assert client.bars.delete("M&M.NS", **span).removed == 0
    assert client.bars.delete("AAPL", interval="1d", whole_symbol=True, reason="x").removed == 540
    (newest, *_) = client.events(order="newest")
    assert (newest.event, newest.reason) == ("bars_removed", "x")
    with pytest.raises(InputError, match="at least one bar"):
        client.bars.put([], interval="1d", reason="none")


KEPT = {"accepted": 5, "duplicates": 0, "conflicts": [], "processing_time_ms": 1.0}
FORMS = {
    "pandas": lambda bars: bars.to_pandas(),
    "indexed": lambda bars: bars.to_pandas().set_index("timestamp"),
    "arrow": lambda bars: bars.to_arrow(),
    "lazy": lambda bars: bars.lazy(),
    "batch": lambda bars: bars.to_arrow().to_batches()[0],
    "generator": lambda bars: (row for row in bars.to_dicts()),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_bars_come_from_any_frame(scripted, bars, form):
    client = scripted(*[httpx.Response(200, json=KEPT | {"request_id": "r"})] * 2)
    some = bars.head(5).with_columns(volume=pl.Series([1.0, None, 3.0, float("nan"), 5.0]))
    client.post_bars(form(some), interval="1d")
    client.post_bars(some, interval="1d")
    given, expected = (json.loads(request.read()) for request in client.sent)
    assert given == expected
    assert [bar.get("volume") for bar in given["bars"]] == [1.0, None, 3.0, None, 5.0]


@pytest.mark.parametrize(
    ("bar", "message"),
    [
        ({"timestamp": NAIVE, "close": 1.0}, "row 0: symbol is missing"),
        ({"symbol": "A", "close": 1.0}, "row 0: timestamp is missing"),
        ({"symbol": "A", "timestamp": NAIVE, "close": float("nan")}, "row 0: close is missing"),
        ({"symbol": "A", "timestamp": NAIVE, "close": 1.0}, "no zone; say timezone='UTC'"),
        ({"symbol": "A", "timestamp": 5, "close": 1.0}, "row 0: timestamp: expected a time"),
        ({"symbol": "A", "timestamp": "2007-01-03T00:00:00Z", "close": float("inf")}, "JSON"),
    ],
)
def test_a_bar_that_cannot_be_sent_is_refused_before(scripted, bar, message):
    client = scripted()
    with pytest.raises(InputError, match=message):
        client.post_bars([bar], interval="1d")
    assert client.sent == []


def test_times_without_a_zone_get_the_one_that_is_named(scripted):
    client = scripted(httpx.Response(200, json=KEPT | {"request_id": "r"}))
    client.post_bars(
        [{"symbol": "A", "timestamp": NAIVE, "close": 1, "mine": 5}],
        interval="1d",
        timezone="America/New_York",
    )
    sent = client.sent[0].read().decode()
    assert '{"symbol":"A","timestamp":"2007-01-03T05:00:00Z","close":1}' in sent


@pytest.mark.parametrize("zone", ["Atlantis/Here", "", "../../etc/passwd"])
def test_a_zone_that_is_none_is_refused(scripted, zone):
    with pytest.raises(InputError, match="IANA zone"):
        scripted().post_bars(
            [{"symbol": "A", "timestamp": NAIVE, "close": 1.0}], interval="1d", timezone=zone
        )


@pytest.mark.parametrize("bars", [[], "AAPL", {"symbol": "A"}, 5, [5], None])
def test_what_holds_no_bars_is_refused(scripted, bars):
    with pytest.raises(InputError):
        scripted().post_bars(bars, interval="1d")


def test_outcomes_are_counted_and_named_through(manager, monkeypatch):
    monkeypatch.setattr(predicting, "MOST_OUTCOMES", 1)
    now = datetime.now(UTC)
    outcomes = [
        {"model_id": VOLATILITY, "symbol": "AAPL", "as_of": now - timedelta(days=9), "value": 0.1},
        {"model_id": "no_such", "symbol": "AAPL", "as_of": now - timedelta(days=9), "value": 0.1},
    ]
    told = manager(lambda c: c.post_outcomes(outcomes))
    assert (told.accepted, [entry.index for entry in told.invalid]) == (1, [1])
    assert manager(lambda c: c.post_outcomes(pl.DataFrame(outcomes[:1]))).duplicates == 1


# Frames of answers --------------------------------------------------------------------------------


def test_answers_become_frames(held):
    answer = held(lambda c: c.predict(VOLATILITY, symbols=["AAPL", "GOOGL"]))
    lower = answer["AAPL"].interval.lower
    assert answer.to_polars()["interval.lower"].to_list() == [lower, None]
    assert answer.to_arrow()["interval.lower"].to_pylist() == [lower, None]
    table = answer.to_pandas().set_index("name")
    assert table.loc["AAPL", "interval.lower"] == lower
    assert table.loc["GOOGL", "error"].startswith("no_history: ")
    assert answer.to_polars()["as_of"].dtype == pl.Datetime("us", "UTC")
