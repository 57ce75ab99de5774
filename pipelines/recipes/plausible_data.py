"""Plausible data: gates that refuse bars, and columns of tables, that know what came later.

What they look at is in `pipelines/data/misdating.py` and `pipelines/data/tables/leaks.py`. Only a
person may accept what they refuse (docs/promotion.md).
"""

from collections.abc import Iterable, Mapping, Sequence

from pipelines.data.bars import BarSeries
from pipelines.data.misdating import (
    LEAST_BARS,
    foresights,
    near_opens,
    outside_ranges,
    shares,
)
from registry.gates import DATED_OPENS, DATED_RANGES, KNOWING_COLUMNS, GateRow, Requirement

MOST_NAMED = 5
"""Columns that a note names; the value counts them all."""


def dated_bars(every: Iterable[BarSeries]) -> tuple[GateRow, ...]:
    """Return the gates `plausibility.opens`, `.ranges` and `.columns` of the bars of all symbols.

    Each symbol is judged by itself and the worst one counts, so that one misdated file among many
    is found. What the bars do not have, or have fewer than 250 times, is not applicable.
    """
    symbols = list(every)
    opens = shares({series.symbol: near_opens(series) for series in symbols})
    ranges = shares({series.symbol: outside_ranges(series) for series in symbols})
    found = [foresight for series in symbols for foresight in foresights(series)]
    lines = [one.line() for one in found if abs(one.correlation) > one.limit]
    return (
        _worst(DATED_OPENS, opens, min(opens, key=opens.__getitem__, default=""), "opens"),
        _worst(DATED_RANGES, ranges, max(ranges, key=ranges.__getitem__, default=""), "ranges"),
        knowing_columns(lines, f"{len(found)} columns beside the prices"),
    )


def knowing_columns(lines: Sequence[str], looked_at: str) -> GateRow:
    """Return the gate `plausibility.columns`: how many columns know too much, with their names."""
    more = [f"and {len(lines) - MOST_NAMED} more"] if len(lines) > MOST_NAMED else []
    note = "; ".join((*lines[:MOST_NAMED], *more)) or f"{looked_at} looked at"
    return KNOWING_COLUMNS.row(float(len(lines)), note)


SAID = {
    "opens": "opens nearer to the last close than to the one before it: those of {symbol}, the "
    "worst of {n} symbols; fewer mean closes that are dated a bar too early, or in another unit",
    "ranges": "bars with open or close outside low..high: those of {symbol}, the worst of {n} "
    "symbols; more mean that a column is dated wrongly, or is in another unit",
}


def _worst(gate: Requirement, shares: Mapping[str, float], symbol: str, what: str) -> GateRow:
    if not shares:
        return gate.absent(f"there are no {LEAST_BARS} bars with {what}")
    return gate.row(shares[symbol], SAID[what].format(symbol=symbol, n=len(shares)))
