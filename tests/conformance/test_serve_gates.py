"""Every gate of the serve lock fails for a real reason: a gate that cannot fail protects nothing.

Each case does what the gate is there to find, and asks the code that measures it. A gate without a
case here fails the first test.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from pipelines.architectures.array_estimator import ArrayEstimator
from pipelines.data.features import FEATURE_SETS
from pipelines.data.sources import SOURCES, BarQuery
from pipelines.data.tables.leaks import suspicions
from pipelines.method import calibration
from pipelines.method.rows import OutOfFold
from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes.candidate import Candidate
from pipelines.recipes.checks import data_checks, golden_rows
from pipelines.recipes.dataset import read_dataset
from pipelines.recipes.golden_answers import answers_gate
from pipelines.recipes.inputs import kind_of
from pipelines.recipes.inputs.bar_checks import causality, feature_parity
from pipelines.recipes.parity import fitted_scores, parity_of
from pipelines.recipes.plausible_data import dated_bars, knowing_columns
from pipelines.templates import RIVAL, TEMPLATES
from pipelines.templates.volatility_forecast import TEMPLATE as VOLATILITY
from registry.flavors import Artifact, parity
from registry.flavors.arrays import save_arrays
from registry.flavors.arrays.linear import Linear
from registry.flavors.arrays.preprocessing import Preprocessing
from registry.flavors.native import NATIVE, native_path
from registry.gates import COMMON, GATES, GateRow
from tests.conformance.test_templates import make_case
from tests.examples import make_contract
from tests.golden_files import add_golden_answers
from tests.small_versions import small_version

VARIANTS = {"bars": "closes", "table": "classes", "texts": "texts", "portfolio": "pair"}


# Of every template -----------------------------------------------------------------------------


@cache
def dataset():
    source = SourceParameters(source="synthetic", symbols="AAA,BBB", end="2002-12-31")
    _, found = read_dataset(source, RecipeParameters(), None)
    return found


def infinite_input(_folder: Path, _patch) -> GateRow:
    rows = dataset().rows
    X = rows.X.copy()
    X[0, 0] = np.inf
    return data_checks(replace(dataset(), rows=replace(rows, X=X)), kind_of(VOLATILITY))


class Foresight:
    """The volatility template with a context that knows the next close."""

    def context(self, series):
        return {"next": np.append(series.close[1:], np.nan)}


def look_ahead(_folder: Path, _patch) -> GateRow:
    return causality(Foresight(), FEATURE_SETS.get("close_only"), dataset())


def too_short_a_history(_folder: Path, _patch) -> GateRow:
    features = copy(FEATURE_SETS.get("close_only"))
    features.min_history //= 4
    return feature_parity(features, dataset())


def linear(weight: float) -> Linear:
    as_it_is = [np.zeros(2), np.full(2, -1e6), np.full(2, 1e6), np.zeros(2), np.ones(2)]
    preprocessing = Preprocessing(*(column.astype(np.float32) for column in as_it_is))
    return Linear(preprocessing, np.full((2, 1), weight, np.float32), np.zeros(1, np.float32))


X = np.random.default_rng(0).standard_normal((50, 2)).astype(np.float32)


def another_model_in_the_file(folder: Path, _patch) -> GateRow:
    contract = make_contract(native_format="arrays")
    path = folder / native_path("arrays")
    path.parent.mkdir()
    path.write_bytes(save_arrays(linear(0.5)).payload)
    nothing = dict.fromkeys(("source", "wanted", "recipe", "decoder", "dataset", "oof"))
    candidate = Candidate("", folder, contract=contract, **nothing)
    return golden_rows(candidate, X, linear(0.6)(X))


def a_changed_calibrator(folder: Path, patch) -> GateRow:
    version = small_version(folder, "trading_signals", "closes")
    files = add_golden_answers(folder, version.context)
    scores = calibration.softmax
    patch.setattr(calibration.Calibrator, "apply", lambda _, s: scores(0.9 * s.astype(float)))
    return answers_gate(files)


COMMON_CASES: dict[str, Callable[[Path, pytest.MonkeyPatch], GateRow]] = {
    "data.checks": infinite_input,
    "causality": look_ahead,
    "feature_parity": too_short_a_history,
    "golden_rows": another_model_in_the_file,
    "golden_answers": a_changed_calibrator,
}


def test_every_common_gate_has_a_failing_case():
    assert set(COMMON_CASES) == {requirement.gate for requirement in COMMON.serve}


@pytest.mark.parametrize("gate", [requirement.gate for requirement in COMMON.serve])
def test_a_common_gate_fails_for_its_reason(gate, tmp_path, monkeypatch):
    row = COMMON_CASES[gate](tmp_path, monkeypatch)
    assert_fails(row, gate)


@pytest.mark.parametrize("artifact", [NATIVE, *map(Artifact, parity.SAID_OF_EACH[1:])], ids=str)
def test_parity_fails_where_an_artifact_holds_another_model(artifact):
    model, other = linear(0.5), linear(0.6)
    native = save_arrays(model)
    fitted = fitted_scores(ArrayEstimator(model, 0), native, X)
    compared = parity_of(native, model, X, label=lambda _, s: s[:, 0] > 0.3, fitted=fitted)
    rows = {row.gate: row for row in compared.compare(artifact, other, "cpu")}
    measures = ("", parity.EXTREMES) if artifact == NATIVE else ("", parity.EXTREMES, parity.LABELS)
    assert set(rows) == {parity.gate_name(artifact, measure) for measure in measures}
    for gate, row in rows.items():
        assert_fails(row, gate)


# Of one template -------------------------------------------------------------------------------


def judged(
    template: str, scores=None, variant="", *, is_learned=False, **changes
) -> dict[str, GateRow]:
    """Return the gates of a template for other scores, labels or outcomes than its case's.

    `is_learned`: whether the decoders are fitted on these scores, not on the case's own.
    """
    case = make_case(template, variant or VARIANTS[TEMPLATES.get(template).inputs])
    oof = case.oof if scores is None else replace(case.oof, scores=scores(case.oof))
    spec = case.spec | changes.pop("spec", {})
    oof = replace(oof, rows=replace(oof.rows, spec=spec, **changes))
    known = oof if is_learned else case.oof
    early, late = (known.take(case.oof.fold < fold) for fold in (0, 1))
    decoders = {f: case.template.fit_decoder(o, case.rows) for f, o in enumerate((early, late))}
    return {row.gate: row for row in case.template.evaluate(oof, decoders, spec, "1d").gates}


def noise(oof: OutOfFold, scale: float) -> np.ndarray:
    drawn = np.random.default_rng(7).standard_normal(oof.scores.shape)
    return (scale * drawn).astype(np.float32)


def loud(oof):
    return noise(oof, 2.0)


def of_a_calmer_market(oof):
    """Forecast a third of the variance, or of the losses, that was realised."""
    return oof.scores - np.float32(1.1)


def far_too_small_losses(oof):
    return oof.scores * np.float32(0.001)


def as_if_all_were_unusual(oof):
    return oof.scores + np.float32(10) * (oof.fold == 1)[:, None].astype(np.float32)


def labels_outside_every_interval():
    rows = make_case("return_forecast", "closes").rows
    return {"y": 30 * rows.y}


# What knows the outcome is too good to be true.


def of_the_class(oof):
    """Scores of the classes, of which the true one is nearly certain."""
    true = np.arange(oof.scores.shape[1]) == oof.rows.y[:, None]
    return np.where(true, 5, -5).astype(np.float32)


def of_the_return(oof):
    return (oof.rows.y / oof.rows.context["sigma"])[:, None].astype(np.float32)


def of_the_variance(oof):
    ratio = np.maximum(oof.rows.y, 1e-12) / oof.rows.context["ewma_variance"]
    return np.log(ratio)[:, None].astype(np.float32)


def of_the_state(oof):
    """Certain states, six of them, by what the next return will be."""
    edges = np.quantile(oof.rows.y, np.linspace(0, 1, 7)[1:-1])
    state = np.searchsorted(edges, oof.rows.y)
    return np.where(np.arange(6) == state[:, None], 9, -9).astype(np.float32)


def of_the_move(oof):
    """The most unusual where the next move is largest."""
    return np.abs(oof.rows.y)[:, None].astype(np.float32)


def of_the_loss(oof):
    losses = -oof.rows.y[:, None]
    return np.repeat(losses, oof.scores.shape[1], axis=1).astype(np.float32)


def of_the_number(oof):
    spec = oof.rows.spec
    return ((oof.rows.y - spec["center"]) / spec["scale"])[:, None].astype(np.float32)


def dated_early(*columns: str) -> dict[str, GateRow]:
    """Return the gates of real bars of an index with tomorrow's columns dated today."""
    (series,) = SOURCES.get("sample").read(BarQuery(symbols=("SP500",))).series()
    ahead = {c: getattr(series, c)[1:] for c in columns}
    return {
        row.gate: row for row in dated_bars([replace(series.slice(0, len(series) - 1), **ahead)])
    }


def a_volume_of_tomorrow() -> dict[str, GateRow]:
    (series,) = SOURCES.get("sample").read(BarQuery(symbols=("SP500",))).series()
    flow = np.append(series.close[1:] / series.close[:-1], 1.0)
    return {row.gate: row for row in dated_bars([replace(series, volume=flow)])}


def a_column_of_the_target() -> dict[str, GateRow]:
    drawn = np.random.default_rng(0).standard_normal((200, 2))
    late = drawn[:, :1] + 0.01 * drawn[:, 1:]
    row = knowing_columns(suspicions(late, ["late"], drawn[:, 0], 0), "1 column")
    return {row.gate: row}


TEMPLATE_CASES: dict[tuple[str, str], Callable[[], dict[str, GateRow]]] = {
    ("volatility_forecast", "quality.dm_ewma"): lambda: judged("volatility_forecast", loud),
    ("volatility_forecast", "quality.dm_scaled_ewma"): lambda: judged("volatility_forecast", loud),
    ("volatility_forecast", "quality.qlike_vs_ewma"): lambda: judged("volatility_forecast", loud),
    ("volatility_forecast", "quality.bias"): lambda: judged(
        "volatility_forecast", of_a_calmer_market
    ),
    ("volatility_forecast", "quality.not_worse_than_har"): lambda: judged(
        "volatility_forecast", loud
    ),
    ("volatility_forecast", "quality.not_worse_than_gjr_garch"): lambda: beside_gjr_garch(loud),
    ("return_forecast", "quality.dm_random_walk"): lambda: judged("return_forecast", loud),
    ("return_forecast", "quality.coverage"): lambda: judged(
        "return_forecast", **labels_outside_every_interval()
    ),
    ("market_regime", "quality.predictive_likelihood"): lambda: judged("market_regime", loud),
    ("anomaly", "quality.false_alarm_rate"): lambda: judged("anomaly", as_if_all_were_unusual),
    ("sentiment", "quality.skill"): lambda: judged("sentiment", loud),
    ("tabular", "quality.skill"): lambda: judged("tabular", loud),
    ("volatility_forecast", "plausibility.r2"): lambda: judged(
        "volatility_forecast", of_the_variance
    ),
    ("return_forecast", "plausibility.r2"): lambda: judged("return_forecast", of_the_return),
    ("return_forecast", "plausibility.direction"): lambda: judged("return_forecast", of_the_return),
    ("trading_signals", "plausibility.sharpe"): lambda: judged("trading_signals", of_the_class),
    ("trading_signals", "plausibility.direction"): lambda: judged("trading_signals", of_the_class),
    ("market_regime", "plausibility.likelihood"): lambda: judged(
        "market_regime", of_the_state, is_learned=True
    ),
    ("anomaly", "plausibility.likelihood"): lambda: judged("anomaly", of_the_move, is_learned=True),
    ("sentiment", "plausibility.auc"): lambda: judged("sentiment", of_the_class),
    ("tabular", "plausibility.auc"): lambda: judged("tabular", of_the_class),
    ("tabular", "plausibility.r2"): lambda: judged("tabular", of_the_number, "numbers"),
    ("tabular", "plausibility.columns"): a_column_of_the_target,
    ("portfolio_risk", "plausibility.pinball"): lambda: judged("portfolio_risk", of_the_loss),
    **{
        (name, gate): case
        for name in TEMPLATES
        if TEMPLATES.get(name).inputs in ("bars", "portfolio")
        for gate, case in (
            ("plausibility.opens", lambda: dated_early("high", "low", "close")),
            ("plausibility.ranges", lambda: dated_early("high", "low")),
            ("plausibility.columns", a_volume_of_tomorrow),
        )
    },
    ("portfolio_risk", "quality.kupiec"): lambda: too_little_risk(),
    ("portfolio_risk", "quality.conditional_coverage"): lambda: too_little_risk(),
    ("portfolio_risk", "quality.z2"): lambda: too_little_risk(),
}


def beside_gjr_garch(scores):
    rows = make_case("volatility_forecast", "closes").rows
    forecast = np.full(len(rows), rows.y.mean())
    return judged(
        "volatility_forecast", scores, outcome={**rows.outcome, RIVAL + "gjr_garch": forecast}
    )


def too_little_risk():
    return judged("portfolio_risk", far_too_small_losses, spec={"level": 0.95})


DECLARED = [(name, r.gate) for name in GATES for r in GATES.get(name).serve]


def test_every_gate_of_a_template_has_a_failing_case():
    assert set(TEMPLATE_CASES) == set(DECLARED)


@pytest.mark.parametrize(("template", "gate"), DECLARED)
def test_a_gate_of_a_template_fails_for_its_reason(template, gate):
    assert_fails(TEMPLATE_CASES[template, gate]()[gate], gate)


def assert_fails(row: GateRow, gate: str) -> None:
    """The row has a value, and the value is beyond its limit."""
    assert row.gate == gate
    assert row.applicable
    assert row.value is not None, row.line()
    assert not row.passed, row.line()
