"""Uploads over HTTP: what arrives whole and is data is kept, anything else leaves nothing."""

import asyncio
import gzip
import hashlib
import io
import os
import socket
import threading
import time

import polars as pl
import pytest
import uvicorn

from pipelines.data.upload_checks import read
from pipelines.data.uploads import Uploads
from registry import events
from registry.errors import DataRefusedError, MLEngineError
from serving import data_files
from serving.keys import Rights, make_key
from serving.routes.data import CSV

SHA = hashlib.sha256(CSV).hexdigest()
AS_CSV = {"content-type": "text/csv"}
AS_PARQUET = {"content-type": "application/vnd.apache.parquet"}


@pytest.fixture(autouse=True)
def checked_here(request, monkeypatch):
    """Read files in this process; the tests marked `integration` start the check's own."""
    if request.node.get_closest_marker("integration"):
        return

    def check(name, path, upload, _limits):
        try:
            return read(path, upload)
        except (MLEngineError, pl.exceptions.PolarsError) as exc:
            raise DataRefusedError(name, str(exc)) from exc

    monkeypatch.setattr(data_files, "check", check)


@pytest.fixture
def key(app):
    """Headers of a new key."""

    def make(*scopes, **rights):
        _, text = make_key(
            app.state.service.database, Rights(scopes or ("read", "manage"), **rights), actor="test"
        )
        app.state.service.security.keys.load()
        return {"x-api-key": text}

    return make


@pytest.fixture
def uploads(app, settings) -> Uploads:
    return app.state.service.data_files.uploads


@pytest.fixture
def on_disk(settings):
    return lambda: [p for p in settings.uploads_dir.rglob("*") if p.is_file()]


@pytest.fixture
def put(client, key):
    """Upload; returns the answer."""
    headers = key()

    def upload(name="churn", content=CSV, query="", **given):
        url = f"/data/{name}{query}"
        return client.put(url, content=content, headers=AS_CSV | headers | given)

    return upload


def test_data_go_in_and_come_out_as_they_were(client, put, key):
    answer = put(query="?kind=table")
    assert answer.status_code == 200, answer.text
    facts = answer.json()
    stored = {k: facts[k] for k in ("name", "kind", "format", "sha256", "n_bytes", "n_rows")}
    assert stored == {
        "name": "churn",
        "kind": "table",
        "format": "csv",
        "sha256": SHA,
        "n_bytes": len(CSV),
        "n_rows": 2,
    }
    assert (facts["is_new"], facts["is_changed"]) == (True, True)
    assert facts["columns"] == ["age", "city", "churned"] and facts["n_columns"] == 3
    reader = key("read")
    shown = client.get("/data/churn", headers=reader).json()
    assert shown == {k: v for k, v in facts.items() if k not in ("is_new", "is_changed")}
    listed = client.get("/data", headers=reader).json()["data"]
    assert listed == [{k: v for k, v in shown.items() if k != "columns"}]
    file = client.get("/data/churn/content", headers=reader)
    assert file.content == CSV
    assert file.headers["content-type"] == "text/csv; charset=utf-8"
    assert file.headers["content-disposition"] == 'attachment; filename="churn.csv"'
    assert file.headers["etag"] == f'"{SHA}"'


def test_parquet_is_taken_under_each_of_its_types(put):
    buffer = io.BytesIO()
    pl.DataFrame({"a": [1, 2], "b": ["x", "y"]}).write_parquet(buffer)
    for declared in ("application/vnd.apache.parquet", "application/x-parquet"):
        assert put("p", buffer.getvalue(), **{"content-type": declared}).json()["n_rows"] == 2
    octets = {"content-type": "application/octet-stream"}
    assert put("p", buffer.getvalue(), **octets).json()["format"] == "parquet"
    assert put("p", CSV, **octets).json()["error"]["code"] == "data_refused"


def test_the_same_file_again_changes_nothing_and_another_one_does(app, put):
    first, again, other = put(), put(), put(content=CSV + b"33,Bonn,no\n")
    assert [a.json()["is_changed"] for a in (first, again, other)] == [True, False, True]
    assert [a.json()["is_new"] for a in (first, again, other)] == [True, False, False]
    told = events.read(app.state.service.database)
    assert [e.facts["replaced"] for e in told if e.kind == "data_uploaded"] == [None, SHA]


def test_the_event_names_the_key(app, put, client, key):
    put()
    (event,) = [e for e in events.read(app.state.service.database) if e.kind == "data_uploaded"]
    assert event.actor == client.get("/data/churn", headers=key("read")).json()["actor"]
    assert event.facts["sha256"] == SHA


def test_data_are_deleted_once(client, put, key, on_disk):
    put()
    headers = key()
    assert client.request("DELETE", "/data/churn", headers=headers).json()["sha256"] == SHA
    assert on_disk() == []
    for method in ("DELETE", "GET"):
        answer = client.request(method, "/data/churn", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "data_not_found")
    assert client.get("/data/churn/content", headers=headers).status_code == 404


def test_scopes_and_lists_of_models_guard_data(client, key):
    reading = [("GET", "/data"), ("GET", "/data/churn"), ("GET", "/data/churn/content")]
    writing = [("PUT", "/data/churn"), ("DELETE", "/data/churn")]
    for method, url in reading:
        assert client.request(method, url, headers=key("manage")).status_code == 403
    for method, url in writing:
        assert client.request(method, url, headers=key("read")).status_code == 403
        assert client.request(method, url).status_code == 401
    limited = key("read", "manage", model_ids=("m1",))
    for method, url in reading + writing:
        answer = client.request(method, url, headers=limited | AS_CSV)
        assert answer.status_code == 403, (method, url)


# Names -----------------------------------------------------------------------------------------

SPELLINGS = (
    *("%2e%2e", "%2e", ".env", "%00", "a%00", "%20", "a%20b", "a%0a", "a%23b", "%23"),
    *("a%5cb", "%ef%bc%8e%ef%bc%8e", "%c0%ae%c0%ae", "a%3fb", "a%25", "-x", "~root", "a" * 101),
)
ELSEWHERE = ("..%2f..%2fetc%2fpasswd", "a%2fb", "%2fetc", "/x", "%2e%2e/%2e%2e/x", "a/b/c", "")


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
def test_no_spelling_of_a_path_is_a_name(client, key, on_disk, method):
    headers = key() | AS_CSV
    for name in SPELLINGS:
        url = f"http://127.0.0.1/data/{name}"
        answer = client.request(method, url, headers=headers)
        assert answer.status_code in (404, 422), name
        if answer.status_code == 422:
            assert answer.json()["error"]["code"] == "data_name", name
    for name in ELSEWHERE:
        answer = client.request(method, f"http://127.0.0.1/data/{name}", headers=headers)
        assert answer.status_code == 404, name
    assert on_disk() == []


# What is not taken -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "declared",
    [
        "",
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "text/csv; charset=latin-1",
        "text/csvx",
        "application/gzip",
    ],
)
def test_another_content_type_is_refused(put, on_disk, declared):
    answer = put(**{"content-type": declared})
    assert answer.status_code == 415, answer.text
    assert on_disk() == []


def test_a_charset_of_utf_8_may_be_said(put):
    assert put(**{"content-type": 'Text/CSV; header=present; charset="UTF-8"'}).status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, identity", "x"])
def test_an_encoded_body_is_refused_before_it_is_read(put, on_disk, encoding):
    bomb = gzip.compress(bytes(10_000_000))
    answer = put(content=bomb, **{"content-encoding": encoding})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")
    assert "Content-Encoding" in answer.json()["error"]["message"]
    assert put(content=bomb).json()["error"]["message"].count("gzip") == 1
    assert put(**{"content-encoding": "identity"}).status_code == 200


WIDE = b",".join(b"c%d" % i for i in range(10_000))
REFUSED = {
    "nothing": (b"", "empty"),
    "a header": (b"a,b\n", "no rows"),
    "NUL bytes": (b"a,b\n1,\x00\n", "NUL"),
    "cut off": (CSV[:-6], "row 3 has"),
    "10,000 columns": (
        b",".join(b"c%d" % i for i in range(10_000)) + b"\n" + b"1," * 9999,
        "colum",
    ),
    "a zip": (b"PK\x03\x04" + bytes(60), "models are not uploaded"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_table_is_refused_and_leaves_nothing(client, put, key, on_disk, case):
    content, reason = REFUSED[case]
    answer = put(content=content)
    assert answer.status_code == 422, answer.text
    assert reason in answer.json()["error"]["message"]
    assert on_disk() == []
    assert client.get("/data", headers=key("read")).json() == {"data": []}


def test_a_refused_file_leaves_the_one_before(client, put, key):
    put()
    assert put(content=b"a,b\n1\n").status_code == 422
    assert client.get("/data/churn/content", headers=key("read")).content == CSV


def test_a_model_is_refused_by_name_and_by_content(put):
    for name, content in (("model.onnx", CSV), ("model", b"\x80\x04\x95" + bytes(64))):
        answer = put(name, content)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "model_file")


def test_an_unknown_kind_and_an_unknown_parameter_are_refused(put):
    assert put(query="?kind=model").status_code == 422
    answer = put(query="?kin=bars")
    assert answer.json()["error"]["details"]["known"] == [
        "columns",
        "date_order",
        "kind",
        "timezone",
    ]
    assert put(query="?timezone=..%2f..%2fetc%2fpasswd").status_code == 422
    assert put(query="?kind=bars&columns=close").status_code == 422
    assert put(query="?kind=bars&date_order=year").status_code == 422


def test_bars_may_say_how_they_are_read(put):
    bars = b"day,px\n2024-01-01 10:00,1\n2024-01-01 11:00,2\n"
    assert "columns=close" in put(content=bars, query="?kind=bars").json()["error"]["message"]
    query = "?kind=bars&columns=close=px&timezone=America/New_York"
    assert put(content=bars, query=query).json()["kind"] == "bars"


def test_an_upload_says_the_order_of_its_dates(put):
    bars = b"date,close\n01/02/2024,1\n02/02/2024,2\n"
    message = put(content=bars, query="?kind=bars").json()["error"]["message"]
    assert "say date_order=day-first or date_order=month-first" in message
    query = "?kind=bars&date_order=day-first"
    assert put(content=bars, query=query).json()["n_rows"] == 2


def test_a_file_that_is_too_long_leaves_nothing(app, put, on_disk, monkeypatch):
    limits = app.state.service.security._upload_limits
    small = type(limits)(100, 10, limits.bytes_setting, limits.seconds_setting)
    monkeypatch.setattr(app.state.service.security, "_upload_limits", small)
    answer = put(content=CSV * 100)
    assert answer.status_code == 413
    assert "MAX_UPLOAD_SIZE" in answer.json()["error"]["message"]
    assert on_disk() == []


def test_a_full_disk_is_answered_503(app, put, on_disk, monkeypatch):
    monkeypatch.setattr(app.state.service.data_files.uploads, "_reserve_bytes", 2**62)
    answer = put()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "disk_full")
    assert answer.headers["retry-after"] == "300"
    assert on_disk() == []


def test_a_body_shorter_than_declared_leaves_nothing(put, on_disk):
    assert put(**{"content-length": str(len(CSV) + 10)}).status_code == 400
    assert on_disk() == []


def test_a_large_file_is_never_whole_in_memory(put, app, monkeypatch):
    sizes = []
    arriving = data_files.Arriving.write

    def watch(self, content):
        sizes.append(len(content))
        arriving(self, content)

    monkeypatch.setattr(data_files.Arriving, "write", watch)

    async def body():
        for _ in range(50):
            yield b"1,2\n" * 25_000

    assert put(content=body()).status_code == 422  # no header
    assert sum(sizes) == 50 * 100_000 and max(sizes) < 1_200_000 and len(sizes) > 3


def test_what_a_killed_server_left_goes_at_the_next_start(app, running, settings, on_disk):
    folder = settings.uploads_dir / ".arriving" / "1"
    folder.mkdir(parents=True)
    (folder / "churn.csv").write_bytes(b"a,")
    stale = settings.uploads_dir / "churn" / ("0" * 64)
    stale.mkdir(parents=True)
    (stale / "churn.csv").write_bytes(b"a,b\n")
    with running(app):
        assert on_disk() == []


# A real server ---------------------------------------------------------------------------------


@pytest.fixture
def address(app):
    """Address of the application behind a real port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield listener.getsockname()
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.mark.integration
def test_a_body_that_stops_half_way_leaves_nothing(app, key, address, on_disk):
    secret = key()["x-api-key"]
    head = (
        "PUT /data/churn HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/csv\r\n"
        f"X-API-Key: {secret}\r\nContent-Length: 1000000\r\n\r\n"
    )
    with socket.create_connection(address) as caller:
        caller.sendall(head.encode() + CSV)
        deadline = time.monotonic() + 10
        while not on_disk() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(on_disk()) == 1
    while on_disk() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert on_disk() == []
    assert app.state.service.data_files.uploads.list_all() == []


@pytest.mark.integration
@pytest.mark.parametrize("name", ["..", ".", "../../etc/passwd", "./x", "%2e%2e%2fx", "\\..\\x"])
def test_a_path_that_clients_would_tidy_is_no_name_either(key, address, name):
    secret = key()["x-api-key"]
    head = f"GET /data/{name} HTTP/1.0\r\nHost: 127.0.0.1\r\nX-API-Key: {secret}\r\n\r\n"
    with socket.create_connection(address) as caller:
        caller.sendall(head.encode())
        status = caller.makefile("rb").readline().split()[1]
    assert status in (b"404", b"422")


@pytest.mark.integration
def test_a_file_is_checked_by_a_process_of_its_own(put):
    assert put().json()["n_rows"] == 2
    answer = put(content=b"a,b\n1,2,3\n")
    assert answer.json()["error"]["message"].startswith("churn is refused: churn.csv: row 2")
    assert os.sep + "data" not in answer.text
