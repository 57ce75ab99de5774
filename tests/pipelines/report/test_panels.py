"""Panels draw the numbers they were given."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pipelines.report import (
    Chart,
    Grid,
    Remark,
    forecasts,
    probabilities,
    provenance,
    risk,
    states,
    trials,
)


def figure(blocks):
    return next(block.figure for block in blocks if isinstance(block, Chart))


def facts(blocks) -> dict[str, str]:
    (frame,) = [block.frame for block in blocks if isinstance(block, Grid)]
    return dict(frame.iter_rows())


def test_wilson_bounds_are_those_of_a_score_test():
    low, high = probabilities.wilson(np.array([0.2]), np.array([50]))
    for bound in (low[0], high[0]):
        z = (0.2 - bound) / np.sqrt(bound * (1 - bound) / 50)
        assert abs(z) == pytest.approx(1.645, rel=1e-9)


def test_reliability_shows_the_rows_of_each_bin(evidence):
    fig = figure(probabilities.reliability(evidence))
    bars = next(trace for trace in fig.data if trace.type == "bar")
    assert list(bars.y) == [50, 60, 40]
    points = next(trace for trace in fig.data if trace.name == "out of fold")
    assert (list(points.x), list(points.y)) == ([0.3, 0.5, 0.9], [0.2, 0.6, 0.8])


def test_confusion_shares_add_up_to_one_per_realised_class(evidence):
    (trace,) = figure(probabilities.confusion(evidence)).data
    np.testing.assert_allclose(np.sum(trace.z, axis=1), 1.0)
    assert list(trace.text[0]) == ["5<br>62%", "3<br>38%"]


def test_the_fold_map_has_the_spans_of_the_table(evidence):
    fig = figure(provenance.folds(evidence))
    lengths = {trace.name.partition(":")[0]: trace.x[0] / 86_400_000 for trace in fig.data}
    assert lengths == {"train": 299, "purged": 4, "test": 294}


def test_the_deflated_panel_computes_psr_as_scipy_does(evidence, net):
    found = facts(trials.deflated(evidence))
    sharpe = net.mean() / net.std(ddof=1)
    skew = stats.skew(net, bias=False)
    kurtosis = stats.kurtosis(net, fisher=False, bias=False)
    deviation = np.sqrt(1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2)
    psr = stats.norm.cdf(sharpe * np.sqrt(len(net) - 1) / deviation)
    assert found["PSR = P(true SR > 0)"] == f"{psr:.2%}"
    assert found["DSR = P(true SR > hurdle)"] == "40.00%"
    assert found["N, recipes tried on these data"] == "3"
    spread = np.std([0.01, -0.02, 0.03], ddof=1)
    assert f"{spread:.5f}" in found.values()


def test_the_logit_histogram_counts_every_half_once(evidence):
    without = {k: v for k, v in evidence.metrics.items() if k != "pbo"}
    blocks = trials.overfitting(replace(evidence, metrics=without))
    assert sum(blocks[2].figure.data[0].y) == pytest.approx(1.0)
    choice, ranks = [b.text for b in blocks if isinstance(b, Remark)]
    assert choice.startswith("Choice loss 25.0%: share of winners")
    assert ranks.startswith("PBO 50.0%: share of all halves")


def test_below_ten_recipes_there_is_a_choice_loss_but_no_probability_of_overfitting(evidence):
    tables = {k: v for k, v in evidence.tables.items() if k != "pbo"}
    metrics = {k: v for k, v in evidence.metrics.items() if k not in ("pbo", "choice_loss")}
    chart, words = trials.overfitting(replace(evidence, tables=tables, metrics=metrics))
    assert list(chart.figure.data[0].y) == [-0.1, 0.0, 0.1, 0.2]
    assert words.text.startswith("Choice loss 25.0%")


def test_a_challenge_cumulates_losses_beyond_the_baseline(evidence):
    fig = figure(forecasts.challenge(evidence))
    lines = {trace.name: list(trace.y) for trace in fig.data}
    assert lines == {"champion": [1.0, 2.0, 3.0], "challenger": [0.5, 2.0, 2.0]}


def test_loss_per_year_has_one_bar_per_model_and_year(evidence):
    fig = figure(forecasts.per_year(evidence))
    assert {t.name: list(t.y) for t in fig.data} == {
        "forecast": [0.4, 0.6],
        "EWMA(0.94)": [0.5, 0.7],
    }


def test_binned_forecasts_keep_the_mean(evidence):
    fig = figure(forecasts.scatter(evidence))
    points = fig.data[1]
    table = evidence.tables["forecast_vs_realised"]
    assert np.mean(points.x) == pytest.approx(table["forecast"].mean(), rel=1e-3)
    assert np.mean(points.y) == pytest.approx(table["realised"].mean(), rel=1e-3)


def test_every_day_beyond_var_is_marked(evidence, net):
    fig = figure(risk.backtest(evidence))
    marked = next(trace for trace in fig.data if trace.name == "beyond VaR")
    assert len(marked.x) == int((-net > 0.02).sum())
    assert min(marked.y) > 0.02


def test_a_regime_colours_the_days_on_which_it_is_the_likeliest(evidence):
    fig = figure(states.regimes(evidence))
    counted = {trace.name: len(trace.x) for trace in fig.data if trace.name}
    calm = int((evidence.tables["regime_probabilities"]["calm"] >= 0.5).sum())
    assert counted == {"calm": calm, "wild": 600 - calm}


@pytest.mark.parametrize(
    ("template", "title"),
    [("volatility_forecast", "volatility per bar"), ("return_forecast", "value per bar")],
)
def test_forecasts_are_drawn_as_what_their_template_says_they_are(evidence, template, title):
    contract = replace(evidence.contract, template=template)
    fig = figure(forecasts.over_time(replace(evidence, contract=contract)))
    assert fig.layout.yaxis.title.text.startswith(title)


def test_thinning_keeps_every_alarm_of_a_long_history(evidence):
    table = evidence.tables["alarms_over_time"]
    longer = table.sample(9000, with_replacement=True, seed=0).sort("timestamp")
    fig = figure(states.alarms(replace(evidence, tables={"alarms_over_time": longer})))
    assert max(fig.data[0].y) == 0.5


def test_active_returns_of_the_table_are_not_drawn_twice(evidence, net):
    from pipelines.report import returns

    table = evidence.tables["equity"].with_columns(active=np.log(np.cumprod(1 + net)))
    tables = dict(evidence.tables) | {"equity": table}
    fig = figure(returns.equity(replace(evidence, tables=tables)))
    assert [trace.name for trace in fig.data].count("active") == 1


def test_a_logit_of_zero_is_drawn_among_those_below(evidence):
    trace = trials.overfitting(evidence)[2].figure.data[0]
    below = [h for h, shade in zip(trace.y, trace.marker.color, strict=True) if shade == trials.RED]
    assert sum(below) == pytest.approx(0.5)
