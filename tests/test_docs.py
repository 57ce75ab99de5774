"""The pages name everything that exists, and nothing that does not."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from monitoring.triggers import TRIGGERS
from pipelines.architectures import ARCHITECTURES
from pipelines.data.features import FEATURE_SETS
from pipelines.data.sources import SOURCES
from pipelines.templates import TEMPLATES
from registry.backends import BACKENDS
from registry.flavors import FLAVORS
from registry.gates import BETTER, COMMON, GATES, NON_INFERIOR

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "docker" / "README.md",
    ROOT / "client" / "README.md",
    *ROOT.glob("docs/**/*.md"),
]
SHARED_GATES = (*COMMON.serve, BETTER, NON_INFERIOR)


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text()


@pytest.mark.parametrize(
    ("catalog", "name"),
    [
        (SOURCES, "sources"),
        (FEATURE_SETS, "features"),
        (TEMPLATES, "templates"),
        (ARCHITECTURES, "architectures"),
        (FLAVORS, "flavors"),
        (BACKENDS, "flavors"),
        (TRIGGERS, "operations"),
    ],
    ids=lambda value: getattr(value, "noun", value),
)
def test_every_name_of_a_catalog_is_in_its_page(catalog, name):
    assert [entry for entry in catalog if f"`{entry}`" not in page(name)] == []


@pytest.mark.parametrize("name", list(FEATURE_SETS))
def test_every_feature_and_alias_is_in_the_page(name):
    feature_set = FEATURE_SETS.get(name)
    names = {*feature_set.feature_names, *feature_set.aliases}
    assert {n for n in names if f"`{n}`" not in page("features")} == set()


def test_every_gate_is_in_a_page():
    declared = [GATES.get(template) for template in GATES]
    required = [*SHARED_GATES, *(r for gates in declared for r in (*gates.serve, *gates.trade))]
    text = page("promotion") + "".join(page(f"templates/{template}") for template in GATES)
    assert {r.gate for r in required if f"`{r.gate}`" not in text} == set()


def test_every_entry_point_is_in_a_page():
    project = yaml.safe_load((ROOT / "MLproject").read_text())
    text = "".join(path.read_text() for path in PAGES)
    assert {name for name in project["entry_points"] if f"`{name}`" not in text} == set()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_what_a_page_points_at_exists(path):
    text = path.read_text()
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert [link for link in links if not (path.parent / link).exists()] == []
    named = re.findall(r"\b(?:registry|pipelines|monitoring|serving|tests|docs)/[\w/]+\.\w+", text)
    written = [name for name in named if "NAME" not in name and "FAMILY" not in name]
    assert [name for name in written if not (ROOT / name).exists()] == []
    modules = re.findall(r"python -m ([\w.]+)", text)
    assert [m for m in modules if m != "bench.NAME" and find_spec(m) is None] == []
    targets = re.findall(r"\bmake ([a-z-]+)`", text)
    makefile = (ROOT / "Makefile").read_text()
    assert [t for t in targets if f"\n{t}:" not in makefile] == []


def test_the_threat_model_names_tests_that_exist():
    named = re.findall(r"`(?:[\w/]+/)?(test_\w+\.py)(?:::(\w+))?`", page("security"))
    assert len(named) > 8
    for file, test in named:
        found = list(ROOT.glob(f"tests/**/{file}"))
        assert found, file
        assert f"def {test}(" in "".join(path.read_text() for path in found) or not test
