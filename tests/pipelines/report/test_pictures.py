"""Pictures: each draws the numbers it was given and says what its axes are."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from pipelines.report import pictures
from registry.gates import GateRow, not_computed

N = 30
TIMES = [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=i) for i in range(N)]
RISING = np.linspace(0.0, 1.0, N)

TABLES = {
    "qlike_per_year": pl.DataFrame(
        {
            "year": [2019, 2019, 2020, 2020],
            "model": ["ewma", "forecast", "ewma", "forecast"],
            "qlike": [0.5, 0.4, 0.7, 0.6],
        }
    ),
    "forecast_vs_realised": pl.DataFrame(
        {"timestamp": TIMES, "realised": RISING, "forecast": RISING / 2, "ewma": RISING / 3}
    ),
    "equity": pl.DataFrame(
        {"timestamp": TIMES, "net": RISING, "buy_and_hold": RISING / 2, "drawdown": -RISING}
    ),
    "confusion": pl.DataFrame(
        {
            "realised": ["SELL", "HOLD", "BUY"],
            "SELL": [5, 1, 2],
            "HOLD": [0, 9, 1],
            "BUY": [3, 2, 4],
        }
    ),
    "reliability": pl.DataFrame({"confidence": [0.3, 0.5, 0.9], "frequency": [0.2, 0.6, 0.8]}),
    "coverage": pl.DataFrame(
        {"fold": [0, 1, 2], "coverage": [None, 0.88, 0.93], "nominal": [0.9, 0.9, 0.9]}
    ),
    "cost_grid": pl.DataFrame({"multiple": [0.0, 1.0, 2.0], "sharpe": [0.9, 0.4, -0.1]}),
    "regime_probabilities": pl.DataFrame(
        {"timestamp": TIMES, "calm": 1 - RISING, "turbulent": RISING}
    ),
    "alarms_per_year": pl.DataFrame(
        {"year": [2019, 2020], "rate": [0.004, 0.02], "stated": [0.01, 0.01], "n_rows": [250, 250]}
    ),
    "forecast_groups": pl.DataFrame(
        {"group": [0, 1], "forecast": [-0.01, 0.02], "realised": [0.0, 0.01], "n_rows": [9, 9]}
    ),
}


@pytest.fixture
def logged(monkeypatch):
    """Name -> figure, instead of files in MLflow."""
    figures: dict = {}
    monkeypatch.setattr(pictures, "_log", lambda figure, name: figures.update({name: figure}))
    return figures


def test_every_picture_of_an_evaluation_is_tried_here():
    assert set(TABLES) == set(pictures.DRAWN)


@pytest.mark.parametrize("name", TABLES)
def test_a_picture_has_a_title_and_its_axes_say_what_they_are(logged, name):
    pictures.log_tables({name: TABLES[name]})
    axes = logged[name].axes
    assert any(a.get_title() for a in axes)
    assert axes[-1].get_xlabel()
    assert all(a.get_ylabel() for a in axes)


def test_tables_without_rows_and_tables_without_a_picture_are_passed_over(logged):
    pictures.log_tables({"equity": TABLES["equity"].clear(), "per_symbol": TABLES["equity"]})
    assert logged == {}


def test_qlike_has_one_bar_per_model_and_year(logged):
    pictures.log_tables(TABLES)
    (axes,) = logged["qlike_per_year"].axes
    heights = {c.get_label(): [bar.get_height() for bar in c.patches] for c in axes.containers}
    assert heights == {"EWMA(0.94)": [0.5, 0.7], "forecast": [0.4, 0.6]}


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        (
            "forecast_vs_realised",
            {"realised": "realised", "forecast": "forecast", "ewma": "EWMA(0.94)"},
        ),
        ("equity", {"net": "net", "buy_and_hold": "buy and hold"}),
    ],
)
def test_lines_are_the_columns_of_the_table(logged, name, labels):
    pictures.log_tables(TABLES)
    lines = {line.get_label(): line.get_ydata() for line in logged[name].axes[0].lines}
    for column, label in labels.items():
        np.testing.assert_array_equal(lines[label], TABLES[name][column].to_numpy())


def test_confusion_writes_its_counts_with_rows_realised(logged):
    pictures.log_tables(TABLES)
    (axes,) = logged["confusion"].axes
    shown = {t.get_position()[::-1]: t.get_text().split() for t in axes.texts}
    counts = TABLES["confusion"].drop("realised").to_numpy()
    share = counts / counts.sum(axis=1, keepdims=True)
    assert shown == {(i, j): [str(n), f"{share[i, j]:.0%}"] for (i, j), n in np.ndenumerate(counts)}
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("realised class", "most probable class")


def test_importance_is_drawn_largest_on_top(logged):
    pictures.log_importance(["a", "b", "c"], np.array([0.2, 0.7, 0.1]))
    (axes,) = logged["importance"].axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["c", "a", "b"]
    assert [bar.get_width() for bar in axes.patches] == [0.1, 0.2, 0.7]


def test_the_fold_map_has_one_bar_per_part(logged):
    folds = pl.DataFrame(
        {
            "fold": [0, 0, 0, 1],
            "part": ["train", "purged", "test", "train"],
            "start": [TIMES[0], TIMES[5], TIMES[6], TIMES[0]],
            "end": [TIMES[4], TIMES[5], TIMES[9], TIMES[10]],
        }
    )
    pictures.log_fold_map(folds)
    (axes,) = logged["fold_map"].axes
    widths = {c.get_label()[:5]: [b.get_width() for b in c.patches] for c in axes.containers}
    assert widths == {"train": [4.0, 10.0], "test": [3.0], "purge": [0.0]}


def test_the_gate_table_says_passed_or_refused_with_the_value(logged):
    record = [
        GateRow("causality", 0.0, "<=", 1e-9, "4 cuts"),
        GateRow("quality.bias", 1.5, "between", (0.8, 1.25)),
        not_computed("edge.pbo", "<", 0.5, "too few trials"),
    ]
    pictures.log_gates(record)
    (axes,) = logged["gates"].axes
    texts = [text.get_text() for text in axes.texts]
    header, *rows = [texts[i : i + 5] for i in range(0, len(texts), 5)]
    assert header == ["result", "gate", "value", "needs", "measured how"]
    assert [row[:3] for row in rows] == [
        ["passed", "causality", "0"],
        ["refused", "quality.bias", "1.5"],
        ["refused", "edge.pbo", "not computed"],
    ]
    assert [row[3] for row in rows] == ["<= 1e-09", "in [0.8, 1.25]", "< 0.5"]
    assert axes.get_title() == "Gates: 1 of 3 passed"


def test_a_challenge_draws_losses_cumulated_beyond_the_baseline(logged):
    loss = {"champion": RISING + 1, "challenger": RISING + 2, "baseline": RISING}
    pictures.log_challenge(pl.DataFrame({"timestamp": TIMES} | loss))
    lines = {line.get_label(): line.get_ydata() for line in logged["challenge"].axes[0].lines}
    np.testing.assert_allclose(lines["champion"], np.arange(1, N + 1))
    np.testing.assert_allclose(lines["challenger"], 2 * np.arange(1, N + 1))
