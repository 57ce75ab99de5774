"""The page: self-contained, escaped, complete, and honest about what is not on it."""

import json
import re
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from pipelines.report import Chart, Panel
from pipelines.report.page import render, shown
from pipelines.report.panels import KNOWN_TABLES, PANELS
from registry.gates import GateRow

HOSTILE = '</script><img src=x onerror="alert(1)">'


def outside_scripts(page: str) -> str:
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def charts(page: str) -> list[dict]:
    found = re.findall(r'<script type="application/json" data-chart="\w+">(.*?)</script>', page)
    return [json.loads(text) for text in found]


@pytest.fixture(scope="module")
def page(evidence):
    return render(evidence)


def test_the_page_loads_nothing_from_a_network_and_stays_small(page):
    assert re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=", outside_scripts(page)) == []
    assert re.findall(r"<script[^>]*src=", page) == []
    assert "@import" not in page[: page.index("</style>")]
    assert len(page.encode()) < 6e6
    assert page.count("plotly.js v") == 1


def test_every_panel_with_its_table_is_there_and_none_is_listed_as_absent(page):
    assert [p.name for p in PANELS if f'id="{p.name}"' not in page] == []
    assert "Not applicable to this template" not in page


def test_every_chart_has_data_and_names_its_axes(page, evidence):
    n_charts = sum(isinstance(block, Chart) for panel in PANELS for block in panel.draw(evidence))
    found = charts(page)
    assert len(found) == n_charts
    assert all(chart["data"] for chart in found)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.name)
def test_a_panel_applies_where_one_of_its_tables_or_metrics_is(panel: Panel, evidence):
    without = replace(evidence, tables={}, metrics={})
    assert panel.applies(without) == (not panel.needs and not panel.metrics)
    assert panel.applies(evidence)
    assert panel.draw(evidence)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.name)
def test_a_metric_named_like_a_table_is_not_taken_for_it(panel: Panel, evidence):
    metrics = dict.fromkeys(KNOWN_TABLES, 0.5)
    only = replace(evidence, tables={}, metrics=metrics, returns=None)
    assert panel.applies(only) == (
        bool(set(panel.metrics) & set(metrics)) or not (panel.needs or panel.metrics)
    )
    if panel.applies(only):
        panel.draw(only)


@pytest.mark.parametrize("name", sorted(KNOWN_TABLES))
def test_each_table_alone_draws_what_it_can(name, evidence):
    alone = replace(evidence, tables={name: evidence.tables[name]}, metrics={}, returns=None)
    for panel in PANELS:
        if panel.applies(alone):
            panel.draw(alone)


def test_panels_without_tables_are_absent_and_said_to_be(evidence):
    page = outside_scripts(render(replace(evidence, tables={}, metrics={}, returns=None)))
    left_out = page[page.index("Not applicable to this template") :]
    for panel in PANELS:
        is_free = panel.name == "specifications"
        assert (f'id="{panel.name}"' in page) == is_free
        assert (panel.title in left_out) == (not is_free)


def test_a_table_without_a_panel_is_shown_as_it_is(evidence):
    table = pl.DataFrame({"moon_phase": ["full"], "value": [1.5]})
    page = render(replace(evidence, tables={"moon": table}))
    assert "Further tables" in page
    assert '<td data-v="1.5">1.5</td>' in page
    assert "moon" not in KNOWN_TABLES


def test_names_from_data_cannot_become_markup(evidence):
    tables = dict(evidence.tables)
    tables["per_symbol"] = pl.DataFrame({"symbol": [HOSTILE], HOSTILE: [1.0]})
    tables["importance"] = pl.DataFrame({"feature": [HOSTILE], "importance": [1.0]})
    tables["confusion"] = pl.DataFrame({"realised": [HOSTILE], HOSTILE: [1]})
    tables[HOSTILE] = tables["per_symbol"]
    contract = replace(
        evidence.contract, model_id=HOSTILE, symbols=(HOSTILE,), label_spec={"x": HOSTILE},
        data=replace(evidence.contract.data, note=HOSTILE, source=HOSTILE),
    )  # fmt: skip
    record = (GateRow(HOSTILE, 0.0, "<=", 1.0, HOSTILE),)
    page = render(replace(evidence, contract=contract, record=record, tables=tables))
    assert "<img" not in outside_scripts(page)
    assert "<img" not in "".join(json.dumps(chart) for chart in charts(page))
    assert page.count("</script>") == page.count("<script")


def test_the_head_says_what_the_data_are(page, evidence):
    head = page[: page.index("</header>")]
    assert evidence.contract.data.sha256[:12] in head
    assert evidence.contract.data.note in head
    assert "Trade lock shut" in head


def test_refused_gates_stand_first_then_those_not_applicable(page):
    rows = re.findall(
        r'class="pill \w+">(?:. )?([\w ]+)</span></td><td class="mono">([\w.]+)', page
    )
    assert rows == [
        ("refused", "edge.dsr"),
        ("refused", "edge.choice_loss"),
        ("not applicable", "edge.coverage"),
        ("passed", "causality"),
    ]


def test_the_files_of_the_evidence_are_linked_where_mlflow_hands_them_out(evidence):
    assert "Evidence as files" not in render(evidence)
    page = render(replace(evidence, files={"returns": 1234, "out_of_fold": 9}, evidence_run="ab12"))
    address = "get-artifact?path=evidence%2Freturns.parquet&amp;run_id=ab12"
    assert f'<a href="{address}">evidence/returns.parquet</a></td><td>1,234</td>' in page
    assert "mlflow artifacts download -r ab12 -a evidence" in page


def test_before_a_version_flavors_are_still_to_be_measured_afterwards_they_are_missing(evidence):
    assert "Still to be measured by convert: golden_answers" in render(evidence)
    final = render(replace(evidence, number=3))
    assert "Still to be measured" not in final
    assert "golden_answers: missing from the record" in final


@pytest.mark.parametrize(
    ("value", "spec", "text"),
    [
        (None, "", "-"),
        (float("nan"), ".1%", "-"),
        (0.1234, ".1%", "12.3%"),
        (12345, "", "12,345"),
        (2019, "", "2019"),
        (0.000123456, "", "0.0001235"),
        (True, "", "True"),
    ],
)
def test_cells_are_written_for_people(value, spec, text):
    assert shown(value, spec) == text


def test_every_panel_is_in_the_documentation():
    text = (Path(__file__).resolve().parents[3] / "docs/report.md").read_text()
    assert [panel.name for panel in PANELS if f"`{panel.name}`" not in text] == []
