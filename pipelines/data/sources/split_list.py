"""Split lists: the splits that a person gives, as JSON or in a file.

JSON is a list of objects `{"symbol": "AAPL", "date": "2014-06-09", "ratio": "7:1"}`; a file holds
the same (`.json`), or a table with these columns.
"""

from collections.abc import Mapping
from pathlib import Path

from pipelines.data.iso_times import parse_time
from pipelines.data.sources.tables import read_table
from pipelines.data.splits import Split, parse_ratio, without_repeats
from registry import plain_json
from registry.errors import ParameterError

FIELDS = ("symbol", "date", "ratio")
EXPECTED = 'a JSON list of objects like {"symbol": "AAPL", "date": "2014-06-09", "ratio": "7:1"}'


def is_inline(text: str) -> bool:
    """Return whether the parameter holds the list itself; any other text names a file."""
    return text.lstrip().startswith(("[", "{"))


def read_splits(text: str) -> tuple[Split, ...]:
    """Return the splits of a list or of the file that it names; none of an empty text.

    Raises:
        ParameterError: no list of splits, no such file, or two splits of one symbol and time.
        BarsError: a table that cannot be read.
    """
    if not text.strip():
        return ()
    if is_inline(text):
        return _from_json(text)
    path = Path(text)
    if not path.is_file():
        raise ParameterError("splits", text, f"{EXPECTED}, or a .json or .csv file with them")
    if path.suffix.lower() == ".json":
        return _from_json(path.read_text(encoding="utf-8", errors="replace"))
    table = read_table(path)
    frame = table.frame.rename({c: c.strip().lower() for c in table.columns})
    missing = [name for name in FIELDS if name not in frame.columns]
    if missing:
        raise ParameterError("splits", path.name, f"a table with the columns {', '.join(FIELDS)}")
    return without_repeats(_split(row) for row in frame.to_dicts())


def _from_json(text: str) -> tuple[Split, ...]:
    try:
        facts = plain_json.parse(text)
    except ValueError as exc:
        raise ParameterError("splits", text, EXPECTED) from exc
    if not isinstance(facts, list):
        raise ParameterError("splits", text, EXPECTED)
    for one in facts:
        if not isinstance(one, dict) or set(one) != set(FIELDS):
            raise ParameterError("splits", one, EXPECTED)
    return without_repeats(_split(one) for one in facts)


def _split(facts: Mapping[str, object]) -> Split:
    symbol, date = facts["symbol"], facts["date"]
    if not isinstance(symbol, str) or not symbol.strip():
        raise ParameterError("splits", symbol, "a symbol in each split")
    since = parse_time("splits", str(date))
    if since is None:
        raise ParameterError("splits", date, "the date of each split")
    return Split(symbol.strip(), since, parse_ratio(facts["ratio"], "splits"))
