"""Logged answers: which predictions a request id, or a symbol and a time, means.

Outcomes are reported long after the answer, by names that the caller knows. This module finds the
rows of the prediction log for them: in the memory of this process first (what is not on disk yet),
then in the files, newest first, for `SEARCH_SECONDS` at most: a name that nobody logged must not
keep a server reading. Only models that the caller names here are looked at, because a model's name
is a folder's name.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import polars as pl

from monitoring.prediction_files import BATCHES, ModelFolder, between, read_files, served_on
from monitoring.prediction_log import PredictionLog
from monitoring.prediction_rows import LoggedPredictions
from pipelines.data.bars import from_microseconds

COLUMNS = ("request_id", "served_at", "as_of", "model_id", "version", "symbol")
FIRST_ROWS = 2
"""Rows of a batch that show whether it had several."""
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
    log: PredictionLog,
    model_ids: Iterable[str],
    request_ids: Collection[str],
    symbols: Collection[str] = (),
) -> dict[str, list[LoggedAnswer]]:
    """Return the answers of each request; a request that is not found is left out.

    When callers used one id for several requests, the answers of the newest count.

    Args:
        symbols: those that are spoken of; of a batch, which may have a million rows, the answers
            about them are returned, and the first two.
    """
    names, missing = set(model_ids), set(request_ids)
    found: dict[str, list[LoggedAnswer]] = {}

    def take(answers: Iterable[LoggedAnswer]) -> None:
        for answer in answers:
            if answer.request_id in missing:
                found.setdefault(answer.request_id, []).append(answer)
        missing.difference_update(found)

    waiting = (each for each in log.unwritten() if not missing.isdisjoint(each.request_ids))
    take(_rows(each for each in waiting if each.model_id in names))

    def files(*below: str) -> list[Path]:
        folders = (ModelFolder(log.directory.joinpath(name, *below)) for name in sorted(names))
        return [path for folder in folders for path in folder.files()]

    named = pl.col("symbol").is_in(set(symbols))
    is_single, is_spoken_of = pl.col("row").is_null(), named | (pl.col("row") < FIRST_ROWS)

    def wanted() -> pl.Expr | None:
        mine = pl.col("request_id").is_in(missing) & pl.col("corrected_by").is_null()
        return mine & (is_single | is_spoken_of) if missing else None

    for below in ((), (BATCHES,)):
        for rows in _searched(log, partial(files, *below), wanted):
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

    take(_rows(each for each in log.unwritten() if each.model_id == model_id))
    folder = ModelFolder(log.directory / model_id)
    for rows in _searched(
        log,
        lambda: between(folder.files(), first, last),
        lambda: _any_of(missing) if missing else None,
    ):
        take(rows)
    return found


def _rows(waiting: Iterable[LoggedPredictions]) -> Iterator[LoggedAnswer]:
    for each in waiting:
        columns = (each.request_ids, each.symbols, each.as_of)
        for request_id, symbol, as_of in zip(*columns, strict=True):
            yield LoggedAnswer(
                request_id=request_id,
                served_at=from_microseconds(each.served_us),
                as_of=as_of,
                model_id=each.model_id,
                version=each.version,
                symbol=symbol,
            )


def _searched(
    log: PredictionLog,
    files: Callable[[], list[Path]],
    wanted: Callable[[], pl.Expr | None],
) -> Iterator[list[LoggedAnswer]]:
    """Yield the wanted rows of some files after the other, newest first.

    A file that was merged meanwhile is looked for again in the files of then: a row may be found
    twice, and none is missed.

    Args:
        wanted: asked before each look; None ends the search.
    """
    until = monotonic() + SEARCH_SECONDS
    left, looked_at = _newest_first(files()), set[Path]()
    while left and (expression := wanted()) is not None and monotonic() <= until:
        some = left[: _portion(left)]
        try:
            found = read_files(some, [expression], COLUMNS)
        except FileNotFoundError:
            left = [path for path in _newest_first(files()) if path not in looked_at]
            continue
        log.count_damaged(found.damaged)
        looked_at.update(some)
        left = left[len(some) :]
        yield [_answer(row) for row in found.rows.iter_rows(named=True)]


def _newest_first(files: Iterable[Path]) -> list[Path]:
    """Return files by the day that they were served on, those of older layouts last."""
    return sorted(files, key=lambda path: (served_on(path) or date.min, _written_at(path)))[::-1]


def _portion(files: Sequence[Path]) -> int:
    """Return how many files to look at next: a merged file and others may share a day's hours."""
    n = min(FILES_AT_ONCE, len(files))
    while n < len(files) and (day := served_on(files[n])) and served_on(files[n - 1]) == day:
        n += 1
    return n


def _any_of(missing: Collection[Named]) -> pl.Expr:
    symbols, times = {symbol for symbol, _ in missing}, {time for _, time in missing}
    named = pl.col("symbol").is_in(symbols) & pl.col("as_of").is_in(times)
    return named & pl.col("corrected_by").is_null()


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
