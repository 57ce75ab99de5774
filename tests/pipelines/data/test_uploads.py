import hashlib
import json
import multiprocessing
import os
import signal
import threading
import time
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from pipelines.data.sources import BarQuery
from pipelines.data.sources.uploaded import held
from pipelines.data.upload_checks import Contents
from pipelines.data.uploads import ARRIVING, MOST_ARRIVING, Uploads, check_name, file_name
from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes.inputs import kind_of
from registry import events
from registry.database import open_engine
from registry.errors import (
    DataInUseError,
    DataMissingError,
    DataNameError,
    DataNameTakenError,
    DataNotFoundError,
    DiskFullError,
    ParameterError,
    TooManyUploadsError,
)
from registry.tables import jobs, models, versions
from tests.examples import make_contract

TABLE = Contents("table", "csv", 1, ("a", "b"))
FIRST, SECOND = b"a,b\n1,2\n", b"a,b\n3,4\n"


@pytest.fixture
def uploads(engine, settings) -> Uploads:
    return Uploads(engine, settings.uploads_dir, reserve_bytes=0)


@pytest.fixture
def put(uploads):
    """Upload bytes under a name."""

    def upload(name: str, content: bytes = FIRST, contents: Contents = TABLE):
        with uploads.arriving(name, contents.format) as arriving:
            arriving.write(content)
            return uploads.keep(name, arriving, contents, "k1")

    return upload


@pytest.fixture
def on_disk(settings):
    """The files below DATA_DIR/data, relative, sorted."""
    folder = settings.uploads_dir
    return lambda: sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()
    )


def told(engine) -> list[tuple]:
    return [(e.kind, e.actor, e.facts["name"], e.facts["sha256"][:8]) for e in events.read(engine)]


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_an_upload_is_a_file_a_row_and_an_event(put, uploads, engine, on_disk):
    kept = put("churn")
    assert (kept.is_new, kept.is_changed) == (True, True)
    file = uploads.get("churn")
    assert file == kept.file
    assert (file.kind, file.format, file.sha256, file.n_bytes) == ("table", "csv", sha(FIRST), 8)
    assert (file.n_rows, file.columns, file.actor) == (1, ("a", "b"), "k1")
    assert abs((datetime.now(UTC) - file.uploaded_at).total_seconds()) < 60
    assert on_disk() == [f"churn/{sha(FIRST)}/churn.csv"]
    assert told(engine) == [("data_uploaded", "k1", "churn", sha(FIRST)[:8])]


def test_the_same_bytes_change_nothing_and_mend_a_damaged_file(put, uploads, engine):
    first = put("churn").file
    uploads.path_of(first).write_bytes(b"damaged")
    again = put("churn")
    assert (again.is_new, again.is_changed, again.file) == (False, False, first)
    assert uploads.path_of(first).read_bytes() == FIRST
    assert len(told(engine)) == 1


def test_other_bytes_replace_the_file_and_say_what_they_replaced(put, uploads, engine, on_disk):
    put("churn")
    kept = put("churn", SECOND)
    assert (kept.is_new, kept.is_changed) == (False, True)
    assert on_disk() == [f"churn/{sha(SECOND)}/churn.csv"]
    assert [e.facts["replaced"] for e in events.read(engine)] == [None, sha(FIRST)]


def test_another_kind_of_the_same_bytes_is_a_change(put, uploads):
    put("churn")
    kept = put("churn", FIRST, Contents("texts", "csv", 1, ("a", "b")))
    assert kept.is_changed and uploads.get("churn").kind == "texts"
    assert uploads.path_of(kept.file).read_bytes() == FIRST


def test_what_is_not_kept_leaves_nothing(uploads, on_disk, settings):
    with pytest.raises(KeyError), uploads.arriving("churn", "csv") as arriving:
        arriving.write(FIRST)
        raise KeyError
    assert on_disk() == []
    assert list((settings.uploads_dir / ARRIVING).iterdir()) == []
    with pytest.raises(DataNotFoundError):
        uploads.get("churn")


def test_nothing_is_there_when_the_commit_fails(put, uploads, engine, monkeypatch, on_disk):
    put("churn")

    def fail(*_, **__):
        raise RuntimeError("no event")

    monkeypatch.setattr(events, "append", fail)
    with pytest.raises(RuntimeError):
        put("churn", SECOND)
    monkeypatch.undo()
    assert uploads.get("churn").sha256 == sha(FIRST)
    assert len(on_disk()) == 2  # renamed, not committed
    assert uploads.sweep() == 1
    assert on_disk() == [f"churn/{sha(FIRST)}/churn.csv"]


NO_NAMES = (
    *("", ".", "..", ".env", "../x", "a/b", "/etc/passwd", "a b", " a", "a\n", "a#b", "a%2fb"),
    *("a\\b", "\xe9", "\u0430", "a\0", "a:b", "a?b", "~", "-a", "_a", "a" * 101, "a\u2215b"),
    *("a\ud800", "a*", "\uff41"),
)


@pytest.mark.parametrize("name", NO_NAMES, ids=ascii)
def test_a_name_that_could_be_a_path_is_refused_everywhere(uploads, name):
    with pytest.raises(DataNameError):
        check_name(name)
    with pytest.raises(DataNameError):
        uploads.get(name)
    with pytest.raises(DataNameError):
        uploads.delete(name, "k1")
    with pytest.raises(DataNameError), uploads.opened(name):
        pass
    with pytest.raises(DataNameError), uploads.arriving(name, "csv"):
        pass


@pytest.mark.parametrize("name", ["a", "A-1_b.c", "0", "churn.csv", "a..b", "x" * 100])
def test_a_plain_name_is_one(put, uploads, name):
    assert uploads.path_of(put(name).file).is_relative_to(uploads.directory / name)


def test_names_that_differ_in_capitals_only_are_one_name(put):
    put("churn")
    with pytest.raises(DataNameTakenError, match="'churn'"):
        put("Churn")


def test_a_file_is_called_as_its_data_and_ends_as_its_format():
    assert file_name("btc.csv", "csv") == "btc.csv"
    assert file_name("btc.CSV", "csv") == "btc.CSV"
    assert file_name("btc", "parquet") == "btc.parquet"
    assert file_name("btc.csv", "parquet") == "btc.csv.parquet"


def test_a_full_disk_is_said_and_leaves_nothing(engine, settings, on_disk):
    uploads = Uploads(engine, settings.uploads_dir, reserve_bytes=2**62)
    full = pytest.raises(DiskFullError, match="must stay free")
    with full, uploads.arriving("churn", "csv") as arriving:
        arriving.write(FIRST)
    assert on_disk() == []


def test_a_disk_that_takes_no_more_bytes_is_full(uploads, on_disk, monkeypatch):
    class Full:
        def write(self, _):
            raise OSError(28, "No space left on device")

        def close(self):
            raise OSError(28, "No space left on device")

    with pytest.raises(DiskFullError), uploads.arriving("churn", "csv") as arriving:
        arriving._file.close()
        arriving._file = Full()
        arriving.write(FIRST)
    assert on_disk() == []


def test_only_so_many_files_arrive_at_once(uploads):
    opened = [uploads.arriving(f"n{i}", "csv") for i in range(MOST_ARRIVING)]
    for one in opened:
        one.__enter__()
    with pytest.raises(TooManyUploadsError), uploads.arriving("more", "csv"):
        pass
    for one in opened:
        one.__exit__(None, None, None)
    with uploads.arriving("more", "csv"):
        pass


# Readers, writers, killed processes ------------------------------------------------------------


def test_a_file_that_is_read_stays_until_it_is_read(put, uploads, on_disk):
    put("churn")
    with uploads.opened("churn") as (_, opened, path):
        put("churn", SECOND)
        assert path.exists() and opened.read() == FIRST
        assert uploads.sweep() == 0
    assert uploads.sweep() == 1
    assert on_disk() == [f"churn/{sha(SECOND)}/churn.csv"]


def test_a_reader_gets_the_newest_file_while_others_replace_it(put, uploads):
    put("churn")
    stop, seen, problems = threading.Event(), set(), []

    def read():
        while not stop.is_set():
            with uploads.opened("churn") as (file, opened, _):
                content = opened.read()
                if sha(content) != file.sha256:
                    problems.append(content)
                seen.add(content)

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(20):
        put("churn", SECOND if i % 2 else FIRST)
    stop.set()
    reader.join()
    assert problems == [] and seen <= {FIRST, SECOND}


def test_of_two_uploads_of_one_name_one_stands_whole(uploads, engine, on_disk):
    contents = [b"a,b\n" + b"%d,1\n" % i * 100 for i in range(4)]
    barrier = threading.Barrier(len(contents))

    def upload(content):
        with uploads.arriving("churn", "csv") as arriving:
            arriving.write(content)
            barrier.wait()
            uploads.keep("churn", arriving, TABLE, "k1")

    threads = [threading.Thread(target=upload, args=(c,)) for c in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    file = uploads.get("churn")
    assert file.sha256 in {sha(c) for c in contents}
    assert sha(uploads.path_of(file).read_bytes()) == file.sha256
    assert on_disk() == [f"churn/{file.sha256}/churn.csv"]
    replaced = [e.facts["replaced"] for e in events.read(engine)]
    stood = [e.facts["sha256"] for e in events.read(engine)]
    assert replaced == [None, *stood[:-1]]


def _upload_and_stop(settings, ready, at_commit: bool) -> None:
    uploads = Uploads(open_engine(settings), settings.uploads_dir, reserve_bytes=0)

    def stop(*_):
        ready.set()
        time.sleep(60)

    if at_commit:
        uploads._record = stop
    with uploads.arriving("churn", "csv") as arriving:
        arriving.write(SECOND)
        if not at_commit:
            stop()
        uploads.keep("churn", arriving, TABLE, "k2")


@pytest.mark.integration
@pytest.mark.parametrize("at_commit", [False, True], ids=["arriving", "renamed"])
def test_what_a_killed_process_leaves_is_not_seen_and_goes(
    put, uploads, settings, on_disk, at_commit
):
    put("churn")
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_upload_and_stop, args=(settings, ready, at_commit))
    process.start()
    assert ready.wait(30)
    if not at_commit:
        assert uploads.sweep() == 0  # it is still arriving
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert uploads.get("churn").sha256 == sha(FIRST)
    assert len(on_disk()) == 2
    assert uploads.sweep() == 1
    assert on_disk() == [f"churn/{sha(FIRST)}/churn.csv"]
    assert put("churn", SECOND).is_changed


# Deleting --------------------------------------------------------------------------------------


def test_deleted_data_are_gone_with_an_event(put, uploads, engine, on_disk):
    put("churn")
    assert uploads.delete("churn", "k9").sha256 == sha(FIRST)
    assert on_disk() == [] and uploads.list_all() == []
    assert told(engine)[-1] == ("data_deleted", "k9", "churn", sha(FIRST)[:8])
    with pytest.raises(DataNotFoundError):
        uploads.delete("churn", "k9")


def add_model(engine, archived: bool, **recipe):
    now = datetime.now(UTC)
    row = {
        "model_id": "m1",
        "description": "",
        "owner": "",
        "tags": {},
        "watched": True,
        "recipe": recipe,
        "created_at": now,
        "updated_at": now,
        "archived_at": now if archived else None,
    }
    with engine.begin() as connection:
        connection.execute(sa.insert(models).values(row))


def add_version(engine, number: int, source: str, path: str):
    contract = make_contract(model_id="m2").to_json()
    facts = json.loads(contract)
    facts["data"] |= {"source": source, "parameters": {"path": path}}
    row = {
        "model_id": "m2",
        "number": number,
        "run_id": "r",
        "contract": facts,
        "digests": {},
        "record": [],
        "may_trade": False,
        "created_at": datetime.now(UTC),
    }
    with engine.begin() as connection:
        connection.execute(sa.insert(versions).values(row))


def add_job(engine, state: str, **payload):
    now = datetime.now(UTC)
    row = {"id": "j1", "kind": "main", "payload": payload, "state": state, "due_at": now}
    row |= {"fence": 0, "max_attempts": 1, "created_at": now}
    with engine.begin() as connection:
        connection.execute(sa.insert(jobs).values(row))


NAMED = {"source": "data", "path": "churn"}
USES = {
    "a model's recipe": (lambda e: add_model(e, False, **NAMED), "model m1"),
    "its newest version": (lambda e: add_version(e, 1, "data", "churn"), "model m2"),
    "a queued job": (lambda e: add_job(e, "queued", **NAMED), "job j1"),
    "a running job": (lambda e: add_job(e, "leased", **NAMED), "job j1"),
}
NO_USES = {
    "an archived model": lambda e: add_model(e, True, **NAMED),
    "a model of other data": lambda e: add_model(e, False, source="data", path="other"),
    "a model of a file": lambda e: add_model(e, False, source="files", path="churn"),
    "an older version": lambda e: (
        add_version(e, 1, "data", "churn"),
        add_version(e, 2, "data", "other"),
    ),
    "an ended job": lambda e: add_job(e, "done", **NAMED),
}


@pytest.mark.parametrize("use", USES)
def test_data_in_use_cannot_be_deleted(put, uploads, engine, use):
    put("churn")
    make, user = USES[use]
    make(engine)
    with pytest.raises(DataInUseError, match=user):
        uploads.delete("churn", "k1")
    assert uploads.get("churn")


@pytest.mark.parametrize("use", NO_USES)
def test_data_that_nothing_names_any_more_can_be_deleted(put, uploads, engine, use):
    put("churn")
    NO_USES[use](engine)
    uploads.delete("churn", "k1")


# Stages ----------------------------------------------------------------------------------------


@pytest.fixture
def query(settings) -> BarQuery:
    return BarQuery(path="churn", platform=settings)


def test_a_stage_reads_only_the_file_that_was_uploaded(put, uploads, query):
    file = put("churn").file
    with held(query, "table") as (found, located):
        assert found == file and located.path.read_bytes() == FIRST
    with pytest.raises(ParameterError, match="kind=texts"), held(query, "texts"):
        pass
    uploads.path_of(file).write_bytes(SECOND)
    with pytest.raises(DataMissingError, match="not the one"), held(query, "table"):
        pass
    uploads.path_of(file).unlink()
    with pytest.raises(DataMissingError, match="is not there"), held(query, "table"):
        pass


def test_a_table_is_read_by_name_again_with_what_was_uploaded_since(put, settings):
    kind = kind_of("tabular")
    source = SourceParameters(source="data", path="churn")
    lines = [f"{i},{i % 2}" for i in range(70)]
    for n_rows in (60, 70):
        content = "\n".join(["a,y", *lines[:n_rows], ""]).encode()
        put("churn", content)
        data = kind.read(source, RecipeParameters(template="tabular"), settings)
        assert (len(data.frame), data.file_sha256) == (n_rows, sha(content))
        assert data.where == "churn.csv"
        assert data.between(None, None).file_sha256 == sha(content)


def test_bars_are_called_like_their_name(put, settings):
    closes = "\n".join(f"2024-01-{day:02},{day}" for day in range(1, 29))
    put("BTCUSD", f"date,close\n{closes}\n".encode(), Contents("bars", "csv", 28, ()))
    source = SourceParameters(source="data", path="BTCUSD")
    bars = kind_of("volatility_forecast").read(source, RecipeParameters(), settings)
    assert bars.symbols == ("BTCUSD",) and bars.source == "data" and bars.interval == "1d"
    assert bars.file_sha256
