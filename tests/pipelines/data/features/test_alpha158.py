"""The set `alpha158` against the published expressions, evaluated slowly with pandas."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pipelines.data.bars import BarSeries
from pipelines.data.features import FEATURE_SETS, check_columns, fingerprint
from registry.errors import BarsError, MissingColumnsError, MissingPackageError

pytestmark = pytest.mark.usefixtures("compiled_kernels")

ALPHA158 = FEATURE_SETS.get("alpha158")
TYPICAL = FEATURE_SETS.get("alpha158_typical")
N_BARS = 190
N_WARM = 61
TINY = 1e-12


@pytest.fixture(scope="module")
def series() -> BarSeries:
    """Bars with ties, equal closes in a row, bars without volume, a first volume of zero."""
    rng = np.random.default_rng(3)
    returns = 0.02 * rng.standard_t(4, N_BARS) * (rng.random(N_BARS) > 0.15)
    close = np.round(20 * np.exp(np.cumsum(returns)), 2)
    opened = np.round(close * np.exp(0.01 * rng.standard_normal(N_BARS)), 2)
    high = np.round(np.maximum(opened, close) * (1 + 0.01 * rng.random(N_BARS)), 1) + 0.1
    low = np.round(np.minimum(opened, close) * (1 - 0.01 * rng.random(N_BARS)), 1) - 0.1
    volume = np.round(1e4 * rng.random(N_BARS)) * (rng.random(N_BARS) > 0.05)
    volume[0] = 0
    vwap = (2 * close + opened) / 3
    time = np.arange(N_BARS, dtype=np.int64) * 86_400_000_000
    none = np.full(N_BARS, np.nan)
    return BarSeries("TEST", time, opened, high, low, close, volume, vwap, none)


def line(y: np.ndarray) -> tuple[float, float, float]:
    """Return slope, squared correlation and newest residual of y over its positions."""
    x = np.arange(len(y), dtype=float)
    if len(y) < 2:
        return np.nan, np.nan, np.nan
    slope, intercept = np.linalg.lstsq(np.column_stack([x, np.ones(len(y))]), y)[0]
    residual = y - (slope * x + intercept)
    r2 = 1 - residual @ residual / np.sum((y - y.mean()) ** 2) if np.ptp(y) else np.nan
    return slope, r2, residual[-1]


def is_still(values: pd.Series, bars: int) -> pd.Series:
    return values.rolling(bars, min_periods=1).std() <= 2e-5


def correlation(left: pd.Series, right: pd.Series, bars: int) -> pd.Series:
    """Return numpy's correlation of the pairs known in each window, as the definition guards it."""
    right = right.where(np.isfinite(right))
    known = (left.notna() & right.notna()).to_numpy()
    out = np.full(len(left), np.nan)
    for t in range(len(left)):
        window = np.arange(max(0, t - bars + 1), t + 1)
        pairs = window[known[window]]
        x, y = left.to_numpy()[pairs], right.to_numpy()[pairs]
        if len(pairs) > 1 and np.ptp(x) and np.ptp(y):
            out[t] = np.corrcoef(x, y)[0, 1]
    return pd.Series(out).mask(is_still(left, bars) | is_still(right, bars))


def published(series: BarSeries) -> pd.DataFrame:
    """Return the 158 columns by the letter of their expressions."""
    o, h, low, c, v, vwap = (
        pd.Series(getattr(series, name))
        for name in ("open", "high", "low", "close", "volume", "vwap")
    )
    top, bottom, span = np.maximum(o, c), np.minimum(o, c), h - low + TINY
    out = {
        "KMID": (c - o) / o,
        "KLEN": (h - low) / o,
        "KMID2": (c - o) / span,
        "KUP": (h - top) / o,
        "KUP2": (h - top) / span,
        "KLOW": (bottom - low) / o,
        "KLOW2": (bottom - low) / span,
        "KSFT": (2 * c - h - low) / o,
        "KSFT2": (2 * c - h - low) / span,
        "OPEN0": o / c,
        "HIGH0": h / c,
        "LOW0": low / c,
        "VWAP0": vwap / c,
    }
    for bars in (5, 10, 20, 30, 60):
        out |= {f"{k}{bars}": x for k, x in prices(h, low, c, bars).items()}
        out |= {f"{k}{bars}": x for k, x in moves(c, v, bars).items()}
    return pd.DataFrame(out)


def prices(h: pd.Series, low: pd.Series, c: pd.Series, bars: int) -> dict[str, pd.Series]:
    closes = c.rolling(bars, min_periods=1)
    highs, lows = h.rolling(bars, min_periods=1), low.rolling(bars, min_periods=1)
    windows = [c.to_numpy()[max(0, t - bars + 1) : t + 1] for t in range(len(c))]
    slope, r2, residual = (pd.Series(part) for part in zip(*map(line, windows), strict=True))
    at_top = highs.apply(lambda x: x.argmax() + 1, raw=True)
    at_bottom = lows.apply(lambda x: x.argmin() + 1, raw=True)
    return {
        "ROC": c.shift(bars) / c,
        "MA": closes.mean() / c,
        "STD": closes.std() / c,
        "BETA": slope / c,
        "RSQR": r2.mask(is_still(c, bars)),
        "RESI": residual / c,
        "MAX": highs.max() / c,
        "MIN": lows.min() / c,
        "QTLU": closes.quantile(0.8) / c,
        "QTLD": closes.quantile(0.2) / c,
        "RANK": closes.rank(pct=True),
        "RSV": (c - lows.min()) / (highs.max() - lows.min() + TINY),
        "IMAX": at_top / bars,
        "IMIN": at_bottom / bars,
        "IMXD": (at_top - at_bottom) / bars,
    }


def moves(c: pd.Series, v: pd.Series, bars: int) -> dict[str, pd.Series]:
    def mean(x):
        return x.rolling(bars, min_periods=1).mean()

    def std(x):
        return x.rolling(bars, min_periods=1).std()

    def share(x, sign):
        rises = np.maximum(sign * x.diff(), 0).rolling(bars, min_periods=1).sum()
        return rises / (x.diff().abs().rolling(bars, min_periods=1).sum() + TINY)

    with np.errstate(all="ignore"):
        log_change = np.log(v / v.shift(1) + 1)
    up, down = (c > c.shift(1)).astype(float), (c < c.shift(1)).astype(float)
    weighted = (c / c.shift(1) - 1).abs() * v
    return {
        "CORR": correlation(c, np.log(v + 1), bars),
        "CORD": correlation(c / c.shift(1), log_change, bars),
        "CNTP": mean(up),
        "CNTN": mean(down),
        "CNTD": mean(up) - mean(down),
        "SUMP": share(c, 1),
        "SUMN": share(c, -1),
        "SUMD": share(c, 1) - share(c, -1),
        "VMA": mean(v) / (v + TINY),
        "VSTD": std(v) / (v + TINY),
        "WVMA": std(weighted) / (mean(weighted) + TINY),
        "VSUMP": share(v, 1),
        "VSUMN": share(v, -1),
        "VSUMD": share(v, 1) - share(v, -1),
    }


def test_all_features_of_all_rows_are_as_published(series):
    expected = published(series)
    assert set(expected.columns) == set(ALPHA158.feature_names)
    found = pd.DataFrame(ALPHA158.compute(series), columns=ALPHA158.feature_names)
    relations = [n for n in expected if n[:4] in ("RSQR", "CORR", "CORD")]
    neutral = expected[relations].copy()
    neutral.iloc[N_WARM - 1 :] = neutral.iloc[N_WARM - 1 :].fillna(0.0)
    expected[relations] = neutral
    for name in ALPHA158.feature_names:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-9, err_msg=name)


def test_names_are_those_published_in_their_order():
    names = ALPHA158.feature_names
    assert len(names) == 158
    assert names[:13] == (
        *("KMID", "KLEN", "KMID2", "KUP", "KUP2", "KLOW", "KLOW2", "KSFT", "KSFT2"),
        *("OPEN0", "HIGH0", "LOW0", "VWAP0"),
    )
    assert names[13:19] == ("ROC5", "ROC10", "ROC20", "ROC30", "ROC60", "MA5")
    assert names[-1] == "VSUMD60"


def test_no_row_before_bar_61_is_complete(series):
    complete = np.isfinite(ALPHA158.compute(series)).all(axis=1)
    assert not complete[: N_WARM - 1].any()
    assert complete[N_WARM - 1 :].all()


def test_a_row_computed_alone_is_bit_identical(series):
    whole = ALPHA158.compute(series)
    for t in (0, 3, 60, 61, 120, N_BARS - 1):
        alone = ALPHA158.rows(series.slice(max(0, t - 60), t + 1), min(t, 60))
        np.testing.assert_array_equal(alone[0], whole[t])


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_a_large_jump_long_ago_costs_no_digits(series, factor):
    scale = np.where(np.arange(N_BARS) < 90, factor, 1.0)
    jumped = {c: getattr(series, c) * scale for c in ("open", "high", "low", "close", "vwap")}
    after = ALPHA158.compute(replace(series, **jumped, volume=series.volume * scale))[155:]
    np.testing.assert_array_equal(after, ALPHA158.compute(series)[155:])


def test_volume_enters_free_of_its_unit_but_for_corr(series):
    traded = replace(series, volume=series.volume + 1.0)
    names = [not name.startswith("CORR") for name in ALPHA158.feature_names]
    first, other = (
        ALPHA158.compute(replace(traded, volume=traded.volume * unit))[N_WARM:, names]
        for unit in (1.0, 1e4)
    )
    np.testing.assert_allclose(first, other, rtol=1e-8, atol=1e-8)


def test_without_a_vwap_it_is_refused_and_the_typical_price_is_a_choice(series):
    without = replace(series, vwap=np.full(N_BARS, np.nan))
    with pytest.raises(MissingColumnsError, match="choose feature_set=alpha158_typical or"):
        check_columns(ALPHA158, without)
    closes = replace(without, high=without.vwap, low=without.vwap)
    with pytest.raises(MissingColumnsError, match="choose feature_set=close_only or"):
        check_columns(ALPHA158, closes)
    check_columns(TYPICAL, without)
    at = TYPICAL.feature_names.index("TYPICAL0")
    typical = (series.high + series.low + series.close) / (3 * series.close)
    np.testing.assert_allclose(TYPICAL.compute(without)[:, at], typical, rtol=1e-14)
    rest = np.arange(158) != at
    np.testing.assert_array_equal(
        TYPICAL.compute(without)[:, rest], ALPHA158.compute(series)[:, rest]
    )
    assert fingerprint(TYPICAL) != fingerprint(ALPHA158)


def test_bars_without_any_volume_are_refused(series):
    silent = replace(series, volume=np.zeros(N_BARS))
    with pytest.raises(BarsError, match="TEST: every volume is zero, and feature set 'alpha158'"):
        check_columns(ALPHA158, silent)


@pytest.mark.integration
def test_numba_is_imported_only_where_the_set_is_computed():
    code = (
        "import sys; from pipelines.data.features import FEATURE_SETS as s; s.get('alpha158'); "
        "import serving.app; assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_numba_the_set_says_what_to_install(series, monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "pipelines.data.features.alpha158_kernels", raising=False)
    with pytest.raises(MissingPackageError, match="'alpha158' needs the package 'numba'"):
        ALPHA158.compute(series)
