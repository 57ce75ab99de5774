"""GARCH rivals: causal, scaled by what was known, missing where they cannot be fitted."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.method import labels
from pipelines.method.rows import OutOfFold
from pipelines.recipes.rivals import RIVALS, fit_garch
from tests.examples import make_labelled_rows

HORIZON = 5


@pytest.fixture
def series(make_series):
    return make_series(1400, "AAA", closes_only=True)


@pytest.fixture
def rows(series):
    y = labels.realised_variance(series.close, HORIZON)
    at = np.flatnonzero(np.isfinite(y))[30:]
    t0, t1 = series.timestamp[at], labels.end_times(series.timestamp, HORIZON)[at]
    return make_labelled_rows(len(at), y=y[at], target=0 * y[at], symbols=("AAA",), t0=t0, t1=t1)


@pytest.fixture
def oof(rows):
    tested = np.arange(800, len(rows))
    scores = np.zeros((len(tested), 1), dtype=np.float32)
    return OutOfFold(rows.take(tested), scores, (tested - 800) // 200)


def rivals(oof, rows, series):
    return [RIVALS[name](oof, rows, [series], HORIZON) for name in ("garch", "gjr_garch")]


def test_parameters_are_those_of_arch():
    from arch import arch_model

    returns = np.random.default_rng(0).standard_normal(800)
    expected = arch_model(returns, mean="Zero", p=1, o=1, q=1, rescale=False).fit(disp="off")
    found = fit_garch(returns, 1)
    names = ("omega", "alpha[1]", "gamma[1]", "beta[1]")
    assert (found.omega, found.alpha, found.gamma, found.beta) == tuple(
        expected.params[name] for name in names
    )


def test_forecasts_follow_the_volatility_and_are_unbiased(oof, rows, series):
    for forecast in rivals(oof, rows, series):
        assert np.isfinite(forecast).all()
        assert oof.rows.y.mean() / forecast.mean() == pytest.approx(1.0, abs=0.2)
        assert np.corrcoef(np.log(forecast), np.log(oof.rows.y))[0, 1] > 0.3


def test_later_bars_and_labels_change_no_earlier_forecast(oof, rows, series):
    cut = 1100
    close = np.where(np.arange(len(series)) > cut, series.close * 1.3, series.close)
    later = rows.t1 > series.timestamp[cut]
    other = replace(rows, y=np.where(later, 7.0, rows.y))
    known = oof.rows.t0 <= series.timestamp[cut]
    found = rivals(oof, other, replace(series, close=close))
    for before, after in zip(rivals(oof, rows, series), found, strict=True):
        np.testing.assert_array_equal(before[known], after[known])
        assert (before[~known] != after[~known]).all()


def test_too_few_returns_have_no_forecast(oof, rows, series):
    short = replace(oof, rows=replace(oof.rows, t0=oof.rows.t0 - 500 * 86_400_000_000))
    garch, _ = rivals(short, rows, series)
    assert np.isnan(garch[short.fold == 0]).all()
    assert fit_garch(np.zeros(499), 0) is None


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_returns_of_any_size_are_fitted_alike(make_series, unit):
    returns = 100 * labels.log_returns(make_series(900, closes_only=True).close)[1:]
    usual, other = fit_garch(returns, 1), fit_garch(unit * returns, 1)
    assert other.persistence == pytest.approx(usual.persistence, abs=0.01)
    ratio = other.variances(unit * returns) / usual.variances(returns) / unit**2
    assert np.median(ratio) == pytest.approx(1.0, abs=0.03)


def test_returns_that_do_not_vary_have_no_fit():
    assert fit_garch(np.zeros(600), 1) is None
