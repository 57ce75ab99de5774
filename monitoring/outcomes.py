"""Outcomes: what became of the predictions that were logged.

A label is complete some bars after its prediction. For each logged row this module finds the label
of the same symbol and time, computed from the bar store by the version's own template and label
parameters. It scores the logged scores and the template's baseline by the template's proper score.
Nothing is predicted again: the loss is that of the answers that were given.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime

import numpy as np
import polars as pl
import structlog
from numpy.typing import NDArray

from pipelines.data.bars import TIMESTAMP, Bars, BarSeries, to_microseconds
from pipelines.method.rows import LabelledRows
from pipelines.templates import TEMPLATES, BarTemplate, over_bars
from registry.contract import Json
from registry.version_files import VersionFiles

SCHEMA: dict[str, pl.DataType] = {
    "symbol": pl.String(),
    "as_of": TIMESTAMP,
    "known_at": TIMESTAMP,  # t1: when the label was complete
    "y": pl.Float64(),
    "loss": pl.Float64(),
    "baseline_loss": pl.Float64(),
}

log = structlog.get_logger(__name__)


def latest(logged: pl.DataFrame) -> pl.DataFrame:
    """Return the newest logged row of each (symbol, as_of), by as_of and symbol.

    A bar can be predicted many times, by people and by the feed; one of them counts.
    """
    return (
        logged.drop_nulls(["symbol", "as_of"])
        .sort("served_at")
        .unique(["symbol", "as_of"], keep="last")
        .sort("as_of", "symbol")
    )


def with_all_scores(logged: pl.DataFrame, version: VersionFiles) -> pl.DataFrame:
    """Return the version's logged rows that hold each of its scores; only they have a loss.

    Of many draws the log keeps quantiles (`monitoring/prediction_rows.py`), of which no loss is
    computed. The process's log says how many rows are left out.
    """
    mine = logged.filter(pl.col("version") == version.number)
    wanted = version.contract.outputs.shape[1]
    n_held = pl.col("scores").list.len()
    is_whole = n_held == (n_held if wanted is None else wanted)
    whole = mine.filter(is_whole & (pl.col("n_scores").fill_null(n_held) == n_held))
    if left_out := len(mine) - len(whole):
        log.warning("outcomes not computed: scores not kept", rows=left_out, scores=wanted)
    return whole


def realised(
    logged: pl.DataFrame, version: VersionFiles, bars: Bars, known_by: datetime | None = None
) -> pl.DataFrame:
    """Return one row of `SCHEMA` per logged prediction whose label is complete.

    Args:
        logged: rows of the prediction log; those of other versions are left out.
        version: the version that predicted.
        bars: the store's bars of its symbols and interval.
        known_by: only labels complete at this time (t1 <= known_by); None means all.
    """
    contract = version.contract
    template = over_bars(TEMPLATES.get(contract.template))
    mine = with_all_scores(latest(logged.filter(pl.col("version") == version.number)), version)
    decoder = version.decoder
    parts = [
        pl.DataFrame(
            {
                "symbol": [symbol] * len(rows),
                "as_of": pl.Series(rows.t0).cast(TIMESTAMP),
                "known_at": pl.Series(rows.t1).cast(TIMESTAMP),
                "y": rows.y,
                "loss": template.loss(rows, scores, decoder),
                "baseline_loss": template.baseline_loss(rows, decoder),
            },
            schema=SCHEMA,
        )
        for symbol, rows, scores in _labelled(mine, template, bars, contract.label_spec)
    ]
    found = pl.concat(parts) if parts else pl.DataFrame(schema=SCHEMA)
    if known_by is not None:
        found = found.filter(pl.col("known_at") <= known_by)
    return found.sort("as_of", "symbol")


def per_time(outcomes: pl.DataFrame) -> pl.DataFrame:
    """Average outcomes over symbols: as_of, known_at (the latest), loss, baseline_loss, n_rows."""
    return (
        outcomes.group_by("as_of")
        .agg(
            pl.col("known_at").max(),
            pl.col("loss").mean(),
            pl.col("baseline_loss").mean(),
            pl.len().alias("n_rows"),
        )
        .sort("as_of")
    )


def new_labelled_times(
    template: BarTemplate, bars: Bars, spec: Mapping[str, Json], after: datetime
) -> NDArray[np.int64]:
    """Return the time at which each bar time after `after` has its labels complete, sorted.

    One entry per bar time with t0 > after, of any symbol, int64 microseconds UTC. The guards count
    them.
    """
    start = to_microseconds(after)
    complete: dict[int, int] = {}
    for series in bars.series():
        labels = template.label(series, template.context(series), spec)
        known = np.isfinite(labels.y) & (labels.t1 >= 0) & (series.timestamp > start)
        for t0, t1 in zip(series.timestamp[known], labels.t1[known], strict=True):
            complete[int(t0)] = min(int(t1), complete.get(int(t0), int(t1)))
    return np.sort(np.array(list(complete.values()), dtype=np.int64))


def _labelled(
    mine: pl.DataFrame, template: BarTemplate, bars: Bars, spec: Mapping[str, Json]
) -> Iterator[tuple[str, LabelledRows, NDArray[np.float32]]]:
    held = {series.symbol: series for series in bars.series()}
    for (name,), rows in mine.partition_by("symbol", as_dict=True).items():
        symbol = str(name)
        if symbol in held:
            joined = _join(symbol, rows, template, held[symbol], spec)
            if joined is not None:
                yield symbol, *joined


def _join(
    symbol: str,
    rows: pl.DataFrame,
    template: BarTemplate,
    series: BarSeries,
    spec: Mapping[str, Json],
) -> tuple[LabelledRows, NDArray[np.float32]] | None:
    context = template.context(series)
    labels = template.label(series, context, spec)
    times = rows["as_of"].to_physical().to_numpy()
    place = np.clip(np.searchsorted(series.timestamp, times), 0, len(series) - 1)
    known = (series.timestamp[place] == times) & np.isfinite(labels.y[place])
    known &= labels.t1[place] >= 0
    if not known.any():
        return None
    place, rows = place[known], rows.filter(pl.Series(known))
    here = {k: v[place] for k, v in context.items()}
    target, fit = template.target(labels.y[place], here)
    labelled = LabelledRows(
        X=np.array(rows["features"].to_list(), dtype=np.float32),
        y=labels.y[place],
        target=target,
        context=here,
        outcome={k: v[place] for k, v in labels.outcome.items()},
        symbol=np.zeros(len(place), dtype=np.int32),
        symbols=(symbol,),
        t0=series.timestamp[place],
        t1=labels.t1[place],
        fit=fit,
        spec=spec,
    )
    return labelled, np.array(rows["scores"].to_list(), dtype=np.float32)
