"""Evidence as files: what stands in them, by hand, and that the tools of the trade take them."""

import json
from dataclasses import replace

import empyrical
import numpy as np
import pandas as pd
import polars as pl
import pytest

from pipelines.data.bars import TIMESTAMP
from pipelines.method.strategy import Book
from pipelines.recipes.evidence_files import CASH, MOST_SCORES, book_files, out_of_fold
from pipelines.recipes.inputs.portfolio import KIND as PORTFOLIO
from pipelines.templates import TEMPLATES
from tests.conformance.test_templates import NAMES, make_case
from tests.examples import make_contract

DAY = 86_400_000_000
CAPITAL = 1000.0


def bars_of(symbol, opens, first=0):
    n = len(opens)
    return pl.DataFrame(
        {
            "symbol": symbol,
            "timestamp": pl.Series((first + np.arange(n)) * DAY).cast(TIMESTAMP),
            "open": np.asarray(opens, dtype=float),
            "close": np.asarray(opens, dtype=float) + 0.5,
        }
    )


def book_of(positions, *, at_open=True):
    positions = np.asarray(positions, dtype=float)
    n = len(positions)
    gross = np.linspace(0.01, 0.02, n)
    turnover = np.abs(np.diff(positions, axis=0, prepend=0)).sum(axis=1)
    net = gross - 0.001 * turnover
    dates = np.arange(n, dtype=np.int64) * DAY
    return Book(
        *(dates, ("A", "B"), positions, gross, net, net - 0.002, gross / 2, turnover),
        at_open=at_open,
        capital=CAPITAL,
    )


BARS = pl.concat([bars_of("A", [10, 11, 12, 13, 14]), bars_of("B", [20, 25, 40, 50, 80])])


def days(column: pl.Series) -> list[int]:
    return (column.to_physical() // DAY).to_list()


def test_trades_are_made_at_the_next_open_and_sold_units_are_negative():
    found = book_files(book_of([[0.5, 0], [0.5, -0.25], [0, -0.25]]), BARS)["trades"]
    assert found.columns == ["timestamp", "symbol", "amount", "price", "value", "decided_at"]
    assert found["symbol"].to_list() == ["A", "B", "A"]
    assert days(found["decided_at"]) == [0, 1, 2]
    assert days(found["timestamp"]) == [1, 2, 3]
    assert found["price"].to_list() == [11.0, 40.0, 13.0]
    np.testing.assert_allclose(found["value"], [500.0, -250.0, -500.0])
    np.testing.assert_allclose(found["amount"], [500 / 11, -250 / 40, -500 / 13])


def test_with_closes_alone_fills_are_the_next_closes_and_returns_end_a_bar_later():
    at_open, at_close = (book_of([[0.5, 0], [0.5, 0], [0.5, 0]], at_open=x) for x in (True, False))
    files = book_files(at_close, BARS)
    assert files["trades"]["price"].to_list() == [11.5]
    assert days(files["returns"]["timestamp"]) == [2, 3, 4]
    assert days(files["positions"]["timestamp"]) == [1, 2, 3]
    assert days(book_files(at_open, BARS)["returns"]["timestamp"]) == [1, 2, 3]


def test_a_symbol_without_a_bar_is_filled_at_its_next_one():
    bars = pl.concat([bars_of("A", [10, 11, 12, 13, 14]), bars_of("B", [40, 50, 80], first=2)])
    found = book_files(book_of([[0, 0.5], [0, 0.5], [0, 0.5]]), bars)["trades"]
    assert (days(found["timestamp"]), found["price"].to_list()) == ([2], [40.0])


def test_positions_and_cash_are_the_capital():
    found = book_files(book_of([[0.5, 0], [0.5, -0.25], [0, -0.25]]), BARS)["positions"]
    assert found.columns == ["timestamp", "A", "B", CASH]
    assert found["B"].to_list() == [0.0, -250.0, -250.0]
    np.testing.assert_allclose(found.drop("timestamp").sum_horizontal(), CAPITAL)


def test_symbols_called_like_our_columns_keep_theirs():
    book = replace(book_of([[0.5, -0.25]]), symbols=("cash", "timestamp"))
    found = book_files(book, BARS)["positions"]
    assert found.columns == ["timestamp", "cash #2", "timestamp #2", CASH]
    assert found.row(0)[1:] == (500.0, -250.0, 750.0)


def test_trades_add_up_to_the_positions():
    rng = np.random.default_rng(0)
    book = book_of(rng.integers(-2, 3, (40, 2)) / 4)
    bars = pl.concat([bars_of("A", 10 + rng.random(50)), bars_of("B", 20 + rng.random(50))])
    files = book_files(book, bars)
    traded = files["trades"].pivot(on="symbol", index="timestamp", values="value")
    held = files["positions"].join(traded, on="timestamp", how="left", suffix=" traded")
    for symbol in ("A", "B"):
        summed = held[f"{symbol} traded"].fill_null(0.0).cum_sum()
        np.testing.assert_allclose(summed, held[symbol], atol=1e-9)


# Of a template ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judged():
    """Signals of one symbol, their decoders, and what came of them."""
    case = make_case("trading_signals", "closes")
    early, late = (case.oof.take(case.oof.fold < fold) for fold in (0, 1))
    decoders = {f: case.template.fit_decoder(o, case.rows) for f, o in enumerate((early, late))}
    decoders[0] = replace(decoders[0], facts={**decoders[0].facts, "threshold": 0.05})
    found = case.template.evaluate(case.oof, decoders, case.spec, "1d")
    series = case.series
    bars = pl.DataFrame(
        {
            "symbol": [series.symbol] * len(series),
            "timestamp": pl.Series(series.timestamp).cast(TIMESTAMP),
            "open": series.open,
            "close": series.close,
        }
    )
    return found, book_files(found.book, bars), bars


def as_series(table: pl.DataFrame, column: str) -> pd.Series:
    return table.to_pandas().set_index("timestamp")[column]


def as_transactions(table: pl.DataFrame) -> pd.DataFrame:
    return table.to_pandas().set_index("timestamp")


def test_returns_are_what_the_closes_give_for_the_positions(judged):
    _, files, bars = judged
    closes = as_series(bars, "close").tz_localize(None)
    held = (
        as_series(files["positions"], "AAA")
        / files["positions"].drop("timestamp").sum_horizontal()[0]
    )
    earned = (held * (closes.shift(-1) / closes - 1)).dropna()
    gross = as_series(files["returns"], "gross")
    np.testing.assert_allclose(gross, earned.reindex(held.index), atol=1e-12)
    assert len(files["trades"]) > 10


def test_another_library_finds_the_engines_sharpe_and_drawdown(judged):
    found, files, _ = judged
    net = as_series(files["returns"], "net")
    assert isinstance(net.index, pd.DatetimeIndex)
    assert net.index.is_monotonic_increasing
    assert net.index.is_unique
    years = np.sqrt(252 / 365.25)  # empyrical takes 252; these bars come every day
    ratio = empyrical.sharpe_ratio(net) / found.metrics["net_sharpe_1x"]
    assert ratio == pytest.approx(years, rel=0.01)
    assert empyrical.max_drawdown(net) == pytest.approx(found.metrics["max_drawdown"])
    assert empyrical.beta(net, as_series(files["returns"], "benchmark")) < 1


@pytest.mark.filterwarnings("default")  # its own, whatever it warns of
def test_quantstats_takes_the_returns(judged):
    quantstats = pytest.importorskip("quantstats", reason="quantstats is not installed")
    found, files, _ = judged
    net, benchmark = (as_series(files["returns"], n) for n in ("net", "benchmark"))
    table = quantstats.reports.metrics(net, benchmark=benchmark, display=False, mode="full")
    assert "Sharpe" in table.index
    drawdown = quantstats.stats.max_drawdown(net)
    assert drawdown == pytest.approx(found.metrics["max_drawdown"], abs=1e-6)


@pytest.mark.filterwarnings("default")  # its own, whatever it warns of
def test_pyfolio_takes_returns_positions_and_transactions(judged):
    pyfolio = pytest.importorskip("pyfolio", reason="pyfolio-reloaded is not installed")
    found, files, _ = judged
    net, trades = as_series(files["returns"], "net"), as_transactions(files["trades"])
    held = files["positions"].to_pandas().set_index("timestamp")
    stats = pyfolio.timeseries.perf_stats(net, positions=held, transactions=trades)
    assert stats["Max drawdown"] == pytest.approx(found.metrics["max_drawdown"])
    assert set(pyfolio.pos.get_percent_alloc(held)[CASH].round(6)) <= {0.0, 1.0, 2.0}  # 2: short
    assert pyfolio.txn.get_turnover(held, trades).sum() > 0
    assert len(pyfolio.round_trips.extract_round_trips(trades[["amount", "price", "symbol"]])) > 5


@pytest.mark.parametrize(("name", "variant"), NAMES)
def test_every_template_writes_its_predictions(name, variant):
    case = make_case(name, variant)
    decoder = case.template.fit_decoder(case.oof, case.rows)
    contract = make_contract(
        case.oof.scores.shape[1],
        template=name,
        feature_names=("first", "second"),
        symbols=case.rows.symbols,
        label_spec=case.spec,
    )
    found = out_of_fold(case.template, contract, case.oof, {0: decoder, 1: decoder})
    assert len(found) == len(case.rows)
    first = ["timestamp", "symbol", "known_at", "fold", "realised"]
    assert found.columns[: len(first)] == first
    assert (found["known_at"] > found["timestamp"]).all()
    np.testing.assert_array_equal(found["realised"], case.rows.y)
    np.testing.assert_array_equal(found["score_0"], case.oof.scores[:, 0])
    answers = found.columns[len(first) + case.oof.scores.shape[1] :]
    assert answers
    assert found[answers[0]].null_count() == 0


def test_each_fold_answers_by_its_own_decoder():
    case = make_case("volatility_forecast", "closes")
    decoder = case.template.fit_decoder(case.oof, case.rows)
    other = replace(decoder, facts={**decoder.facts, "bars_per_year": 1.0})
    contract = make_contract(feature_names=("first", "second"), label_spec=case.spec)
    found = out_of_fold(case.template, contract, case.oof, {0: decoder, 1: other})
    ratio = found["volatility_annualised"] / found["volatility_daily"]
    assert found.filter(ratio < 2)["fold"].unique().to_list() == [1]


def test_portfolios_answer_in_json_and_their_scenarios_are_left_out():
    case = make_case("portfolio_risk", "pair")
    many = np.tile(case.oof.scores[:, :1], (1, MOST_SCORES + 1))
    oof = replace(case.oof.take(np.arange(5)), scores=many[:5])
    decoder = case.template.fit_decoder(case.oof, case.rows)
    contract = make_contract(
        template="portfolio_risk", symbols=("AAA", "BBB"), label_spec=case.spec
    )
    found = out_of_fold(case.template, contract, oof, {0: decoder})
    assert not any(name.startswith("score_") for name in found.columns)
    assert {"var_95", "max_drawdown"} <= set(json.loads(found["answer"][0]))
    assert PORTFOLIO.answer_features(oof.rows).tolist() == [[0.5, 0.5]] * 5
    assert TEMPLATES.get("portfolio_risk").name == "portfolio_risk"
