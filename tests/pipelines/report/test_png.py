"""PNG: what matplotlib draws is what the page's figure says."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from pipelines.report.panels import PANELS
from pipelines.report.png import drawn

DRAW = {panel.name: panel.draw for panel in PANELS}


@pytest.fixture
def axes_of(evidence):
    """Name of a panel -> the axes of its first chart."""
    return lambda name, known=evidence: drawn(DRAW[name](known)[0], "title").axes


def lines_of(axes):
    return {line.get_label(): line.get_ydata() for line in axes.lines}


def test_lines_are_the_columns_of_the_table(axes_of, tables):
    lines = lines_of(axes_of("over_time")[0])
    for column, label in {"realised": "realised", "ewma": "EWMA(0.94)"}.items():
        np.testing.assert_allclose(lines[label], tables["forecast_vs_realised"][column], rtol=1e-4)


def test_a_challenge_draws_losses_cumulated_beyond_the_baseline(axes_of):
    axes = axes_of("challenge")[0]
    lines = lines_of(axes)
    np.testing.assert_allclose(lines["champion"], [1, 2, 3])
    np.testing.assert_allclose(lines["challenger"], [0.5, 2.0, 2.0])
    assert [text.get_text() for text in axes.texts] == ["baseline"]


def test_wealth_is_drawn_on_a_log_scale_with_its_dates(axes_of, tables):
    axes = axes_of("equity")[0]
    assert axes.get_yscale() == "log"
    net = next(line for line in axes.lines if line.get_label() == "net")
    np.testing.assert_allclose(net.get_ydata(), np.exp(tables["equity"]["net"]), rtol=1e-4)
    expected = tables["equity"]["timestamp"].to_numpy().astype("datetime64[m]")
    np.testing.assert_array_equal(net.get_xdata(orig=True), expected)


def test_bars_stand_beside_each_other_one_per_model_and_year(axes_of):
    axes = axes_of("loss_per_year")[0]
    heights = {c.get_label(): [bar.get_height() for bar in c.patches] for c in axes.containers}
    assert heights == {"forecast": [0.4, 0.6], "EWMA(0.94)": [0.5, 0.7]}
    edges = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches)
    assert all(right <= left + 1e-9 for (_, right), (left, _) in pairwise(edges))


def test_importance_is_drawn_largest_on_top(axes_of):
    axes = axes_of("importance")[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a", "b"]
    assert axes.yaxis.get_inverted()
    assert [bar.get_width() for bar in axes.patches] == [0.7, 0.3]


def test_the_fold_map_has_one_bar_of_days_per_part(axes_of):
    axes = axes_of("folds")[0]
    widths = {c.get_label()[:5]: [b.get_width() for b in c.patches] for c in axes.containers}
    assert widths == {"train": [299.0], "purge": [4.0], "test": [294.0]}


def test_regimes_are_stacked_to_one_where_there_is_no_market(axes_of, evidence):
    tables = {k: v for k, v in evidence.tables.items() if k != "market"}
    axes = axes_of("regimes", replace(evidence, tables=tables))[0]
    calm, wild = axes.collections
    assert [calm.get_label(), wild.get_label()] == ["calm", "wild"]
    assert wild.get_paths()[0].vertices[:, 1].max() == pytest.approx(1.0)
    assert axes.get_ylim() == (0, 1)


def test_reliability_has_the_rows_of_each_bin_on_a_second_axis(axes_of):
    first, second = axes_of("reliability")
    np.testing.assert_allclose(lines_of(first)["out of fold"], [0.2, 0.6, 0.8])
    assert [bar.get_height() for bar in second.patches] == [50, 60, 40]
    assert second.get_ylabel() == "rows"


def test_what_was_promised_is_a_dashed_line_with_its_value(axes_of):
    axes = axes_of("coverage")[0]
    assert [text.get_text() for text in axes.texts] == ["promised 90%"]
    assert any(line.get_linestyle() == "--" and line.get_ydata()[0] == 0.9 for line in axes.lines)
    assert axes.yaxis.get_major_formatter()(0.9) == "90%"
