"""Metrics: each template says which it has; losses of different labels are not compared."""

import json
import math
from dataclasses import replace

import pytest

from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.templates import TEMPLATES
from pipelines.tuning.asked import Asked, Question
from pipelines.tuning.metrics import HIGHER_IS_BETTER, Metric, known_metrics, metrics_of
from pipelines.tuning.parameters import SearchParameters
from registry.errors import ParameterError


@pytest.mark.parametrize("name", list(TEMPLATES))
def test_every_template_has_a_default_and_its_loss(name):
    known = known_metrics(TEMPLATES.get(name))
    assert set(known) <= set(HIGHER_IS_BETTER) and "loss" in known
    assert metrics_of(TEMPLATES.get(name), "", changes_label=False)[0].name == next(iter(known))


def test_defaults_are_those_of_the_page():
    page = {
        "volatility_forecast": "qlike",
        "trading_signals": "sharpe_ratio",
        "return_forecast": "rmse",
        "portfolio_risk": "pinball",
        "sentiment": "log_loss",
        "tabular": "loss",
        "market_regime": "loss",
        "anomaly": "loss",
    }
    assert {name: next(iter(known_metrics(TEMPLATES.get(name)))) for name in TEMPLATES} == page


def test_losses_of_different_labels_are_not_compared():
    signals, volatility = TEMPLATES.get("trading_signals"), TEMPLATES.get("volatility_forecast")
    assert metrics_of(signals, "", changes_label=True)[0].name == "sharpe_ratio"
    with pytest.raises(ParameterError, match=r"every label has \(sharpe_ratio, ic, rank_ic\)"):
        metrics_of(signals, "log_loss", changes_label=True)
    with pytest.raises(ParameterError, match=r"every label has \(none here\)"):
        metrics_of(volatility, "", changes_label=True)


def test_a_metric_that_was_not_measured_is_said():
    with pytest.raises(ParameterError, match="metric='ic': expected one that these rows have"):
        Metric("ic", "ic").value({"loss": 1.0})
    with pytest.raises(ParameterError, match="it is not finite"):
        Metric("qlike", "qlike").value({"qlike": math.nan})
    assert Metric("rmse", "scaled_mse").value({"scaled_mse": 4.0}) == 2.0
    assert Metric("rmse", "rmse").value({"rmse": 4.0}) == 4.0


@pytest.mark.parametrize(
    ("metric", "pruner", "expected"),
    [("", "", "none"), ("log_loss", "", "wilcoxon"), ("log_loss", "halving", "halving")],
)
def test_trials_are_pruned_by_losses_only(metric, pruner, expected):
    asked = Asked(
        SourceParameters(),
        RecipeParameters("trading_signals"),
        SearchParameters(metric=metric, pruner=pruner),
    )
    assert Question.of(asked).pruner == expected


def test_a_study_that_is_asked_for_again_is_the_same():
    asked = Asked(
        SourceParameters(symbols="SP500"),
        RecipeParameters("return_forecast", seed=3),
        SearchParameters(space=json.dumps({"architectures": ["ridge"]})),
    )
    assert Asked.from_json(json.loads(json.dumps(asked.to_json()))) == asked
    assert asked.name() == asked.name() != replace(asked, search=SearchParameters()).name()
    assert asked.name().startswith("return_forecast-")
