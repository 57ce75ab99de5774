"""Plain JSON: what the standard's grammar allows, and each name of an object once.

Python's parser also takes `NaN`, `Infinity` and a name that stands twice, of which the last wins.
Everything that people write comes in through here: bodies, parameters, options, search spaces.
"""

import json
from typing import Any


def parse(text: str) -> Any:
    """Return parsed JSON.

    Raises:
        json.JSONDecodeError: it is not JSON, or its objects repeat a name, or it is nested too
            deeply to be read.
    """
    try:
        return DECODER.decode(text)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise json.JSONDecodeError("nested too deeply", "", 0) from None
    except ValueError as exc:  # ours, and numbers with more digits than Python reads
        raise json.JSONDecodeError(str(exc).partition(";")[0], "", 0) from None


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a name twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


DECODER = json.JSONDecoder(object_pairs_hook=_once_each, parse_constant=_no_constant)
