"""The synthetic market has the properties it says."""

import numpy as np
import pytest
from statsmodels.stats.diagnostic import acorr_ljungbox

from pipelines.data.sources import SOURCES, BarQuery

SYNTHETIC = SOURCES.get("synthetic")


@pytest.fixture(scope="module")
def returns() -> np.ndarray:
    series = SYNTHETIC.read(BarQuery(seed=11)).series()
    return np.stack([np.diff(np.log(s.close)) for s in series])


def test_volatility_clusters_and_signs_are_noise(returns):
    for r in returns:
        assert acorr_ljungbox(r**2, lags=[10])["lb_pvalue"].iloc[0] < 1e-6
        assert abs(np.corrcoef(r[1:], r[:-1])[0, 1]) < 0.1


def test_symbols_share_a_factor(returns):
    correlation = np.corrcoef(returns)[np.triu_indices(len(returns), 1)]
    assert correlation.mean() == pytest.approx(0.4, abs=0.1)


def test_calm_and_stormy_regimes_alternate(returns):
    by_quarter = returns[0][: 60 * (len(returns[0]) // 60)].reshape(-1, 60).std(axis=1)
    assert by_quarter.max() > 2 * by_quarter.min()


def test_seeds_give_other_markets_and_symbols_keep_their_place():
    one, other = SYNTHETIC.read(BarQuery(seed=1)), SYNTHETIC.read(BarQuery(seed=2))
    assert one.digest() != other.digest()
    renamed = SYNTHETIC.read(BarQuery(seed=1, symbols=("X",)))
    assert next(renamed.series()).close.tolist() == next(one.series()).close.tolist()
    assert (one.price_basis, one.note) == ("raw", "synthetic")


def test_other_intervals_are_round_the_clock():
    bars = SYNTHETIC.read(BarQuery(interval="1h", symbols=("X",)))
    assert bars.interval == "1h"
    assert set(np.diff(next(bars.series()).timestamp)) == {3_600_000_000}
