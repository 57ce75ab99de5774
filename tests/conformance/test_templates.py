"""What every template guarantees, whatever it forecasts; runs on each name of the catalog."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from types import UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.architectures.hyperparameters import resolve
from pipelines.data.bars import BarSeries
from pipelines.data.features import FEATURE_SETS
from pipelines.data.tables.table_target import read_target
from pipelines.data.texts import sample_texts
from pipelines.data.texts.lexicon import signals
from pipelines.method.rows import LabelledRows, OutOfFold
from pipelines.recipes.selection_bias import among_trials
from pipelines.recipes.trial_family import TrialFamily
from pipelines.report.panels import KNOWN_TABLES
from pipelines.templates import TEMPLATES, Template
from pipelines.templates.answer_fields import as_json
from pipelines.templates.portfolio_risk import baselines
from pipelines.templates.sentiment import read_labels
from registry.contract import Json
from registry.decoder import Decoder
from tests.examples import make_contract

N = 900
FEATURES = ("first", "second")
DOCS = Path(__file__).parents[2] / "docs" / "templates"
N_STATES = 3
"""Scores where the objective leaves their number to the fit."""


@dataclass(frozen=True, slots=True)
class Case:
    """A template with rows of its kind of input, and scores that some fit could have given them.

    `series` are the bars that the rows were made of, None for other inputs.
    """

    template: Template
    spec: dict[str, Json]
    rows: LabelledRows
    oof: OutOfFold
    series: BarSeries | None = None


def random_series(seed=0, ranged=True):
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(0.01 * rng.standard_normal(N)))
    opened = close * np.exp(0.003 * rng.standard_normal(N))
    high, low = np.maximum(opened, close) * 1.004, np.minimum(opened, close) * 0.996
    stamp, unknown = np.arange(N, dtype=np.int64) * 86_400_000_000, np.full(N, np.nan)
    if not ranged:
        opened, high, low = unknown, unknown, unknown
    volume = 1e6 * rng.random(N) if ranged else unknown
    return BarSeries("AAA", stamp, opened, high, low, close, volume, unknown, unknown)


def of_bars(template, *, ranged):
    series = random_series(ranged=ranged)
    spec = template.label_spec(None, [series], resolve(template.options, {}))
    context = template.context(series)
    found = template.label(series, context, spec)
    keep = np.flatnonzero(np.isfinite(found.y) & (np.arange(N) > 100))
    context = {name: array[keep] for name, array in context.items()}
    target, fit = template.target(found.y[keep], context)
    rows = LabelledRows(
        X=np.random.default_rng(1).standard_normal((len(keep), 2)).astype(np.float32),
        y=found.y[keep],
        target=target,
        context=context,
        outcome={name: array[keep] for name, array in found.outcome.items()},
        symbol=np.zeros(len(keep), dtype=np.int32),
        symbols=("AAA",),
        t0=series.timestamp[keep],
        t1=found.t1[keep],
        fit=fit,
        spec=spec,
    )
    return Case(template, spec, rows, scored(template, rows), series)


def of_portfolio(template):
    pair = [
        replace(random_series(seed), symbol=symbol) for seed, symbol in enumerate(("AAA", "BBB"))
    ]
    spec = template.label_spec(None, pair, resolve(template.options, {}))
    closes = np.stack([series.close for series in pair], axis=1)
    returns = closes[1:] / closes[:-1] - 1
    keep = slice(150, N - 2)
    context = {name: values[keep] for name, values in baselines(returns, spec).items()}
    y = returns[1:].mean(axis=1)[keep]
    target, fit = template.target(y, context)
    rows = LabelledRows(
        X=returns[keep].astype(np.float32),
        y=y,
        target=target,
        context=context,
        outcome={},
        symbol=np.zeros(len(y), dtype=np.int32),
        symbols=("AAA", "BBB"),
        t0=pair[0].timestamp[1:][keep],
        t1=pair[0].timestamp[2:][keep],
        fit=fit,
        spec=spec,
    )
    return Case(template, spec, rows, scored(template, rows))


def scored(template, rows):
    """Random scores in two folds."""
    shape = (len(rows), template.objective(rows.spec).n_scores or N_STATES)
    scores = (0.2 * np.random.default_rng(2).standard_normal(shape)).astype(np.float32)
    return OutOfFold(rows, scores, np.arange(len(rows)) * 2 // len(rows))


def of_table(template, *, target, other):
    rng = np.random.default_rng(4)
    X = rng.standard_normal((N, 2)).astype(np.float32)
    frame = pl.DataFrame(
        {
            "timestamp": np.arange(N),
            "first": X[:, 0],
            "second": X[:, 1],
            "class": np.where(X[:, 0] + rng.standard_normal(N) > 0, "high", "low"),
            "number": 50 + 9 * X[:, 0] + rng.standard_normal(N),
        }
    )
    options = resolve(template.options, {"target": target, "drop": other})
    spec = template.label_spec(None, frame, options)
    y = read_target(frame[target], spec, "")
    return alone(template, X, y, spec, {name: np.full(N, spec[name]) for name in SCALES})


def of_texts(template):
    texts, names = zip(*(sample_texts.rows() * 3)[:N], strict=True)
    frame = pl.DataFrame({"timestamp": np.arange(N), "text": texts, "label": names})
    spec = template.label_spec(None, frame, resolve(template.options, {}))
    return alone(template, signals(texts), read_labels(frame["label"], spec, ""), spec, {})


def alone(template, X, y, spec, context):
    """Rows that stand alone, one a second."""
    target, fit = template.target(y, context)
    t0 = np.arange(N, dtype=np.int64) * 1_000_000
    place = np.zeros(N, dtype=np.int32)
    rows = LabelledRows(X, y, target, context, {}, place, ("0",), t0, t0 + 1, fit, spec)
    return Case(template, spec, rows, scored(template, rows))


SCALES = ("center", "scale")
CASES = {
    "bars": {
        "ohlcv": partial(of_bars, ranged=True),
        "closes": partial(of_bars, ranged=False),
    },
    "table": {
        "classes": partial(of_table, target="class", other="number"),
        "numbers": partial(of_table, target="number", other="class"),
    },
    "texts": {"texts": of_texts},
    "portfolio": {"pair": of_portfolio},
}
"""Kind of input -> name of a variant -> what makes the case of a template."""
NAMES = [
    (name, variant) for name in TEMPLATES for variant in CASES.get(TEMPLATES.get(name).inputs, {})
]
BAR_NAMES = [(name, variant) for name, variant in NAMES if variant in CASES["bars"]]


@cache
def make_case(name, variant):
    template = TEMPLATES.get(name)
    return CASES[template.inputs][variant](template)


@pytest.fixture(params=NAMES, ids="-".join, scope="module")
def case(request):
    return make_case(*request.param)


@pytest.fixture(params=BAR_NAMES, ids="-".join, scope="module")
def bar_case(request):
    return make_case(*request.param)


@pytest.fixture(scope="module")
def template(case):
    return case.template


@pytest.fixture(scope="module")
def spec(case):
    return case.spec


@pytest.fixture(scope="module")
def rows(case):
    return case.rows


@pytest.fixture(scope="module")
def oof(case):
    return case.oof


@pytest.fixture(scope="module")
def decoder(case):
    return case.template.fit_decoder(case.oof, case.rows)


@pytest.fixture(scope="module")
def contract(case):
    template = case.template
    return make_contract(
        case.oof.scores.shape[1],
        template=template.name,
        architecture=template.architectures[0],
        feature_set=template.feature_set,
        feature_names=FEATURES,
        horizon_bars=template.horizon_bars,
        symbols=case.rows.symbols,
        label_spec=case.spec,
        cost_spec=template.cost_spec(),
    )


@pytest.fixture(scope="module")
def answers(template, rows, oof, decoder, contract):
    return template.decode(oof.scores, rows.X, rows.context, decoder, contract)


@pytest.mark.parametrize("name", list(TEMPLATES))
def test_every_template_has_a_case(name):
    assert TEMPLATES.get(name).inputs in CASES


def test_names_and_defaults_can_be_resolved(template):
    assert TEMPLATES.get(template.name) is template
    assert (template.feature_set in FEATURE_SETS) == (template.inputs == "bars")
    assert template.architectures
    assert template.horizon_bars >= (template.inputs not in ("table", "texts"))
    assert template.loss_margin > 0


def test_specs_are_json(template, spec):
    assert json.loads(json.dumps(spec)) == spec
    assert json.loads(json.dumps(template.cost_spec())) == template.cost_spec()
    assert spec.get("horizon_bars", template.horizon_bars) == template.horizon_bars
    assert bool(template.cost_spec()) == template.is_action


def test_context_at_a_bar_depends_on_bars_up_to_it(bar_case):
    template, series = bar_case.template, bar_case.series
    whole, cut = template.context(series), template.context(series.slice(0, 600))
    for name, array in cut.items():
        np.testing.assert_allclose(array, whole[name][:600], rtol=1e-9, err_msg=name)


def test_a_label_is_unknown_until_complete_and_does_not_change_afterwards(bar_case):
    template, series, spec = bar_case.template, bar_case.series, bar_case.spec
    whole = template.label(series, template.context(series), spec)
    short = series.slice(0, 600)
    cut = template.label(short, template.context(short), spec)
    known = cut.t1 >= 0
    assert (np.isfinite(cut.y) == known).all()
    np.testing.assert_array_equal(
        known,
        (whole.t1[:600] >= 0)
        & (whole.t1[:600] <= short.timestamp[-1])
        & np.isfinite(whole.y[:600]),
    )
    np.testing.assert_allclose(cut.y[known], whole.y[:600][known], rtol=1e-9)
    np.testing.assert_array_equal(cut.t1[known], whole.t1[:600][known])
    assert (cut.t1[known] > short.timestamp[known]).all()


def test_labels_and_context_do_not_depend_on_the_price_scale(bar_case):
    template, series, spec = bar_case.template, bar_case.series, bar_case.spec
    prices = {c: getattr(series, c) * 8 for c in ("open", "high", "low", "close")}
    scaled = replace(series, **prices)
    found = template.label(series, template.context(series), spec)
    other = template.label(scaled, template.context(scaled), spec)
    np.testing.assert_allclose(found.y, other.y, rtol=1e-9)


@pytest.mark.parametrize("name", [n for n in TEMPLATES if TEMPLATES.get(n).inputs == "bars"])
def test_every_option_of_a_bar_template_leaves_labels(name):
    template, series = TEMPLATES.get(name), random_series()
    for option, declared in template.options.items():
        values = getattr(declared, "options", (declared.default,))
        for value in values:
            given = resolve(template.options, {option: value})
            spec = template.label_spec(None, [series], given)
            assert json.loads(json.dumps(spec)) == spec
            found = template.label(series, template.context(series), spec)
            assert np.isfinite(found.y[100:800]).all()


def loses_less_than_zero(case):
    """Whether the target itself, given as the score, forecasts the outcome better than nothing."""
    score = case.rows.target.astype(np.float32)[:, None]
    decoder = case.template.fit_decoder(case.oof, case.rows)
    losses = [case.template.loss(case.rows, s, decoder) for s in (score, np.zeros_like(score))]
    return losses[0].mean() < losses[1].mean() / 10


def is_about_zero(case):
    """Whether the target has a variance that states can differ by: a return, not a size."""
    target = case.rows.target
    return np.abs(target.mean()) < target.std() / 10 and -target.min() > target.std()


def are_returns_in_time_order(case):
    """Whether the inputs are simple returns of the symbols, and the target one of a portfolio."""
    rows = case.rows
    is_shaped = rows.X.shape[1] == len(rows.symbols)
    is_between = np.abs(rows.target) <= np.abs(rows.X).max()
    return is_shaped and (rows.X > -1).all() and (np.diff(rows.t0) > 0).all() and is_between.all()


SUITS = {
    "gamma": lambda case: (case.rows.target[case.rows.fit] > 0).all(),
    "softmax": lambda case: np.isin(case.rows.target, np.arange(case.oof.scores.shape[1])).all(),
    "squared": loses_less_than_zero,
    "states": is_about_zero,
    "novelty": lambda case: case.rows.fit.all(),  # every row tells what is usual
    "scenarios": are_returns_in_time_order,
}
"""Loss -> whether the rows of a case are what `Objective` says that it is fitted to."""


def test_targets_fit_the_objective(case, rows, spec):
    assert np.isfinite(rows.target).all()
    assert rows.fit.mean() > 0.9
    assert SUITS[case.template.objective(spec).loss](case)
    assert np.ptp(rows.target) > 0


def test_answers_are_json_and_the_same_after_the_decoder_was_saved(
    template, rows, oof, decoder, contract, answers
):
    saved = Decoder.from_files(decoder.to_files())
    assert len(answers) == len(rows)
    json.dumps([as_json(answer) for answer in answers], allow_nan=False)
    assert template.decode(oof.scores, rows.X, rows.context, saved, contract) == answers


def is_of(value, annotation):
    """Whether a value is of a type as a field of an answer declares it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return any(is_of(value, choice) for choice in arguments)
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        return isinstance(value, tuple) and all(is_of(item, arguments[0]) for item in value)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(is_of(v, arguments[1]) for v in value.values())
    if annotation is float:
        return isinstance(value, float) and np.isfinite(value)
    if hasattr(annotation, "__dataclass_fields__"):
        return isinstance(value, annotation) and fits(value)
    return type(value) is annotation


def fits(answer):
    """Whether every field of an answer is of its declared type, open ones by their names."""
    hints = get_type_hints(type(answer))
    return all(is_of(getattr(answer, name), kind) for name, kind in hints.items())


def test_answers_are_of_the_declared_kinds_and_types(template, rows, oof, decoder, contract):
    nothing = oof.take(np.zeros(0, dtype=np.intp))
    early = template.fit_decoder(nothing, rows)
    refusals = ("edge.dsr: 0.1, needs >= 0.95",)
    some = rows.take(np.arange(0, len(rows), 10))
    scores = oof.scores[::10]
    for context in (some.context, {}):
        for fitted in (decoder, early):
            for gates in ((), refusals):
                found = template.decode(scores, some.X, context, fitted, contract, gates)
                assert {type(answer) for answer in found} <= set(template.answer_kinds)
                assert all(fits(answer) for answer in found)


def test_answers_are_independent_of_the_other_rows(template, rows, oof, decoder, contract, answers):
    for i in (0, 7):
        one = {name: array[i : i + 1] for name, array in rows.context.items()}
        alone = template.decode(oof.scores[i : i + 1], rows.X[i : i + 1], one, decoder, contract)
        assert alone == [answers[i]]


@pytest.mark.parametrize("size", [0.0, 1e3, -1e3, 3e38])
def test_extreme_scores_have_answers_and_finite_losses(case, rows, decoder, contract, size):
    template, scores = case.template, np.zeros_like(case.oof.scores)
    scores[:, 0] = size
    assert np.isfinite(template.loss(rows, scores, decoder)).all()
    few = rows.take(np.arange(0, len(rows), 20))
    answers = template.decode(scores[: len(few)], few.X, few.context, decoder, contract)
    json.dumps([as_json(answer) for answer in answers], allow_nan=False)


def test_unknown_context_gives_answers_without_what_needs_it(
    template, rows, oof, decoder, contract
):
    known = {name: array[:1] for name, array in rows.context.items()}
    whole = as_json(template.decode(oof.scores[:1], rows.X[:1], known, decoder, contract)[0])
    answer = as_json(template.decode(oof.scores[:1], rows.X[:1], {}, decoder, contract)[0])
    json.dumps(answer, allow_nan=False)
    assert {name for name in answer if answer[name] != whole[name]} == {
        name for name in answer if answer[name] is None and whole[name] is not None
    }


def test_a_shut_trade_lock_never_acts(template, rows, oof, decoder, contract):
    refusals = ("edge.dsr: 0.1, needs >= 0.95",)
    answers = template.decode(oof.scores, rows.X, rows.context, decoder, contract, refusals)
    signals = {getattr(answer, "signal", None) for answer in answers}
    assert signals == ({"HOLD"} if template.is_action else {None})


def test_a_decoder_can_be_fitted_before_there_are_predictions(template, rows, oof, contract):
    nothing = oof.take(np.zeros(0, dtype=np.intp))
    early = template.fit_decoder(nothing, rows)
    answers = template.decode(oof.scores[:3], rows.X[:3], {}, early, contract)
    json.dumps([as_json(answer) for answer in answers], allow_nan=False)
    assert all(getattr(answer, "interval", None) is None for answer in answers)


def test_a_decoder_ignores_labels_that_were_not_known_when_its_fit_was_made(template, rows, oof):
    training = rows.take(np.arange(len(rows) // 2))
    later = rows.t1 > training.t1.max()
    other_y = np.where(later, rows.y[::-1], rows.y)
    other_outcome = {k: np.where(later, v[::-1], v) for k, v in rows.outcome.items()}
    changed = OutOfFold(replace(rows, y=other_y, outcome=other_outcome), oof.scores, oof.fold)
    found = template.fit_decoder(changed, training).to_files()
    assert found == template.fit_decoder(oof, training).to_files()


def test_evaluation_is_complete_and_reproducible(template, rows, oof, decoder, spec):
    early = template.fit_decoder(oof.take(np.zeros(0, dtype=np.intp)), rows)
    decoders = {0: early, 1: decoder}
    found = template.evaluate(oof, decoders, spec, "1d")
    names = [gate.gate for gate in found.gates]
    assert len(set(names)) == len(names)
    own = "edge" if template.is_action else "quality"
    assert {name.split(".")[0] for name in names} == {own, "plausibility"}
    assert np.isfinite(list(found.metrics.values())).all()
    assert all(len(table) for table in found.tables.values())
    assert (found.returns is not None) == template.is_action
    again = template.evaluate(oof, decoders, spec, "1d")
    assert (again.metrics, again.gates) == (found.metrics, found.gates)


def test_baseline_loss_is_finite(template, rows, decoder):
    for found in (template.baseline_loss(rows), template.baseline_loss(rows, decoder)):
        assert np.isfinite(found).all()


def test_documentation_names_the_template_its_gates_tables_and_metrics(
    template, rows, oof, decoder, spec
):
    text = (DOCS / f"{template.name}.md").read_text()
    alone = template.evaluate(oof, {0: decoder, 1: decoder}, spec, "1d")
    evaluation = among_trials(alone, TrialFamily(1, ()))
    missing = [g.gate for g in evaluation.gates if f"`{g.gate}`" not in text]
    missing += [] if f"`{template.name}`" in text else [template.name]
    missing += [name for name in evaluation.tables if f"`{name}`" not in text]
    missing += [name for name in evaluation.metrics if f"`{name}`" not in text]
    assert not missing


SHOWN_AS_THEY_ARE = {"per_symbol", "per_class", "trials"}
"""Tables that no panel draws."""


def test_every_table_is_drawn_by_the_name_under_which_it_is_written(
    template, rows, oof, decoder, spec
):
    tables = template.evaluate(oof, {0: decoder, 1: decoder}, spec, "1d").tables
    assert set(tables) <= KNOWN_TABLES | SHOWN_AS_THEY_ARE


@pytest.mark.integration
def test_templates_load_no_heavy_library():
    heavy = ("torch", "xgboost", "sklearn", "scipy", "arch", "pandas", "mlflow")
    code = (
        "import sys; from pipelines.templates import TEMPLATES; "
        "[TEMPLATES.get(n) for n in TEMPLATES]; "
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


# Answers as columns ----------------------------------------------------------------------------


def plain(value):
    """A value of a column as `as_json` has it, numbers rounded to 12 digits."""
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, dict):
        return {name: plain(entry) for name, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, list) else value


def hard_rows(rows, oof):
    """Scores, features and context of some rows: usual ones, extreme ones, and with gaps."""
    scores, X = oof.scores[:8].copy(), rows.X[:8].copy()
    context = {name: values[:8].copy() for name, values in rows.context.items()}
    scores[1], scores[2], scores[3] = 1e30, -1e30, 0
    for i, values in enumerate(context.values()):
        values[4 + i % 3] = np.nan
    X[5:7, 0] = np.nan
    return scores, X, context


@pytest.mark.parametrize("has_earlier", [True, False])
def test_answers_as_columns_are_those_of_decode(case, contract, has_earlier):
    template, rows, oof = case.template, case.rows, case.oof
    if template.inputs == "portfolio":
        return  # its fields are those asked for
    known = oof if has_earlier else oof.take(np.zeros(len(oof.fold), dtype=bool))
    decoder = template.fit_decoder(known, rows)
    types = template.answer_types(contract)
    for refusals in ((), ("edge.dsr",)):
        asked = (*hard_rows(rows, oof), decoder, contract, refusals)
        frame = template.decode_frame(*asked)
        wanted = [as_json(answer) for answer in template.decode(*asked)]
        assert frame.schema == pl.Schema(types)
        assert [plain(row) for row in frame.to_dicts()] == [plain(answer) for answer in wanted]
        empty = (asked[0][:0], asked[1][:0], {n: v[:0] for n, v in asked[2].items()}, *asked[3:])
        assert template.decode_frame(*empty).schema == frame.schema


def drawn_rows(case, rng, n):
    """Scores, features and context that a model and callers may give, with gaps and extremes."""
    at = rng.integers(0, len(case.rows), n)
    scale = rng.choice([0.0, 1.0, 30.0, 1e4], (n, 1))
    scores = (case.oof.scores[at] * scale).astype(np.float32)
    X = (case.rows.X[at] * rng.choice([1.0, 20.0], (n, 1))).astype(np.float32)
    if case.template.inputs != "texts":
        X[rng.random(X.shape) < 0.1] = np.nan
    context = {name: values[at].copy() for name, values in case.rows.context.items()}
    for values in context.values():
        values[rng.random(n) < 0.2] = np.nan
    left_out = rng.random() < 0.2
    return scores, X, {} if left_out and case.template.inputs == "bars" else context


def changed_facts(decoder, rng):
    """The decoder with other numbers where it may have others."""
    facts = dict(decoder.facts)
    if "threshold" in facts and "conformal" in facts:
        facts["threshold"] = rng.choice([None, 0.0, 0.05, 0.9])
    if "ece" in facts:
        facts["ece"] = rng.choice([None, 0.02])
    return replace(decoder, facts=facts)


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 12))
def test_whatever_the_rows_are_columns_hold_what_decode_says(case, contract, seed, n):
    template, rng = case.template, np.random.default_rng(seed)
    known = case.oof.take(case.oof.fold == 0) if rng.random() < 0.7 else case.oof.take(slice(0, 0))
    if template.inputs == "portfolio":
        return  # `test_measures_of_a_portfolio_are_columns`
    decoder = changed_facts(template.fit_decoder(known, case.rows), rng)
    refusals = () if rng.random() < 0.7 else ("edge.dsr", "edge.pbo")
    asked = (*drawn_rows(case, rng, n), decoder, contract, refusals)
    frame = template.decode_frame(*asked)
    wanted = [as_json(answer) for answer in template.decode(*asked)]
    assert frame.schema == pl.Schema(template.answer_types(contract))
    assert [plain(row) for row in frame.to_dicts()] == [plain(answer) for answer in wanted]
