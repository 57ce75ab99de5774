"""Batch log: the rows that POST /predict/batch answered, in the prediction log, by columns.

A batch has its columns already, so nothing here makes an object per row. Where its rows lie depends
on what they are about:

- **symbols and the newest bar**: a prediction of what comes next, as one of /predict. They lie with
  those, and drift and realised losses take them.
- **rows, texts, portfolios**: somebody's table. It may be new, or twenty years of history, scored
  every night; as live traffic it would fill every window of the drift stage. They lie in the folder
  `batches` of the model, which drift, losses and retraining never open. Outcomes find them by the
  id of the request or job.

The number of a row within its batch is logged, so a job that was killed and goes on logs no row
twice. A log that cannot be written never fails a batch: what is lost is said and counted.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from time import monotonic

import numpy as np
import polars as pl
import structlog
from numpy.typing import NDArray

from monitoring.prediction_files import (
    BATCHES,
    ModelFolder,
    read_folder,
    write_file,
)
from monitoring.prediction_merges import merge_day, merge_past
from monitoring.prediction_rows import MOST_SCORES, NUMBERS, SCHEMA, score_quantiles
from pipelines.data.bars import TIMESTAMP, to_microseconds
from pipelines.data.results import ResultFolder
from pipelines.jobs.job import Job
from pipelines.recipes.answer_log import AnswerLog, NoLog
from pipelines.recipes.answering import ERROR, PROVENANCE, AnsweredRows
from pipelines.recipes.inputs import kind_of
from pipelines.templates import TEMPLATES, Template
from registry.contract import ModelContract
from registry.flavors import Artifact
from registry.version_files import VersionFiles

ROW = "row"
IN_JSON = "%Y-%m-%dT%H:%M:%S%.fZ"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """What all rows of a batch share.

    `source_kind` is that of the prediction log; `bars` are symbols. `job_id` is None where the
    batch was answered at once. `key` is the column of the answers that names each row, empty where
    its number does.
    """

    contract: ModelContract
    template: Template
    version: int
    request_id: str
    served_at: datetime
    flavor: str
    backend: str
    source_kind: str
    key: str = ""
    job_id: str | None = None
    latency_ms: float | None = None

    @property
    def is_live(self) -> bool:
        """Whether its answers are about what comes next, and are watched."""
        return self.source_kind == "bars"

    def columns(self, answered: AnsweredRows) -> pl.DataFrame:
        """Return what is logged of some rows, one row per row, null where there is no answer."""
        n_logged = kind_of(self.template).n_logged(self.contract)
        scores = answered.scores
        if scores.shape[1] > MOST_SCORES and self._is_sample and len(scores):
            scores = score_quantiles(scores)
        answers, n_rows = answered.answers, len(answered.answers)
        return pl.DataFrame(
            [
                _keys(answers, self.key),
                answers["as_of"].cast(TIMESTAMP),
                _lists("features", answered.features[:, :n_logged], answered.rows, n_rows),
                _lists("scores", scores, answered.rows, n_rows),
                _texts(answers, (*self.template.answer_types(self.contract), *PROVENANCE)),
                pl.Series("n_scores", [answered.scores.shape[1]], pl.Int32()).new_from_index(
                    0, n_rows
                ),
            ]
        )

    def rows(self, columns: Sequence[pl.DataFrame], first_row: int) -> pl.DataFrame:
        """Return the rows that have an answer, in the columns of the prediction log."""
        found = pl.concat(columns).with_row_index(ROW, first_row)
        if not kind_of(self.template).has_times:
            stamps = to_microseconds(self.served_at) + found[ROW].to_numpy().astype(np.int64)
            found = found.with_columns(pl.Series("as_of", stamps).cast(TIMESTAMP))
        shared = {
            "request_id": self.request_id,
            "served_at": self.served_at,
            "model_id": self.contract.model_id,
            "version": self.version,
            "flavor": self.flavor,
            "backend": self.backend,
            "latency_ms": self.latency_ms,
            "source_kind": self.source_kind,
            "job_id": self.job_id,
            "corrected_by": None,
        }
        number = pl.col(ROW).cast(pl.String())
        return (
            found.filter(pl.col("answer").is_not_null())
            .with_columns(pl.coalesce("symbol", number).alias("symbol"))
            .with_columns(pl.lit(v, dtype=SCHEMA[name]).alias(name) for name, v in shared.items())
            .select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())
        )

    @property
    def _is_sample(self) -> bool:
        return self.template.objective(self.contract.label_spec).is_sample


class BatchLog:
    """Writes the rows of batches. Safe for threads; a write is on disk when it returns.

    Args:
        directory: that of the prediction log.
        is_kept: whether rows that are not live are logged at all (PREDICTION_LOG_BATCHES).
    """

    def __init__(self, directory: Path, *, is_kept: bool) -> None:
        self.directory, self.is_kept = directory, is_kept
        self.written = 0
        self.dropped = 0
        self.lost_at = float("-inf")  # monotonic seconds, unless rows were written since
        self._tidied: dict[Path, date] = {}
        self._lock = threading.Lock()  # guards the four above

    def wants(self, batch: Batch) -> bool:
        """Return whether the rows of a batch are logged."""
        return self.is_kept or batch.is_live

    def folder_of(self, batch: Batch) -> ModelFolder:
        """Return where the rows of a batch lie."""
        of_model = self.directory / batch.contract.model_id
        return ModelFolder(of_model if batch.is_live else of_model / BATCHES)

    def write(self, batch: Batch, rows: pl.DataFrame) -> None:
        """Write rows that `Batch.rows` gave."""
        if not len(rows):
            return
        folder, day = self.folder_of(batch), batch.served_at.astimezone(UTC).date()
        try:
            write_file(folder.of_day(day), rows)
        except (OSError, pl.exceptions.PolarsError):
            log.exception("answers of a batch not logged", rows=len(rows))
            with self._lock:
                self.dropped += len(rows)
                self.lost_at = monotonic()
            return
        with self._lock:
            self.written += len(rows)
            self.lost_at = float("-inf")
        self._tidy(folder, day)

    def _tidy(self, folder: ModelFolder, day: date) -> None:
        """Merge what is due; of days before today once, when a new one has begun."""
        try:
            merge_day(folder, day)
            if self._tidied.get(folder.directory) == day or merge_past(folder, day).is_changed:
                return
        except (OSError, pl.exceptions.PolarsError):  # the files are as they were
            log.exception("batch files not merged")
            return
        with self._lock:
            self._tidied[folder.directory] = day


@dataclass(frozen=True, slots=True)
class JobLog(AnswerLog):
    """The log of one job: `last_row` is the last row that an earlier attempt has logged."""

    log: BatchLog
    batch: Batch
    last_row: int

    @classmethod
    def of(
        cls, job: Job, folder: ResultFolder, files: VersionFiles, artifact: Artifact, log: BatchLog
    ) -> AnswerLog:
        """Return the log of the job that scores a folder; one that keeps nothing if not wanted."""
        template = TEMPLATES.get(files.contract.template)
        is_prepared = folder.prepared() is not None
        of_features = "rows" if template.inputs == "bars" else template.inputs
        batch = Batch(
            contract=files.contract,
            template=template,
            version=files.number,
            request_id=job.id,
            served_at=job.created_at,
            flavor=str(artifact),
            backend="cpu",
            source_kind=template.inputs if is_prepared else of_features,
            key=folder.key(),
            job_id=job.id,
        )
        if not log.wants(batch):
            return NoLog()
        return cls(log, batch, _last_row(log.folder_of(batch), job.id, job.created_at))

    def columns(self, answered: AnsweredRows) -> pl.DataFrame:
        """Return what is logged of a slice."""
        return self.batch.columns(answered)

    def keep(self, first_row: int, slices: Sequence[pl.DataFrame]) -> None:
        """Log slices, without the rows that an earlier attempt has logged."""
        rows = self.batch.rows(slices, first_row)
        self.log.write(self.batch, rows.filter(pl.col(ROW) > self.last_row))


def _keys(answers: pl.DataFrame, key: str) -> pl.Series:
    if key in answers.columns:
        return answers[key].cast(pl.String()).alias("symbol")
    return pl.Series("symbol", [None], dtype=pl.String()).new_from_index(0, len(answers))


def _lists(
    name: str, values: NDArray[np.float32], rows: NDArray[np.intp], n_rows: int
) -> pl.Series:
    """Return rows of numbers as lists at their places, null elsewhere."""
    if len(rows) and values.shape[1]:
        lists = pl.Series(name, values).cast(NUMBERS)
    else:
        lists = pl.Series(name, [[]] * len(rows), dtype=NUMBERS)
    if len(rows) == n_rows:
        return lists
    index = np.full(n_rows, len(rows), dtype=np.int64)
    index[rows] = np.arange(len(rows))
    return lists.extend_constant(None, 1).gather(index)


def _texts(answers: pl.DataFrame, names: Iterable[str]) -> pl.Series:
    """Return each answer as JSON, as /predict logs it; null where there is an error."""
    fields = list(dict.fromkeys(names))
    times = pl.col(pl.Datetime).dt.strftime(IN_JSON)
    whole = answers.select(fields).with_columns(times).to_struct("answer").struct.json_encode()
    return pl.select(pl.when(answers[ERROR].is_null()).then(whole).alias("answer")).to_series()


def _last_row(folder: ModelFolder, job_id: str, since: datetime) -> int:
    """Return the last row of a job that is logged, -1 without any.

    All rows of a job lie in the day on which it was created.
    """
    mine, day = pl.col("job_id") == job_id, since.astimezone(UTC).date()
    found = read_folder(folder, where=mine, columns=[ROW], day=day).rows[ROW].max()
    return -1 if found is None else int(str(found))
