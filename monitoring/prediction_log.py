"""PredictionLog: every answer that was given, appended in batches, never slowing a request.

A model call hands its columns over and goes on. One thread of the log makes frames of them, writes
them as files (`monitoring/prediction_files.py`) and merges small files into larger ones
(`monitoring/prediction_merges.py`). Rows that do not fit into the bounded queue, or cannot be
written, are dropped and counted. A crash loses at most the rows that were not flushed. Drift and
outcomes are computed from this log; the audit trail of decisions is `registry/events.py`.
"""

import threading
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from pathlib import Path
from time import monotonic

import polars as pl
import structlog

from monitoring.prediction_files import ModelFolder, read_folder, write_file
from monitoring.prediction_merges import merge_day, merge_past
from monitoring.prediction_rows import SCHEMA, LoggedPredictions, frame_of
from monitoring.settings import PredictionLogSettings
from pipelines.data.bars import from_microseconds
from registry import thread_priority
from registry.settings import read_settings

QUEUE_BYTES = 256 * 2**20
"""Most bytes of features and scores in memory, whatever the number of rows."""
DAY_US = 86_400_000_000
MERGE_PAUSE_SECONDS = 60.0
"""Pause after a merge that failed (a full disk, a folder that cannot be written)."""

log = structlog.get_logger(__name__)


NEVER = float("-inf")


class PredictionLog:
    """Writes answers from any thread; `close` writes what is left.

    `lost_at` is when a row was dropped last (monotonic seconds), unless one was written since.

    Args:
        directory: one folder per model is made below it.
        settings: None reads them from the environment.
    """

    def __init__(self, directory: Path, settings: PredictionLogSettings | None = None) -> None:
        self.directory = directory
        self.written = 0
        self.dropped = 0
        self.lost_at = NEVER
        self._damaged: set[Path] = set()
        self._settings = settings or read_settings(PredictionLogSettings)
        self._most_rows = self._settings.prediction_log_queue_rows
        self._batch_rows = self._settings.prediction_log_batch_rows
        self._pending: list[LoggedPredictions] = []
        self._n_rows = self._n_bytes = 0  # of those
        self._writing: list[LoggedPredictions] = []
        self._lock = threading.Lock()  # guards the four above
        self._full = threading.Event()
        self._closing = False
        self._merging = _Merging()
        self._thread = threading.Thread(target=self._write_out, name="prediction-log", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Rows that were handed over and are not being written yet."""
        return self._n_rows

    @property
    def damaged(self) -> int:
        """Files that this process found unreadable, each once."""
        return len(self._damaged)

    def count_damaged(self, files: Iterable[Path]) -> None:
        """Count files that a reader of this log could not read."""
        self._damaged.update(files)

    def unwritten(self) -> list[LoggedPredictions]:
        """Return the answers that were handed over and are not on disk yet, oldest first.

        Law: a row that was handed over is here, or in a file that appeared before this returns.
        """
        with self._lock:
            return [*self._writing, *self._pending]

    def append(self, given: LoggedPredictions) -> None:
        """Hand the answers of one model call over and return at once."""
        n_given, n_bytes = len(given), given.n_bytes
        with self._lock:
            room = self._most_rows - self._n_rows
            if self._closing or self._n_bytes + n_bytes > QUEUE_BYTES:
                room = 0
            if n_given > room:
                given = given.head(max(0, room))
                n_bytes = given.n_bytes
                self.dropped += n_given - len(given)
                self.lost_at = monotonic()
            if n_given and room > 0:
                self._pending.append(given)
                self._n_rows += len(given)
                self._n_bytes += n_bytes
            is_full = self._n_rows >= self._batch_rows or self._n_bytes > QUEUE_BYTES // 4
        if is_full:
            self._full.set()

    def close(self) -> None:
        """Write what is left and end the thread; rows appended from now on are dropped."""
        with self._lock:
            self._closing = True
        self._full.set()
        self._thread.join()

    def _write_out(self) -> None:
        thread_priority.lower()
        while True:
            self._full.wait(self._settings.prediction_log_flush_seconds)
            self._full.clear()
            with self._lock:
                closing, self._writing, self._pending = self._closing, self._pending, []
                self._n_rows = self._n_bytes = 0
            self._write(self._writing)
            with self._lock:
                self._writing = []
            if closing:
                return
            self.count_damaged(self._merging.go_on())

    def _write(self, predictions: Sequence[LoggedPredictions]) -> None:
        together: dict[tuple[str, int], list[LoggedPredictions]] = {}
        for each in predictions:
            together.setdefault((each.model_id, each.served_us // DAY_US), []).append(each)
        for (model_id, day_number), part in together.items():
            day = from_microseconds(day_number * DAY_US).date()
            n_rows, folder = sum(map(len, part)), ModelFolder(self.directory / model_id)
            n_written = 0
            try:
                rows = _frame(part)
                if len(rows):
                    write_file(folder.of_day(day), rows)
                n_written = len(rows)
                self._merging.note(folder, day)
            except Exception:  # the thread must live on: what is lost is counted and shown
                log.exception("predictions not logged", rows=n_rows)
            self.written += n_written
            self.dropped += n_rows - n_written
            self.lost_at = monotonic() if n_written < n_rows else NEVER


class _Merging:
    """What the writer's thread has to merge, a little after each flush."""

    def __init__(self) -> None:
        self._days: dict[Path, date] = {}
        self._written: set[Path] = set()
        self._untidy: set[Path] = set()
        self._paused_until = 0.0

    def note(self, folder: ModelFolder, day: date) -> None:
        """Take note of a file that was written; a new day leaves an old one to tidy up."""
        path = folder.directory
        if self._days.get(path) != day:
            self._days[path] = day
            self._untidy.add(path)
        self._written.add(path)

    def go_on(self) -> tuple[Path, ...]:
        """Make the merges that are due, one per model; return files that were set aside."""
        if monotonic() < self._paused_until:
            return ()
        damaged: list[Path] = []
        try:
            for path in [*self._written]:
                damaged += merge_day(ModelFolder(path), self._days[path]).damaged
                self._written.discard(path)
            for path in [*self._untidy]:
                outcome = merge_past(ModelFolder(path), self._days[path])
                damaged += outcome.damaged
                if not outcome.is_changed:
                    self._untidy.discard(path)
        except Exception:  # the thread must live on; the files are as they were
            self._paused_until = monotonic() + MERGE_PAUSE_SECONDS
            log.exception("prediction files not merged")
        return tuple(damaged)


def read_predictions(
    directory: Path,
    model_id: str,
    start: datetime | None = None,
    end: datetime | None = None,
    number: int | None = None,
    columns: Sequence[str] = tuple(SCHEMA),
) -> pl.DataFrame:
    """Return the logged rows with start <= as_of <= end, by as_of, symbol and served_at.

    None leaves a side open. A model without a log has no rows. Files that cannot be read are
    skipped and said in the process's log.

    Args:
        number: of one version; None means of all.
        columns: names of `SCHEMA`, those three among them; the others are not read.
    """
    where = None if number is None else pl.col("version") == number
    found = read_folder(ModelFolder(directory / model_id), start, end, where, columns)
    return found.rows.sort("as_of", "symbol", "served_at")


def _frame(predictions: Sequence[LoggedPredictions]) -> pl.DataFrame:
    """Return the rows of all requests whose values can be stored, one by one if need be."""
    try:
        return frame_of(predictions)
    except Exception:
        if len(predictions) == 1:
            raise
    frames = [frame_of([])]
    for each in predictions:
        try:
            frames.append(frame_of([each]))
        except Exception:
            log.exception("predictions not logged", rows=len(each))
    return pl.concat(frames)
