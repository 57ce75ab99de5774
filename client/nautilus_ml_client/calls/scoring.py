"""Scoring: a file or frame of rows in, a file of answers out, by POST /predict/batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


@dataclass(frozen=True, slots=True, repr=False)
class Scored:
    """The answers as a Parquet file: a row per row, in their order.

    It has `row`, what was kept, the fields of the template's answer, and `error` (code and message)
    where a row has no answer. `job_id` is None where the server answered at once.
    """

    content: bytes
    job_id: str | None

    def save(self, path: str | Path) -> None:
        """Write the file."""
        Path(path).write_bytes(self.content)

    def to_pandas(self) -> "pd.DataFrame":
        """Return the answers as a pandas frame; needs pyarrow."""
        found: pd.DataFrame = self.to_arrow().to_pandas()
        return found

    def to_polars(self) -> "pl.DataFrame":
        """Return the answers as a polars frame."""
        import polars as pl

        return pl.read_parquet(self.content)

    def to_arrow(self) -> "pa.Table":
        """Return the answers as an Arrow table."""
        import pyarrow as pa
        from pyarrow import parquet

        return parquet.read_table(pa.BufferReader(self.content))


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
    version: int | None = None,
    alias: str | None = None,
    hardware: str | None = None,
    strict: bool = False,
    progress: bool = False,
    timeout_seconds: float | None = None,
    idempotency_key: str | None = None,
) -> Flow[Scored]:
    """Answer every row of a frame or Parquet file; a large one becomes a job, which is waited for.

    A server that restarts meanwhile is waited for, two minutes at most.

    Args:
        data: a frame of pandas, polars or Arrow, or the path or bytes of a Parquet file, with the
            columns of the model's table, a column `text`, or a column per feature.
        keep: columns that the answers repeat.
        progress: draw a bar of the job on standard error.
        timeout_seconds: of the wait for the job; None waits as long as it takes.
        idempotency_key: the same key and data get the same job; None makes one per call.

    Raises:
        InputError: it is none of these.
        InvalidRequestError: a column is missing or of another type; the message names it.
        ScoringFailedError: the job failed or was cancelled.
        WaitTimeoutError: the job has not ended in time; it goes on.
    """
    body = data if isinstance(data, bytes) else _path_or_frame(data)
    types = {"Content-Type": PARQUET, "Accept": PARQUET}
    request = Request(
        "POST",
        "/predict/batch",
        query=_query(model, keep, version, alias, hardware, strict),
        headers=types | idempotent(idempotency_key),
        body=body,
        is_repeatable=True,
        is_upload=True,
    )
    response = yield request
    if response.status_code != ACCEPTED:
        return Scored(response.content, None)
    job = read(BatchJob, response.content)
    results = address("/predict/results/{job_id}", job_id=job.job_id)
    ended = yield from until_ended(
        lambda: answered(get(results, limit=1), ScoringState),
        job.job_id,
        timeout_seconds,
        progress,
    )
    if ended.state != "done":
        raise ScoringFailedError(job.job_id, ended.state, ended.error)
    file = Request("GET", results, headers={"Accept": PARQUET}, is_repeatable=True, is_upload=True)
    return Scored((yield file).content, job.job_id)


def _path_or_frame(data: Any) -> bytes | Path:
    if isinstance(data, str | Path):
        return frames.file_at(Path(data))
    return frames.parquet_of(data)


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
