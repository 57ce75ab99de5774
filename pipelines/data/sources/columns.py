"""Columns: the file's column for each of ours.

Names are recognised in any case and punctuation (`<DATE>`, `Adj Close`, `askOpen`). A mapping
overrides them, or leaves a column out (`volume=none`). A file without header is recognised only as
time, open, high, low, close and maybe volume, with the time in one column or in two, and only if
highs and lows are where that order says. Any other file needs a mapping, and the error shows one
that can be read.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from pipelines.data.bar_rules import Ledger
from pipelines.data.sources.delimited import kind_of
from pipelines.data.sources.number_texts import LEAVE_OUT, decimal_sign, known_texts, shown_mapping
from pipelines.data.sources.tables import Table
from registry.errors import BarsError, MissingColumnsError, ParameterError

QUOTE_PRICES = ("open", "high", "low", "close")
QUOTES = tuple(f"{side}_{price}" for side in ("bid", "ask") for price in QUOTE_PRICES)
ADJUSTED = tuple(f"adj_{price}" for price in QUOTE_PRICES)
NUMBERS = (*QUOTE_PRICES, *ADJUSTED, "volume", "adj_volume", "vwap", "spread", *QUOTES)
TIMES = ("timestamp", "date", "time")
OURS = ("symbol", *TIMES, *NUMBERS)

REAL_VOLUMES = ("volume", "vol", "v", "real_volume", "realvol", "volumefrom")
TICK_VOLUMES = ("tick_volume", "tickvol", "tick_vol")
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
    "date": ("date", "day", "trade_date", "trading_date", "dtyyyymmdd"),
    "time": ("time", "hour", "open_time", "gmt_time", "local_time"),
    "symbol": ("symbol", "ticker", "instrument", "asset", "pair"),
    "open": ("open", "o", "open_price", "price_open"),
    "high": ("high", "h", "high_price", "price_high"),
    "low": ("low", "l", "low_price", "price_low"),
    "close": ("close", "c", "close_price", "price_close", "close_last", "last", "price"),
    **{f"adj_{p}": (f"adj_{p}", f"adj{p}", f"adjusted_{p}", f"{p}_adj") for p in QUOTE_PRICES},
    "volume": (*REAL_VOLUMES, *TICK_VOLUMES),
    "adj_volume": ("adj_volume", "adjvolume", "adjusted_volume"),
    "vwap": ("vwap", "weighted_price"),
    **{q: (q, "_".join(reversed(q.split("_"))), q.replace("_", "")) for q in QUOTES},
}

GUESSES = (
    ("timestamp", *QUOTE_PRICES, "volume"),
    ("timestamp", *QUOTE_PRICES),
    ("date", "time", *QUOTE_PRICES, "volume"),
    ("date", "time", *QUOTE_PRICES),
)
N_LOOKED_AT = 100
"""Rows from which a mapping is suggested."""


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
    if "volume" not in mapping and (volume := _volume(table, ledger)):
        found["volume"] = volume
    if not table.has_header and not {*TIMES, "close", "bid_close"} & set(mapping):
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
    for ours, name in found.items():
        if name in table.repeated and not mapping.get(ours, "").strip().isdecimal():
            problem, hint = f"two columns are called {name}", f"say columns={ours}=POSITION"
            raise BarsError(problem, table.where, f"{hint}, counted from 0")
    return found


def _by_name(table: Table) -> dict[str, str]:
    theirs, found = _plain_names(table), {}
    for ours, names in NAMES.items():
        match = next((theirs[n] for n in names if n in theirs), None)
        if match is not None:
            found[ours] = match
    if not set(TIMES) & set(found) and "unnamed_0" in table.columns:
        found["timestamp"] = "unnamed_0"  # how pandas writes an index without a name
    return found


def _plain_names(table: Table) -> dict[str, str]:
    names: dict[str, str] = {}
    for column in table.columns:
        names.setdefault(plain_name(column), column)
    return names


def _volume(table: Table, ledger: Ledger) -> str | None:
    """Return the column of traded volume; of ticks where nothing else was recorded."""
    theirs = _plain_names(table)
    real = next((theirs[n] for n in REAL_VOLUMES if n in theirs), None)
    ticks = next((theirs[n] for n in TICK_VOLUMES if n in theirs), None)
    if real and ticks and not _is_recorded(table.frame[real]):
        ledger.note(f"volume is that of ticks: {real} is zero in every row")
        return ticks
    of_a_currency = next((c for n, c in theirs.items() if re.match(r"volume_[a-z]{2,}$", n)), None)
    if not (real or ticks) and of_a_currency:
        ledger.note(f"volume is taken from {of_a_currency}")
    return real or ticks or of_a_currency


def _is_recorded(values: pl.Series) -> bool:
    texts = values.cast(pl.String).str.strip_chars().drop_nulls()
    return bool(texts.str.contains("[1-9]").any())


def plain_name(name: str) -> str:
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
        if _are_prices(table.frame, [found[p] for p in QUOTE_PRICES]):
            ledger.note(f"no header: the columns are taken as {', '.join(names)}")
            return found
    first = dict(zip(table.columns, table.frame.row(0), strict=True))
    hint = f"the file has no header; map columns by position, like {_suggested(table, {})}"
    raise MissingColumnsError(
        table.where, ["timestamp", "close"], f"{hint}; its first row is {first}", hint
    )


def _require(table: Table, found: Mapping[str, str]) -> None:
    missing = []
    if not set(TIMES) & set(found):
        missing.append("timestamp")
    quotes = {"bid_close", "ask_close"}
    if quotes & set(found) and not {"close", "adj_close"} & set(found):
        missing += sorted(quotes - set(found))
    elif not {"close", "adj_close"} & set(found):
        missing.append("close")
    if missing:
        hint = f"{_has(table)}; map them, like {_suggested(table, found)}"
        raise MissingColumnsError(table.where, missing, hint)


def _has(table: Table) -> str:
    return f"the file has {', '.join(table.columns)}"


def _are_prices(frame: pl.DataFrame, columns: Sequence[str]) -> bool:
    """Return whether four columns are open, high, low and close, in this order."""
    numbers = {p: _as_numbers(frame[c]) for p, c in zip(QUOTE_PRICES, columns, strict=True)}
    prices = pl.DataFrame(numbers).drop_nulls()
    opened, high, low, close = (prices[p] for p in QUOTE_PRICES)
    fits = (high >= opened) & (high >= close) & (low <= opened) & (low <= close) & (low > 0)
    return bool(fits.sum() > 0.99 * len(fits))


def _as_numbers(values: pl.Series) -> pl.Series:
    if values.dtype != pl.String:
        return values.cast(pl.Float64, strict=False)
    texts = known_texts(values)
    if decimal_sign([texts]) == ",":
        texts = texts.str.replace_all(".", "", literal=True).str.replace(",", ".")
    return texts.str.replace_all(",", "").cast(pl.Float64, strict=False)


def _suggested(table: Table, found: Mapping[str, str]) -> str:
    """Return a mapping of what is missing that can be read, whether or not it is what was meant."""
    head = table.frame.head(N_LOOKED_AT)
    free = [c for c in table.columns if c not in found.values()]
    mapping = {}
    if not set(TIMES) & set(found):
        times = [c for c in free if _holds(head[c], "time")]
        counts = [c for c in free if _counts_time(head[c])]
        mapping["timestamp"] = next(iter((*times, *counts)), "NAME")
        free = [c for c in free if c not in (*times, *counts)]
    numbers = [c for c in free if _holds(head[c], "number")]
    for i in range(len(numbers) - 3):
        if not set(QUOTE_PRICES) & set(found) and _are_prices(head, numbers[i : i + 4]):
            last = numbers[i + 4 : i + 5] if "volume" not in found else []
            names = (*QUOTE_PRICES, *(["volume"] if last else []))
            return _shown(table, mapping | dict(zip(names, numbers[i : i + 4] + last, strict=True)))
    for ours in _missing_prices(found):
        mapping[ours] = _likely(numbers, ours)
    return _shown(table, mapping)


def _missing_prices(found: Mapping[str, str]) -> tuple[str, ...]:
    if {"close", "adj_close"} & set(found):
        return ()
    quotes = [q for q in ("bid_close", "ask_close") if q not in found]
    return tuple(quotes) if len(quotes) == 1 else ("close",)


def _likely(numbers: Iterable[str], ours: str) -> str:
    words = (ours.split("_")[0], "close", "last", "settle", "price", "px")
    ranked = sorted(
        numbers, key=lambda c: next((i for i, w in enumerate(words) if w in c.lower()), 9)
    )
    return next(iter(ranked), "NAME")


def _shown(table: Table, mapping: Mapping[str, str]) -> str:
    if "NAME" in mapping.values():
        return f"columns={','.join(f'{ours}=NAME' for ours in mapping)}"
    return shown_mapping(table, mapping)


def _holds(values: pl.Series, kind: str) -> bool:
    if values.dtype.is_numeric():
        return kind == "number"
    if values.dtype.is_temporal():
        return kind == "time"
    known = [k for v in values.cast(pl.String).drop_nulls() if (k := kind_of(v)) != "missing"]
    return bool(known) and set(known) == {kind}


def _counts_time(values: pl.Series) -> bool:
    texts = values.cast(pl.String).drop_nulls()
    as_date = r"^(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])(\d{4}|\d{6})?$"
    as_count = r"^1\d{9}(\.\d+|\d{3}|\d{6}|\d{9})?$"
    return bool(len(texts) and (texts.str.contains(as_date) | texts.str.contains(as_count)).all())
