import json
import math
from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest

from pipelines.templates import TEMPLATES
from registry import catalog, gates
from registry.flavors import Artifact
from registry.gates import GateRow, Requirement, refusals
from tests.examples import parity_rows, passing_record

PASSING_LIMITS = {"<": -0.5, "<=": 0.0, ">": 0.5, ">=": 1.0, "is": 0.0}


def passing(requirement: Requirement) -> GateRow:
    if requirement.comparison is None:
        return GateRow(requirement.gate, 0.0, "<", 0.01)
    limit = requirement.limit
    if isinstance(limit, tuple):
        return GateRow(requirement.gate, sum(limit) / 2, requirement.comparison, limit)
    return GateRow(
        requirement.gate,
        limit + PASSING_LIMITS[requirement.comparison],
        requirement.comparison,
        limit,
    )


def serve_record(template="volatility_forecast"):
    required = (*gates.COMMON.serve, *gates.GATES.get(template).serve)
    return [*(passing(requirement) for requirement in required), *parity_rows()]


def trade_record():
    return [passing(requirement) for requirement in gates.TRADING_SIGNALS.trade]


def replaced(record, row):
    return [row if old.gate == row.gate else old for old in record]


@pytest.mark.parametrize("template", ["volatility_forecast", "trading_signals"])
def test_a_complete_passing_record_opens_the_serve_lock(template):
    assert refusals(serve_record(template), "serve", template) == ()


def test_a_complete_passing_record_opens_the_trade_lock():
    assert refusals(trade_record(), "trade", "trading_signals") == ()


@pytest.mark.parametrize("lock", ["serve", "trade"])
@pytest.mark.parametrize("template", ["volatility_forecast", "trading_signals"])
def test_an_empty_record_opens_nothing(lock, template):
    assert refusals([], lock, template)


def test_every_gate_of_the_serve_lock_refuses_when_it_is_missing():
    record = serve_record()
    for row in record:
        rest = [other for other in record if other is not row]
        assert refusals(rest, "serve", "volatility_forecast") == (
            f"{row.gate}: missing from the record",
        )


def test_a_record_of_0_2_has_no_plausibility_gates():
    record = [row for row in serve_record() if not row.gate.startswith(gates.PLAUSIBILITY)]
    missing = refusals(record, "serve", "volatility_forecast")
    assert [line.split(":")[0] for line in missing] == [
        f"plausibility.{name}" for name in ("r2", "opens", "ranges", "columns")
    ]
    old = [*record, GateRow(gates.GATE_OF_0_2, 0.0, "<=", 0.0)]
    assert refusals(old, "serve", "volatility_forecast") == ()


IMPLAUSIBLE = GateRow("plausibility.sharpe", 29.0, "<=", 4.0, "daily bars")


def test_too_good_to_be_true_shuts_both_locks_until_a_person_accepts_it():
    serve = replaced(serve_record("trading_signals"), IMPLAUSIBLE)
    trade = replaced(trade_record(), IMPLAUSIBLE)
    for record, lock in ((serve, "serve"), (trade, "trade")):
        (line,) = refusals(record, lock, "trading_signals")
        assert line == "plausibility.sharpe: 29, needs <= 4 (daily bars)"
        assert gates.implausible(record, "trading_signals") == (IMPLAUSIBLE,)
        other = refusals(record, lock, "trading_signals", accepted=["plausibility.direction"])
        assert other == (line,)
        opened = refusals(record, lock, "trading_signals", accepted=["plausibility.sharpe"])
        assert opened == ()


def test_a_person_can_accept_plausibility_and_nothing_else():
    record = replaced(serve_record(), GateRow("quality.dm_ewma", 3.0, "<", -1.645))
    accepted = ["quality.dm_ewma"]
    assert len(refusals(record, "serve", "volatility_forecast", accepted=accepted)) == 1
    assert gates.implausible(record, "volatility_forecast") == ()


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_was_not_computed_cannot_be_accepted(value):
    row = GateRow("plausibility.sharpe", value, "<=", 4.0, "too few dates")
    record, accepted = replaced(trade_record(), row), [row.gate]
    assert len(refusals(record, "trade", "trading_signals", accepted=accepted)) == 1
    assert gates.implausible(record, "trading_signals") == ()


def test_an_acceptance_does_not_stand_for_a_missing_gate():
    record = [row for row in trade_record() if row.gate != IMPLAUSIBLE.gate]
    accepted = [IMPLAUSIBLE.gate]
    assert refusals(record, "trade", "trading_signals", accepted=accepted) == (
        "plausibility.sharpe: missing from the record",
    )


def test_a_plausibility_gate_that_was_measured_counts_for_every_template():
    row = GateRow("plausibility.brightness", 5.0, "<=", 1.0)
    record = [*serve_record(), row]
    (line,) = refusals(record, "serve", "volatility_forecast")
    assert line.startswith("plausibility.brightness: 5")
    assert gates.implausible(record, "volatility_forecast") == (row,)


def test_a_row_may_be_stricter_by_its_bars_but_not_looser_than_every_length_allows():
    loose = GateRow("plausibility.sharpe", 11.0, "<=", 12.0)
    (line,) = refusals(replaced(trade_record(), loose), "trade", "trading_signals")
    assert "looser than the platform's limit" in line


def test_every_gate_of_the_trade_lock_refuses_when_it_is_missing():
    record = trade_record()
    for row in record:
        rest = [other for other in record if other is not row]
        assert refusals(rest, "trade", "trading_signals") == (
            f"{row.gate}: missing from the record",
        )


def test_a_record_of_0_2_need_not_have_a_gate_that_came_later_but_is_judged_by_one_it_has():
    record = [row for row in trade_record() if row.gate != "edge.costs"]
    assert refusals(record, "trade", "trading_signals") == ("edge.costs: missing from the record",)
    old = [*record, GateRow("digests", 0.0, "<=", 0.0)]
    assert refusals(old, "trade", "trading_signals") == ()
    measured = [*old, GateRow("edge.costs", None, "is", 1.0, "nobody said what is traded")]
    (line,) = refusals(measured, "trade", "trading_signals")
    assert line.startswith("edge.costs: not computed")


def test_a_failed_gate_is_refused_with_name_value_and_limit():
    record = replaced(serve_record(), GateRow("quality.dm_ewma", -1.2, "<", -1.645, "HAC"))
    assert refusals(record, "serve", "volatility_forecast") == (
        "quality.dm_ewma: -1.2, needs < -1.645 (HAC)",
    )


def test_a_gate_that_was_not_computed_is_refused():
    record = replaced(trade_record(), GateRow("edge.choice_loss", None, "<", 0.25, "needs CSCV"))
    (line,) = refusals(record, "trade", "trading_signals")
    assert line.startswith("edge.choice_loss: not computed, needs < 0.25")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_refused(value):
    record = replaced(serve_record(), GateRow("quality.dm_ewma", value, "<", -1.645))
    assert len(refusals(record, "serve", "volatility_forecast")) == 1


@pytest.mark.parametrize(
    "loosened",
    [
        GateRow("quality.dm_ewma", -1.0, "<", -0.5),
        GateRow("quality.dm_ewma", -1.645, "<=", -1.645),
        GateRow("quality.dm_ewma", 3.0, ">", 0.0),
        GateRow("quality.dm_ewma", 0.0, "is", 0.0),
        GateRow("quality.dm_ewma", 0.0, "between", (-9.0, 9.0)),
        GateRow("quality.bias", 1.3, "between", (0.8, 1.4)),
        GateRow("quality.bias", 0.5, "<", 1.25),
        GateRow("data.checks", 2.0, "<=", 5.0),
        GateRow("parity.onnx.fp32", 5e-5, "<=", 0.5),
    ],
    ids=lambda row: row.line(),
)
def test_a_gate_is_never_loosened_by_its_own_row(loosened):
    record = replaced(serve_record(), loosened)
    (line,) = refusals(record, "serve", "volatility_forecast")
    assert line.startswith(loosened.gate)
    assert "looser than the platform's limit" in line


def test_a_limit_that_is_no_number_accepts_nothing():
    row = GateRow("quality.dm_ewma", -9.0, "<", math.nan)
    (line,) = refusals(replaced(serve_record(), row), "serve", "volatility_forecast")
    assert line == row.line()


def test_a_version_of_a_wider_limit_is_judged_by_its_value_under_todays():
    before = GateRow("causality", 0.0, "<=", 1e-6)
    assert refusals(replaced(serve_record(), before), "serve", "volatility_forecast") == ()
    (line,) = refusals(
        replaced(serve_record(), replace(before, value=1e-7)), "serve", "volatility_forecast"
    )
    assert line.endswith("looser than the platform's limit (causality: 1e-07, needs <= 1e-09)")


def test_a_row_takes_its_limit_from_the_gate_that_declares_it():
    row = gates.TRADING_SIGNALS.row("edge.dsr", 0.97, "three trials")
    assert row == GateRow("edge.dsr", 0.97, ">=", 0.95, "three trials")
    assert not gates.COMMON.row("causality", None, "too few bars").passed
    with pytest.raises(ValueError, match="not enough values"):
        gates.COMMON.row("edge.dsr", 0.97)


@pytest.mark.parametrize(
    "stricter",
    [
        GateRow("quality.dm_ewma", -3.0, "<", -2.0),
        GateRow("quality.dm_ewma", -3.0, "<=", -2.0),
        GateRow("quality.bias", 1.0, "between", (0.9, 1.1)),
        GateRow("quality.bias", 1.0, "is", 1.0),
    ],
    ids=lambda row: row.line(),
)
def test_a_stricter_row_is_compared_with_its_own_limit(stricter):
    assert refusals(replaced(serve_record(), stricter), "serve", "volatility_forecast") == ()
    outside = replace(stricter, value=1.24 if stricter.gate == "quality.bias" else -1.9)
    assert refusals(replaced(serve_record(), outside), "serve", "volatility_forecast") == (
        outside.line(),
    )


def test_a_row_cannot_declare_a_required_gate_inapplicable():
    row = GateRow("edge.dsr", None, ">=", 0.95, "no returns", applicable=False)
    (line,) = refusals(replaced(trade_record(), row), "trade", "trading_signals")
    assert "not applicable, but this lock requires it" in line


NATIVE, ONNX, COREML16 = Artifact("native"), Artifact("onnx"), Artifact("coreml", "fp16")
WITHOUT_ONNX = GateRow("parity.onnx.fp32", None, "<=", 1e-5, "not written: x", applicable=False)
OF_COREML = GateRow("parity.coreml.fp16", 1e-3, "<=", 2e-3)
EARLIER = [GateRow("parity.native", 0.0, "<=", 0.0), GateRow("parity.onnx", 5e-5, "<=", 1e-4)]


def refused(record, carried=None):
    return refusals(record, "serve", "volatility_forecast", carried=carried)


def earlier_record():
    """A record from before there were variants."""
    return [*(row for row in serve_record() if not row.gate.startswith("parity.")), *EARLIER]


def test_a_model_that_onnx_cannot_hold_may_serve():
    record = replaced(serve_record(), WITHOUT_ONNX)
    assert refused(record) == refused(record, [NATIVE]) == ()


@pytest.mark.parametrize(
    "row",
    [
        replace(WITHOUT_ONNX, gate="parity.native.fp32"),
        replace(WITHOUT_ONNX, note=""),
        replace(WITHOUT_ONNX, value=0.5),
        replace(WITHOUT_ONNX, applicable=True),
    ],
)
def test_a_flavor_is_inapplicable_only_with_a_reason_and_never_native(row):
    (line,) = refused(replaced(serve_record(), row))
    assert line.startswith(row.gate)


def test_a_file_that_the_record_calls_impossible_is_found_and_shuts_the_lock():
    record = replaced(serve_record(), WITHOUT_ONNX)
    assert gates.unmeasured_artifacts(record, [NATIVE, ONNX]) == {ONNX: "not written: x"}
    assert gates.unmeasured_artifacts(record, [NATIVE]) == {}
    assert gates.unmeasured_artifacts(serve_record(), [NATIVE, ONNX]) == {}
    (line,) = refused(record, [NATIVE, ONNX])
    assert line.startswith("parity.onnx.fp32")


@pytest.mark.parametrize("flavor", ["native", "onnx", "torchscript", "coreml"])
def test_a_record_says_something_about_each_flavor(flavor):
    record = [row for row in serve_record() if row.gate != f"parity.{flavor}.fp32"]
    assert refused(record) == (f"parity.{flavor}.fp32: missing from the record",)


@pytest.mark.parametrize("artifact", [COREML16, Artifact("tensorrt"), Artifact("native", "int8")])
def test_each_artifact_that_is_carried_needs_its_row(artifact):
    (line,) = refused(serve_record(), [NATIVE, ONNX, artifact])
    assert line == f"parity.{artifact}: missing from the record"


def test_a_variant_that_is_not_carried_needs_no_row():
    assert refused([*serve_record(), OF_COREML], [NATIVE, ONNX, COREML16]) == ()
    absent = replace(OF_COREML, value=None, note="dropped: 0.004", applicable=False)
    assert refused([*serve_record(), absent], [NATIVE, ONNX]) == ()
    (line,) = refused([*serve_record(), absent], [NATIVE, ONNX, COREML16])
    assert "not applicable, but this lock requires it" in line


@pytest.mark.parametrize(
    ("gate", "good", "bad"),
    [
        ("parity.coreml.fp32", 1e-5, 2e-5),
        ("parity.coreml.fp32.extremes", 1e-4, 2e-4),
        ("parity.coreml.fp16", 2e-3, 3e-3),
        ("parity.coreml.fp16.extremes", 2e-3, 3e-3),
        ("parity.coreml.int8", 1e-2, 2e-2),
        ("parity.coreml.palette6", 1e-2, 2e-2),
        ("parity.coreml.palette4", 3e-2, 4e-2),
        ("parity.tensorrt.fp16", 2e-3, 3e-3),
        ("parity.coreml.bf16", 0.0, 1e-9),
        ("parity.coreml.fp16.on.a.whim", 2e-3, 3e-3),
        ("parity.native.fp32", 1e-5, 2e-5),
        ("parity.native.fp32.extremes", 1e-5, 2e-5),
        ("parity", 0.0, 0.0),
        ("parity.weights", 0.0, 1e-9),
    ],
)
def test_the_limit_of_a_variant_is_the_platforms_not_the_rows(gate, good, bad):
    record = [row for row in serve_record() if row.gate != gate]
    assert refused([*record, GateRow(gate, good, "<=", 0.5)]) == ()
    if bad:
        (line,) = refused([*record, GateRow(gate, bad, "<=", 0.5)])
        assert "looser than the platform's limit" in line


def test_a_row_says_its_verdict_and_what_it_rests_on():
    assert OF_COREML.judged() == "passed  parity.coreml.fp16: 0.001, needs <= 0.002"
    assert replace(OF_COREML, value=0.1).judged().startswith("refused parity.coreml.fp16: 0.1, ")
    assert WITHOUT_ONNX.judged() == "absent  parity.onnx.fp32: not written: x"


def test_classes_must_agree_in_999_of_1000_rows():
    gate = "parity.coreml.fp16.labels"
    assert refused([*serve_record(), GateRow(gate, 0.9995, ">=", 0.5)]) == ()
    (line,) = refused([*serve_record(), GateRow(gate, 0.998, ">=", 0.5)])
    assert "looser than the platform's limit" in line
    (line,) = refused([*serve_record(), GateRow(gate, 0.9995, "<=", 1.0)])[:1] or ("passes",)
    assert line == "passes"  # the platform compares by itself


def test_a_version_of_before_keeps_the_limits_of_its_day():
    assert refused(earlier_record()) == refused(earlier_record(), [NATIVE, ONNX]) == ()
    beyond = GateRow("parity.onnx", 2e-4, "<=", 0.5)
    (line,) = refused(replaced(earlier_record(), beyond))
    assert line.endswith("looser than the platform's limit (parity.onnx: 0.0002, needs <= 0.0001)")
    for gate in ("parity.native", "parity.onnx"):
        missing = [row for row in earlier_record() if row.gate != gate]
        assert any(line.endswith(": missing from the record") for line in refused(missing))
    (line,) = refused(earlier_record(), [NATIVE, ONNX, COREML16])
    assert line == "parity.coreml.fp16: missing from the record"


def test_every_row_of_a_gate_must_pass():
    record = [*serve_record(), GateRow("parity.onnx.fp32", 0.2, "<=", 1e-3, "on another backend")]
    assert len(refused(record)) == 1


BETTER = GateRow("champion.better", 0.02, "<", 0.1, against=1)
NON_INFERIOR = GateRow("champion.non_inferior", 0.001, "<", 0.01, against=1)


@pytest.mark.parametrize("row", [BETTER, NON_INFERIOR])
def test_one_passed_comparison_opens_the_lock_against_a_champion(row):
    assert refusals([*serve_record(), row], "serve", "volatility_forecast", champion=1) == ()


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [BETTER, NON_INFERIOR],
        [replace(BETTER, value=0.5)],
        [replace(BETTER, value=0.5, limit=0.9)],
        [replace(NON_INFERIOR, value=0.02)],
        [
            GateRow(
                "champion.non_inferior", None, "<", 0.01, "the window overlaps the training span"
            )
        ],
        [replace(BETTER, against=2)],
    ],
    ids=["none", "both", "not better", "loosened", "inferior", "not computed", "another champion"],
)
def test_anything_else_keeps_the_lock_shut_against_a_champion(rows):
    record = [*serve_record(), *rows]
    (line,) = refusals(record, "serve", "volatility_forecast", champion=1)
    assert line.startswith("champion.")
    assert refusals(record, "serve", "volatility_forecast") == ()


def test_an_unknown_template_has_both_locks_shut():
    for lock in ("serve", "trade"):
        (line,) = refusals([*serve_record(), *trade_record()], lock, "martingale")
        assert "no gates declared" in line


def test_every_template_of_this_repository_declares_its_gates():
    assert set(gates.GATES) == set(TEMPLATES)


def test_a_template_without_actions_may_not_trade():
    (line,) = refusals(serve_record(), "trade", "volatility_forecast")
    assert "not actions" in line


def test_another_distribution_declares_the_gates_of_its_template(monkeypatch):
    name = "nautilus_ml_engine.template_gates"
    point = EntryPoint("return_forecast", "registry.gates:VOLATILITY_FORECAST", name)
    monkeypatch.setattr(catalog, "entry_points", lambda *, group: {name: [point]}[group])
    monkeypatch.setattr(gates, "GATES", catalog.Catalog("template gates", {}))
    record = [
        passing(requirement)
        for requirement in (*gates.COMMON.serve, *gates.VOLATILITY_FORECAST.serve)
    ] + parity_rows()
    assert refusals(record, "serve", "return_forecast") == ()
    assert len(refusals(record[:-1], "serve", "return_forecast")) == 1


def test_a_row_survives_json():
    for row in (*serve_record(), GateRow("edge.choice_loss", None, "<", 0.25, "needs CSCV")):
        assert GateRow.from_json(row.to_json()) == row


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_row_that_is_not_finite_survives_strict_json(value):
    row = GateRow("golden_rows", value, "<=", 1e-5)
    again = GateRow.from_json(json.loads(json.dumps(row.to_json(), allow_nan=False)))
    assert again.line() == row.line()
    assert not again.passed


@pytest.mark.parametrize(
    ("row", "measured", "needed"),
    [
        (GateRow("quality.bias", 1.034711, "between", (0.8, 1.25)), "1.03471", "in [0.8, 1.25]"),
        (GateRow("edge.dsr", 0.2, ">=", 0.95, "one trial"), "0.2", ">= 0.95"),
        (GateRow("edge.choice_loss", None, "<", 0.25, "needs CSCV"), "not computed", "< 0.25"),
    ],
)
def test_a_row_is_written_with_value_and_limit(row, measured, needed):
    assert (row.measured, row.needed) == (measured, needed)
    assert row.line().startswith(f"{row.gate}: {measured}, needs {needed}")


def test_a_reason_does_not_repeat_that_nothing_was_computed():
    line = GateRow("edge.choice_loss", None, "<", 0.25, "needs CSCV").line()
    assert line == "edge.choice_loss: not computed, needs < 0.25 (needs CSCV)"


def test_a_record_from_before_golden_answers_keeps_the_gates_of_its_day():
    today = passing_record()
    without = [row for row in today if row.gate != "golden_answers"]
    digests = GateRow("digests", 0.0, "<=", 0.0)
    (line,) = refusals(without, "serve", "volatility_forecast")
    assert line == "golden_answers: missing from the record"
    assert refusals([*without, digests], "serve", "volatility_forecast") == ()
    changed = replace(digests, value=1.0)
    (line,) = refusals([*without, changed], "serve", "volatility_forecast")
    assert line.startswith("digests: 1, needs")


def test_a_trade_record_from_before_the_choice_loss_keeps_the_gate_of_its_day():
    without = [row for row in trade_record() if row.gate != "edge.choice_loss"]
    digests, good, bad = (
        GateRow("digests", 0.0, "<=", 0.0),
        GateRow("edge.pbo", 0.4, "<", 0.5),
        GateRow("edge.pbo", 0.6, "<", 0.5),
    )
    assert refusals([*without, digests, good], "trade", "trading_signals") == ()
    (line,) = refusals([*without, digests, bad], "trade", "trading_signals")
    assert line.startswith("edge.pbo: 0.6, needs < 0.5")
    (line,) = refusals([*without, digests], "trade", "trading_signals")
    assert line == "edge.pbo: missing from the record"
    (line,) = refusals([*without, good], "trade", "trading_signals")
    assert line == "edge.choice_loss: missing from the record"


def test_a_choice_loss_may_be_inapplicable_but_not_missing_or_refused():
    row = gates.CHOICE_LOSS.row(None, "needs two recipes that trade")
    inapplicable = replaced(trade_record(), replace(row, applicable=False))
    assert refusals(inapplicable, "trade", "trading_signals") == ()
    (line,) = refusals(replaced(trade_record(), row), "trade", "trading_signals")
    assert line.startswith("edge.choice_loss: not computed")


def test_a_record_of_today_needs_no_digests():
    assert refusals(passing_record(), "serve", "volatility_forecast") == ()
