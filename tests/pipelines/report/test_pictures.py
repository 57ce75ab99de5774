"""Pictures: panels of the report as files in MLflow, and the gates as a table."""

from dataclasses import replace

import pytest

from pipelines.report import Chart, pictures
from pipelines.report.panels import PANELS

pytestmark = pytest.mark.integration

PICTURED = (*pictures.OF_A_FIT, *pictures.OF_A_JUDGEMENT)


@pytest.fixture
def logged(monkeypatch):
    """Name -> figure, instead of files in MLflow."""
    figures: dict = {}
    monkeypatch.setattr(pictures, "_log", lambda figure, name: figures.update({name: figure}))
    return figures


def test_every_picture_is_the_first_chart_of_a_panel(logged, evidence):
    pictures.log_pictures(evidence, PICTURED)
    assert set(logged) == set(PICTURED) <= {panel.name for panel in PANELS}
    for panel in (p for p in PANELS if p.name in PICTURED):
        chart = next(block for block in panel.draw(evidence) if isinstance(block, Chart))
        axes, layout = logged[panel.name].axes[0], chart.figure.layout
        assert axes.get_title() == panel.title
        assert axes.get_xlabel().replace("\n", " ") == layout.xaxis.title.text
        assert axes.get_ylabel().replace("\n", " ") == layout.yaxis.title.text


def test_tables_without_rows_and_tables_that_are_not_there_are_passed_over(logged, evidence):
    few = {"equity": evidence.tables["equity"].clear(), "confusion": evidence.tables["confusion"]}
    pictures.log_pictures(replace(evidence, tables=few), PICTURED)
    assert logged == {}


def test_a_picture_becomes_a_png(evidence, tmp_path, logged):
    pictures.log_pictures(evidence, PICTURED)
    pictures.log_gates(evidence)
    for name, figure in logged.items():
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_gate_table_says_passed_or_refused_with_the_value(logged, evidence):
    pictures.log_gates(evidence)
    (axes,) = logged["gates"].axes
    texts = [text.get_text() for text in axes.texts]
    header, *rows = [texts[i : i + 5] for i in range(0, len(texts), 5)]
    assert header == ["verdict", "gate", "value", "needs", "measured how"]
    assert [row[:3] for row in rows] == [
        ["✗ refused", "edge.dsr", "0.4"],
        ["✗ refused", "edge.choice_loss", "not computed"],
        ["not applicable", "edge.coverage", "not computed"],
        ["✓ passed", "causality", "0"],
    ]
    assert [row[3] for row in rows] == [">= 0.95", "< 0.25", "in [0.88, 0.92]", "<= 1e-09"]
    assert [row[4] for row in rows] == ["3 trials", "too few trials", "no interval", "4 cuts"]
    assert axes.get_title() == "Gates: 1 of 4 passed"
