"""The bundled bars against the loaders of the packages that ship them."""

from importlib import import_module

import numpy as np
import pytest

from pipelines.data.sources import SOURCES, BarQuery
from pipelines.data.sources.sample import STOCKS

SAMPLE = SOURCES.get("sample")


def test_stocks_are_those_of_skfolio():
    from skfolio.datasets import load_sp500_dataset

    expected = load_sp500_dataset()
    bars = SAMPLE.read(BarQuery())
    assert bars.symbols == tuple(expected.columns) == STOCKS
    for series in bars.series():
        np.testing.assert_array_equal(series.close, expected[series.symbol].to_numpy())
        days = series.timestamp.astype("datetime64[us]").astype("datetime64[D]")
        np.testing.assert_array_equal(days, expected.index.to_numpy().astype("datetime64[D]"))
        assert np.isnan(series.high).all()
    assert (bars.interval, bars.price_basis) == ("1d", "adjusted")
    assert bars.note == "survivorship-biased universe"


@pytest.mark.parametrize("symbol", ["SP500", "NASDAQ"])
def test_indices_are_those_of_arch(symbol):
    expected = import_module(f"arch.data.{symbol.lower()}").load()
    bars = SAMPLE.read(BarQuery(symbols=(symbol,)))
    (series,) = bars.series()
    for column in ("open", "high", "low", "close", "volume"):
        np.testing.assert_allclose(getattr(series, column), expected[column.title()].to_numpy())
    assert (bars.price_basis, bars.note) == ("raw", "")
    np.testing.assert_allclose(expected["Adj Close"], expected["Close"])


def test_stocks_and_indices_mix_with_nulls_where_there_is_no_column():
    bars = SAMPLE.read(BarQuery(symbols=("SP500", "AAPL")))
    assert bars.symbols == ("AAPL", "SP500")
    apple, index = bars.series()
    assert np.isnan(apple.volume).all()
    assert not np.isnan(index.volume).any()
    assert (bars.price_basis, bars.note) == ("unknown", "survivorship-biased universe")
