"""The panel set: against independent oracles, with symbols missing and too few."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from pipelines.data.bars import BarSeries
from pipelines.data.features import FEATURE_SETS, compute_all
from pipelines.data.features.cross_section import rank_across
from pipelines.data.sources import SOURCES, BarQuery
from registry.errors import TooFewSymbolsError

PANEL = FEATURE_SETS.get("cross_section")
END = 580


@pytest.fixture(scope="module")
def every() -> list[BarSeries]:
    """The 20 sample stocks' bars."""
    bars = SOURCES.get("sample").read(BarQuery(symbols=()))
    return [one.slice(0, END) for one in bars.series() if one.symbol not in ("SP500", "NASDAQ")][
        :12
    ]


@pytest.fixture(scope="module")
def panel(every) -> np.ndarray:
    """Features, (n_symbols, n_bars, n_features)."""
    return np.stack(compute_all(PANEL, every))


def column(panel: np.ndarray, name: str) -> np.ndarray:
    return panel[:, :, PANEL.feature_names.index(name)]


def returns_of(every: list[BarSeries]) -> pd.DataFrame:
    return pd.DataFrame({one.symbol: np.log(one.close) for one in every}).diff()


def test_ranks_are_those_of_scipy(every, panel):
    scaled = column(panel, "scaled_return_5")[:, 300:]
    expected = (rankdata(scaled, axis=0) - 0.5) / len(every)
    np.testing.assert_allclose(column(panel, "rank_scaled_return_5")[:, 300:], expected)


def test_equal_values_share_their_rank_and_few_have_none():
    values = np.array([[*range(9), 3.0, np.nan], [*range(9), np.nan, np.nan]], dtype=float)
    found = rank_across(values)
    expected = (rankdata(values[0, :10]) - 0.5) / 10
    np.testing.assert_allclose(found[0], [*expected, np.nan])
    assert np.isnan(found[1]).all()


def test_market_and_beta_are_those_of_pandas(every, panel):
    returns = returns_of(every)
    market = returns.mean(axis=1)
    variance = (market**2).ewm(alpha=0.06).mean()
    found = column(panel, "log_market_ewma_variance")[0]
    np.testing.assert_allclose(found[23:], np.log(variance)[23:], rtol=1e-10)
    five = market.rolling(5).sum() / np.sqrt(5 * variance)
    np.testing.assert_allclose(column(panel, "market_scaled_return_5")[3][30:], five[30:])
    third = returns.iloc[:, 3]
    beta = third.rolling(66).cov(market) / market.rolling(66).var()
    np.testing.assert_allclose(column(panel, "beta_66")[3][70:], beta[70:], rtol=1e-9)
    correlation = third.rolling(66).corr(market)
    np.testing.assert_allclose(column(panel, "correlation_66")[3][70:], correlation[70:], rtol=1e-9)


def test_dispersion_and_excess_are_as_defined(every, panel):
    returns = returns_of(every)
    market = returns.mean(axis=1)
    variances = (returns**2).ewm(alpha=0.06).mean()
    dispersion = returns.sub(market, axis=0).pow(2).mean(axis=1)
    ratio = dispersion.rolling(22).mean() / variances.mean(axis=1)
    expected = np.log(ratio + 0.0025)
    np.testing.assert_allclose(column(panel, "log_dispersion_22")[0][40:], expected[40:], rtol=1e-8)
    excess = (returns - returns.mean(axis=1).to_numpy()[:, None]) / np.sqrt(variances)
    found = column(panel, "excess_return_1").T
    np.testing.assert_allclose(found[30:], excess.to_numpy()[30:], rtol=1e-8, atol=1e-10)


def test_fewer_than_ten_symbols_are_refused(every):
    with pytest.raises(TooFewSymbolsError, match="at least 10 symbols at the same timestamp but"):
        compute_all(PANEL, every[:9])
    with pytest.raises(TooFewSymbolsError, match="but there are 1 "):
        PANEL.compute(every[0])


def test_rows_where_too_few_symbols_have_a_bar_are_nan(every):
    early = [one.slice(0, END - 1) for one in every[:2]] + every[2:]
    assert np.isfinite(compute_all(PANEL, early)[3][-1]).all()
    lonely = [one.slice(0, END - 1) for one in every[:11]] + every[11:]
    row = compute_all(PANEL, lonely)[11][-1]
    added = len(FEATURE_SETS.get("close_only").feature_names)
    assert np.isfinite(row[:added]).all() and np.isnan(row[added:]).all()
