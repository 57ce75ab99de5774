"""A disk that takes nothing, and one damaged file: what is answered, what /health says."""

import errno
import os

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from monitoring import prediction_files
from pipelines.data.sources import segments
from serving import dependencies, system
from tests.waiting import wait_for

MODEL = "volatility_forecast"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.setattr(dependencies, "FRESH_SECONDS", 0.0)


def refusing(number):
    """A system call that the disk refuses."""

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    return refuse


def body_of(make, symbol="AAPL"):
    return {"bars": make.body(make.bars(symbol)), "interval": "1d", "price_basis": "adjusted"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_what_cannot_be_written_is_503_leaves_nothing_and_goes_on_by_itself(
    client, app, make, monkeypatch, number
):
    folder = app.state.service.platform.bars_dir
    with monkeypatch.context() as patch, capture_logs() as said:
        for module in (segments, system):
            patch.setattr(module.os, "fsync", refusing(number))
        answer = client.post("/bars", json=body_of(make))
        health = client.get("/health").json()
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    error = answer.json()["error"]
    assert error["code"] == "disk_refused"
    assert os.strerror(number) in error["message"]
    assert str(folder) not in answer.text
    assert [line["event"] for line in said].count("disk refused") == 1
    assert [p for p in folder.rglob("*") if "parquet" in p.name] == []
    assert health["status"] == "degraded"
    assert health["dependencies"]["disk"]["ok"] is False
    assert os.strerror(number) in health["dependencies"]["disk"]["detail"]
    assert client.post("/bars", json=body_of(make)).json()["accepted"] > 0
    assert client.get("/health").json()["dependencies"]["disk"]["ok"] is True


def test_a_bug_that_is_an_error_of_the_system_stays_a_bug(client, make, monkeypatch):
    monkeypatch.setattr(segments.os, "fsync", refusing(errno.ENOENT))
    answer = client.post("/bars", json=body_of(make))
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"


def test_a_full_database_is_said_to_be_a_full_disk(client, app, monkeypatch):
    def full(*_, **__):
        raise sa.exc.OperationalError("INSERT", {}, Exception("database or disk is full"))

    monkeypatch.setattr("serving.routes.models.model_lines", full)
    answer = client.get("/models")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "disk_refused")


def test_lost_predictions_count_until_one_is_written(client, app, make, monkeypatch):
    client.post("/bars", json=body_of(make))
    ask = {"model": MODEL, "symbols": ["AAPL"]}
    log = app.state.service.log

    def is_ok():
        return client.get("/health").json()["dependencies"]["prediction_log"]["ok"]

    with monkeypatch.context() as patch:
        patch.setattr(prediction_files.os, "fsync", refusing(errno.ENOSPC))
        assert client.post("/predict", json=ask).status_code == 200
        log._full.set()
        wait_for(lambda: log.dropped == 1)
        assert not is_ok()
    assert client.post("/predict", json=ask).status_code == 200
    log._full.set()
    wait_for(lambda: log.written == 1)
    assert is_ok()
    assert log.dropped == 1


def test_one_damaged_segment_is_named_and_everything_else_answers(client, app, make):
    for symbol in ("AAPL", "MSFT"):
        client.post("/bars", json=body_of(make, symbol))
    store = app.state.service.history.store
    folder = segments.SegmentFolder(store.directory / "1d")
    (name,) = [n for n in folder.names() if "MSFT" in folder.load([n])["symbol"]]
    (folder.directory / name).write_bytes(b"broken")
    store._held.clear()  # as after a start
    with capture_logs() as said:
        answered = client.post("/predict", json={"model": MODEL, "symbols": ["AAPL"]})
        refused = client.post("/predict", json={"model": MODEL, "symbols": ["MSFT"]})
        both = client.post("/predict", json={"model": MODEL, "symbols": ["AAPL", "MSFT"]}).json()
        health = client.get("/health").json()
    assert answered.status_code == 200
    assert "MSFT is damaged" in refused.json()["errors"]["MSFT"]["message"]
    assert both["predictions"].keys() == {"AAPL"}
    assert both["errors"]["MSFT"]["code"] == "damaged_bars"
    detail = health["dependencies"]["store"]["detail"]
    assert "1d bars of MSFT is damaged" in detail
    assert health["status"] == "degraded"
    (line,) = [line for line in said if line["event"] == "bars damaged"]
    assert (line["interval"], line["symbols"]) == ("1d", ["MSFT"])
    (folder.directory / name).unlink()
    client.post("/bars", json=body_of(make, "MSFT"))
    assert client.post("/predict", json={"model": MODEL, "symbols": ["MSFT"]}).status_code == 200
    assert client.get("/health").json()["dependencies"]["store"]["ok"] is True
