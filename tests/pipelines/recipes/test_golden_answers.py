"""What a version answered when it was made, and that every part of the code behind it shows."""

from importlib import import_module

import numpy as np
import polars as pl
import pytest

from pipelines.method import calibration
from pipelines.recipes.golden_answers import answers_gate, golden_answers
from pipelines.recipes.inputs.portfolio import KIND as PORTFOLIO
from registry.errors import DigestMismatchError, GoldenAnswersError
from registry.version_files import ANSWERS_FILE
from tests.golden_files import add_golden_answers
from tests.serving import conftest as serving
from tests.serving.test_portfolio import write_portfolio
from tests.small_versions import EVERY, small_version

CLOSES = "closes"
TEMPLATES = "pipelines.templates."


def made(folder, name, variant):
    version = small_version(folder, name, variant)
    return add_golden_answers(folder, version.context)


@pytest.fixture
def portfolio(tmp_path):
    write_portfolio(tmp_path, serving.contract_of())
    return add_golden_answers(tmp_path, PORTFOLIO.sample_context(None, 3))


@pytest.mark.parametrize(("name", "variant"), EVERY)
def test_the_same_code_gives_the_recorded_answers(tmp_path, name, variant):
    files = made(tmp_path, name, variant)
    golden = golden_answers(files)
    assert golden.changes == ()
    assert len(golden.recorded) >= 40
    assert all(isinstance(answer, dict) for answer in golden.recorded)
    assert answers_gate(files).passed


def test_portfolios_are_measured_by_every_measure(portfolio):
    golden = golden_answers(portfolio)
    assert golden.changes == ()
    measures = {"var_95", "cvar_97.5", "component_var_95", "max_drawdown", "beta", "sharpe_ratio"}
    assert measures <= set(golden.recorded[0])


def test_signals_of_every_kind_are_among_the_answers(tmp_path):
    golden = golden_answers(made(tmp_path, "trading_signals", CLOSES))
    assert {answer["signal"] for answer in golden.recorded} == {"BUY", "HOLD", "SELL"}
    assert {"out_of_distribution", None} <= {answer["abstained"] for answer in golden.recorded}
    assert None in {answer["sigma"] for answer in golden.recorded}


def a_little_more(monkeypatch, target):
    """Let a function, named as `module:function`, give a thousandth more."""
    module, name = target.split(":")
    original = getattr(import_module(module), name)
    monkeypatch.setattr(
        f"{module}.{name}", lambda *given, **named: original(*given, **named) * 1.001
    )


@pytest.mark.parametrize(
    ("name", "variant", "target", "field"),
    [
        ("trading_signals", CLOSES, TEMPLATES + "trading_signals:ewma_deviation", "sigma"),
        (
            *("trading_signals", CLOSES),
            *(TEMPLATES + "trading_signals.answers:adaptive_width", "adaptive_interval.lower"),
        ),
        (
            *("volatility_forecast", CLOSES),
            *("pipelines.method.labels:ewma_variance", "baseline_volatility"),
        ),
        ("return_forecast", CLOSES, "pipelines.method.conformal:quantile", "interval.lower"),
        ("market_regime", CLOSES, TEMPLATES + "market_regime:probabilities", "probabilities.calm"),
        ("anomaly", CLOSES, TEMPLATES + "anomaly.answers:p_values", "p_value"),
    ],
)
def test_a_changed_function_behind_answers_is_seen(
    tmp_path, monkeypatch, name, variant, target, field
):
    files = made(tmp_path, name, variant)
    a_little_more(monkeypatch, target)
    assert field in {change.field for change in golden_answers(files).changes}
    row = answers_gate(files)
    assert not row.passed
    assert row.value > 0


@pytest.mark.parametrize(
    ("name", "variant"),
    [("trading_signals", CLOSES), ("tabular", "classes"), ("sentiment", "texts")],
)
def test_a_changed_calibrator_is_seen(tmp_path, monkeypatch, name, variant):
    def softer(self, scores):
        return calibration.softmax(0.99 * scores.astype(np.float64))

    files = made(tmp_path, name, variant)
    monkeypatch.setattr(calibration.Calibrator, "apply", softer)
    assert "confidence" in {change.field for change in golden_answers(files).changes}


def test_a_change_in_columns_alone_is_seen(tmp_path, monkeypatch):
    files = made(tmp_path, "volatility_forecast", CLOSES)
    module = import_module(TEMPLATES + "volatility_forecast")
    original = module.forecast_frame
    doubled = pl.col("forecast_variance") * 2
    monkeypatch.setattr(module, "forecast_frame", lambda *a: original(*a).with_columns(doubled))
    golden = golden_answers(files)
    assert {change.field for change in golden.changes} == {"forecast_variance"}
    assert min(change.answer for change in golden.changes) == len(golden.recorded) // 2


def test_a_changed_measure_of_portfolios_is_seen(portfolio, monkeypatch):
    a_little_more(monkeypatch, "pipelines.method.risk_measures:value_at_risk")
    assert "var_95" in {change.field for change in golden_answers(portfolio).changes}


def test_code_that_cannot_decode_an_old_version_is_named(tmp_path, monkeypatch):
    files = made(tmp_path, "volatility_forecast", CLOSES)

    def needs_more(baseline, growth, facts):
        return facts["introduced_later"]

    monkeypatch.setattr(TEMPLATES + "volatility_forecast.forecast", needs_more)
    with pytest.raises(GoldenAnswersError, match="KeyError: 'introduced_later'"):
        golden_answers(files)


def test_answers_that_were_changed_on_the_disk_are_not_read(tmp_path):
    files = made(tmp_path, "sentiment", "texts")
    (tmp_path / ANSWERS_FILE).write_bytes(b"other answers")
    with pytest.raises(DigestMismatchError):
        golden_answers(files)
