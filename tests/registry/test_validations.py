"""What a later validation means for the locks of a version; its record stays as it was."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from registry import events, validations, version_rows
from registry.gates import GateRow
from registry.validations import Validation
from registry.version_rows import Version
from tests.examples import failing_record, make_contract, passing_record

MODEL = "volatility_forecast"
AT = datetime(2026, 5, 1, tzinfo=UTC)
OLD_DATA, NEW_DATA, NEWER_DATA = "d" * 64, "e" * 64, "f" * 64
DIGESTS = {"native/model.ubj": "a", "onnx/model.onnx": "b"}


def version(record=None, *later):
    record = passing_record() if record is None else record
    made = Version(MODEL, 2, "r", make_contract(), DIGESTS, tuple(record), False, AT)
    return replace(made, validations=later)


def validation(record=(), data=NEW_DATA):
    return Validation(MODEL, 2, "run", 1, data, AT, tuple(record), AT)


def comparison(p_worse, against=1):
    return GateRow("champion.better", p_worse, "<", 0.1, against=against)


def without_parity(record):
    return [row for row in record if not row.gate.startswith(("parity.", "golden_answers"))]


def test_a_validation_that_passes_changes_nothing():
    passed = version(None, validation(without_parity(passing_record())))
    assert passed.refusals("serve") == version().refusals("serve") == ()


def test_a_validation_that_fails_shuts_the_serve_lock_and_says_when():
    failed = version(None, validation(without_parity(failing_record())))
    (line,) = failed.refusals("serve")
    assert line == "validated 2026-05-01: quality.dm_ewma: -1.2, needs < -1.645"
    again = replace(failed, validations=(*failed.validations, validation(passing_record())))
    assert again.refusals("serve") == ()


def test_a_gate_that_the_record_refuses_is_opened_by_no_validation():
    refused = version(failing_record(), validation(passing_record()))
    assert refused.refusals("serve") == ("quality.dm_ewma: -1.2, needs < -1.645",)


def test_a_later_comparison_opens_a_promotion_that_lacked_one():
    assert "needs exactly one comparison" in version().refusals("serve", 1)[0]
    compared = version(None, validation([comparison(0.02)]))
    assert compared.refusals("serve", 1) == ()
    assert "measured against version 1, not 3" in compared.refusals("serve", 3)[0]


def test_a_comparison_with_another_champion_does_not_hide_that_with_this_one():
    later = [validation([comparison(0.02)]), validation([comparison(0.5, against=3)], NEWER_DATA)]
    compared = version(None, *later)
    assert compared.refusals("serve", 1) == ()
    assert "0.5, needs < 0.1" in compared.refusals("serve", 3)[0]


@pytest.mark.parametrize(
    ("data", "is_open"), [(NEW_DATA, False), (NEWER_DATA, True)], ids=["same data", "newer data"]
)
def test_a_comparison_repeated_on_the_same_data_changes_nothing(data, is_open):
    later = [validation([comparison(0.4)]), validation([comparison(0.01)], data)]
    assert (version(None, *later).refusals("serve", 1) == ()) is is_open


def test_the_comparison_of_the_record_stands_for_its_own_data():
    record = [*passing_record(), comparison(0.4)]
    on_its_data = version(record, validation([comparison(0.01)], OLD_DATA))
    assert "0.4, needs < 0.1" in on_its_data.refusals("serve", 1)[0]
    assert version(record, validation([comparison(0.01)])).refusals("serve", 1) == ()


def test_a_comparison_that_was_no_evidence_may_be_repeated():
    none = GateRow("champion.better", None, "<", 0.1, "inside the window")
    later = [validation([none]), validation([comparison(0.01)])]
    assert version(None, *later).refusals("serve", 1) == ()


def test_nothing_opens_or_shuts_the_trade_lock_later():
    trades = version(None, validation(failing_record()))
    assert trades.refusals("trade") == version().refusals("trade")


def test_a_validation_is_kept_beside_the_record_with_its_event(engine):
    version_rows.record(engine, version())
    kept = validation(without_parity(failing_record()))
    validations.keep(engine, kept, ["quality.dm_ewma: shut"])
    found = version_rows.get(engine, MODEL, 2)
    assert found.record == version().record
    assert found.validations == (kept,)
    event = events.read(engine)[-1]
    assert (event.kind, event.run_id, event.reason) == ("validated", "run", "quality.dm_ewma: shut")
    assert event.facts["data_sha256"] == NEW_DATA
    assert len(event.facts["record"]) == len(kept.record)


def test_the_lines_of_all_models_come_with_template_and_trade_lock(engine):
    version_rows.record(engine, version())
    other = replace(version(), model_id="other", number=1, may_trade=True)
    version_rows.record(engine, other)
    version_rows.record(engine, replace(version(), number=1))
    found = version_rows.lines(engine)
    assert [line.number for line in found[MODEL]] == [1, 2]
    assert (found["other"][0].template, found["other"][0].may_trade) == (MODEL, True)
    assert version_rows.numbers(engine, MODEL) == [1, 2]
