"""Answers: every field says what it means, and pages and JSON follow from the dataclasses."""

from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass
from typing import Annotated

import numpy as np
import pytest

from pipelines.templates import TEMPLATES, answer_tables
from pipelines.templates.answer_fields import (
    Entry,
    Interval,
    Meaning,
    Open,
    as_json,
    fields_of,
    parts_of,
)
from pipelines.templates.answer_tables import PAGES, START, tables, with_tables
from pipelines.templates.portfolio_risk.answers import MEASURES, parse_measure

KINDS = {kind: name for name in TEMPLATES for kind in TEMPLATES.get(name).answer_kinds}


@dataclass(frozen=True, slots=True)
class Small:
    """An answer with a field of every sort."""

    class_: Annotated[str, Meaning("a word of Python's")]
    size: Annotated[float | None, Meaning("a number", "metres", "it is not known")]
    inner: Annotated[Interval | None, Meaning("a part", null="there is none")]
    shares: Annotated[Mapping[str, float], Meaning("by name", "fraction")]
    names: Annotated[tuple[str, ...], Meaning("names")]
    found: Annotated[Mapping[str, float], Open({"var_NN": Entry(float, Meaning("risk"))})]


SMALL = Small("a", 1.5, Interval(0.0, 1.0, 0.9), {"x": 0.25}, ("y",), {"var_95": 0.1})


def with_parts(kind):
    parts = [part for field in fields_of(kind) for part in parts_of(field.type)]
    return [kind, *(inner for part in parts for inner in with_parts(part))]


EVERY = [part for kind in KINDS for part in with_parts(kind)]


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_answers_are_frozen_and_have_slots(kind):
    made = kind(*[None] * len(kind.__dataclass_fields__))
    assert not hasattr(made, "__dict__")
    with pytest.raises(FrozenInstanceError):
        setattr(made, next(iter(kind.__dataclass_fields__)), 1)


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_every_field_says_what_it_means_and_when_it_is_null(kind):
    assert kind.__doc__.strip().endswith(".")
    for field in fields_of(kind):
        assert field.meaning.text, field.name
        assert bool(field.meaning.null) == field.is_optional, field.name


def test_a_name_of_a_part_means_one_thing():
    by_name = {}
    for kind in EVERY:
        assert by_name.setdefault(kind.__name__, kind) is kind


def test_json_has_exactly_the_declared_fields():
    assert as_json(SMALL) == {
        "var_95": 0.1,
        "class": "a",
        "size": 1.5,
        "inner": {"lower": 0.0, "upper": 1.0, "level": 0.9},
        "shares": {"x": 0.25},
        "names": ["y"],
    }
    names = [field.name for field in fields_of(Small)]
    assert names == ["class", "size", "inner", "shares", "names", "var_NN"]
    assert [field.is_open for field in fields_of(Small)] == [False] * 5 + [True]


@pytest.mark.parametrize("size", [float("nan"), float("inf"), np.float64("nan"), np.float32("inf")])
def test_json_has_null_for_a_number_that_is_not_finite(size):
    answer = Small("a", size, Interval(size, 1.0, 0.9), {"x": size}, (), {"var_95": size})
    found = as_json(answer)
    assert found["size"] is None
    assert found["inner"]["lower"] is None
    assert found["shares"] == {"x": None}
    assert found["var_95"] is None


def test_json_has_numbers_of_python_where_numpy_had_its_own():
    found = as_json(Small("a", np.float32(0.5), None, {"n": np.int64(3)}, (), {}))
    assert type(found["size"]) is float
    assert type(found["shares"]["n"]) is int


@pytest.mark.parametrize("name", list(TEMPLATES))
def test_the_page_has_the_table_of_the_fields(name):
    template = TEMPLATES.get(name)
    page = (PAGES / f"{name}.md").read_text()
    assert with_tables(page, template) == page
    for kind in template.answer_kinds:
        for field in fields_of(kind):
            assert f"| `{field.name}` |" in tables(template)


def test_the_pages_can_be_written_by_a_command(tmp_path, monkeypatch, capsys):
    for name in TEMPLATES:
        (tmp_path / f"{name}.md").write_text((PAGES / f"{name}.md").read_text())
    monkeypatch.setattr(answer_tables, "PAGES", tmp_path)
    page = tmp_path / "anomaly.md"
    right = page.read_text()
    page.write_text(right.replace("| `p_value` |", "| `q_value` |"))
    assert answer_tables.main([]) == 1
    assert capsys.readouterr().out == "out of date: anomaly.md\n"
    assert answer_tables.main(["--write"]) == 0
    assert page.read_text() == right
    assert answer_tables.main([]) == 0


def test_a_page_without_the_marks_is_refused():
    page = (PAGES / "anomaly.md").read_text().replace(START, "")
    with pytest.raises(ValueError, match="anomaly lacks the marks"):
        with_tables(page, TEMPLATES.get("anomaly"))


def test_every_measure_of_a_portfolio_can_be_asked_for():
    for name in MEASURES.entries:
        assert parse_measure(name.replace("NN", "97.5")).statistic == name.removesuffix("_NN")
