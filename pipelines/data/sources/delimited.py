"""Delimited text: the records of a file, and the character that separates their cells.

Bars, tables and texts are all read here. Records are found by the standard library's CSV reader, so
a quoted text keeps its line breaks, and a line ends at CR or LF alone. The separator is the one
under which most records are equally long.
"""

import csv
import gzip
import io
import re
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from registry.errors import BarsError

SEPARATORS = ",;\t|"
HEAD_RECORDS = 200
"""Records from which separator, width and header are found."""
HEAD_CHARACTERS = 2_000_000
MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""Byte-order marks of other encodings than UTF-8."""
SEPARATOR_LINE = re.compile(r'\s*"?sep=(?P<separator>[,;\t|])"?\s*')
"""How Excel is told the separator: a first line of its own."""

NUMBER = re.compile(r"[-+]?[$€£¥]?(\d[\d.,' \u00a0\u202f]*|\.\d+)([eE][-+]?\d+)?%?")
TIME = re.compile(
    r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T].*|[Zz]|[-+]\d\d:?\d\d)?"
    r"|\d{1,2}:\d{2}(:\d{2}.*)?( [APap][Mm])?"
    r"|\d{8} \d{1,2}.*|\d{8}T\d{4}.*"
    r"|\d{1,2}[- ][A-Za-z]{3}[- ]\d{2,4}.*|[A-Za-z]{3,9}\.? \d{1,2},? \d{4}.*"
)
MISSING = ("", "-", "na", "n/a", "nan", "null", "none", "nil", "?")

csv.field_size_limit(sys.maxsize)  # a text may be long; a quote that never closes is found


class Record(NamedTuple):
    """The cells of one record, and the line of the file on which it begins."""

    line: int
    cells: list[str]

    def width(self) -> int:
        """Return the number of cells up to the last that is not empty."""
        return next((i for i in range(len(self.cells), 0, -1) if self.cells[i - 1].strip()), 0)


def text_of(path: Path) -> str:
    """Return the text of a file, unpacked and without its byte-order mark.

    Raises:
        BarsError: it is packed and damaged, or neither UTF-8 nor marked UTF-16.
    """
    content = _content(path)
    encoding = MARKS.get(content[:2], "utf-8-sig")
    if encoding == "utf-8-sig" and (at := content.find(0)) >= 0:
        raise BarsError(f"it is not text (byte {at} is NUL)", path.name, "save it as UTF-8")
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as exc:
        named = "UTF-16" if encoding == "utf-16" else "UTF-8"
        problem = f"it is not {named} text (byte {exc.start})"
        raise BarsError(problem, path.name, "save it as UTF-8") from exc


def _content(path: Path) -> bytes:
    name = path.name.lower()
    try:
        if name.endswith(".gz"):
            return gzip.decompress(path.read_bytes())
        if name.endswith(".zip"):
            return _only_member(path)
    except zipfile.BadZipFile as exc:
        raise BarsError(f"it is not zip, or cut short ({exc})", path.name) from exc
    except (OSError, EOFError, zlib.error) as exc:
        if name.endswith(".gz") and not isinstance(exc, FileNotFoundError | PermissionError):
            raise BarsError(f"it is not gzip, or cut short ({exc})", path.name) from exc
        raise
    return path.read_bytes()


def _only_member(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        members = [m for m in archive.infolist() if not m.is_dir() and "__MACOSX" not in m.filename]
        if len(members) != 1:
            problem = f"the archive holds {len(members)} files"
            raise BarsError(problem, path.name, "pack one file, or unpack it into a folder")
        if members[0].flag_bits & 1:
            raise BarsError("the archive has a password", path.name, "unpack it")
        return archive.read(members[0])


def records_of(text: str, separator: str, where: str, *, strict: bool = True) -> Iterator[Record]:
    """Yield the records that are not blank.

    Raises:
        BarsError: a quote that never closes, or text after a closing quote (if `strict`).
    """
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=strict
    )
    line = 1
    try:
        for cells in reader:
            if (cells and cells[0].strip()) or "".join(cells).strip():
                yield Record(line, cells)
            line = reader.line_num + 1
    except csv.Error as exc:
        hint = "write a quote inside a quoted text twice"
        raise BarsError(_quote_problem(exc, line), where, hint) from exc


def separator_of(text: str) -> str:
    """Return the separator under which most records are equally long, and of several numbers."""
    told = SEPARATOR_LINE.fullmatch(text.split("\n", 1)[0].rstrip("\r"))
    if told:
        return told["separator"]
    head = text[:HEAD_CHARACTERS]
    return max(SEPARATORS, key=lambda separator: _score(head, separator))


def is_preamble(record: Record) -> bool:
    """Return whether a record says how the file is separated, and nothing else."""
    cells = [cell for cell in record.cells if cell.strip()]
    return record.line == 1 and len(cells) == 1 and cells[0].strip().lower() in ("sep=", "sep")


def kind_of(cell: str) -> str:
    """Return what a cell looks like: `missing`, `number`, `time` or `text`."""
    cell = cell.strip()
    if cell.lower() in MISSING:
        return "missing"
    if NUMBER.fullmatch(cell):
        return "time" if TIME.fullmatch(cell) and cell.count(".") == 2 else "number"
    return "time" if TIME.fullmatch(cell) else "text"


def usual_width(records: Iterable[Record]) -> int:
    """Return the number of cells that most records have; of one cell, only if no record has two."""
    widths = Counter(len(record.cells) for record in records)
    several = Counter({width: n for width, n in widths.items() if width > 1})
    return (several or widths).most_common(1)[0][0]


def _score(head: str, separator: str) -> tuple[float, float]:
    """Return the share of records of the usual width, and of their cells that are numbers."""
    records = _head_of(head, separator)
    if not records:
        return 0.0, 0.0
    width = usual_width(records)
    if width == 1:
        return 0.0, 0.0
    fitting = [record for record in records if len(record.cells) == width]
    known = sum(kind_of(cell) in ("number", "time") for r in fitting for cell in r.cells)
    return len(fitting) / len(records), known / (width * len(fitting))


def _head_of(head: str, separator: str) -> Sequence[Record]:
    found = []
    for record in records_of(head, separator, "", strict=False):
        if not record.cells[0].startswith("#"):
            found.append(record)
        if len(found) == HEAD_RECORDS:
            break
    return found


def _quote_problem(exc: csv.Error, line: int) -> str:
    if "unexpected end of data" in str(exc):
        return f"it is not CSV: the quote that opens in row {line} is never closed"
    return f"it is not CSV: in row {line} text follows a closing quote"
