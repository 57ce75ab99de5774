"""A frame or file of rows in, a file of answers out, at once or by a job."""

import gc
import threading

import httpx
import polars as pl
import pytest

from nautilus_ml_client import InputError, InvalidRequestError, ScoringFailedError
from nautilus_ml_client.calls import jobs
from nautilus_ml_client.frames import parquet_of
from pipelines.jobs import queue
from tests.clients.conftest import Asking
from tests.serving.test_predict_batch import (  # noqa: F401 (fixtures, found by their names)
    NUMBERS,
    TABLE,
    loaded_smalls,
    many,
    run_job,
    smalls,
    world,
)
from tests.waiting import wait_for

PARQUET = "application/vnd.apache.parquet"


@pytest.fixture
def asking(world, kind):  # noqa: F811
    return Asking(kind, world)


@pytest.mark.integration
def test_a_file_is_answered_at_once(asking, tmp_path):
    path = tmp_path / "rows.parquet"
    TABLE.write_parquet(path)
    scored = asking(lambda c: c.score(NUMBERS, path, keep=["id"]))
    answers = scored.to_polars()
    assert scored.job_id is None
    assert answers["id"].to_list() == TABLE["id"].to_list()
    assert answers["row"].to_list() == list(range(len(TABLE)))
    assert scored.to_arrow().num_rows == len(scored.to_pandas()) == len(TABLE)
    scored.save(tmp_path / "answers.parquet")
    assert pl.read_parquet(tmp_path / "answers.parquet").equals(answers)


FORMS = {
    "polars": lambda table: table,
    "lazy": lambda table: table.lazy(),
    "arrow": lambda table: table.to_arrow(),
    "batch": lambda table: table.to_arrow().to_batches()[0],
    "reader": lambda table: table.to_arrow().to_reader(),
    "pandas": lambda table: table.to_pandas(),
    "indexed": lambda table: table.to_pandas().set_index("id"),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_a_frame_goes_as_a_file(form):
    assert pl.read_parquet(parquet_of(form(TABLE))).equals(TABLE)


@pytest.mark.integration
def test_a_column_that_is_missing_is_named(asking):
    with pytest.raises(InvalidRequestError, match="first"):
        asking(lambda c: c.score(NUMBERS, TABLE.drop("first")))


@pytest.mark.integration
def test_many_rows_become_a_job_that_is_waited_for(many, smalls, kind):  # noqa: F811
    asking, database = Asking(kind, many), many.app.state.service.database

    def work():
        wait_for(lambda: queue.list_jobs(database, state="queued"))
        [job] = queue.list_jobs(database, state="queued")
        run_job(many, smalls, job.id, NUMBERS)

    worker = threading.Thread(target=work)
    worker.start()
    scored = asking(lambda c: c.score(NUMBERS, TABLE, progress=True, timeout_seconds=60))
    worker.join()
    assert scored.job_id is not None
    assert len(scored.to_polars()) == len(TABLE)


@pytest.mark.parametrize("data", ["no/such.parquet", 5, [{"a": 1}], None])
def test_what_is_no_table_is_refused_before(scripted, data):
    client = scripted()
    with pytest.raises(InputError):
        client.score("m", data)
    assert client.sent == []


def test_what_was_asked_for_stands_in_the_query(scripted):
    client = scripted(httpx.Response(200, content=b"PAR1"))
    client.score("m", b"x", keep="id", version=3, hardware="cpu", strict=True)
    [sent] = client.sent
    assert dict(sent.url.params) == {
        "model": "m",
        "version": "3",
        "hardware": "cpu",
        "keep": "id",
        "strict": "true",
    }
    assert sent.headers["content-type"] == sent.headers["accept"] == PARQUET
    assert sent.headers["idempotency-key"]


class BrokenOff(httpx.SyncByteStream):
    """The first bytes of an answer, and then nothing."""

    def __iter__(self):
        yield b"PAR1 and a bit"
        raise httpx.ReadError("the connection was lost")


def test_answers_that_break_off_are_asked_for_again_and_the_file_is_whole(scripted, tmp_path):
    types = {"content-type": PARQUET}
    whole = tmp_path / "whole.parquet"
    TABLE.write_parquet(whole)
    lost = httpx.Response(200, headers=types, stream=BrokenOff())
    client = scripted(lost, httpx.Response(200, headers=types, content=whole.read_bytes()))
    output = tmp_path / "answers.parquet"
    scored = client.score("m", b"x", output=output)
    assert scored.path == output
    assert output.read_bytes() == whole.read_bytes()
    assert sum(batch.num_rows for batch in scored.batches(2)) == len(TABLE)
    assert {path.name for path in tmp_path.iterdir()} == {"answers.parquet", "whole.parquet"}


def test_a_failed_request_leaves_no_file(scripted, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    client = scripted(httpx.Response(422, json={"error": {"code": "shape", "message": "no"}}))
    with pytest.raises(InvalidRequestError, match="no"):
        client.score("m", TABLE, output=tmp_path / "answers.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_file_goes_with_what_was_returned(scripted, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    types = {"content-type": PARQUET}
    client = scripted(httpx.Response(200, headers=types, content=b"PAR1"))
    scored = client.score("m", TABLE)
    assert scored.content == b"PAR1"
    assert [path.name for path in scored.path.parent.iterdir()] == ["answers.parquet"]
    del scored
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def state(name, **changes):
    told = {"job_id": "j1", "state": name, "stage": None, "progress": None, "error": None}
    return httpx.Response(200, json=told | changes)


def test_a_job_that_failed_is_an_error(scripted, monkeypatch):
    monkeypatch.setattr(jobs, "SHORTEST_LOOK_SECONDS", 0.0)
    job = {"job_id": "j1", "state": "queued", "entry_point": "score", "model_id": "m"}
    made = httpx.Response(202, json=job | {"results": "/predict/results/j1"})
    away = httpx.ConnectError("refused")
    failed = state("failed", error="the disk is full")
    client = scripted(made, state("queued"), away, away, away, away, failed)
    with pytest.raises(ScoringFailedError, match=r"job j1 \(score\) is failed: the disk is full"):
        client.score("m", b"x")
    assert client.sent[0].read() == b"x"
