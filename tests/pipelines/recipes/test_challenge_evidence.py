"""When the losses of champion and challenger may be compared at all."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from pipelines.recipes import challenge
from registry.contract import NO_TIMES
from tests.examples import make_contract

START = datetime(2008, 1, 2, tzinfo=UTC)
BEFORE = START - timedelta(days=1)
LABEL = {"kind": "triple_barrier", "horizon_bars": 5, "width": 0.6, "hold_share": 0.35}


TIMED = make_contract().data.shown


def objection(ours, theirs, known, start, shown=TIMED):
    return challenge.objection(ours, theirs, known, start, shown)


def test_one_label_and_a_champion_that_ended_before_the_window_are_evidence():
    assert objection(LABEL, dict(LABEL), BEFORE, START) == ""
    for report in ({"hold_share": 0.36}, {"interval": "adaptive"}, {"false_alarm_rate": 0.05}):
        assert objection(LABEL, LABEL | report, BEFORE, START) == ""


def test_a_champion_that_knew_the_first_decision_of_the_window_is_none():
    found = objection(LABEL, LABEL, START, START)
    assert found == "the champion was trained until 2008-01-02, inside the window"
    untimed = replace(make_contract().data, note=NO_TIMES).shown
    seventh = datetime(1970, 1, 1, 0, 0, 6, tzinfo=UTC)
    found = objection(LABEL, LABEL, seventh, seventh, untimed)
    assert found == "the champion was trained until row 7, inside the window"


def test_another_label_is_none_whether_changed_or_missing():
    wider, shorter = LABEL | {"width": 0.7}, {k: v for k, v in LABEL.items() if k != "width"}
    assert objection(wider, LABEL, BEFORE, START) == (
        "another label: width is 0.7, the champion's 0.6"
    )
    assert "the champion's None" in objection(LABEL, shorter, BEFORE, START)


def test_what_only_the_decision_depends_on_is_no_objection():
    decided = LABEL | {"meta_label": True, "decision": ["meta_label"]}
    assert objection(decided, LABEL, BEFORE, START) == ""
    assert objection(LABEL, decided, BEFORE, START) == ""


def test_how_a_table_is_read_and_standardised_is_no_objection():
    table = {"kind": "regression", "classes": [], "target": "cost", "fitted": ["center", "columns"]}
    ours = table | {"columns": [{"name": "age", "median": 49.5}], "center": 1.0, "scale": 2.0}
    theirs = table | {"columns": [{"name": "age", "median": 47.0}], "center": 3.0, "scale": 4.0}
    assert objection(ours, theirs, BEFORE, START) == ""
    assert "target" in objection(ours, theirs | {"target": "price"}, BEFORE, START)
    assert "classes" in objection(ours, theirs | {"classes": ["a"]}, BEFORE, START)
