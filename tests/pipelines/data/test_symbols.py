"""The one rule for symbols, in files, in the store, over HTTP."""

import unicodedata
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from pydantic import TypeAdapter, ValidationError

from pipelines.data.bars import check_bars
from pipelines.data.sources.store import BarStore
from pipelines.data.symbols import is_symbol
from registry.errors import BarsError
from serving.schemas import Symbol

GOOD = (
    *("BTC/USDT", "M&M.NS", "BRK.B", "^GSPC", "EURUSD=X", "$SPX", "ES 12-24", "#AAPL", "@ES#C"),
    *("BTC/USDT:USDT-240329-40000-C", "AAPL  240119C00150000", "O:SPY251219C00650000", "ES1!"),
    *(
        "EURUSD.r",
        "GOLD+",
        "币安人生USDT",
        "BF-B",
        "1",
        "BINANCE:BTCUSDT.P",
        "S&P 500",
        "L'OR",
    ),
)
BAD = (
    *("", " ", " SPY", "SPY ", "A,B", "A\nB", "A\tB", "A\x00", "..", "/", "&", "A\u200bB", "<b>"),
    *('A"B', "A\\B", "E\u0301", "A\u202eB", "A\u00a0B", "A" * 65, "SPY\n", "A\x7f", "A\ud800"),
    *("../etc", "A..B", "%2e%2e", "A?x=1", "A;B", "{symbol}", "!A", "A!B", "A`B", "A|B", "."),
)


@pytest.mark.parametrize("text", GOOD)
def test_symbols_of_exchanges_are_taken_everywhere(text):
    assert is_symbol(text)
    assert TypeAdapter(Symbol).validate_python(text) == text
    assert check_bars(bars_of(text), policy="strict", where="")[0]["symbol"][0] == text


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_symbol_is_refused_everywhere(text):
    assert not is_symbol(text)
    with pytest.raises(ValidationError):
        TypeAdapter(Symbol).validate_python(text)
    if text and text != "A\ud800":  # no frame can hold half a character
        for is_history in (True, False):
            with pytest.raises(BarsError, match="is no symbol"):
                check_bars(bars_of(text), policy="strict", where="", is_history=is_history)


def test_no_two_symbols_are_the_same_letters_written_in_two_ways():
    letters = [chr(code) for code in range(0x20, 0xD800) if is_symbol(chr(code))]
    assert len(letters) > 30_000
    assert [c for c in letters if unicodedata.normalize("NFC", c) != c] == []
    assert [c for c in letters if unicodedata.combining(c)] == []


def test_symbols_that_differ_in_case_or_signs_are_kept_apart(tmp_path):
    names = ["spy", "SPY", "BTC/USDT", "BTC-USDT", "BTCUSDT", "/F"]
    store = BarStore(tmp_path)
    for number, name in enumerate(names):
        frame = bars_of(name).with_columns(pl.lit(100.0 + number).alias("close"))
        assert store.append(frame, "1d", "raw").accepted == 2
    assert BarStore(tmp_path).symbols("1d") == tuple(sorted(names))
    assert store.tail("1d", "BTC-USDT", 1)["close"].to_list() == [103.0]
    assert not [path for path in tmp_path.rglob("*") if any(name in path.name for name in names)]


def bars_of(symbol):
    start = datetime(2024, 1, 1, tzinfo=UTC)
    times = [start, start + timedelta(days=1)]
    return pl.DataFrame({"symbol": [symbol] * 2, "timestamp": times, "close": [1.0, 2.0]})
