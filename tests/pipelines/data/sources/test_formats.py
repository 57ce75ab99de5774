"""Exports of programs and markets: each row of the table in docs/sources.md reads a small file."""

import io
import re
import shlex
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from pipelines.data.bars import Bars
from pipelines.data.sources import SOURCES
from pipelines.parameters import SourceParameters, parse

PAGE = Path(__file__).parents[4] / "docs" / "sources.md"
OPENS, CLOSES = [10.0, 11.0, 12.0], [11.0, 12.0, 11.5]
BARS = [(10, 12, 9, 11, 100), (11, 13, 10, 12, 200), (12, 14, 11, 11.5, 300)]
DAYS = [datetime(2024, 1, d, tzinfo=UTC) for d in (2, 3, 4)]
HOURS = [datetime(2024, 1, 2, h, tzinfo=UTC) for h in (10, 11, 12)]


def rows(times, row: Callable[..., str], *, newest_first: bool = False) -> str:
    lines = [row(t, *bar) for t, bar in zip(times, BARS, strict=True)]
    return "".join(f"{line}\n" for line in (lines[::-1] if newest_first else lines))


def zipped(text: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inside.csv", text)
    return packed.getvalue()


def frame(times) -> pl.DataFrame:
    names = ("open", "high", "low", "close", "volume")
    columns = dict(zip(names, zip(*BARS, strict=True), strict=True))
    return pl.DataFrame({"__index_level_0__": times, **columns}, strict=False)


def parquet(times) -> bytes:
    packed = io.BytesIO()
    frame(times).write_parquet(packed)
    return packed.getvalue()


def plain(form: str) -> Callable[..., str]:
    return lambda t, *bar: ",".join((t.strftime(form), *map(str, bar)))


def seconds(t: datetime) -> int:
    return round(t.timestamp())


def klines(days, per_second: int) -> str:
    return "".join(
        f"{seconds(t) * per_second},{o},{h},{low},{c},{v},{seconds(t) * per_second + 1},1,1,1,1,0\n"
        for t, (o, h, low, c, v) in days
    )


def side(add: float) -> str:
    return "Gmt time,Open,High,Low,Close,Volume\n" + rows(
        HOURS,
        lambda t, o, h, low, c, v: (
            f"{t:%d.%m.%Y %H:%M:%S}.000,{o + add},{h + add},{low + add},{c + add},{v}"
        ),
    )


YF = "Price,Close,High,Low,Open,Volume\nTicker,AAPL,AAPL,AAPL,AAPL,AAPL\nDate,,,,,\n"
YF_MANY = (
    "Price,Close,Close,Open,Open,Volume,Volume\nTicker,AAPL,MSFT,AAPL,MSFT,AAPL,MSFT\nDate,,,,,,\n"
)
MT5 = "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n"
STOOQ = "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
CDD = (
    "https://www.CryptoDataDownload.com\n"
    "Unix,Date,Symbol,Open,High,Low,Close,Volume BTC,Volume USDT,tradecount\n"
)
DOWNLOADED = '"Downloaded from Barchart.com as of 01-05-2024 03:32pm CST"\n'
BY_DAY = dict(zip(DAYS, BARS, strict=True))

FILES = {
    "Yahoo": {
        "AAPL.csv": "Date,Open,High,Low,Close,Adj Close,Volume\n"
        + rows(DAYS, lambda t, o, h, low, c, v: f"{t:%Y-%m-%d},{o},{h},{low},{c},{c / 2},{v}")
    },
    "yfinance, one ticker": {
        "aapl_yf.csv": YF
        + rows(DAYS, lambda t, o, h, low, c, v: f"{t:%Y-%m-%d},{c},{h},{low},{o},{v}")
    },
    "yfinance, many tickers": {
        "many_yf.csv": YF_MANY
        + rows(DAYS, lambda t, o, _, __, c, v: f"{t:%Y-%m-%d},{c},{c},{o},{o},{v},{v}")
    },
    "pandas, `to_csv`": {
        "frame.csv": ",open,high,low,close,volume\n" + rows(DAYS, plain("%Y-%m-%d 00:00:00+00:00"))
    },
    "pandas, `to_parquet`": {"frame.parquet": parquet(DAYS)},
    "Stooq": {"aapl_us_d.csv": "Date,Open,High,Low,Close,Volume\n" + rows(DAYS, plain("%Y-%m-%d"))},
    "Stooq, database": {
        "aapl.us.txt": STOOQ
        + rows(
            HOURS,
            lambda t, *bar: f"AAPL.US,60,{t:%Y%m%d},{t.hour + 1}0000,{','.join(map(str, bar))},0",
        )
    },
    "Binance": {
        "BTCUSDT-1d-2024-12.zip": zipped(klines(list(BY_DAY.items())[:2], 1000)),
        "BTCUSDT-1d-2025-01.zip": zipped(klines(list(BY_DAY.items())[2:], 1_000_000)),
    },
    "Kraken": {
        "XBTUSD_1440.csv": rows(
            DAYS, lambda t, *bar: f"{seconds(t)},{','.join(map(str, bar))},4711"
        )
    },
    "MetaTrader 4": {
        "EURUSD60.csv": rows(
            HOURS, lambda t, *bar: f"{t:%Y.%m.%d},{t.hour + 2}:00,{','.join(map(str, bar))}"
        )
    },
    "MetaTrader 5": {
        "EURUSD_H1.csv": MT5
        + rows(
            HOURS,
            lambda t, o, h, low, c, v: (
                f"{t:%Y.%m.%d}\t{t.hour + 2}:00:00\t{o}\t{h}\t{low}\t{c}\t{v}\t0\t3"
            ),
        )
    },
    "MetaTrader 5, saved chart": {
        "EURUSDH1.csv": rows(
            HOURS, lambda t, *bar: f"{t:%Y.%m.%d} {t.hour + 2}:00,{','.join(map(str, bar))}"
        )
        .replace("\n", "\r\n")
        .encode("utf-16")
    },
    "Dukascopy": {
        "EURUSD_Candlestick_1_Hour_BID_01.01.2024-31.01.2024.csv": side(-0.5),
        "EURUSD_Candlestick_1_Hour_ASK_01.01.2024-31.01.2024.csv": side(0.5),
    },
    "TradingView": {
        "BATS_AAPL, 60.csv": "time,open,high,low,close,Volume,Plot,Plot\n"
        + rows(HOURS, lambda t, *bar: f"{seconds(t)},{','.join(map(str, bar))},1,2")
    },
    "Alpha Vantage": {
        "daily_IBM.csv": "timestamp,open,high,low,close,volume\n"
        + rows(DAYS, plain("%Y-%m-%d"), newest_first=True)
    },
    "CryptoDataDownload": {
        "Binance_BTCUSDT_d.csv": CDD
        + rows(
            DAYS,
            lambda t, *bar: f"{seconds(t)}000,{t:%Y-%m-%d},BTCUSDT,{','.join(map(str, bar))},9e9,7",
            newest_first=True,
        )
    },
    "Barchart": {
        "aapl_daily.csv": "Time,Open,High,Low,Last,Change,%Chg,Volume\n"
        + rows(
            DAYS,
            lambda t, o, h, low, c, v: f"{t:%m/%d/%Y},{o},{h},{low},{c},-0.5,+0.51%,{v}",
            newest_first=True,
        )
        + DOWNLOADED
    },
    "Lean, minute": {
        "spy/20240102_trade.zip": zipped(
            rows(
                HOURS,
                lambda t, o, h, low, c, v: (
                    f"{(t.hour - 5) * 3_600_000},{o * 10000},{h * 10000},{low * 10000},"
                    f"{c * 10000:.0f},{v}"
                ),
            )
        )
    },
    "Lean, hour and day": {
        "spy.zip": zipped(
            rows(
                DAYS,
                lambda t, o, h, low, c, v: (
                    f"{t:%Y%m%d} 00:00,{o * 10000},{h * 10000},{low * 10000},{c * 10000:.0f},{v}"
                ),
            )
        )
    },
}
SCALE = {"Yahoo": 0.5}
"""What the prices are multiplied by; those of Yahoo are adjusted to the half."""


def table_of_formats() -> dict[str, str]:
    """Return export -> parameters of the table in the page."""
    text = PAGE.read_text().partition("### Formats of files")[2].partition("\n## ")[0]
    found = re.findall(r"^\| (.+?) \| .+ \| `(-P .+)` \|$", text, re.MULTILINE)
    return dict(found)


def test_every_format_of_the_page_has_a_file_here():
    assert set(table_of_formats()) == set(FILES)


@pytest.mark.parametrize("export", FILES)
def test_a_file_of_each_format_is_read_by_the_command_of_the_page(tmp_path, export):
    bars = read(tmp_path, table_of_formats()[export], FILES[export])
    times = HOURS if bars.interval == "1h" else DAYS
    for series in bars.series():
        found = bars.frame.filter(pl.col("symbol") == series.symbol)
        assert found["timestamp"].to_list() == times
        scale = SCALE.get(export, 1)
        assert found["close"].to_list() == pytest.approx([c * scale for c in CLOSES])
        assert found["open"].to_list() == pytest.approx([o * scale for o in OPENS])
        volumes = [200, 400, 600] if export == "Dukascopy" else [100, 200, 300]
        assert found["volume"].to_list() == volumes
    assert set(bars.symbols) <= {*NAMED, "frame"}
    assert len(bars.symbols) == (2 if "many" in export else 1)


NAMED = ("AAPL", "MSFT", "AAPL.US", "BTCUSDT", "XBTUSD", "EURUSD", "IBM", "SPY")


def read(folder: Path, parameters: str, files: dict[str, str | bytes]) -> Bars:
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    words = shlex.split(parameters.replace("path=", f"path={folder}/"))
    given = [word.partition("=")[::2] for word in words if word != "-P"]
    arguments = [word for name, value in given for word in (f"--{name}", value)]
    [source] = parse(["--source", "files", *arguments], "Read.", SourceParameters)
    return SOURCES.get("files").read(source.query())
