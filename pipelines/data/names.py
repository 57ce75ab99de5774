"""Names: columns that are called after what a user called his, each name once."""

from collections.abc import Collection, Sequence

PANEL_KEYS = ("symbol", "timestamp")
"""Columns beside the features in a reference and in a window of logged rows."""

NO_SYMBOL = ""
"""A column beside those that are called like symbols; no symbol is called so."""


def unique_names(names: Sequence[str], taken: Collection[str] = ()) -> tuple[str, ...]:
    """Return the names in their order; one that is taken or comes again gets a number, `age #2`.

    Laws: the result has no name twice and none that is taken; names that are unique already stay
    as they are; the same names give the same result.
    """
    given, used = set(names), set(taken)
    found = []
    for name in names:
        free, n = name, 1
        while free in used or (free != name and free in given):
            n += 1
            free = f"{name} #{n}"
        used.add(free)
        found.append(free)
    return tuple(found)
