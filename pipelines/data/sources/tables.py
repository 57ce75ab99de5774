"""Tables: one CSV or Parquet file as a frame, before anybody knows what its columns mean.

A CSV becomes text columns and `row`, the line of each row in the file. Separator (comma,
semicolon, tab, bar) and header are found in the file: lines before the table, shorter than it, are
left out; a first line of the table without any number is its header. A file without one has the
columns `0`, `1`, ...
"""

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from registry.errors import BarsError, ParameterError

TEXT_SUFFIXES = (".csv", ".csv.gz", ".txt", ".tsv")
PARQUET_SUFFIXES = (".parquet", ".pq")

HEAD_LINES = 20
"""Lines from which separator and width are read."""

NUMBER = re.compile(r"-?\d+([.,]\d+)*([eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one file.

    `frame` has `row` and the file's columns, text or typed; `separator` is empty for Parquet;
    `notes` say what was left out.
    """

    frame: pl.DataFrame
    has_header: bool
    where: str
    separator: str = ""
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """The file's own columns, in order."""
        return self.frame.columns[1:]


def symbol_of(path: Path) -> str:
    """Return the file's name without folder and suffix."""
    suffix = next((s for s in _SUFFIXES if path.name.lower().endswith(s)), path.suffix)
    return path.name[: len(path.name) - len(suffix)]


def read_table(path: Path) -> Table:
    """Read one file.

    Raises:
        ParameterError: the name says that it is neither CSV nor Parquet.
        BarsError: it is empty, not UTF-8 text, not Parquet, not gzip, or a row is longer than the
            others.
    """
    name = path.name.lower()
    if name.endswith(PARQUET_SUFFIXES):
        return _read_parquet(path)
    if name.endswith(TEXT_SUFFIXES):
        return _read_text(path)
    raise ParameterError("path", path.name, f"a file ending in {', '.join(_SUFFIXES)}")


_SUFFIXES = (".csv.gz", ".csv", ".txt", ".tsv", *PARQUET_SUFFIXES)


def _read_parquet(path: Path) -> Table:
    try:
        frame = pl.read_parquet(path)
    except pl.exceptions.PolarsError as exc:
        problem = f"it is not Parquet ({str(exc).splitlines()[0]})"
        raise BarsError(problem, path.name, told="it is not Parquet") from exc
    if frame.is_empty():
        raise BarsError("the file has no rows", path.name)
    frame = frame.rename({"row": "row_"}) if "row" in frame.columns else frame
    return Table(frame.with_row_index("row", offset=1), has_header=True, where=path.name)


def _read_text(path: Path) -> Table:
    content = path.read_bytes()
    if path.name.lower().endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as exc:
            raise BarsError(f"it is not gzip, or cut short ({exc})", path.name) from exc
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as exc:
        raise BarsError(f"it is not UTF-8 text (byte {exc.start})", path.name) from exc
    head = [line for line in lines[:HEAD_LINES] if line.strip()]
    if not head:
        raise BarsError("the file is empty", path.name)
    separator = max(",;\t|", key=head[-1].count)
    widths = [len(_cells(line, separator)) for line in head]
    start = widths.index(Counter(widths).most_common(1)[0][0])
    if start:
        first = lines.index(head[start])
        lines[:first] = [""] * first
    cells = _cells(head[start], separator)
    has_header = not any(NUMBER.fullmatch(cell) for cell in cells)
    frame = _parse(lines, separator, len(cells), path.name)
    if has_header:
        names = [cell or f"unnamed_{i}" for i, cell in enumerate(cells)]
        repeated = sorted(n for n, count in Counter(names).items() if count > 1)
        if repeated:
            raise BarsError(f"two columns are called {', '.join(repeated)}", path.name)
        header_row = frame["row"][0]
        frame = frame.filter(pl.col("row") > header_row)
        frame = frame.rename(dict(zip(frame.columns[1:], names, strict=True)))
    if frame.is_empty():
        raise BarsError("the file has a header and no rows", path.name)
    notes = (f"left out {start} line(s) before the table",) if start else ()
    return Table(frame, has_header, path.name, separator, notes)


def _parse(lines: list[str], separator: str, width: int, where: str) -> pl.DataFrame:
    kept = [(i, line) for i, line in enumerate(lines, start=1) if line.strip(" ," + separator)]
    columns = [str(i) for i in range(width)]
    try:
        frame = pl.read_csv(
            io.StringIO("\n".join(line for _, line in kept)),
            has_header=False,
            new_columns=columns,
            schema={c: pl.String() for c in columns},
            separator=separator,
        )
    except pl.exceptions.PolarsError as exc:
        for number, line in kept:
            found = len(_cells(line, separator))
            if found > width:
                problem = f"row {number} has {found} columns, the first has {width}"
                raise BarsError(problem, where, "quote text that holds the separator") from exc
        problem = f"it is not CSV ({str(exc).splitlines()[0]})"
        raise BarsError(problem, where, told="it is not CSV") from exc
    if len(frame) != len(kept):
        raise BarsError("a quoted text runs over several lines", where, "put it on one line")
    texts = frame.with_columns(pl.all().str.strip_chars().replace("", None))
    return texts.insert_column(0, pl.Series("row", [i for i, _ in kept], dtype=pl.Int64))


def _cells(line: str, separator: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator))]
