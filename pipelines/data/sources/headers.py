"""Headers: where the table of a file begins, and what its columns are called.

A header is known by what stands below it: texts over columns of numbers or times. It may have
several lines, as pandas and yfinance write them: each line that has a text over a column of numbers
or times, and no number or time itself, belongs to it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.data.sources.delimited import Record, is_preamble, kind_of, usual_width
from registry.errors import BarsError

DEEPEST = 3
"""Most lines of a header."""
COMMENT = "#"
DATA = {"number", "time"}
"""What cells below a header are."""
MOSTLY = 0.9
"""Share of numbers and times above which a column is one of them."""


@dataclass(frozen=True, slots=True)
class Header:
    """The head of a table.

    `names` are the columns' names; `levels` the lines of a header of several lines, one tuple per
    column, else empty; `n_before` and `depth` are the records before the header and those in it;
    `repeated` are names that were given twice and have a number here.
    """

    names: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...]
    n_before: int
    depth: int
    repeated: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """The number of columns."""
        return len(self.names)


def header_of(head: Sequence[Record], where: str) -> Header:
    """Return the header that the first records of a file show.

    Raises:
        BarsError: the line that looks like a header is not as long as the rows below it.
    """
    usual = usual_width(head[1:] if is_preamble(head[0]) else head)
    width = max(record.width() for record in head if len(record.cells) == usual)
    n_before = next(i for i, r in enumerate(head) if _fits(r, width) and not is_preamble(r))
    n_before += _n_comments(head[n_before:], width)
    table = [_cells(record, width) for record in head[n_before:] if _fits(record, width)]
    depth = _depth(table)
    if not depth:
        _refuse_other_width(head, n_before, width, where)
        return Header(tuple(map(str, range(width))), (), n_before, 0)
    return _named(table[:depth], n_before)


def _fits(record: Record, width: int) -> bool:
    return len(record.cells) >= width >= record.width()


def _cells(record: Record, width: int) -> list[str]:
    return [cell.strip() for cell in record.cells[:width]]


def _n_comments(table: Sequence[Record], width: int) -> int:
    """Return how many records are comments: those that begin with `#`, but not the header."""
    n = next((i for i, r in enumerate(table) if not r.cells[0].startswith(COMMENT)), len(table))
    if not 0 < n < len(table) or not _fits(table[n - 1], width):
        return n % len(table)
    below = {kind_of(cell) for cell in table[n].cells}
    return n - 1 if below & DATA else n


def _depth(table: Sequence[Sequence[str]]) -> int:
    """Return how many rows of a table are its header."""
    kinds = _kinds(table)
    for depth in range(min(DEEPEST, len(table)), -1, -1):
        if all(_is_header(row, kinds, is_first=i == 0) for i, row in enumerate(table[:depth])):
            return depth
    return 0


def _kinds(table: Sequence[Sequence[str]]) -> list[str]:
    """Return what the rows below any header hold, column by column."""
    below = table[min(DEEPEST, len(table) - 1) :]
    found = []
    for cells in zip(*below, strict=True):
        counts = Counter(kind for cell in cells if (kind := kind_of(cell)) != "missing")
        is_data = counts["number"] + counts["time"] >= MOSTLY * counts.total()
        kind = "time" if counts["time"] > counts["number"] else "number"
        found.append("missing" if not counts else kind if is_data else "text")
    return found


def _is_header(row: Sequence[str], kinds: Sequence[str], *, is_first: bool) -> bool:
    own = [kind_of(cell) for cell in row]
    named = [i for i, kind in enumerate(own) if kind == "text" and kinds[i] in DATA]
    if not is_first:
        is_named = bool(named) and not DATA & set(own)
        return is_named and len(row) > 1 and not _is_partly(own, kinds)
    if not DATA & set(kinds):
        return not DATA & set(own)
    as_year = all(cell.isdecimal() for cell, kind in zip(row, own, strict=True) if kind == "number")
    return bool(named) and ("time", "time") not in zip(own, kinds, strict=True) and as_year


def _is_partly(own: Sequence[str], kinds: Sequence[str]) -> bool:
    """Whether a row names some columns of numbers only, or has a text of its own, as data have."""
    others = {kind for kind, below in zip(own[1:], kinds[1:], strict=True) if below in DATA}
    return len(others) > 1 or ("text", "text") in zip(own, kinds, strict=True)


def _named(lines: Sequence[Sequence[str]], n_before: int) -> Header:
    depth = len(lines)
    first = [line.lstrip(COMMENT).strip() if i == 0 else line for i, line in enumerate(lines[0])]
    levels = list(zip(first, *lines[1:], strict=True))
    if depth > 1:
        levels[0] = _index_name(lines)
    texts = [" ".join(dict.fromkeys(filter(None, level))) for level in levels]
    names, repeated = _unique(texts)
    shown = tuple(levels) if depth > 1 else ()
    return Header(names, shown, n_before, depth, repeated)


def _index_name(lines: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the levels of the first column; above an index stand the names of the levels."""
    column = [line[0] for line in lines]
    if any(lines[-1][1:]):
        return tuple(column)
    return ("",) * (len(lines) - 1) + (column[-1],)


def _unique(texts: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return names of which none is empty or there twice, and those that were."""
    names: list[str] = []
    taken, repeated = set(texts), dict[str, None]()
    for i, text in enumerate(texts):
        name = text or f"unnamed_{i}"
        if text and text in names:
            repeated[text] = None
        if name in names or (not text and name in taken):
            name = _free(f"{name} (column {i})", {*names, *taken})
        names.append(name)
    return tuple(names), tuple(repeated)


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _refuse_other_width(head: Sequence[Record], n_before: int, width: int, where: str) -> None:
    """Refuse rows below a line that looks like their header and has another number of cells."""
    above = [r for r in head[:n_before] if not is_preamble(r) and r.width() > 1]
    if not above or above[-1].cells[0].startswith(COMMENT):
        return
    line, found = above[-1].line, above[-1].width()
    problem = f"row {line} has {found} columns and the rows below it have {width}"
    hint = "quote what holds the separator (texts, decimal commas), or remove that row"
    raise BarsError(problem, where, hint)
