"""Logged answers: which predictions a request id, or a symbol and a time, means.

Outcomes are reported long after the answer, by names that the caller knows. This module finds the
rows of the prediction log for them: in the memory of this process first (what is not on disk yet),
then in the files, newest first, for `SEARCH_SECONDS` at most: a name that nobody logged must not
keep a server reading. Only models that the caller names here are looked at, because a model's name
is a folder's name.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any

import polars as pl

from monitoring.prediction_log import PredictionLog, files_between

COLUMNS = ("request_id", "served_at", "as_of", "model_id", "version", "symbol")
FILES_AT_ONCE = 256
SEARCH_SECONDS = 10.0

Named = tuple[str, datetime]
"""Symbol and time."""


@dataclass(frozen=True, slots=True)
class LoggedAnswer:
    """One answer that was given; `as_of` is None where a symbol had no time."""

    request_id: str
    served_at: datetime
    as_of: datetime | None
    model_id: str
    version: int
    symbol: str


def by_request(
    log: PredictionLog, model_ids: Iterable[str], request_ids: Collection[str]
) -> dict[str, list[LoggedAnswer]]:
    """Return the answers of each request; a request that is not found is left out.

    When callers used one id for several requests, the answers of the newest count.
    """
    names, missing = sorted(set(model_ids)), set(request_ids)
    found: dict[str, list[LoggedAnswer]] = {}

    def take(answers: Iterable[LoggedAnswer]) -> None:
        for answer in answers:
            if answer.request_id in missing:
                found.setdefault(answer.request_id, []).append(answer)
        missing.difference_update(found)

    take(_in_memory(log, names))
    files = [path for name in names for path in (log.directory / name).glob("*.parquet")]
    for rows in _searched(files, lambda: pl.col("request_id").is_in(missing) if missing else None):
        take(rows)
    return {request_id: _of_one_request(answers) for request_id, answers in found.items()}


def by_time(
    log: PredictionLog, model_id: str, wanted: Collection[Named]
) -> dict[Named, LoggedAnswer]:
    """Return the newest answer for each symbol and time; those that are not found are left out."""
    missing, found = set(wanted), dict[Named, LoggedAnswer]()
    if not missing:
        return {}
    first, last = min(time for _, time in missing), max(time for _, time in missing)

    def take(answers: Iterable[LoggedAnswer]) -> None:
        for answer in sorted(answers, key=lambda each: each.served_at):
            if answer.as_of is not None and (answer.symbol, answer.as_of) in missing:
                found[(answer.symbol, answer.as_of)] = answer
        missing.difference_update(found)

    take(_in_memory(log, [model_id]))
    files = files_between(log.directory / model_id, first, last)
    for rows in _searched(files, lambda: _any_of(missing) if missing else None):
        take(rows)
    return found


def _in_memory(log: PredictionLog, model_ids: Collection[str]) -> list[LoggedAnswer]:
    return [_answer(row) for row in log.unwritten() if row.get("model_id") in model_ids]


def _searched(
    files: Iterable[Path], wanted: Callable[[], pl.Expr | None]
) -> Iterator[list[LoggedAnswer]]:
    """Yield the wanted rows of some files after the other, newest first.

    Args:
        wanted: asked before each look; None ends the search.
    """
    until = monotonic() + SEARCH_SECONDS
    newest_first = sorted(files, key=_written_at, reverse=True)
    for start in range(0, len(newest_first), FILES_AT_ONCE):
        expression = wanted()
        if expression is None or monotonic() > until:
            return
        some = newest_first[start : start + FILES_AT_ONCE]
        frame = pl.scan_parquet(some).filter(expression).select(COLUMNS).collect()
        yield [_answer(row) for row in frame.iter_rows(named=True)]


def _any_of(missing: Collection[Named]) -> pl.Expr:
    symbols, times = {symbol for symbol, _ in missing}, {time for _, time in missing}
    return pl.col("symbol").is_in(symbols) & pl.col("as_of").is_in(times)


def _answer(row: Mapping[str, Any]) -> LoggedAnswer:
    return LoggedAnswer(**{name: row[name] for name in COLUMNS})


def _of_one_request(answers: Sequence[LoggedAnswer]) -> list[LoggedAnswer]:
    newest = max(answer.served_at for answer in answers)
    return [answer for answer in answers if answer.served_at == newest]


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # somebody tidied up
        return 0.0
