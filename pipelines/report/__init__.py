"""The report of a validated version: one HTML page that needs no network.

`validate` (and `main`, once every flavor is measured) hands over `Evidence`; `page.render` returns
the page. The page is made of panels: each names the tables it draws and is absent, and listed as
such, where a template has none of them. `panels.PANELS` is the list in reading order; the files
beside it hold the panels by what they show: returns, trials, probabilities, forecasts, risk,
states, documents, provenance.

Adding a panel: a function from `Evidence` to blocks in the file of its noun, one `Panel` in
`panels.py`, one line in docs/report.md. A table without a panel of its own is shown as a table.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from registry.contract import ModelContract
from registry.gates import GateRow

if TYPE_CHECKING:
    import plotly.graph_objects as go

REPORT_FILE = "report.html"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a page is made from.

    `tables` are those of the `Evaluation` and what the stage adds (`fold_map`, `importance`,
    `challenge`); `returns` the active net returns per decision time, None where there are none;
    `number` the registered version, None before it is registered (flavors are not measured then);
    `files` name -> lines of the Parquet files that lie in `evidence_run`.
    """

    contract: ModelContract
    record: tuple[GateRow, ...]
    metrics: Mapping[str, float]
    tables: Mapping[str, pl.DataFrame]
    run_id: str
    returns: NDArray[np.float64] | None = None
    champion: int | None = None
    number: int | None = None
    files: Mapping[str, int] = field(default_factory=dict)
    evidence_run: str = ""

    def table(self, name: str) -> pl.DataFrame | None:
        """Return a table that has rows, or None."""
        found = self.tables.get(name)
        return found if found is not None and len(found) else None


@dataclass(frozen=True, slots=True)
class Chart:
    """A plotly figure and its height in CSS pixels."""

    figure: "go.Figure"
    height: int = 360


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of the page; `formats` maps a column to a Python format spec such as `.1%`."""

    frame: pl.DataFrame
    formats: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Remark:
    """A sentence below a chart: a number in words, a formula with its source."""

    text: str


Block = Chart | Grid | Remark
Blocks = tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """One part of the page.

    `needs` are tables and `metrics` metrics, of which at least one must be there; a panel that
    names neither always is. `draw` returns no blocks when what it found cannot be shown.
    `reading` says how to read it.
    """

    name: str
    section: str
    title: str
    reading: str
    needs: tuple[str, ...]
    draw: Callable[[Evidence], Blocks]
    is_wide: bool = True
    metrics: tuple[str, ...] = ()

    def applies(self, evidence: Evidence) -> bool:
        """Whether at least one of the tables or metrics is there."""
        has_table = any(evidence.table(name) is not None for name in self.needs)
        has_metric = any(name in evidence.metrics for name in self.metrics)
        return has_table or has_metric or not (self.needs or self.metrics)
