"""Columns: the file's column for each of ours, and its text as numbers.

Names are recognised in any case and punctuation (`<DATE>`, `Adj Close`, `askOpen`). A mapping
overrides them, or leaves a column out (`volume=none`). A file without header is recognised only as
time, open, high, low, close and maybe volume, with the time in one column or in two, and only if
highs and lows are where that order says. Any other such file needs a mapping by position.
"""

import re
from collections.abc import Mapping

import polars as pl

from pipelines.data.bar_rules import Ledger
from pipelines.data.sources.tables import Table
from registry.errors import BarsError, MissingColumnsError, ParameterError

QUOTE_PRICES = ("open", "high", "low", "close")
QUOTES = tuple(f"{side}_{price}" for side in ("bid", "ask") for price in QUOTE_PRICES)
NUMBERS = (*QUOTE_PRICES, "adj_close", "volume", "vwap", "spread", *QUOTES)
OURS = ("symbol", "timestamp", "date", "time", *NUMBERS)

NAMES = {
    "timestamp": (
        "timestamp",
        "datetime",
        "date_time",
        "ts",
        "ts_event",
        "index_level_0",
        "unix",
        "epoch",
    ),
    "date": ("date", "day", "trade_date", "trading_date"),
    "time": ("time", "hour", "open_time", "gmt_time", "local_time"),
    "symbol": ("symbol", "ticker", "instrument", "asset", "pair"),
    "open": ("open", "o", "open_price", "price_open"),
    "high": ("high", "h", "high_price", "price_high"),
    "low": ("low", "l", "low_price", "price_low"),
    "close": ("close", "c", "close_price", "price_close", "close_last", "last", "price"),
    "adj_close": ("adj_close", "adjclose", "adjusted_close", "close_adj"),
    "volume": ("volume", "vol", "v", "tick_volume", "tickvol"),
    "vwap": ("vwap", "weighted_price"),
    **{q: (q, "_".join(reversed(q.split("_"))), q.replace("_", "")) for q in QUOTES},
}

GUESSES = (
    ("timestamp", *QUOTE_PRICES, "volume"),
    ("timestamp", *QUOTE_PRICES),
    ("date", "time", *QUOTE_PRICES, "volume"),
    ("date", "time", *QUOTE_PRICES),
)
THOUSANDS = r"^-?\d{1,3}(,\d{3})+(\.\d+)?$"
PLAINLY_THOUSANDS = r"^-?\d{1,3}(,\d{3})+(\.|,\d{3})"
DECIMAL_COMMA = r"^-?\d+,\d+$"
LEAVE_OUT = "none"
"""Value of a mapping for a column that is not to be read."""

MISSING_TEXTS = ("null", "none", "na", "n/a", "nan", "-")


def find_columns(table: Table, mapping: Mapping[str, str], ledger: Ledger) -> dict[str, str]:
    """Return our name -> the table's column.

    Raises:
        ParameterError: the mapping names something that is none of ours.
        MissingColumnsError: a mapped column, the time or the close is not there.
    """
    unknown = sorted(set(mapping) - set(OURS))
    if unknown:
        raise ParameterError("columns", unknown[0], f"one of {', '.join(OURS)}")
    found = _by_name(table)
    if not table.has_header and not mapping:
        found = _by_position(table, ledger)
    for ours, theirs in mapping.items():
        if theirs.strip() == LEAVE_OUT:
            found.pop(ours, None)
        else:
            found[ours] = _mapped(table, ours, theirs)
    if "timestamp" in mapping:
        found = {k: v for k, v in found.items() if k not in ("date", "time")}
    elif "date" in mapping or {"date", "time"} <= set(found):
        found.pop("timestamp", None)
    _require(table, found)
    return found


def read_number(table: Table, column: str, name: str, ledger: Ledger) -> pl.Series:
    """Return a column as float64; empty and missing values are null.

    Decimal commas are read where some value can be nothing else (`1,0850`). Thousands separators
    are an error, or under policy `repair` removed.

    Raises:
        BarsError: a text that is no number, or one that may be either (`1;1,234` in a file that
            is not separated by commas).
    """
    values = table.frame[column]
    if values.dtype != pl.String:
        return values.cast(pl.Float64)
    values = values.set(values.str.to_lowercase().is_in(MISSING_TEXTS).fill_null(value=False), None)
    numbers = values.cast(pl.Float64, strict=False)
    is_odd = values.is_not_null() & numbers.is_null()
    if not is_odd.any():
        return numbers
    rows, texts = table.rows.filter(is_odd), values.filter(is_odd)
    grouped = texts.str.contains(THOUSANDS)
    if texts.str.contains(DECIMAL_COMMA).all() and not grouped.all():
        ledger.note(f"{name} has decimal commas")
        return values.str.replace(",", ".").cast(pl.Float64)
    if not grouped.all():
        row, text = rows.filter(~grouped)[0], texts.filter(~grouped)[0]
        expected = "expected a number like 1234.5"
        hint = f"correct it, or leave the column out with columns={name}={LEAVE_OUT}"
        told = f"row {row}: {name}: {expected}"
        raise BarsError(f"row {row}: {name} is {text!r}, {expected}", table.where, hint, told)
    row, text = rows[0], texts[0]
    if table.separator != "," and not texts.str.contains(PLAINLY_THOUSANDS).any():
        problem = "thousands or decimals, and no row decides"
        told = f"row {row}: {name}: {problem}"
        hint = "write it with a decimal point"
        raise BarsError(f"row {row}: {name} is {text!r}: {problem}", table.where, hint, told)
    ledger.repair(
        f"row {row}: {name} is {text!r}, with thousands separators",
        "write it without them",
        f"removed thousands separators from {len(rows)} values of {name}, first {text!r}",
        f"row {row}: {name} has thousands separators",
    )
    return values.str.replace_all(",", "").cast(pl.Float64)


def _by_name(table: Table) -> dict[str, str]:
    theirs: dict[str, str] = {}
    for column in table.columns:
        theirs.setdefault(_plain(column), column)
    found = {}
    for ours, names in NAMES.items():
        match = next((theirs[n] for n in names if n in theirs), None)
        if match is not None:
            found[ours] = match
    if not {"timestamp", "date", "time"} & set(found) and "unnamed_0" in table.columns:
        found["timestamp"] = "unnamed_0"  # how pandas writes an index without a name
    return found


def _plain(name: str) -> str:
    """Return a column's name in lower case, words joined by one underscore."""
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", name)
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_").removesuffix("_utc")


def _mapped(table: Table, ours: str, theirs: str) -> str:
    theirs = theirs.strip()
    if theirs in table.columns:
        return theirs
    alike = [c for c in table.columns if c.lower() == theirs.lower()]
    if len(alike) == 1:
        return alike[0]
    if theirs.isdecimal() and int(theirs) < len(table.columns):
        return table.columns[int(theirs)]
    if table.has_header:
        raise MissingColumnsError(f"{table.where}: {ours}", [theirs], _has(table))
    hint = f"the file has no header and {len(table.columns)} columns: 0 to {len(table.columns) - 1}"
    raise MissingColumnsError(f"{table.where}: {ours}", [theirs], hint)


def _by_position(table: Table, ledger: Ledger) -> dict[str, str]:
    """Return the columns of a headerless file in the usual order, if its numbers agree."""
    for names in GUESSES:
        if len(names) != len(table.columns):
            continue
        found = dict(zip(names, table.columns, strict=True))
        prices = table.frame.select(
            pl.col(found[p]).cast(pl.Float64, strict=False).alias(p) for p in QUOTE_PRICES
        ).drop_nulls()
        opened, high, low, close = (prices[p] for p in QUOTE_PRICES)
        fits = (high >= opened) & (high >= close) & (low <= opened) & (low <= close)
        if fits.sum() > 0.99 * len(fits):
            ledger.note(f"no header: the columns are taken as {', '.join(names)}")
            return found
    first = dict(zip(table.columns, table.frame.row(0), strict=True))
    hint = "the file has no header; map columns by position, like columns=timestamp=0,close=4"
    raise MissingColumnsError(
        table.where, ["timestamp", "close"], f"{hint}; its first row is {first}", hint
    )


def _require(table: Table, found: Mapping[str, str]) -> None:
    missing = []
    if not {"timestamp", "date", "time"} & set(found):
        missing.append("timestamp")
    quotes = {"bid_close", "ask_close"}
    if quotes & set(found) and not {"close", "adj_close"} & set(found):
        missing += sorted(quotes - set(found))
    elif not {"close", "adj_close"} & set(found):
        missing.append("close")
    if missing:
        raise MissingColumnsError(
            table.where, missing, f"{_has(table)}; map them, like columns={missing[0]}=NAME"
        )


def _has(table: Table) -> str:
    return f"the file has {', '.join(table.columns)}"
