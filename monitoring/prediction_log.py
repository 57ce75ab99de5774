"""PredictionLog: every answer that was given, appended in batches, never slowing a request.

A request hands its rows over and goes on. One thread of the log writes them as Parquet files
`<directory>/<model_id>/<first as_of>_<last as_of>_<unique>.parquet`. The times in the name are
microseconds UTC, so that a reader of a span opens only the files it needs. A file appears whole or
not at all. Rows that do not fit into the bounded queue, or cannot be written, are dropped and
counted. A crash loses at most the rows that were not flushed. Drift and outcomes are computed from
this log; the audit trail of decisions is `registry/events.py`.
"""

import os
import threading
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import structlog

from monitoring.settings import PredictionLogSettings
from pipelines.data.bars import TIMESTAMP, to_microseconds
from registry.settings import read_settings

SCHEMA: dict[str, pl.DataType] = {
    "request_id": pl.String(),
    "served_at": TIMESTAMP,
    "as_of": TIMESTAMP,
    "model_id": pl.String(),
    "version": pl.Int32(),
    "flavor": pl.String(),
    "backend": pl.String(),
    "symbol": pl.String(),
    "latency_ms": pl.Float32(),
    "features": pl.List(pl.Float32()),  # newest step, in the contract's order
    "scores": pl.List(pl.Float32()),
    "answer": pl.String(),  # JSON
    "source_kind": pl.String(),  # bars | rows
}
NO_TIME = 0

log = structlog.get_logger(__name__)


class PredictionLog:
    """Writes rows of `SCHEMA` from any thread; `close` writes what is left.

    Args:
        directory: one folder per model is made below it.
        settings: None reads them from the environment.
    """

    def __init__(self, directory: Path, settings: PredictionLogSettings | None = None) -> None:
        self.directory = directory
        self.written = 0
        self.dropped = 0
        self._settings = settings or read_settings(PredictionLogSettings)
        self._pending: list[Mapping[str, Any]] = []
        self._writing: list[Mapping[str, Any]] = []
        self._lock = threading.Lock()  # guards both above
        self._full = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._write_out, name="prediction-log", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Rows that were handed over and are not being written yet."""
        return len(self._pending)

    def unwritten(self) -> list[Mapping[str, Any]]:
        """Return the rows that were handed over and are not on disk yet, oldest first.

        Law: a row that was handed over is here, or in a file that appeared before this returns.
        """
        with self._lock:
            return [*self._writing, *self._pending]

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Hand rows over and return at once.

        Args:
            rows: values for the columns of `SCHEMA`; a missing one is null. Times are
                timezone-aware; `features` and `scores` are lists of floats.
        """
        with self._lock:
            room = self._settings.prediction_log_queue_rows - len(self._pending)
            room = 0 if self._closing else room
            self._pending.extend(rows[:room])
            self.dropped += max(0, len(rows) - room)
            is_full = len(self._pending) >= self._settings.prediction_log_batch_rows
        if is_full:
            self._full.set()

    def close(self) -> None:
        """Write what is left and end the thread; rows appended from now on are dropped."""
        with self._lock:
            self._closing = True
        self._full.set()
        self._thread.join()

    def _write_out(self) -> None:
        while True:
            self._full.wait(self._settings.prediction_log_flush_seconds)
            self._full.clear()
            with self._lock:
                closing, rows, self._pending = self._closing, self._pending, []
                self._writing = rows
            self._write(rows)
            with self._lock:
                self._writing = []
            if closing:
                return

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        by_model: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            by_model.setdefault(str(row.get("model_id")), []).append(row)
        for model_id, part in by_model.items():
            try:
                frame = pl.DataFrame(part, schema=SCHEMA, orient="row")
                _write_file(self.directory / model_id, frame)
                self.written += len(part)
            except Exception:  # the thread must live on: what is lost is counted and shown
                self.dropped += len(part)
                log.exception("predictions not logged", rows=len(part))


def read_predictions(
    directory: Path,
    model_id: str,
    start: datetime | None = None,
    end: datetime | None = None,
) -> pl.DataFrame:
    """Return the logged rows with start <= as_of <= end, by as_of, symbol and served_at.

    None leaves a side open. A model without a log has no rows.
    """
    paths = files_between(directory / model_id, start, end)
    frames = [pl.read_parquet(path, schema=SCHEMA) for path in paths]
    if not frames:
        return pl.DataFrame(schema=SCHEMA)
    together = pl.concat(frames).sort("as_of", "symbol", "served_at")
    if start is not None:
        together = together.filter(pl.col("as_of") >= start)
    return together if end is None else together.filter(pl.col("as_of") <= end)


def files_between(folder: Path, start: datetime | None, end: datetime | None) -> list[Path]:
    """Return the files that may hold rows with start <= as_of <= end; None leaves a side open."""
    first = None if start is None else to_microseconds(start)
    last = None if end is None else to_microseconds(end)
    found = []
    for path in sorted(folder.glob("*.parquet")):
        low, high = (int(part) for part in path.stem.split("_")[:2])
        if (first is None or high >= first) and (last is None or low <= last):
            found.append(path)
    return found


def _write_file(folder: Path, rows: pl.DataFrame) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    times = rows["as_of"].drop_nulls().to_physical().to_numpy()
    low, high = (int(times.min()), int(times.max())) if len(times) else (NO_TIME, NO_TIME)
    path = folder / f"{low}_{high}_{uuid.uuid4().hex}.parquet"
    unfinished = path.with_suffix(".unfinished")
    try:
        with unfinished.open("wb") as file:
            rows.write_parquet(file, compression="zstd", statistics=False)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)  # a full disk would stay full
        raise
