"""Source `sample`: real daily bars that ship inside ordinary dependencies; no network.

- 20 US stocks, adjusted closes 1990-2022, from skfolio (close only). They are companies that
  survived, which flatters every long strategy: `note` says so wherever the bars go.
- S&P 500 and Nasdaq composite, open to volume 1999-2018, from arch, as symbols `SP500` and
  `NASDAQ`, asked for by name. They are price indices, so raw and adjusted closes are the same.

Both are read as the compressed CSV files they are, without importing the packages. A daily bar is
labelled with 00:00 UTC of its date, as everywhere in this engine. All are declared equities: an
index is traded as a fund that holds it.
"""

from importlib.util import find_spec
from pathlib import Path

import polars as pl

from pipelines.data.bars import SCHEMA, Bars, check_bars, is_same_interval
from pipelines.data.sources import BarQuery
from registry.errors import MissingPackageError, ParameterError, UnknownSymbolError

INTERVAL = "1d"
NOTE = "survivorship-biased universe"

STOCKS = (
    *("AAPL", "AMD", "BAC", "BBY", "CVX", "GE", "HD", "JNJ", "JPM", "KO"),
    *("LLY", "MRK", "MSFT", "PEP", "PFE", "PG", "RRC", "UNH", "WMT", "XOM"),
)
INDICES = {"SP500": "sp500/sp500.csv.gz", "NASDAQ": "nasdaq/nasdaq.csv.gz"}


class Sample:
    """The bundled bars."""

    name = "sample"

    def read(self, query: BarQuery) -> Bars:
        """Return daily bars; no symbols means the 20 stocks.

        The price basis is `adjusted` for stocks, `raw` for indices and `unknown` for both at once.
        """
        if query.interval and not is_same_interval(query.interval, INTERVAL):
            raise ParameterError(
                "interval", query.interval, f"{INTERVAL}, the interval of the bars"
            )
        wanted = tuple(dict.fromkeys(query.symbols)) or STOCKS
        for symbol in wanted:
            if symbol not in STOCKS and symbol not in INDICES:
                raise UnknownSymbolError(symbol, "the sample source", (*STOCKS, *INDICES))
        stocks = [s for s in wanted if s in STOCKS]
        indices = [s for s in wanted if s in INDICES]
        parts = ([_stocks(stocks)] if stocks else []) + [_index(s) for s in indices]
        frame, repairs = check_bars(
            pl.concat(parts, how="diagonal"),
            policy=query.policy,
            where="sample",
            adjustments=query.adjustments,
        )
        basis = "unknown" if stocks and indices else "adjusted" if stocks else "raw"
        note = NOTE if stocks else ""
        bars = Bars(frame, INTERVAL, basis, self.name, note, repairs, instrument="equity")
        return bars.between(query.start, query.end)


def _stocks(symbols: list[str]) -> pl.DataFrame:
    wide = pl.read_csv(_bundled("skfolio", "datasets/data/sp500_dataset.csv.gz"))
    long = wide.unpivot(symbols, index="Date", variable_name="symbol", value_name="close")
    return long.select("symbol", _day("%Y-%m-%d"), pl.col("close").cast(pl.Float64)).drop_nulls()


def _index(symbol: str) -> pl.DataFrame:
    table = pl.read_csv(_bundled("arch", f"data/{INDICES[symbol]}"), null_values="null")
    columns = {name.lower(): name for name in table.columns}
    values = [pl.col(columns[c]).cast(pl.Float64).alias(c) for c in SCHEMA if c in columns]
    return table.select(pl.lit(symbol).alias("symbol"), _day("%m/%d/%Y"), *values).drop_nulls(
        "close"
    )


def _day(date_format: str) -> pl.Expr:
    date = pl.col("Date").str.to_date(date_format)
    return date.cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("timestamp")


def _bundled(package: str, path: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingPackageError("source 'sample'", package, "training")
    return Path(spec.origin).parent / path


SOURCE = Sample()
