"""Tables: one CSV or Parquet file as a frame, before anybody knows what its columns mean.

A CSV becomes columns of text. Separator (comma, semicolon, tab, bar) and header are found in the
file. Lines before the table, and a sentence after it, are left out and noted. A file without header
has the columns `0`, `1`, ... Every row has as many cells as the table has columns: empty cells at
the end of a row are nothing, any other row is an error, or under policy `repair` left out.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import polars as pl

from pipelines.data.sources.delimited import (
    HEAD_RECORDS,
    Record,
    kind_of,
    records_of,
    separator_of,
    text_of,
)
from pipelines.data.sources.headers import Header, header_of
from registry.errors import BarsError, ParameterError

PLAIN_SUFFIXES = (".csv", ".txt", ".tsv")
TEXT_SUFFIXES = (
    *(plain + packed for plain in PLAIN_SUFFIXES for packed in (".gz", ".zip")),
    *(".zip", *PLAIN_SUFFIXES),
)
PARQUET_SUFFIXES = (".parquet", ".pq")
CHUNK_ROWS = 2000
"""Rows that are Python's at once; many more of them are slow to turn into columns."""
WORD = re.compile(r"[^\W\d_]{2,}")
FEWEST_WORDS = 3
"""Words from which a line behind the rows is a sentence, not the beginning of a row."""


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one file.

    `frame` has the file's columns, text or typed; `rows` the number of each row, which is its first
    line in a CSV; `separator` is empty for Parquet; `notes` say what was left out; `levels` are the
    lines of a header of several lines, per column; `repeated` are names that were given twice.
    """

    frame: pl.DataFrame
    rows: pl.Series
    has_header: bool
    where: str
    separator: str = ""
    notes: tuple[str, ...] = ()
    levels: tuple[tuple[str, ...], ...] = ()
    repeated: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """The file's own columns, in order."""
        return self.frame.columns

    def refuse_repeated(self) -> None:
        """Refuse a name that two columns have.

        Raises:
            BarsError: there is one.
        """
        if self.repeated:
            problem = f"two columns are called {', '.join(self.repeated)}"
            raise BarsError(problem, self.where, "give each a name of its own")


def symbol_of(path: Path) -> str:
    """Return the file's name without folder and suffix."""
    suffix = next((s for s in _SUFFIXES if path.name.lower().endswith(s)), path.suffix)
    return path.name[: len(path.name) - len(suffix)]


def read_table(path: Path, policy: str = "strict") -> Table:
    """Read one file.

    Raises:
        ParameterError: the name says that it is neither CSV nor Parquet.
        BarsError: it is empty, not text, not Parquet, packed and damaged, or a row is longer or
            shorter than the table and the policy does not allow to leave it out.
    """
    name = path.name.lower()
    if name.endswith(PARQUET_SUFFIXES):
        return _read_parquet(path)
    if name.endswith(TEXT_SUFFIXES):
        return _read_text(path, policy)
    raise ParameterError("path", path.name, f"a file ending in {', '.join(_SUFFIXES)}")


_SUFFIXES = (*TEXT_SUFFIXES, *PARQUET_SUFFIXES)


def _read_parquet(path: Path) -> Table:
    try:
        frame = pl.read_parquet(path)
    except pl.exceptions.PolarsError as exc:
        problem = f"it is not Parquet ({str(exc).splitlines()[0]})"
        raise BarsError(problem, path.name, told="it is not Parquet") from exc
    if frame.is_empty():
        raise BarsError("the file has no rows", path.name)
    return Table(frame, _numbered(range(1, len(frame) + 1)), has_header=True, where=path.name)


def _read_text(path: Path, policy: str) -> Table:
    text, where = text_of(path), path.name
    separator = separator_of(text)
    records = records_of(text, separator, where)
    head = list(islice(records, HEAD_RECORDS))
    if not head:
        raise BarsError("the file is empty", where)
    header = header_of(head, where)
    rest = head[header.n_before + header.depth :]
    frame, rows, odd = (
        _regular_columns(text, separator, header, rest[0].line) if rest else None
    ) or _columns(chain(rest, records), header)
    if frame.is_empty() and not odd:
        raise BarsError("the file has a header and no rows", where)
    notes = [f"left out {header.n_before} line(s) before the table"] if header.n_before else []
    odd, n_after = _without_sentence(odd, frame, rows)
    if n_after:
        notes.append(f"left out {n_after} line(s) after the table")
    notes += _odd_rows(odd, header, where, policy if len(frame) else "strict")
    return Table(
        frame,
        rows,
        bool(header.depth),
        where,
        separator,
        tuple(notes),
        header.levels,
        header.repeated,
    )


def _regular_columns(
    text: str, separator: str, header: Header, first_line: int
) -> tuple[pl.DataFrame, pl.Series, list[Record]] | None:
    """Return what `_columns` does of lines without quotes that are all equally long, much faster.

    None of any other text.
    """
    if '"' in text or text.count("\r") != text.count("\r\n"):
        return None
    lines = pl.Series("line", text.split("\n")[first_line - 1 :], dtype=pl.String)
    is_row = lines.str.replace_all(separator, "", literal=True).str.strip_chars() != ""
    rows, lines = (
        pl.int_range(first_line, first_line + len(lines), eager=True),
        lines.filter(is_row),
    )
    if (lines.str.count_matches(separator, literal=True) != header.width - 1).any():
        return None
    cells = lines.str.split_exact(separator, header.width - 1).struct.unnest()
    cells.columns = list(header.names)
    frame = cells.with_columns(pl.all().str.strip_chars().replace("", None))
    return frame, rows.filter(is_row).alias("row"), []


def _columns(
    records: Iterator[Record], header: Header
) -> tuple[pl.DataFrame, pl.Series, list[Record]]:
    """Return the rows as columns of text, their lines, and records of another length."""
    width, schema = header.width, dict.fromkeys(header.names, pl.String())
    odd: list[Record] = []
    parts, lines = [pl.DataFrame(schema=schema)], list[int]()
    while chunk := list(islice(records, CHUNK_ROWS)):
        rows = []
        for record in chunk:
            cells = record.cells
            if len(cells) == width or (len(cells) > width >= record.width()):
                rows.append(cells[:width])
                lines.append(record.line)
            else:
                odd.append(record)
        columns = dict(zip(header.names, zip(*rows, strict=True), strict=True)) if rows else {}
        parts.append(pl.DataFrame(columns, schema=schema))
    frame = pl.concat(parts).with_columns(pl.all().str.strip_chars().replace("", None))
    return frame, _numbered(lines), odd


def _without_sentence(
    odd: list[Record], frame: pl.DataFrame, rows: pl.Series
) -> tuple[list[Record], int]:
    """Leave out texts behind a last row that begins with a number or a time: nobody's row."""
    first = frame.to_series(0).drop_nulls()
    if first.is_empty() or kind_of(first[-1]) == "text":
        return odd, 0
    last = rows[-1]
    rest = [r for r in odd if r.line < last or r.width() != 1 or not _is_sentence(r.cells[0])]
    return rest, len(odd) - len(rest)


def _is_sentence(text: str) -> bool:
    return kind_of(text) == "text" and len(WORD.findall(text)) >= FEWEST_WORDS


def _odd_rows(odd: Sequence[Record], header: Header, where: str, policy: str) -> list[str]:
    """Return the note of rows of another length.

    Raises:
        BarsError: there are some, and the policy is `strict`.
    """
    if not odd:
        return []
    found = len(odd[0].cells) if len(odd[0].cells) < header.width else odd[0].width()
    problem = f"row {odd[0].line} has {found} columns, the table has {header.width}"
    if policy != "repair":
        hint = "quote text that holds the separator, complete the row or remove it"
        raise BarsError(problem, where, hint)
    return [f"removed {len(odd)} rows of another length, first {problem}"]


def _numbered(rows: Sequence[int]) -> pl.Series:
    return pl.Series("row", rows, dtype=pl.Int64)
