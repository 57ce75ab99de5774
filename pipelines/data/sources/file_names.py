"""File names: which symbol, and which side of its quotes, a file says it holds.

Files whose names differ only in dates, interval, side (bid or ask) or the number of a copy hold one
symbol, in any case of letters: two of them are never two assets. Several files that are called by a
date alone hold the symbol that their folder is called like.
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipelines.data.sources.tables import symbol_of

SIDES = ("bid", "ask")
_DATE = r"(\d{4}[-.]\d{2}([-.]\d{2})?|\d{2}\.\d{2}\.\d{4}|(19|20)\d{2}(\d{2}){0,2})"
_INTERVAL = r"(\d+_?(s|sec|m|min|h|hour|d|day|w|mo)|[mh]\d{1,2}|d1|w1|mn1?)"
_WORDS = r"(daily|hourly|minute|candlestick|trade|quote|ohlcv?|bid|ask|copy)"
_TAIL = re.compile(
    rf"(?<=.)[ _.-]+({_DATE}([-_]+{_DATE})?|{_INTERVAL}|{_WORDS}|\(\d+\))$", re.IGNORECASE
)
_SIDE = re.compile(r"(?<=[ _.-])(bid|ask)s?(?=[ _.-]|$)", re.IGNORECASE)


def symbols_of(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the symbol of each file: its name, less what distinguishes files of one symbol."""
    if len(paths) == 1:
        return {path: symbol_of(path) for path in paths}
    short = {path: _without_tail(symbol_of(path)) for path in paths}
    n_files = Counter(name.lower() for name in short.values())
    spelled: dict[str, str] = {}
    found = {}
    for path, name in short.items():
        own = (
            spelled.setdefault(name.lower(), name) if n_files[name.lower()] > 1 else symbol_of(path)
        )
        is_date = re.fullmatch(_DATE, name) is not None
        found[path] = path.parent.name or own if is_date else own
    return found


def side_of(path: Path) -> str:
    """Return `bid` or `ask` if the file's name has that word after its first one, else nothing."""
    found = {match[1].lower() for match in _SIDE.finditer(symbol_of(path))}
    return found.pop() if len(found) == 1 else ""


def _without_tail(name: str) -> str:
    while (shorter := _TAIL.sub("", name)) != name:
        name = shorter
    return name
