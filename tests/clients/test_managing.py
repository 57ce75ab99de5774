"""Models, jobs, data and the server's state, with both clients, against a real application."""

import io

import httpx
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from nautilus_ml_client import (
    Client,
    ConflictError,
    ForbiddenError,
    InputError,
    InvalidRequestError,
    JobFailedError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
    UnexpectedAnswerError,
    WaitTimeoutError,
)
from nautilus_ml_client.calls import jobs
from nautilus_ml_client.progress import ProgressBar, line_of
from serving.keys import Rights, make_key
from tests.clients.conftest import URL, InProcess
from tests.clients.test_events import facts, line

VOLATILITY = "volatility_forecast"
CSV = b"age,risk\n41,low\n29,high\n"
RECIPE = {"template": VOLATILITY, "source": "sample", "symbols": "AAPL,MSFT"}


def test_a_model_from_made_to_archived(manager):
    job = manager(lambda c: c.models.create("desk", owner="me", tags={"a": "b"}, **RECIPE))
    assert (job.state, job.model_id) == ("queued", "desk")
    assert manager(lambda c: c.models.get("desk")).recipe["symbols"] == "AAPL,MSFT"
    said = manager(lambda c: c.models.change("desk", watched=False, recipe={"symbols": "KO"}))
    assert (said.watched, said.recipe["symbols"]) == (False, "KO")
    assert manager(lambda c: c.models.status("desk")).job.job_id == job.job_id
    manager(lambda c: c.jobs.cancel(job, reason="wrong"))
    assert manager(lambda c: c.models.archive("desk", reason="over")).archived_at
    assert [m.model_id for m in manager(lambda c: c.models.list())] == [VOLATILITY]
    assert len(manager(lambda c: c.models.list(archived=True))) == 2
    assert manager(lambda c: c.models.restore("desk")).archived_at is None
    happened = manager(lambda c: c.models.events("desk", order="newest", most=2))
    assert [event.event for event in happened] == ["model_restored", "model_archived"]
    whole = manager(lambda c: c.models.events("desk"))
    assert len(whole) > 2
    assert [event for event in manager(lambda c: c.events()) if event in whole] == whole


def test_a_version_goes_into_production_and_out(manager):
    moved = manager(lambda c: c.models.deploy(VOLATILITY, 1, reason="reviewed"))
    assert (moved.version, moved.generation) == (1, 1)
    state = manager(lambda c: c.models.wait_until_serving(VOLATILITY, 1))
    assert state.serving_version == 1
    assert manager(lambda c: c.models.wait_until_serving(VOLATILITY)).serving_version == 1
    assert manager(lambda c: c.models.production(VOLATILITY)).version == 1
    before = manager(lambda c: c.models.production(VOLATILITY, "2020-01-01T00:00:00Z"))
    assert before.version is None
    with pytest.raises(ConflictError):
        manager(lambda c: c.models.withdraw(VOLATILITY, reason="no", expected_generation=7))
    with pytest.raises(ConflictError):
        manager(lambda c: c.models.rollback(VOLATILITY, reason="there is none"))
    with pytest.raises(ConflictError, match="model_in_use"):
        manager(lambda c: c.models.archive(VOLATILITY))
    assert manager(lambda c: c.models.withdraw(VOLATILITY, reason="over")).version is None
    [listed] = manager(lambda c: c.models.versions(VOLATILITY))
    assert listed.version == manager(lambda c: c.models.version(VOLATILITY, 1)).version == 1
    deleted = manager(lambda c: c.models.delete_version(VOLATILITY, 1, reason="old"))
    assert deleted.version == 1
    with pytest.raises(NotFoundError):
        manager(lambda c: c.models.version(VOLATILITY, 1))


def test_what_does_not_serve_in_time_is_said(manager):
    with pytest.raises(WaitTimeoutError, match="after 0 s"):
        manager(lambda c: c.models.wait_until_serving(VOLATILITY, 1, timeout_seconds=0))


def test_the_same_key_gets_the_same_job(manager):
    def train(**changes):
        return manager(
            lambda c: c.models.train(VOLATILITY, idempotency_key="k1", source="sample", **changes)
        )

    assert train().job_id == train().job_id
    with pytest.raises(ConflictError, match="idempotency"):
        train(seed=5)
    checked = manager(lambda c: c.models.validate(VOLATILITY, 1))
    assert [checked.entry_point, checked.model_id] == ["validate", VOLATILITY]
    assert len(manager(lambda c: c.jobs.list(model_id=VOLATILITY, state="queued"))) == 2
    assert manager(lambda c: c.jobs.list(entry_point="validate", limit=5))[0] is not None


@pytest.mark.parametrize("key", ["", " ", "a\nb", "é", "x" * 256])
def test_an_idempotency_key_that_is_none_is_refused(scripted, key):
    with pytest.raises(InputError, match="1 to 255 printable"):
        scripted().models.train("m", idempotency_key=key)


@pytest.mark.integration
def test_data_are_put_read_and_deleted(manager, tmp_path):
    path = tmp_path / "risks.CSV"
    path.write_bytes(CSV)
    kept = manager(lambda c: c.data.put("risks", path))
    assert (kept.is_new, kept.n_rows, kept.columns) == (True, 2, ["age", "risk"])
    assert not manager(lambda c: c.data.put("risks", CSV, format="csv")).is_changed
    assert manager(lambda c: c.data.content("risks")) == CSV
    assert manager(lambda c: c.data.get("risks")).sha256 == kept.sha256
    assert [found.name for found in manager(lambda c: c.data.list())] == ["risks"]
    assert manager(lambda c: c.data.delete("risks")).n_rows == 2
    with pytest.raises(NotFoundError):
        manager(lambda c: c.data.get("risks"))


ROWS = {"age": [41, 29], "risk": ["low", "high"]}


@pytest.mark.parametrize(
    ("frame", "format"),
    [
        (pl.DataFrame(ROWS), "parquet"),
        (pl.LazyFrame(ROWS), "parquet"),
        (pa.table(ROWS), "parquet"),
        (pa.table(ROWS).to_batches()[0], "parquet"),
        (pa.table(ROWS).to_reader(), "parquet"),
        (pd.DataFrame(ROWS), "csv"),
        (pd.DataFrame(ROWS).set_index("age"), "csv"),
        ([{"age": 41, "risk": "low"}, {"age": 29, "risk": "high"}], "csv"),
    ],
    ids=["polars", "lazy", "arrow", "batch", "reader", "pandas", "indexed", "mappings"],
)
def test_a_frame_is_written_as_a_file(scripted, frame, format):
    kept = {"name": "d", "kind": "table", "format": format, "sha256": "", "n_bytes": 1}
    more = {"n_rows": 2, "n_columns": 2, "actor": "a", "uploaded_at": "2026-01-01T00:00:00Z"}
    flags = {"columns": [], "is_new": True, "is_changed": True}
    client = scripted(httpx.Response(200, json=kept | more | flags))
    client.data.put("d", frame)
    content = io.BytesIO(client.sent[0].read())
    read = pl.read_parquet(content) if format == "parquet" else pl.read_csv(content)
    assert read.to_dict(as_series=False) == ROWS


@pytest.mark.parametrize(
    ("data", "format"),
    [
        (b"a", None),
        (b"a", "pickle"),
        ("no/such.csv", None),
        (pl.DataFrame(ROWS), "csv"),
        ([], None),
        ({"a": [1]}, None),
    ],
)
def test_what_cannot_be_uploaded_is_refused_before(scripted, data, format):
    with pytest.raises(InputError):
        scripted().data.put("d", data, format=format)


@pytest.mark.integration
def test_what_training_cannot_read_is_an_error(manager):
    with pytest.raises(InvalidRequestError):
        manager(lambda c: c.data.put("torn", b"a,b\n1\n", format="csv"))


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_no_name_makes_another_address(scripted, name):
    client = scripted()
    for call in (client.models.get, client.data.get, client.data.delete, client.jobs.get):
        with pytest.raises(InputError, match="expected a name"):
            call(name)


def test_a_name_is_quoted(scripted):
    gone = httpx.Response(404, json={"error": {"code": "c", "message": "m"}})
    client = scripted(gone)
    with pytest.raises(NotFoundError):
        client.models.get("../keys?x=1#y/é")
    assert client.sent[0].url.raw_path == b"/models/..%2Fkeys%3Fx%3D1%23y%2F%C3%A9"


# Jobs ---------------------------------------------------------------------------------------------


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(jobs, "SHORTEST_LOOK_SECONDS", 0.0)


def test_a_job_is_waited_for(scripted, at_once):
    away = httpx.ConnectError("refused")
    busy = httpx.Response(503, json={})
    client = scripted(facts("queued"), away, away, away, away, busy, facts("leased"), facts("done"))
    assert client.jobs.wait("j1").state == "done"
    assert client.sent[0].url.path == "/jobs/j1"


def test_a_job_that_failed_is_an_error_with_its_facts(scripted, at_once):
    client = scripted(facts("failed", error="no rows"))
    with pytest.raises(JobFailedError, match=r"job j1 \(main\) is failed: no rows") as caught:
        client.jobs.wait("j1")
    assert caught.value.job.log_tail == []


def test_a_wait_has_an_end(scripted, at_once, monkeypatch):
    with pytest.raises(WaitTimeoutError, match="not ended in 0 s"):
        scripted(facts("queued")).jobs.wait("j1", timeout_seconds=0)
    monkeypatch.setattr(jobs, "AWAY_SECONDS", -1.0)
    with pytest.raises(UnavailableError):
        scripted(*[httpx.Response(503, json={})] * 4).jobs.wait("j1")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def read(**changes):
    return jobs.JobLine.model_validate(line("leased", **changes))


def test_the_bar_is_drawn_over_on_a_terminal():
    stream = Terminal()
    with ProgressBar(stream=stream) as bar:
        bar.show(read(stage="a long stage", progress=0.5, eta_seconds=75.2))
        bar.show(read(stage="a long stage", progress=0.5, eta_seconds=75.2))
        bar.show(read(stage="end", progress=1.0))
    first, second = stream.getvalue().removeprefix("\r").split("\r")
    assert first == "[############............]  50% main: a long stage, 1 min 15 s left"
    assert second.rstrip() == "[########################] 100% main: end"
    assert len(second.rstrip("\n")) == len(first)


def test_elsewhere_each_stage_has_a_line():
    stream = io.StringIO()
    with ProgressBar(stream=stream) as bar:
        for progress in (0.1, 0.2, 0.3):
            bar.show(read(stage="one", progress=progress))
        bar.show(read(stage="two"))
    assert stream.getvalue() == "main: one\nmain: two\n"


def test_a_bar_that_is_not_wanted_is_not_drawn():
    stream = Terminal()
    with ProgressBar(is_drawn=False, stream=stream) as bar:
        bar.show(read())
    assert stream.getvalue() == ""


@pytest.mark.parametrize("progress", [None, -1.0, 2.0])
def test_the_bar_stays_within_its_ends(progress):
    assert len(line_of(read(progress=progress)).partition("]")[0]) == 25


def test_a_stage_cannot_write_to_the_terminal():
    assert "\x1b" not in line_of(read(stage="\x1b[2Jgone\r\n"))


# The server ---------------------------------------------------------------------------------------


def test_the_server_tells_how_it_is(manager):
    assert manager(lambda c: c.health()).ready
    assert manager(lambda c: c.system_status()).settings["MAX_BATCH_SIZE"] == 1000
    assert manager(lambda c: c.hardware_utilization()).interval_seconds > 0
    assert "ml_engine_uptime_seconds" in manager(lambda c: c.metrics())


def test_a_server_that_starts_is_no_error(scripted):
    body = {"status": "starting", "healthy": False, "live": True, "ready": False, "access": ""}
    more = {"dependencies": {}, "loaded": {}, "problems": {}, "response_time_ms": 0.1}
    assert scripted(httpx.Response(503, json=body | more)).health().status == "starting"


def test_keys_are_checked(manager):
    service, transport = manager.application.state.service, InProcess.of(manager)
    _, text = make_key(service.database, Rights(("read",)), actor="test")
    service.security.keys.load()
    for key in ("0123.wrong", None):
        with pytest.raises(UnauthenticatedError):
            Client(URL, key=key, transport=transport).models.list()
    reader = Client(URL, key=text, transport=transport)
    assert len(reader.models.list()) == 1
    with pytest.raises(ForbiddenError, match="forbidden"):
        reader.models.train(VOLATILITY)


@pytest.mark.parametrize("key", ["a b", "a\nb", "", "é.x"])
def test_a_key_that_cannot_be_sent_is_refused_without_being_told(key):
    with pytest.raises(InputError) as caught:
        Client(key=key)
    assert str(caught.value) == "key: expected ID.SECRET, plain characters without blanks"


def test_the_key_is_not_shown():
    client = Client(key="id.secret\n")
    assert "secret" not in repr(client) + repr(client._sender.server)
    assert client._sender.http.headers["x-api-key"] == "id.secret"


@pytest.mark.parametrize("url", ["127.0.0.1:8400", "ftp://x", "http://", "/models", "http://a:b"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(InputError, match="expected http://HOST:PORT"):
        Client(url)


@pytest.mark.parametrize("text", ["<html>", "{}", "[]", "null"])
def test_an_answer_of_something_else_is_an_error(scripted, text):
    with pytest.raises(UnexpectedAnswerError, match="is this the engine"):
        scripted(httpx.Response(200, text=text)).models.list()
    with pytest.raises(UnexpectedAnswerError, match="is this the engine"):
        scripted(httpx.Response(200, text=text)).predict("m", symbols=["A"])
