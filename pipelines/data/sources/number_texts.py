"""Numbers as files write them: decimal points or commas, thousands, signs of currencies.

A file has one decimal sign. A value that can be read in one way only (`1,0850`, `1.234,5`, `1.5`)
decides for its column, and columns that decide the same way decide for the others.
"""

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from pipelines.data.bar_rules import Ledger
from pipelines.data.sources.delimited import MISSING
from pipelines.data.sources.tables import Table
from registry.errors import BarsError

THOUSANDS = {
    ".": r"^[-+]?[1-9]\d{0,2}((,\d{3})+|([ '\u00a0\u202f]\d{3})+)(\.\d*)?$",
    ",": r"^[-+]?[1-9]\d{0,2}((\.\d{3})+|([ '\u00a0\u202f]\d{3})+)(,\d*)?$",
}
"""Numbers with thousands separators, by their decimal sign."""
DECIDES = {
    ".": r"^[-+]?(\d*\.\d{1,2}|\d*\.\d{4,}|\d{4,}\.\d+|0\.\d+|\.\d+"
    r"|\d{1,3}(,\d{3})+\.\d*|\d{1,3}(,\d{3}){2,})([eE][-+]?\d+)?$",
    ",": r"^[-+]?(\d*,\d{1,2}|\d*,\d{4,}|\d{4,},\d+|0,\d+|,\d+"
    r"|\d{1,3}(\.\d{3})+,\d*|\d{1,3}(\.\d{3}){2,})([eE][-+]?\d+)?$",
}
"""Numbers that can be read with one decimal sign only."""
WHOLE = r"^[-+]?\d+$"
EITHER = r"^[-+]?[1-9]\d{0,2},\d{3}$"
"""Thousands or decimals."""
CURRENCY = r"^([-+]?)\s*[$€£¥]\s*"
LEAVE_OUT = "none"
"""Value of a mapping for a column that is not to be read."""
REQUIRED = ("close", "adj_close", "bid_close", "ask_close")


def known_texts(values: pl.Series) -> pl.Series:
    """Return a column of texts without signs of currencies; missing ones are null."""
    missing = values.str.to_lowercase().is_in(MISSING).fill_null(value=False)
    return values.set(missing, None).str.replace(CURRENCY, "$1")


def decimal_sign(columns: Iterable[pl.Series]) -> str:
    """Return the decimal sign that the columns of a file agree on; empty where none decides."""
    found = {sign for column in columns for sign in _signs(column)}
    return found.pop() if len(found) == 1 else ""


def read_number(table: Table, column: str, name: str, sign: str, ledger: Ledger) -> pl.Series:
    """Return a column as float64; empty and missing values are null.

    Thousands separators are an error, or under policy `repair` removed.

    Args:
        sign: the decimal sign of the file's columns; empty where they decide nothing.

    Raises:
        BarsError: a text that is no number, or one that may have thousands or decimals.
    """
    values = table.frame[column]
    if values.dtype != pl.String:
        return values.cast(pl.Float64)
    texts = known_texts(values)
    own = _signs(texts)
    decimal = own.pop() if len(own) == 1 else sign
    if not decimal:
        _refuse_either(table, texts, name)
        decimal = "."
    grouped = texts.str.contains(THOUSANDS[decimal]).fill_null(value=False)
    numbers = _numbers(texts.set(grouped, None), decimal)
    odd = texts.is_not_null() & ~grouped & numbers.is_null()
    if odd.any():
        raise _no_number(table, values, odd, name)
    if decimal == "," and texts.str.contains(",").any():
        ledger.note(f"{name} has decimal commas")
    if not grouped.any():
        return numbers
    row, text = table.rows.filter(grouped)[0], values.filter(grouped)[0]
    ledger.repair(
        f"row {row}: {name} is {text!r}, with thousands separators",
        "write it without them",
        f"removed thousands separators from {grouped.sum()} values of {name}, first {text!r}",
        f"row {row}: {name} has thousands separators",
    )
    group = "[,'\\s\u00a0\u202f]" if decimal == "." else "[.'\\s\u00a0\u202f]"
    return _numbers(texts.str.replace_all(group, ""), decimal)


def with_points(table: Table) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the frame with a point in columns of numbers with decimal commas, and their notes."""
    frame = table.frame
    commas = [c for c in frame.columns if table.separator != "," and _has_commas(frame[c])]
    if not commas:
        return frame, ()
    points = frame.with_columns(pl.col(commas).str.replace(",", "."))
    return points, (f"{table.where}: {', '.join(commas)}: decimal commas",)


def _has_commas(values: pl.Series) -> bool:
    if values.dtype != pl.String:
        return False
    texts = known_texts(values).drop_nulls()
    is_number = texts.str.contains(r"^[-+]?\d*,\d+$") | texts.str.contains(WHOLE)
    return bool(is_number.all()) and _signs(texts) == {","}


def _signs(texts: pl.Series) -> set[str]:
    """Return the decimal signs without which some value of a column could not be read."""
    if texts.dtype != pl.String:
        return set()
    known = known_texts(texts)
    return {sign for sign, form in DECIDES.items() if known.str.contains(form).any()}


def _numbers(texts: pl.Series, decimal: str) -> pl.Series:
    points = texts.str.replace(",", ".") if decimal == "," else texts
    return points.cast(pl.Float64, strict=False)


def _refuse_either(table: Table, texts: pl.Series, name: str) -> None:
    either = texts.str.contains(EITHER).fill_null(value=False)
    if table.separator == "," or not either.any():
        return
    row, text = table.rows.filter(either)[0], texts.filter(either)[0]
    problem = "thousands or decimals, and no row decides"
    told, hint = f"row {row}: {name}: {problem}", "write it with a decimal point"
    raise BarsError(f"row {row}: {name} is {text!r}: {problem}", table.where, hint, told)


def _no_number(table: Table, values: pl.Series, odd: pl.Series, name: str) -> BarsError:
    row, text = table.rows.filter(odd)[0], values.filter(odd)[0]
    expected = "expected a number like 1234.5"
    hint = "correct it"
    if name not in REQUIRED:
        hint += f", or leave the column out with columns={name}={LEAVE_OUT}"
    told = f"row {row}: {name}: {expected}"
    return BarsError(f"row {row}: {name} is {text!r}, {expected}", table.where, hint, told)


def shown_mapping(table: Table, mapping: Mapping[str, str]) -> str:
    """Return a mapping as the parameter `columns` takes it; awkward names by their position."""
    parts = [f"{ours}={_spelled(table.columns, theirs)}" for ours, theirs in mapping.items()]
    return f"columns={','.join(parts)}"


def _spelled(columns: Sequence[str], name: str) -> str:
    is_awkward = any(sign in name for sign in ",='\" ") or name == LEAVE_OUT
    return str(columns.index(name)) if is_awkward else name
