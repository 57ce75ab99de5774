"""The dashboard shows metrics that exist, by labels that they have."""

import json
import re

import pytest

from tests.docker.compose_file import ROOT

DASHBOARD = json.loads((ROOT / "docker" / "grafana" / "serving.json").read_text())
PAGE = (ROOT / "docs" / "api.md").read_text()
EXPRESSIONS = [
    target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())
]
OF_HISTOGRAMS = ("_bucket", "_sum", "_count")


def without_suffix(name, families):
    stems = (name.removesuffix(suffix) for suffix in OF_HISTOGRAMS if name.endswith(suffix))
    return next((stem for stem in stems if families.get(stem) == "histogram"), name)


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """An application on loopback, without models."""
    from fastapi.testclient import TestClient

    from monitoring.settings import PredictionLogSettings
    from registry.settings import PlatformSettings
    from serving.app import create_app
    from serving.settings import ServingSettings

    folder = tmp_path_factory.mktemp("watched")
    platform = PlatformSettings(
        data_dir=folder, database_url="", mlflow_tracking_uri="http://127.0.0.1:9"
    )
    made = create_app(platform, ServingSettings(), PredictionLogSettings())
    with TestClient(made, base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture(scope="module")
def families(app):
    """Name -> kind of every metric that a running process has."""
    return dict(
        re.findall(r"^# TYPE (ml_engine_\w+) (\w+)", app.get("/metrics").text, re.MULTILINE)
    )


def test_every_metric_of_the_dashboard_is_one_of_a_running_process(families):
    queries = [
        item["definition"] for item in DASHBOARD["templating"]["list"] if "definition" in item
    ]
    shown = set(re.findall(r"ml_engine_\w+", " ".join([*EXPRESSIONS, *queries])))
    named = {without_suffix(name, families) for name in shown}
    assert named - families.keys() == set()
    assert {f"`{name}`" for name in named if f"`{name}`" not in PAGE} == set()


def _metric_of(attribute):
    """The metric itself, also of one that is kept as its `labels`."""
    return getattr(getattr(attribute, "__wrapped__", attribute), "__self__", attribute)


def test_every_label_is_one_that_the_metric_has(app):
    """Labels of a family without samples are those of its class in `serving/metrics.py`."""
    registry = app.app.state.service.metrics
    labels = {
        f"{metric._name}_total" if metric._type == "counter" else metric._name: set(
            metric._labelnames
        )
        for metric in map(_metric_of, vars(registry).values())
        if hasattr(metric, "_labelnames")
    }
    checked = 0
    for expression in EXPRESSIONS:
        for name, own in labels.items():
            if not re.search(rf"\b{name}(_bucket)?\b", expression):
                continue
            grouped = re.search(r"by \(([^)]*)\)", expression)
            matched = re.findall(r"(\w+)[=!]~?\"", expression)
            asked = set(grouped[1].replace(",", " ").split() if grouped else ()) | set(matched)
            assert asked <= own | {"le", "instance"}, expression
            checked += 1
    assert checked > 10


def test_every_legend_names_labels_that_its_query_keeps():
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            kept = re.search(r"by \(([^)]*)\)", target["expr"])
            named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            if kept:
                assert named <= set(kept[1].replace(",", " ").split()), target["expr"]
            elif target["expr"].startswith(("sum(", "min(", "max(")):
                assert named == set(), target["expr"]


def test_panels_have_numbers_of_their_own_and_do_not_overlap():
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
