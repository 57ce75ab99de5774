"""Numbers of the return panels against independent calculations."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy import stats

from pipelines.report import Chart, Grid, returns


def grid(blocks) -> pl.DataFrame:
    (found,) = [block.frame for block in blocks if isinstance(block, Grid)]
    return found


def figure(blocks):
    return next(block.figure for block in blocks if isinstance(block, Chart))


def test_the_standard_error_is_mertens(net):
    sharpe = net.mean() / net.std(ddof=1)
    skew = stats.skew(net, bias=False)
    kurtosis = stats.kurtosis(net, fisher=False, bias=False)
    expected = math.sqrt((1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2) / (len(net) - 1))
    assert returns.standard_error(net) == pytest.approx(expected, rel=1e-12)


def test_the_standard_error_is_the_spread_of_sharpe_ratios_of_normal_samples():
    drawn = np.random.default_rng(0).normal(0.1, 1.0, (4000, 250))
    spread = (drawn.mean(axis=1) / drawn.std(axis=1, ddof=1)).std()
    mean_error = np.mean([returns.standard_error(sample) for sample in drawn[:200]])
    assert mean_error == pytest.approx(spread, rel=0.05)


def test_rolling_moments_are_those_of_each_window(net):
    sharpe, error = returns.rolling_moments(net, 252, every=50)
    windows = [net[i : i + 252] for i in range(0, len(net) - 251, 50)]
    np.testing.assert_allclose(sharpe, [w.mean() / w.std(ddof=1) for w in windows])
    np.testing.assert_allclose(error, [returns.standard_error(w) for w in windows])


def test_the_summary_gives_back_the_returns_behind_log_wealth(evidence, net):
    line = returns.summary(evidence).row(by_predicate=pl.col("curve") == "net", named=True)
    wealth = np.cumprod(1 + net)
    assert line["largest_drawdown"] == pytest.approx(
        (wealth / np.maximum(np.maximum.accumulate(wealth), 1) - 1).min()
    )
    per_year = 365.25
    assert line["sharpe"] == pytest.approx(net.mean() / net.std(ddof=1) * per_year**0.5, rel=1e-6)
    assert line["from"] < line["sharpe"] < line["to"]


def test_years_compound_to_the_whole(evidence, net):
    frame = grid(returns.years(evidence))
    assert frame["year"].to_list() == [2019, 2020]
    assert np.prod(1 + frame["net"].to_numpy()) == pytest.approx(np.prod(1 + net))
    assert frame["bars"].sum() == len(net)


def test_months_compound_to_the_whole(evidence, net):
    (trace,) = figure(returns.months(evidence)).data
    cells = np.array([[np.nan if v is None else v for v in row] for row in trace.z], dtype=float)
    assert np.nanprod(1 + cells) == pytest.approx(np.prod(1 + net), rel=1e-3)


def test_thinning_keeps_the_deepest_drawdown_and_the_last_day(evidence):
    n = 5000
    stamps = pl.datetime_range(
        pl.datetime(2000, 1, 1), pl.datetime(2000, 1, 1) + pl.duration(days=n - 1), "1d",
        time_zone="UTC", eager=True,
    )  # fmt: skip
    wealth = np.ones(n)
    wealth[2501] = 0.4  # one day
    table = pl.DataFrame({"timestamp": stamps, "net": np.log(wealth)})
    fig = figure(returns.drawdowns(replace(evidence, tables={"equity": table})))
    (trace,) = fig.data
    assert len(trace.y) <= 1500
    assert min(trace.y) == pytest.approx(-0.6)
    assert trace.x[-1] == f"{stamps[-1]:%Y-%m-%d}"


def test_the_worst_drawdowns_have_their_days(evidence):
    wealth = np.array([1.0, 1.1, 0.99, 1.2, 0.6, 0.9])
    stamps = evidence.tables["equity"]["timestamp"][:6]
    table = pl.DataFrame({"timestamp": stamps, "net": np.log(wealth)})
    frame = grid(returns.drawdowns(replace(evidence, tables={"equity": table})))
    assert frame["depth"].to_list() == pytest.approx([-0.5, -0.1])
    assert frame["recovered"].to_list() == [None, stamps[3]]
    assert frame["trough"].to_list() == [stamps[4], stamps[2]]


def test_a_year_is_needed_for_the_rolling_sharpe_ratio(evidence):
    short = {"equity": evidence.tables["equity"].head(200)}
    assert returns.rolling_sharpe(replace(evidence, tables=short, returns=None)) == ()
