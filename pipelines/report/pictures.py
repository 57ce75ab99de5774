"""Pictures of a run, logged to MLflow under `pictures/`: what a person wants to see on its page.

A picture is the first chart of a panel of the report (`panels.PANELS`), drawn by `png.drawn`; the
gates are the report's lines as a table. Nothing is designed here twice: titles, axes, units and
colours are the panel's.
"""

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np

from pipelines.report import Chart, Evidence
from pipelines.report.png import blank, drawn
from pipelines.report.verdict import gate_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OF_A_FIT = ("folds", "importance")
OF_A_JUDGEMENT = (
    *("equity", "reliability", "coverage", "loss_per_year", "over_time", "backtest"),
    *("regimes", "alarm_rate", "challenge"),
)
"""Names of panels; all others are in the report only."""

RULE = "#8a969c"
LOOKS = {"good": "#d5f0e3", "bad": "#fadbd8", "dull": "#eceff1"}
COLUMNS = {"verdict": 0.008, "gate": 0.1, "value": 0.25, "needs": 0.335, "measured how": 0.43}
"""Where the columns of the gates begin, as fractions of the width."""
NOTE_WIDTH = 104
"""Letters of a gate's note per line."""


def log_pictures(evidence: Evidence, names: Sequence[str]) -> None:
    """Log the first chart of each of these panels that the evidence has something for."""
    from pipelines.report.panels import PANELS  # plotly is loaded where there is something to draw

    for panel in PANELS:
        if panel.name in names and panel.applies(evidence):
            charts = [block for block in panel.draw(evidence) if isinstance(block, Chart)]
            if charts:
                _log(drawn(charts[0], panel.title), panel.name)


def log_gates(evidence: Evidence) -> None:
    """Log the gates as a readable table."""
    lines = gate_lines(evidence)
    notes = ["\n".join(wrap(line.note, NOTE_WIDTH)) for line in lines]
    tops = 1 + np.cumsum([0.0, *(0.7 + max(1, note.count("\n") + 1) * 0.8 for note in notes)])
    figure, axes = blank(13.0, 0.21 * tops[-1] + 0.6)
    axes.axis("off")
    axes.set(xlim=(0, 1), ylim=(tops[-1], 0))
    for title, at in COLUMNS.items():
        axes.text(at, 0.5, title, va="center", weight="bold", size=9)
    for line, note, top, bottom in zip(lines, notes, tops, tops[1:], strict=False):
        axes.axhspan(top, bottom, xmax=0.092, color=LOOKS[line.look], lw=0)
        axes.axhline(top, color=RULE, lw=0.5)
        cells = (line.verdict, line.gate, line.value, line.needs, note)
        for at, text in zip(COLUMNS.values(), cells, strict=True):
            axes.text(at, (top + bottom) / 2, text, va="center", size=9, parse_math=False)
    n_passed = sum(row.passed for row in evidence.record)
    axes.set_title(f"Gates: {n_passed} of {len(lines)} passed")
    _log(figure, "gates")


def _log(figure: "Figure", name: str) -> None:
    import mlflow

    mlflow.log_figure(figure, f"pictures/{name}.png")
