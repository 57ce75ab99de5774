"""Files that belong together: parts of one symbol, bid and ask, and what must not be joined."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.data.sources import SOURCES, BarQuery
from pipelines.data.sources.file_names import side_of, symbols_of
from registry.errors import BarsError, UnknownSymbolError

START = datetime(2024, 1, 2, tzinfo=UTC)


def bars(n: int = 8, close: float = 10.0, step: timedelta = timedelta(hours=1), first: int = 0):
    lines = [
        f"{START + step * i:%Y-%m-%d %H:%M},{close},{close + 1},{close - 1},{close},{100 + i}"
        for i in range(first, first + n)
    ]
    return "time,open,high,low,close,volume\n" + "\n".join(lines) + "\n"


@pytest.fixture
def read(tmp_path):
    def of(files: dict[str, str], **query):
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        return SOURCES.get("files").read(BarQuery(path=tmp_path, **query))

    return of


def test_bid_and_ask_in_two_files_are_one_symbol(read):
    found = read({"EURUSD_BID.csv": bars(close=9.9), "EURUSD_ASK.csv": bars(close=10.1)})
    assert (found.symbols, found.price_basis) == (("EURUSD",), "mid")
    assert found.frame["close"].to_list() == pytest.approx([10.0] * 8)
    assert found.frame["spread"].to_list() == pytest.approx([0.02] * 8)
    assert found.frame["volume"][0] == 200
    assert any("bid and ask of two files joined" in line for line in found.repairs)


def test_sides_join_over_several_files_and_symbols(read):
    found = read(
        {
            "EURUSD_2024-01_bid.csv": bars(close=9.9),
            "EURUSD_2024-02_bid.csv": bars(close=9.9, first=8),
            "EURUSD_2024-01_ask.csv": bars(close=10.1),
            "EURUSD_2024-02_ask.csv": bars(close=10.1, first=8),
            "XAUUSD_2024_bid.csv": bars(close=20),
        }
    )
    assert found.symbols == ("EURUSD", "XAUUSD_2024_bid")
    assert len(found.frame) == 24
    assert any("XAUUSD_2024_bid: bid prices only" in line for line in found.repairs)


def test_a_time_of_one_side_only_is_an_error_or_removed(read):
    files = {"EURUSD_BID.csv": bars(n=9, close=9.9), "EURUSD_ASK.csv": bars(close=10.1)}
    with pytest.raises(BarsError, match="EURUSD has no ask at 2024-01-02 08:00; give both sides"):
        read(files)
    found = read(files, policy="repair")
    assert len(found.frame) == 8
    assert any("removed 1 bars of one side" in line for line in found.repairs)


def test_parts_of_one_symbol_are_one_symbol(read):
    files = {"BTC-USD_1h_2023.csv": bars(), "BTC-USD_1h_2024.csv": bars(first=8)}
    found = read(files)
    assert (found.symbols, len(found.frame)) == (("BTC-USD",), 16)
    assert read(files, symbols=("BTC",)).symbols == ("BTC",)
    with pytest.raises(UnknownSymbolError):
        read(files | {"ETH.csv": bars()}, symbols=("SOL",))


def test_days_of_lean_are_read_by_their_names(read, tmp_path):
    rows = "34200000,10,12,9,11,5\n34260000,11,13,10,12,6\n"
    folder = tmp_path / "spy"
    folder.mkdir()
    for day in ("20240102", "20240103"):
        (folder / f"{day}_trade.csv").write_text(rows)
    found = SOURCES.get("files").read(
        BarQuery(path=folder, symbols=("SPY",), timezone="America/New_York")
    )
    assert (found.symbols, found.interval) == (("SPY",), "1m")
    stamps = found.frame["timestamp"].to_list()
    assert stamps[0] == datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
    assert stamps[-1] == datetime(2024, 1, 3, 14, 31, tzinfo=UTC)


def test_copies_are_no_second_asset(read):
    with pytest.raises(BarsError, match="repeats another row"):
        read({"AAPL.csv": bars(), "AAPL (1).csv": bars()})
    found = read({"AAPL.csv": bars(), "AAPL (1).csv": bars()}, policy="repair")
    assert (found.symbols, len(found.frame)) == (("AAPL",), 8)


def test_two_intervals_of_one_symbol_are_refused(read):
    files = {"EURUSD_H1.csv": bars(), "EURUSD_M1.csv": bars(step=timedelta(minutes=1))}
    with pytest.raises(BarsError, match=r"EURUSD is in EURUSD_H1\.csv \(1h\) and in .*\(1m\)"):
        read(files)


@pytest.mark.parametrize(
    ("names", "symbols"),
    [
        (("A.csv", "B.csv"), {"A", "B"}),
        (("A_1d.csv", "B_1d.csv"), {"A_1d", "B_1d"}),
        (("A-1d-2024-01.zip", "A-1d-2024-02.zip"), {"A"}),
        (("A_20240102_trade.zip", "A_20240103_trade.zip"), {"A"}),
        (("A_01.01.2024-31.01.2024.csv", "A_01.02.2024-29.02.2024.csv"), {"A"}),
        (("BRK.A.csv", "BRK.B.csv"), {"BRK.A", "BRK.B"}),
        (("BTC-USD.csv", "BTC-EUR.csv"), {"BTC-USD", "BTC-EUR"}),
        (("A.csv", "A.parquet"), {"A"}),
        (("2024.csv", "2023.csv"), {"2024", "2023"}),
        (("US500.csv", "US30.csv"), {"US500", "US30"}),
        (("AAPL.csv", "aapl.CSV"), {"AAPL"}),
        (("spy/20240102_trade.zip", "spy/20240103_trade.zip"), {"spy"}),
        (("spy/20240102.csv", "qqq/20240102.csv"), {"spy", "qqq"}),
        (("spy/20240102.csv",), {"20240102"}),
    ],
)
def test_symbols_of_file_names(names, symbols):
    assert set(symbols_of([Path(name) for name in names]).values()) == symbols


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("EURUSD_BID.csv", "bid"),
        ("EURUSD-ask-2024.csv", "ask"),
        ("BID.csv", ""),
        ("BIDU.csv", ""),
        ("A_bid_ask.csv", ""),
        ("A_asking.csv", ""),
    ],
)
def test_sides_of_file_names(name, side):
    assert side_of(Path(name)) == side
