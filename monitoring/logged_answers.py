"""Logged answers: which predictions a request id, or a symbol and a time, means.

Outcomes are reported long after the answer, by names that the caller knows. This module finds the
rows of the prediction log for them: in the memory of this process first (what is not on disk yet),
then in the files, newest first. Only models that the caller names here are looked at, because a
model's name is a folder's name.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from monitoring.prediction_log import PredictionLog, files_between

COLUMNS = ("request_id", "served_at", "as_of", "model_id", "version", "symbol")
FILES_AT_ONCE = 256


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
    """Return the answers of each request; a request that is not logged is left out.

    When callers used one id for several requests, the answers of the newest count.
    """
    found: dict[str, list[LoggedAnswer]] = {}
    names = sorted(set(model_ids))
    wanted = set(request_ids)
    in_memory = [row for row in log.unwritten() if row.get("model_id") in set(names)]
    _gather(found, (_answer(row) for row in in_memory if row.get("request_id") in wanted))
    missing = wanted - set(found)
    files = [path for name in names for path in (log.directory / name).glob("*.parquet")]
    files.sort(key=_written_at, reverse=True)
    for start in range(0, len(files), FILES_AT_ONCE):
        if not missing:
            break
        part = _rows(files[start : start + FILES_AT_ONCE], pl.col("request_id").is_in(missing))
        _gather(found, part)
        missing -= set(found)
    return {request_id: _of_one_request(answers) for request_id, answers in found.items()}


def by_time(
    log: PredictionLog, model_id: str, wanted: Collection[tuple[str, datetime]]
) -> dict[tuple[str, datetime], LoggedAnswer]:
    """Return the newest answer for each symbol and time; those that are not logged are left out."""
    if not wanted:
        return {}
    keys = set(wanted)
    times = [as_of for _, as_of in keys]
    in_memory = [_answer(row) for row in log.unwritten() if row.get("model_id") == model_id]
    files = files_between(log.directory / model_id, min(times), max(times))
    symbols = {symbol for symbol, _ in keys}
    on_disk = _rows(files, pl.col("symbol").is_in(symbols) & pl.col("as_of").is_in(times))
    found = {}
    for answer in sorted([*on_disk, *in_memory], key=lambda each: each.served_at):
        if answer.as_of is not None and (answer.symbol, answer.as_of) in keys:
            found[(answer.symbol, answer.as_of)] = answer
    return found


def _rows(files: Sequence[Path], wanted: pl.Expr) -> list[LoggedAnswer]:
    if not files:
        return []
    frame = pl.scan_parquet(list(files)).filter(wanted).select(COLUMNS).collect()
    return [_answer(row) for row in frame.iter_rows(named=True)]


def _answer(row: Mapping[str, Any]) -> LoggedAnswer:
    return LoggedAnswer(**{name: row[name] for name in COLUMNS})


def _gather(found: dict[str, list[LoggedAnswer]], answers: Iterable[LoggedAnswer]) -> None:
    for answer in answers:
        found.setdefault(answer.request_id, []).append(answer)


def _of_one_request(answers: Sequence[LoggedAnswer]) -> list[LoggedAnswer]:
    newest = max(answer.served_at for answer in answers)
    return [answer for answer in answers if answer.served_at == newest]


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
