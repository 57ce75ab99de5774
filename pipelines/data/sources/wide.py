"""Wide tables: a header of several lines that names prices in one line and symbols in another."""

from dataclasses import replace

import polars as pl

from pipelines.data.sources.columns import NAMES, plain_name
from pipelines.data.sources.tables import Table

_PRICES = {name for ours, names in NAMES.items() if ours not in ("symbol",) for name in names}


def split_symbols(table: Table) -> list[tuple[str, Table]]:
    """Return a table per symbol of a header of several lines; any other table as it is, unnamed.

    A row in which a symbol has no value is not one of its rows.
    """
    level = _level_of_prices(table)
    if level is None:
        return [("", table)]
    own = [i for i, parts in enumerate(table.levels) if not _symbol(parts, level)]
    symbols = dict.fromkeys(filter(None, (_symbol(p, level) for p in table.levels)))
    return [(symbol, _of_symbol(table, symbol, level, own)) for symbol in symbols]


def _level_of_prices(table: Table) -> int | None:
    """Return the line of the header that names prices, if another one names symbols."""
    if not table.levels:
        return None
    depth = len(table.levels[0])
    n_known = [sum(plain_name(p[i]) in _PRICES for p in table.levels[1:]) for i in range(depth)]
    level = n_known.index(max(n_known))
    return level if any(_symbol(parts, level) for parts in table.levels[1:]) else None


def _symbol(parts: tuple[str, ...], level: int) -> str:
    """Return what the other lines say of a column; nothing of the column of times."""
    others = [part for i, part in enumerate(parts) if i != level and part]
    return " ".join(others) if parts[level] and plain_name(parts[level]) not in _TIMES else ""


_TIMES = {name for ours in ("timestamp", "date", "time") for name in NAMES[ours]}


def _of_symbol(table: Table, symbol: str, level: int, own: list[int]) -> Table:
    mine = [i for i, parts in enumerate(table.levels) if _symbol(parts, level) == symbol]
    names = {_own_name(table, i): table.columns[i] for i in own}
    names |= {table.levels[i][level]: table.columns[i] for i in mine}
    values = [table.columns[i] for i in mine]
    has_value = table.frame.select(pl.any_horizontal(pl.col(values).is_not_null())).to_series()
    frame = table.frame.select(pl.col(own).alias(name) for name, own in names.items())
    rows = table.rows.filter(has_value)
    return replace(table, frame=frame.filter(has_value), rows=rows, levels=(), repeated=())


def _own_name(table: Table, i: int) -> str:
    return next(filter(None, table.levels[i]), table.columns[i])
