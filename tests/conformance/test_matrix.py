"""Which template takes which architecture: every declared pair can work, and the page has it."""

import re
from pathlib import Path

import pytest

from pipelines.architectures import ARCHITECTURES
from pipelines.templates import TEMPLATES

PAIRS = [(t, a) for t in TEMPLATES for a in TEMPLATES.get(t).architectures]
SPECS = {"tabular": ({"kind": "regression"}, {})}
"""Label specs between which a template's objective differs; one that is empty where it does not."""


def losses(template):
    """The losses that a template may ask for."""
    specs = SPECS.get(template, ({},))
    return {TEMPLATES.get(template).objective(spec).loss for spec in specs}


@pytest.mark.parametrize(("template", "architecture"), PAIRS)
def test_a_declared_pair_has_a_loss_in_common(template, architecture):
    assert architecture in ARCHITECTURES
    assert losses(template) & set(ARCHITECTURES.get(architecture).objectives)


@pytest.mark.parametrize("template", tuple(TEMPLATES))
def test_every_loss_of_a_template_has_an_architecture(template):
    known = [set(ARCHITECTURES.get(a).objectives) for a in TEMPLATES.get(template).architectures]
    assert losses(template) <= set().union(*known)


@pytest.mark.parametrize(("template", "architecture"), PAIRS)
def test_windows_are_asked_for_only_where_rows_follow_each_other_in_time(template, architecture):
    is_windowed = ARCHITECTURES.get(architecture).default_window > 1
    assert not is_windowed or TEMPLATES.get(template).inputs == "bars"


@pytest.mark.parametrize("template", tuple(TEMPLATES))
def test_the_page_lists_exactly_the_declared_pairs(template):
    page = (Path(__file__).parents[2] / "docs" / "architectures.md").read_text()
    section = page.partition("\n## Which template takes which\n")[2].partition("\n## ")[0]
    (row,) = [line for line in section.splitlines() if line.startswith(f"| `{template}` |")]
    listed = re.findall(r"`(\w+)`", row.split("|")[2])
    assert sorted(listed) == sorted(TEMPLATES.get(template).architectures)


def test_every_architecture_is_taken_by_a_template():
    taken = {architecture for _, architecture in PAIRS}
    assert set(ARCHITECTURES) - taken == set()
