"""Files as they come: every shape loads, every fault is one line."""

import gzip
import re
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from pipelines.data.sources import SOURCES, BarQuery
from pipelines.parameters import parse_mapping
from registry.errors import (
    BarsError,
    MissingColumnsError,
    ParameterError,
    TooLittleHistoryError,
    UnknownSymbolError,
)

PLAIN = """Date,Open,High,Low,Close,Volume
2024-01-02,10,12,9,11,100
2024-01-03,11,13,10,12,200
2024-01-04,12,14,11,13,300
"""
CLOSES = [11.0, 12.0, 13.0]
DAYS = [datetime(2024, 1, d, tzinfo=UTC) for d in (2, 3, 4)]


def read(folder: Path, text: str, name: str = "ABC.csv", **query):
    path = folder / name
    path.write_text(text)
    return SOURCES.get("files").read(BarQuery(path=path, **query))


def times(bars) -> list[datetime]:
    return bars.frame["timestamp"].to_list()


def with_dates(*texts: str) -> str:
    rows = "\n".join(f"{t},{10 + i},{13 + i},9,{11 + i}" for i, t in enumerate(texts))
    return f"time,open,high,low,close\n{rows}\n"


def test_a_plain_file_is_one_symbol_called_like_the_file(tmp_path):
    bars = read(tmp_path, PLAIN)
    assert bars.symbols == ("ABC",)
    assert bars.frame["close"].to_list() == CLOSES
    assert bars.frame["volume"].to_list() == [100, 200, 300]
    assert bars.frame["vwap"].null_count() == 3
    assert times(bars) == DAYS
    assert (bars.interval, bars.price_basis, bars.repairs) == ("1d", "unknown", ())


@pytest.mark.parametrize(
    ("text", "query"),
    [
        (PLAIN.replace(",", ";"), {}),
        (PLAIN.replace(",", "\t"), {}),
        (
            PLAIN.replace(
                "Date,Open,High,Low,Close,Volume", "<DATE>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>"
            ),
            {},
        ),
        ("\ufeff" + PLAIN, {}),
        (PLAIN.replace("2024-01-02", '"2024-01-02"').replace("\n", "\r\n"), {}),
        (PLAIN.split("\n", 1)[1], {}),
        (PLAIN.replace("Close", "Px"), {"columns": {"close": "px"}}),
        (PLAIN.split("\n", 1)[1], {"columns": {"timestamp": "0", "close": "4"}}),
        ("Bars of ABC\n\n" + PLAIN, {}),
        (PLAIN.replace("Date", ""), {}),
        (PLAIN.replace("Date", "id,Date").replace("\n2024", "\n7,2024"), {}),
        ("close,volume,date\n11,100,20240102\n12,200,20240103\n13,300,20240104\n", {}),
    ],
    ids=[
        "semicolon",
        "tab",
        "brackets",
        "bom",
        "quotes",
        "headerless",
        "name",
        "position",
        "preamble",
        "index",
        "id",
        "order",
    ],
)
def test_layouts_that_say_the_same(tmp_path, text, query):
    bars = read(tmp_path, text, **query)
    assert bars.frame["close"].to_list() == CLOSES
    assert times(bars) == DAYS


@pytest.mark.parametrize(
    "texts",
    [
        ("2024-01-02", "2024-01-03", "2024-01-04"),
        ("20240102", "20240103", "20240104"),
        ("20240102 00:00", "20240103 00:00", "20240104 00:00"),
        ("2024-01-02T00:00:00Z", "2024-01-03T00:00:00Z", "2024-01-04T00:00:00Z"),
        ("2024-01-02 02:00:00+02:00", "2024-01-03 02:00:00+02:00", "2024-01-04 02:00:00+02:00"),
        ("2024-01-02 00:00:00.000", "2024-01-03 00:00:00.000", "2024-01-04 00:00:00.000"),
        ("2024-01-02 00:00:00-05:00", "2024-01-03 00:00:00-05:00", "2024-01-04 00:00:00-04:00"),
        ("1704153600", "1704240000", "1704326400"),
        ("1704153600.0", "1704240000.0", "1704326400.0"),
        ("1704153600000", "1704240000000", "1704326400000"),
        ("1704153600000000", "1704240000000000", "1704326400000000"),
        ("1704153600000000000", "1704240000000000000", "1704326400000000000"),
        ("02-Jan-2024", "03-Jan-2024", "04-Jan-2024"),
        ("2024.01.02", "2024.01.03", "2024.01.04"),
        ("02.01.2024", "03.01.2024", "04.01.2024"),
        ("20240102000000", "20240103000000", "20240104000000"),
    ],
)
def test_time_formats_that_say_the_same(tmp_path, texts):
    assert times(read(tmp_path, with_dates(*texts), timezone="America/New_York")) == DAYS


def test_day_first_dates_are_read_where_a_row_tells(tmp_path):
    bars = read(tmp_path, with_dates("11/01/2024", "12/01/2024", "13/01/2024"))
    assert times(bars)[0] == datetime(2024, 1, 11, tzinfo=UTC)
    with pytest.raises(BarsError, match=r"'11/01/2024' may be %d/%m/%Y or %m/%d/%Y"):
        read(tmp_path, with_dates("11/01/2024", "12/01/2024"))


def test_date_and_time_in_two_columns(tmp_path):
    text = "2024.01.02,00:00,1,2,0.5,1.5,7\n2024.01.02,00:01,1,2,0.5,1.6,8\n"
    bars = read(tmp_path, text, name="EURUSD_M1.txt", symbols=("EURUSD",))
    assert bars.symbols == ("EURUSD",)
    assert bars.interval == "1m"
    assert "taken as date, time, open, high, low, close, volume" in bars.repairs[0]
    bars = read(tmp_path, "Date,Time,Close\n01/13/2024,9:30 AM,5\n01/13/2024,4:00 PM,6\n")
    assert times(bars)[1] == datetime(2024, 1, 13, 16, tzinfo=UTC)


def test_naive_times_are_wall_clock_times_of_the_time_zone(tmp_path):
    text = with_dates("2024-01-02 09:30", "2024-01-02 10:30", "2024-07-02 09:30")
    bars = read(tmp_path, text, timezone="America/New_York")
    assert [t.hour for t in times(bars)] == [14, 15, 13]


def test_the_repeated_hour_is_daylight_time_first_and_standard_time_again(tmp_path):
    clocks = ("00:30", "01:30", "01:30", "02:30")
    text = with_dates(*(f"2024-11-03 {c}" for c in clocks))
    bars = read(tmp_path, text, timezone="America/New_York")
    assert [t.hour for t in times(bars)] == [4, 5, 6, 7]
    assert "2 times in an hour that America/New_York repeats" in bars.repairs[0]


def test_a_time_that_the_clocks_skip_is_an_error_or_removed(tmp_path):
    text = with_dates("2024-03-10 01:30", "2024-03-10 02:30", "2024-03-10 03:30")
    with pytest.raises(BarsError, match="row 3: 2024-03-10 02:30 does not exist in America/New_Y"):
        read(tmp_path, text, timezone="America/New_York")
    bars = read(tmp_path, text, timezone="America/New_York", policy="repair")
    assert [t.hour for t in times(bars)] == [6, 7]


def test_bid_and_ask_become_mid_and_spread(tmp_path):
    text = (
        "20240102 00:00,1.0,1.2,0.9,1.1,0,1.2,1.4,1.1,1.3,0\n"
        "20240102 01:00,1.1,1.3,1.0,1.2,0,1.3,1.5,1.2,1.4,0\n"
    )
    names = [*(f"bid_{p}" for p in ("open", "high", "low", "close")), "volume"]
    names += [f"ask_{p}" for p in ("open", "high", "low", "close")]
    columns = {"timestamp": "0"} | {name: str(i) for i, name in enumerate(names, start=1)}
    bars = read(tmp_path, text, columns=columns)
    assert bars.price_basis == "mid"
    assert bars.frame["close"].to_list() == pytest.approx([1.2, 1.3])
    assert bars.frame["high"].to_list() == pytest.approx([1.3, 1.4])
    assert bars.frame["spread"].to_list() == pytest.approx([0.2 / 1.2, 0.2 / 1.3])
    assert bars.frame["volume"].null_count() == 2
    assert any("volume of ABC is zero in every bar" in line for line in bars.repairs)
    assert any("2 rows with a spread above 5%, first row 1 (ABC" in line for line in bars.repairs)


def test_adjusted_closes_are_used_where_asked_for(tmp_path):
    text = "Date,Open,High,Low,Close,Adj Close\n2024-01-02,10,12,8,10,5\n2024-01-03,10,12,8,10,10\n"
    raw = read(tmp_path, text)
    assert (raw.price_basis, raw.frame["close"].to_list()) == ("raw", [10, 10])
    assert "adjusted closes are there but not used" in raw.repairs[0]
    adjusted = read(tmp_path, text, columns={"adj_close": "Adj Close"})
    assert adjusted.price_basis == "adjusted"
    assert adjusted.frame.select("open", "high", "low", "close").row(0) == (5, 6, 4, 5)


def test_a_symbol_column_holds_many_symbols(tmp_path):
    text = "ticker,date,close\nB,2024-01-02,2\nA,2024-01-02,1\nB,2024-01-03,3\nA,2024-01-03,2\n"
    assert read(tmp_path, text).symbols == ("A", "B")
    assert read(tmp_path, text, symbols=("B",)).frame["close"].to_list() == [2, 3]
    with pytest.raises(UnknownSymbolError, match=r"symbol 'C' is not in ABC\.csv; it has: A, B"):
        read(tmp_path, text, symbols=("C", "A"))


def test_folders_and_globs_read_one_symbol_per_file(tmp_path):
    for name in ("A.csv", "B.csv"):
        (tmp_path / name).write_text(PLAIN)
    (tmp_path / "C.csv.gz").write_bytes(gzip.compress(PLAIN.encode()))
    (tmp_path / "README.md").write_text("no bars")
    source = SOURCES.get("files")
    assert source.read(BarQuery(path=tmp_path)).symbols == ("A", "B", "C")
    assert source.read(BarQuery(path=tmp_path / "[AB].csv")).symbols == ("A", "B")
    assert source.read(BarQuery(path=tmp_path, symbols=("B",))).symbols == ("B",)
    with pytest.raises(ParameterError, match="an existing file"):
        source.read(BarQuery(path=tmp_path / "none*.csv"))
    with pytest.raises(ParameterError, match="path=None"):
        source.read(BarQuery())


def test_parquet_with_typed_times(tmp_path):
    frame = pl.DataFrame({"Date": [date(2024, 1, d) for d in (2, 3, 4)], "close": CLOSES})
    frame.write_parquet(tmp_path / "ABC.parquet")
    assert times(SOURCES.get("files").read(BarQuery(path=tmp_path / "ABC.parquet"))) == DAYS
    zoned = pl.DataFrame({"__index_level_0__": DAYS, "Close": CLOSES})
    zoned = zoned.with_columns(pl.col("__index_level_0__").dt.convert_time_zone("Asia/Tokyo"))
    zoned.write_parquet(tmp_path / "ABC.parquet")
    assert times(SOURCES.get("files").read(BarQuery(path=tmp_path / "ABC.parquet"))) == DAYS


def test_a_column_can_be_left_out(tmp_path):
    text = PLAIN.replace(",100", ",57.93K")
    with pytest.raises(
        BarsError, match=r"volume is '57\.93K'.*leave the column out with columns=vo"
    ):
        read(tmp_path, text)
    assert read(tmp_path, text, columns={"volume": "none"}).frame["volume"].null_count() == 3
    with pytest.raises(MissingColumnsError, match="needs the columns close"):
        read(tmp_path, text, columns={"close": "none"})


def test_equal_bars_from_parquet_and_csv_have_one_digest(tmp_path):

    bars = read(tmp_path, PLAIN)
    bars.frame.write_parquet(tmp_path / "ABC.parquet")
    again = SOURCES.get("files").read(BarQuery(path=tmp_path / "ABC.parquet"))
    assert again.digest() == bars.digest()


FAULTS = {
    "no close": (
        "Date,Open\n2024-01-02,1\n",
        r"ABC\.csv needs the columns close; the file has Date",
    ),
    "thousands": (
        PLAIN.replace(",11,100", ',"1,234.5",100'),
        r"ABC\.csv: row 2: close is '1,234\.5', with thousands separators; write it without them",
    ),
    "text": (PLAIN.replace(",11,100", ",abc,100"), r"row 2: close is 'abc', expected a number"),
    "mixed dates": (
        PLAIN.replace("2024-01-04", "04/01/2024"),
        r"row 4: time '04/01/2024' is not written like '2024-01-02' in row 2 \(%Y-%m-%d\)",
    ),
    "mixed zones": (
        with_dates("2024-01-02T00:00:00+00:00", "2024-01-03T00:00:00-05:00"),
        r"row 3: time '2024-01-03T00:00:00-05:00' has another zone",
    ),
    "some zones": (
        with_dates("2024-01-02T00:00:00", "2024-01-03T00:00:00Z"),
        r"row 3: time '2024-01-03T00:00:00Z' is not written like",
    ),
    "no time format": (with_dates("Tuesday", "Wednesday"), r"row 2: time 'Tuesday' has no format"),
    "no time": (with_dates("2024-01-02", ""), r"row 3 has no time"),
    "repeated row": (
        PLAIN + "2024-01-04,12,14,11,13,300\n",
        r"row 5 \(ABC, .*\) repeats another row",
    ),
    "same time": (
        PLAIN + "2024-01-04,12,14,11,12,300\n",
        r"2024-01-04 00:00\) has the time of anoth",
    ),
    "NaN": (
        PLAIN.replace(",11,100", ",NaN,100"),
        r"row 2 \(ABC, 2024-01-02 00:00\): close is missing",
    ),
    "negative": (
        PLAIN.replace(",11,100", ",-11,100"),
        r"close is -11\.0, expected a positive number",
    ),
    "high < low": (PLAIN.replace("12,9,11", "8,9,11"), r"high is 8\.0 and low is 9\.0"),
    "order": (
        PLAIN + "2024-01-01,12,14,11,13,300\n",
        r"row 5 .* is earlier than the row before it",
    ),
    "ragged": (
        PLAIN + "2024-01-05,12,14,11,13,300,9,9\n",
        r"row 5 has 8 columns, the table has 6; quote",
    ),
    "short": (PLAIN + "2024-01-05,12\n", r"row 5 has 2 columns, the table has 6; quote"),
    "empty": ("", r"ABC\.csv: the file is empty"),
    "header only": ("Date,Close\n", r"a header and no rows"),
    "one row": ("Date,Close\n2024-01-02,5\n", r"needs 2 bars but there are 1"),
    "headerless": ("2024-01-02,5,1,2,9\n2024-01-03,5,1,2,9\n", r"map columns by position"),
    "ask only": ("Date,ask_close\n2024-01-02,5\n", r"needs the columns bid_close"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_that_names_it(tmp_path, fault):
    text, message = FAULTS[fault]
    with pytest.raises((BarsError, MissingColumnsError, TooLittleHistoryError), match=message) as e:
        read(tmp_path, text)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("fault", "n_bars", "line"),
    [
        ("repeated row", 3, "dropped 1 row that repeat"),
        ("negative", 2, "removed 1 row, first row 2"),
        ("high < low", 2, "removed 1 row, first row 2"),
        ("order", 4, "sorted by time"),
        ("short", 3, "removed 1 rows of another length, first row 5 has 2"),
        ("ragged", 3, "removed 1 rows of another length, first row 5 has 8"),
    ],
)
def test_policy_repair_repairs_and_reports(tmp_path, fault, n_bars, line):
    bars = read(tmp_path, FAULTS[fault][0], policy="repair")
    assert len(bars.frame) == n_bars
    assert any(line in repair for repair in bars.repairs)


def test_policy_repair_reads_thousands_separators(tmp_path):
    text = 'date,close\n2024-01-02,"1,234.5"\n2024-01-03,"1,234,567"\n2024-01-04,999\n'
    bars = read(tmp_path, text, policy="repair")
    assert bars.frame["close"].to_list() == [1234.5, 1234567, 999]
    assert "removed thousands separators from 2 values of close" in bars.repairs[0]


def test_decimal_commas_are_read_where_a_row_tells(tmp_path):
    text = "date;close\n2024-01-02;1,0850\n2024-01-03;1,085\n2024-01-04;1\n"
    bars = read(tmp_path, text)
    assert bars.frame["close"].to_list() == [1.085, 1.085, 1]
    assert bars.repairs == ("ABC.csv: close has decimal commas",)
    with pytest.raises(BarsError, match="row 3: close is '1,085': thousands or decimals"):
        read(tmp_path, text.replace("1,0850", "1"), policy="repair")


OHLC = "Open;High;Low;Close"


def test_the_columns_of_a_file_agree_on_its_decimal_sign(tmp_path):
    text = f"Date;{OHLC};Vol\n2024-01-02;1.010,5;1.011,5;1.009;1.010;1,234\n"
    text += "2024-01-03;1.010,5;1.011,5;1.009;1.010;2,5\n"
    bars = read(tmp_path, text, policy="repair")
    assert bars.frame["low"].to_list() == [1009, 1009]
    assert bars.frame["open"].to_list() == [1010.5, 1010.5]
    assert bars.frame["volume"].to_list() == [1.234, 2.5]
    with pytest.raises(BarsError, match=r"open is '1\.010,5', with thousands separators"):
        read(tmp_path, text)
    text = f"Date;{OHLC};Vol\n2024-01-02;1.5;2.5;1.25;1.5;1,234\n2024-01-03;1.5;2.5;1.25;1.5;7\n"
    assert read(tmp_path, text, policy="repair").frame["volume"].to_list() == [1234, 7]


@pytest.mark.parametrize("price", ["$185.64", "€ 185.64", "185.64 "])
def test_signs_of_currencies_are_left_out(tmp_path, price):
    bars = read(tmp_path, f'Date,Close\n2024-01-02,"{price}"\n2024-01-03,{price}\n')
    assert bars.frame["close"].to_list() == [185.64, 185.64]


def test_a_unit_of_time_that_changes_inside_a_file_is_read_and_said(tmp_path):
    bars = read(tmp_path, with_dates("1704153600000", "1704240000000000", "1704326400000000"))
    assert times(bars) == DAYS
    assert "milliseconds since 1970, from row 3 on microseconds" in bars.repairs[0]
    bars = read(tmp_path, with_dates("1704153600", "1704240000", "1704326400000"))
    assert times(bars) == DAYS
    with pytest.raises(BarsError, match="has no format known here"):
        read(tmp_path, with_dates("17041536000", "17042400000"))


def test_seconds_with_decimals(tmp_path):
    bars = read(tmp_path, with_dates("1704153600.25", "1704153601.25"))
    assert times(bars)[0] == datetime(2024, 1, 2, 0, 0, 0, 250_000, tzinfo=UTC)


@pytest.mark.parametrize(
    "texts",
    [
        ("Jan 2, 2024", "Jan 3, 2024", "Jan 4, 2024"),
        ("01/02/24", "01/03/24", "01/04/24"),
        ("01/02/2024", "01/03/2024", "01/04/2024"),
        ("2024-01-02Z", "2024-01-03Z", "2024-01-04Z"),
        ("02.01.2024 00:00:00.000 GMT+0100", "03.01.2024 00:00:00.000 GMT+0100",
         "04.01.2024 00:00:00.000 GMT+0100"),
    ],
)  # fmt: skip
def test_dates_as_exports_write_them(tmp_path, texts):
    order = "day-first" if "." in texts[0] else "month-first"
    text = "\n".join(["time;close", *(f"{t};{i}" for i, t in enumerate(texts, 1))])
    assert times(read(tmp_path, text, date_order=order)) == DAYS


def test_the_order_of_dates_is_said_where_no_row_tells_and_never_against_them(tmp_path):
    text = with_dates("11/01/2024", "12/01/2024")
    bars = read(tmp_path, text, date_order="day-first")
    assert times(bars)[1] == datetime(2024, 1, 12, tzinfo=UTC)
    bars = read(tmp_path, text, date_order="month-first")
    assert times(bars)[1] == datetime(2024, 12, 1, tzinfo=UTC)
    with pytest.raises(BarsError, match="date_order is month-first, but its dates are day-first"):
        read(tmp_path, with_dates("12/01/2024", "13/01/2024"), date_order="month-first")
    with pytest.raises(ParameterError, match="expected day-first or month-first"):
        read(tmp_path, text, date_order="ymd")


def test_rows_that_are_newest_first_are_read_from_the_end(tmp_path):
    header, *rows = PLAIN.splitlines()
    bars = read(tmp_path, "\n".join([header, *rows[::-1]]))
    assert (times(bars), bars.frame["close"].to_list()) == (DAYS, CLOSES)
    assert "newest first" in bars.repairs[0]
    clocks = ("02:30", "01:30", "01:30", "00:30")
    text = with_dates(*(f"2024-11-03 {c}" for c in clocks))
    bars = read(tmp_path, text, timezone="America/New_York")
    assert bars.frame["open"].to_list() == [13, 12, 11, 10]
    assert [t.hour for t in times(bars)] == [4, 5, 6, 7]


@pytest.mark.parametrize(("vol", "expected"), [("0", 7), ("9", 9), ("", 7)])
def test_ticks_are_the_volume_where_no_other_was_recorded(tmp_path, vol, expected):
    row = f"10,12,9,11,7,{vol}"
    text = (
        f"<DATE>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<TICKVOL>,<VOL>\n2024.01.02,{row}\n2024.01.03,{row}\n"
    )
    assert read(tmp_path, text).frame["volume"].to_list() == [expected] * 2
    assert read(tmp_path, text, columns={"volume": "<TICKVOL>"}).frame["volume"][0] == 7


@pytest.mark.parametrize("name", ["<DTYYYYMMDD>,<TIME>", "Date,Time"])
@pytest.mark.parametrize(
    "clocks",
    [("90000", "100000"), ("090000", "100000"), ("0900", "1000"), ("900", "1000"),
     ("09:00", "10:00"), ("9:00:00", "10:00:00"), ("09:00:00.000", "10:00:00.000")],
)  # fmt: skip
def test_times_of_day_beside_dates(tmp_path, name, clocks):
    text = f"{name},Close\n" + "".join(f"20240102,{clock},5\n" for clock in clocks)
    assert [t.hour for t in times(read(tmp_path, text))] == [9, 10]


def test_a_time_of_day_may_bring_its_date(tmp_path):
    text = "date,time,close\n" + "".join(
        f"2024-01-02,2024-01-02 {hour}:00,5\n" for hour in ("09", "10")
    )
    assert [t.hour for t in times(read(tmp_path, text))] == [9, 10]


def test_adjusted_prices_are_used_where_the_file_has_all_of_them(tmp_path):
    head = "date,open,high,low,close,volume,adjOpen,adjHigh,adjLow,adjClose,adjVolume"
    rows = "".join(f"2024-01-0{d},10,12,8,10,100,5,6,4,5,200\n" for d in (2, 3))
    bars = read(tmp_path, f"{head}\n{rows}")
    assert bars.price_basis == "adjusted"
    assert bars.frame.select("open", "high", "low", "close", "volume").row(0) == (5, 6, 4, 5, 200)
    raw = read(tmp_path, f"{head}\n{rows}", columns={"adj_close": "none"})
    assert (raw.price_basis, raw.frame["close"][0]) == ("raw", 10)


SUGGESTED = {
    "no header": "1704153600,10,12,9,11,5,7\n1704240000,11,13,10,12,5,7\n",
    "closes": "2024-01-02,7,8\n2024-01-03,7,8\n",
    "other words": "Datum;Eröffnung;Hoch;Tief;Schluss\n02.01.2024;1,5;1,6;1,4;1,5\n"
    "15.01.2024;1,5;1,6;1,4;1,5\n",
    "awkward names": '"when, exactly","price=last"\n2024-01-02,5\n2024-01-03,6\n',
    "one side": "date,bid_close,offer\n2024-01-02,5,6\n2024-01-03,6,7\n",
    "numbers of dates": "when,px\n20240102,5\n20240103,6\n",
}


@pytest.mark.parametrize("case", SUGGESTED)
def test_the_mapping_that_an_error_suggests_can_be_read(tmp_path, case):
    with pytest.raises(MissingColumnsError) as caught:
        read(tmp_path, SUGGESTED[case])
    found = re.search(r"like columns=(\S+?)(;|$)", str(caught.value))
    assert found, caught.value
    assert (
        len(read(tmp_path, SUGGESTED[case], columns=parse_mapping("columns", found[1])).frame) == 2
    )


def test_a_close_is_not_to_be_left_out(tmp_path):
    with pytest.raises(BarsError) as caught:
        read(tmp_path, PLAIN.replace(",11,100", ",abc,100"))
    assert "leave the column out" not in str(caught.value)


@pytest.mark.parametrize("name", ["row", "index", "level_0", "literal", "count"])
def test_any_name_may_stand_beside_prices(tmp_path, name):
    bars = read(tmp_path, PLAIN.replace("Date", f"{name},Date").replace("\n2024", "\n7,2024"))
    assert bars.frame["close"].to_list() == CLOSES
    pl.DataFrame({name: [1, 2, 3], "date": DAYS, "close": CLOSES}).write_parquet(
        tmp_path / "ABC.parquet"
    )
    found = SOURCES.get("files").read(BarQuery(path=tmp_path / "ABC.parquet"))
    assert found.frame["close"].to_list() == CLOSES


def test_repair_never_chooses_between_two_bars_of_one_time(tmp_path):
    with pytest.raises(BarsError, match="has the time of another bar but other values"):
        read(tmp_path, FAULTS["same time"][0], policy="repair")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"columns": {"closing": "Close"}}, "columns='closing': expected one of"),
        ({"columns": {"close": "Px"}}, r"ABC\.csv: close needs the columns Px; the file has Date"),
        ({"timezone": "Mars/Base"}, "timezone='Mars/Base': expected an IANA time zone"),
        ({"policy": "lenient"}, "policy='lenient': expected strict or repair"),
        ({"interval": "1h"}, "interval='1h': expected 1d, the interval of the bars"),
        ({"start": datetime(2030, 1, 1, tzinfo=UTC)}, "no bars in the time asked for"),
    ],
)
def test_a_query_that_cannot_be_answered(tmp_path, query, message):
    with pytest.raises((ParameterError, MissingColumnsError, BarsError), match=message):
        read(tmp_path, PLAIN, **query)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ParameterError, match="a file ending in"):
        read(tmp_path, PLAIN, name="ABC.xlsx")
    with pytest.raises(BarsError, match="it is not Parquet"):
        read(tmp_path, PLAIN, name="ABC.parquet")
    (tmp_path / "ABC.csv").write_bytes("Datum,Schluß\n".encode("latin-1"))
    with pytest.raises(BarsError, match="not UTF-8 text"):
        SOURCES.get("files").read(BarQuery(path=tmp_path / "ABC.csv"))


@pytest.mark.parametrize(
    "content", [b"date,close\n", gzip.compress(PLAIN.encode())[:-12]], ids=["text", "cut"]
)
def test_a_damaged_gz_file_is_one_clear_line(tmp_path, content):
    (tmp_path / "ABC.csv.gz").write_bytes(content)
    with pytest.raises(BarsError, match=r"ABC\.csv\.gz: it is not gzip, or cut short"):
        SOURCES.get("files").read(BarQuery(path=tmp_path / "ABC.csv.gz"))
