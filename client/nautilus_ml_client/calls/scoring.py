"""Scoring: a file or frame of rows in, a file of answers out, by POST /predict/batch."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any
from weakref import finalize

from nautilus_ml_client import frames
from nautilus_ml_client.answer import Answer
from nautilus_ml_client.answers import BatchJob
from nautilus_ml_client.calls.jobs import until_ended
from nautilus_ml_client.errors import ScoringFailedError
from nautilus_ml_client.requests import Flow, Request, address, answered, get, idempotent, read

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

PARQUET = "application/vnd.apache.parquet"
ACCEPTED = 202
ROWS = "rows.parquet"


@dataclass(frozen=True, slots=True, weakref_slot=True, repr=False)
class Scored:
    """The answers as a Parquet file: a row per row, in their order.

    It has `row`, what was kept, the fields of the template's answer, and `error` (code and message)
    where a row has no answer. `job_id` is None where the server answered at once. The file is
    `output` of the call; without one it is temporary and goes with this object.
    """

    path: Path
    job_id: str | None

    @property
    def content(self) -> bytes:
        """The whole file."""
        return self.path.read_bytes()

    def save(self, path: str | Path) -> None:
        """Copy the file."""
        shutil.copyfile(self.path, path)

    def batches(self, n_rows: int = 65_536) -> "Iterator[pa.RecordBatch]":
        """Yield the answers in Arrow batches of at most `n_rows`, never all in memory."""
        from pyarrow import parquet

        with parquet.ParquetFile(self.path) as file:
            yield from file.iter_batches(n_rows)

    def to_pandas(self) -> "pd.DataFrame":
        """Return the answers as a pandas frame; needs pyarrow."""
        found: pd.DataFrame = self.to_arrow().to_pandas()
        return found

    def to_polars(self) -> "pl.DataFrame":
        """Return the answers as a polars frame."""
        import polars as pl

        return pl.read_parquet(self.path)

    def to_arrow(self) -> "pa.Table":
        """Return the answers as an Arrow table."""
        from pyarrow import parquet

        return parquet.read_table(self.path)


class ScoringState(Answer):
    """How far the job of a batch is."""

    job_id: str
    state: str
    stage: str | None
    progress: float | None
    error: str | None
    entry_point: str = "score"
    eta_seconds: float | None = None


def score(
    model: str,
    data: Any,
    *,
    keep: Sequence[str] = (),
    output: str | Path | None = None,
    version: int | None = None,
    alias: str | None = None,
    hardware: str | None = None,
    strict: bool = False,
    progress: bool = False,
    timeout_seconds: float | None = None,
    idempotency_key: str | None = None,
) -> Flow[Scored]:
    """Answer every row of a frame or Parquet file; a large one becomes a job, which is waited for.

    A server that restarts meanwhile is waited for, two minutes at most. Neither rows nor answers
    are ever whole in memory: a file is sent as it is read, and the answers go to a file as they
    arrive; a frame is written to a temporary file first.

    Args:
        data: a frame of pandas, polars or Arrow, or the path or bytes of a Parquet file, with the
            columns of the model's table, a column `text`, or a column per feature.
        keep: columns that the answers repeat.
        output: file for the answers; None makes a temporary one, which goes with what is returned.
        progress: draw a bar of the job on standard error.
        timeout_seconds: of the wait for the job; None waits as long as it takes.
        idempotency_key: the same key and data get the same job; None makes one per call.

    Raises:
        InputError: it is none of these.
        InvalidRequestError: a column is missing or of another type; the message names it.
        ScoringFailedError: the job failed or was cancelled.
        WaitTimeoutError: the job has not ended in time; it goes on.
    """
    folder = Path(mkdtemp(prefix="nautilus-ml-client-"))
    target = folder / "answers.parquet"
    try:
        body = _body(data, folder)
        named = _query(model, keep, version, alias, hardware, strict)
        job_id = yield from _answers(
            body, named, idempotent(idempotency_key), target, (timeout_seconds, progress)
        )
        (folder / ROWS).unlink(missing_ok=True)
        kept = target if output is None else Path(shutil.move(target, output))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    scored = Scored(kept, job_id)
    finalize(scored, shutil.rmtree, folder, ignore_errors=True)
    return scored


def _answers(
    body: bytes | Path,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    target: Path,
    waiting: tuple[float | None, bool],
) -> Flow[str | None]:
    """Send the rows and put the answers into a file; return the job that made them, if one did."""
    types = {"Content-Type": PARQUET, "Accept": PARQUET}
    request = Request(
        "POST",
        "/predict/batch",
        query=query,
        headers=types | dict(headers),
        body=body,
        is_repeatable=True,
        is_upload=True,
        save_to=target,
    )
    response = yield request
    if response.status_code != ACCEPTED:
        return None
    job = read(BatchJob, response.content)
    results = address("/predict/results/{job_id}", job_id=job.job_id)
    ended = yield from until_ended(
        lambda: answered(get(results, limit=1), ScoringState), job.job_id, *waiting
    )
    if ended.state != "done":
        raise ScoringFailedError(job.job_id, ended.state, ended.error)
    yield Request(
        "GET",
        results,
        headers={"Accept": PARQUET},
        is_repeatable=True,
        is_upload=True,
        save_to=target,
    )
    return job.job_id


def _body(data: Any, folder: Path) -> bytes | Path:
    if isinstance(data, bytes):
        return data
    if isinstance(data, str | Path):
        return frames.file_at(Path(data))
    return frames.write_parquet(data, folder / ROWS)


def _query(
    model: str,
    keep: Sequence[str],
    version: int | None,
    alias: str | None,
    hardware: str | None,
    strict: bool,
) -> dict[str, str]:
    named = {"model": model, "version": version, "alias": alias, "hardware": hardware}
    found = {name: str(value) for name, value in named.items() if value is not None}
    kept = {"keep": ",".join([keep] if isinstance(keep, str) else keep)} if keep else {}
    return found | kept | ({"strict": "true"} if strict else {})
