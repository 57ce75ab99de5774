"""The judgement's numbers against statsmodels, scikit-learn and hand-made series."""

import numpy as np
import polars as pl
import pytest
from scipy import stats
from scipy.fft import dct
from sklearn.metrics import accuracy_score

from pipelines.method.costs import CostSpec
from pipelines.method.coverage import Intervals
from pipelines.method.statistics import expected_max_sharpe
from pipelines.method.strategy import Strategy
from pipelines.recipes.selection_bias import among_trials
from pipelines.recipes.trial_family import TrialFamily
from pipelines.templates.trading_signals.quality import SignalForecast, judge
from tests.examples import make_labelled_rows

N_DATES, N_SYMBOLS = 250, 3
FREE = Strategy(1, CostSpec(0.0, 0.0, 0.0, 0.0, 1e6, 0.0), 252.0)


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    n = N_DATES * N_SYMBOLS
    y = rng.integers(0, 3, n).astype(float)
    moves = 0.01 * (y - 1) + 0.002 * rng.standard_normal(n)
    unknown = np.full(n, np.nan)
    context = {"sigma": unknown, "half_spread": unknown, "dollar_volume": unknown}
    outcome = {
        "log_return": moves,
        "touched": (y != 1).astype(float),
        "ambiguous": np.zeros(n),
        "next_return": np.expm1(moves),
        "left_at": np.repeat(np.arange(N_DATES), N_SYMBOLS) + 1.0,
    }
    t0 = np.repeat(np.arange(N_DATES), N_SYMBOLS).astype(np.int64)
    symbol = np.tile(np.arange(N_SYMBOLS, dtype=np.int32), N_DATES)
    found = {"context": context, "outcome": outcome, "symbol": symbol, "symbols": ("A", "B", "C")}
    return make_labelled_rows(n, y=y, t0=t0, t1=t0 + 2, **found)


@pytest.fixture
def forecast(rows):
    rng = np.random.default_rng(1)
    p = rng.dirichlet((3.0, 3.0, 3.0), len(rows))
    prior = np.tile([0.3, 0.3, 0.4], (len(rows), 1))
    decision = rng.integers(-1, 2, len(rows)).astype(float)
    half = np.full(len(rows), 0.0165)
    error = rows.outcome["log_return"]
    intervals = Intervals(error, half, half, half, rows.t0, 0.9, {"interval": half})
    return SignalForecast(p, prior, decision, np.full(len(rows), 0.5), intervals)


@pytest.fixture
def found(rows, forecast):
    return among_trials(judge(rows, forecast, FREE), TrialFamily(1, ()))


def t_of_mean(values, t0):
    """Return the t with cosine long-run variance, as a normal quantile, by SciPy."""
    means = pl.DataFrame({"t": t0, "v": values}).group_by("t").mean().sort("t")["v"].to_numpy()
    n, b = len(means), int(0.4 * len(means) ** (2 / 3))
    cosines = dct(means, type=2)[1 : b + 1] / 2 * np.sqrt(2 / n)
    t = means.mean() * np.sqrt(n) / np.sqrt((cosines**2).mean())
    return float(stats.norm.ppf(stats.t.cdf(t, b)))


def test_edge_of_probabilities_is_the_t_of_the_mean_per_date(rows, forecast, found):
    k, chosen = np.arange(len(rows)), rows.y.astype(int)
    difference = np.log(forecast.prior[k, chosen]) - np.log(forecast.probabilities[k, chosen])
    assert found.metrics["t_log_loss"] == pytest.approx(t_of_mean(difference, rows.t0))


def test_edge_of_direction_looks_only_at_touched_rows(rows, forecast, found):
    touched = rows.y != 1
    p, up = forecast.probabilities[touched], rows.y[touched] == 2
    side = np.where(up, p[:, 2], p[:, 0]) / (p[:, 0] + p[:, 2])
    prior = np.where(up, 0.4, 0.3) / 0.7
    expected = t_of_mean(np.log(prior) - np.log(side), rows.t0[touched])
    assert found.metrics["t_direction"] == pytest.approx(expected)


def test_confidence_is_the_probability_of_the_signal(rows, forecast, found):
    emitted = (forecast.decision + 1).astype(int)
    expected = forecast.probabilities[np.arange(len(rows)), emitted]
    np.testing.assert_array_equal(forecast.confidence, expected)
    accuracy = accuracy_score(rows.y, emitted)
    assert found.metrics["signal_accuracy"] == pytest.approx(accuracy)


def test_active_returns_take_beta_times_the_universe_off(rows, forecast, found):
    returns = rows.outcome["next_return"].reshape(N_DATES, N_SYMBOLS)
    held = forecast.decision.reshape(N_DATES, N_SYMBOLS) / N_SYMBOLS
    expected = (held * returns).sum(axis=1) - 0.5 * returns.mean(axis=1)
    np.testing.assert_allclose(found.returns, expected)


def test_equity_is_log_wealth(rows, forecast, found):
    returns = rows.outcome["next_return"].reshape(N_DATES, N_SYMBOLS)
    table = found.tables["equity"]
    np.testing.assert_allclose(table["equal_weight"], np.cumsum(np.log1p(returns.mean(axis=1))))
    held = np.cumprod(1 + returns, axis=0).mean(axis=1)
    np.testing.assert_allclose(table["buy_and_hold"], np.log(held))
    assert table["net"].to_list() == table["gross"].to_list()
    assert table["drawdown"].max() <= 0


def test_trials_without_their_sharpe_ratios_spread_like_worthless_ones(rows, forecast):
    found = among_trials(judge(rows, forecast, FREE), TrialFamily(5, (0.1,)))
    expected = expected_max_sharpe(5, 1 / N_DATES**0.5)
    assert found.metrics["expected_max_sharpe"] == pytest.approx(expected)


def test_what_is_not_computed_is_refused(found):
    shut = {g.gate for g in found.gates if g.value is None}
    assert shut == {"edge.choice_loss", "edge.ece"}
    assert not any(g.passed for g in found.gates if g.gate in shut)
