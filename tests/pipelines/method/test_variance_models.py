"""HAR against statsmodels, the GARCH recursion and its forecasts against arch."""

import numpy as np
import pytest

from pipelines.data.sources import SOURCES, BarQuery
from pipelines.method.variance_models import LEAST_OF_SCALE, Garch, fit_har, har_forecast


@pytest.fixture
def returns():
    bars = SOURCES.get("sample").read(BarQuery(symbols=("SP500",)))
    return 100 * np.diff(np.log(next(bars.series()).close))


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    means = 1e-4 * rng.gamma(2.0, 1.0, (500, 3))
    realised = 2e-5 + means @ np.array([0.2, 0.3, 0.4]) + 1e-5 * rng.random(500)
    return realised, means, means.mean(axis=1)


def test_har_is_weighted_least_squares(rows):
    import statsmodels.api as sm

    realised, means, scale = rows
    expected = sm.WLS(realised, sm.add_constant(means), weights=scale**-2).fit().params
    np.testing.assert_allclose(fit_har(realised, means, scale), expected, rtol=1e-6)


def test_har_leaves_unknown_rows_out_and_needs_none(rows):
    realised, means, scale = rows
    unknown = np.where(np.arange(500) < 10, np.nan, realised)
    expected = fit_har(realised[10:], means[10:], scale[10:])
    np.testing.assert_allclose(fit_har(unknown, means, scale), expected)
    nothing = fit_har(np.full(500, np.nan), means, scale)
    np.testing.assert_allclose(har_forecast(nothing, means, means[:, 2]), means[:, 2])


def test_a_har_forecast_is_never_below_a_share_of_the_ewma():
    line = np.array([-1.0, 0.0, 0.0, 0.0])
    found = har_forecast(line, np.ones((2, 3)), np.array([1.0, 2.0]))
    np.testing.assert_allclose(found, LEAST_OF_SCALE * np.array([1.0, 2.0]))


@pytest.mark.parametrize("order", [0, 1])
def test_garch_variances_and_forecasts_equal_arch(returns, order):
    from arch import arch_model

    model = arch_model(returns, mean="Zero", p=1, o=order, q=1, rescale=False)
    fit = model.fit(disp="off", last_obs=2500)
    p = fit.params
    start = float(model.volatility.backcast(returns[:2500]))
    garch = Garch(p["omega"], p["alpha[1]"], p.get("gamma[1]", 0.0), p["beta[1]"], start)
    variances = garch.variances(returns)
    np.testing.assert_allclose(variances[:2500], fit.conditional_volatility[:2500] ** 2, rtol=1e-8)
    table = fit.forecast(horizon=5, start=2600, reindex=False).variance
    found = garch.forecast(variances[2601:], 5)
    np.testing.assert_allclose(found, table.to_numpy().mean(axis=1), rtol=1e-8)
