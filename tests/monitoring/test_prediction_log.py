import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from monitoring.prediction_log import SCHEMA, PredictionLog, read_predictions
from monitoring.settings import PredictionLogSettings

DAY = timedelta(days=1)
START = datetime(2007, 1, 2, 21, tzinfo=UTC)


def record(day: int = 0, symbol: str = "AAPL", model_id: str = "m", **changes):
    return {
        "request_id": "r",
        "served_at": START + day * DAY + timedelta(seconds=1),
        "as_of": START + day * DAY,
        "model_id": model_id,
        "version": 1,
        "flavor": "onnx",
        "backend": "cpu",
        "symbol": symbol,
        "latency_ms": 0.5,
        "features": [0.25, -1.0],
        "scores": [0.5],
        "answer": '{"signal": "HOLD"}',
        "source_kind": "bars",
    } | changes


@pytest.fixture
def make_log(tmp_path):
    opened = []

    def make(**wanted) -> PredictionLog:
        settings = PredictionLogSettings(**{f"prediction_log_{k}": v for k, v in wanted.items()})
        opened.append(PredictionLog(tmp_path, settings))
        return opened[-1]

    yield make
    for log in opened:
        log.close()


def test_what_was_appended_is_read_back_after_close(make_log, tmp_path):
    log = make_log(flush_seconds=60)
    log.append([record(1), record(0, "MSFT"), record(0)])
    log.append([record(0, model_id="other")])
    log.close()
    found = read_predictions(tmp_path, "m")
    assert found.schema == pl.Schema(SCHEMA)
    assert found.rows(named=True) == [record(0), record(0, "MSFT"), record(1)]
    assert (log.written, log.dropped) == (4, 0)


def test_rows_reach_the_disk_after_the_flush_interval(make_log, tmp_path):
    log = make_log(flush_seconds=0.05)
    log.append([record()])
    deadline = time.monotonic() + 5
    while not log.written and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(read_predictions(tmp_path, "m")) == 1


def test_a_full_batch_is_written_at_once(make_log, tmp_path):
    log = make_log(flush_seconds=60, batch_rows=10)
    log.append([record(i) for i in range(10)])
    deadline = time.monotonic() + 5
    while log.written < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(read_predictions(tmp_path, "m")) == 10


def test_rows_beyond_the_queue_are_dropped_and_counted(make_log, tmp_path):
    log = make_log(flush_seconds=60, queue_rows=3)
    log.append([record(i) for i in range(5)])
    log.close()
    log.append([record()])
    assert (log.written, log.dropped) == (3, 3)
    assert read_predictions(tmp_path, "m")["as_of"].to_list() == [START + i * DAY for i in range(3)]


def test_rows_that_cannot_be_written_are_counted_and_the_log_goes_on(make_log, tmp_path):
    (tmp_path / "blocked").write_text("a file where the model's folder should be")
    log = make_log(flush_seconds=0.05)
    log.append([record(model_id="blocked")])
    deadline = time.monotonic() + 5
    while not log.dropped and time.monotonic() < deadline:
        time.sleep(0.01)
    log.append([record()])
    log.close()
    assert (log.written, log.dropped) == (1, 1)


def test_a_model_that_cannot_be_logged_takes_no_other_with_it(make_log, tmp_path):
    (tmp_path / "blocked").write_text("a file where the model's folder should be")
    log = make_log(flush_seconds=60)
    log.append([record(model_id="blocked"), record(), record(model_id="blocked")])
    log.close()
    assert (log.written, log.dropped) == (1, 2)


def test_a_file_that_cannot_be_finished_is_removed(make_log, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    log = make_log(flush_seconds=60)
    log.append([record()])
    log.close()
    assert (log.written, log.dropped) == (0, 1)
    assert list(tmp_path.rglob("*.*")) == []


def test_a_span_is_closed_on_both_sides_and_opens_only_the_files_it_needs(make_log, tmp_path):
    for day in range(4):
        log = make_log(flush_seconds=60)
        log.append([record(day)])
        log.close()
    untouched = min((tmp_path / "m").glob("*.parquet"))
    untouched.write_bytes(b"not a parquet file: it must not be opened")
    found = read_predictions(tmp_path, "m", START + DAY, START + 2 * DAY)
    assert found["as_of"].to_list() == [START + DAY, START + 2 * DAY]


def test_a_model_without_a_log_has_no_rows(tmp_path):
    assert read_predictions(tmp_path, "m").is_empty()


def test_an_unfinished_file_is_never_read(make_log, tmp_path):
    log = make_log(flush_seconds=60)
    log.append([record()])
    log.close()
    (tmp_path / "m" / "0_0_x.unfinished").write_bytes(b"half")
    assert len(read_predictions(tmp_path, "m")) == 1


CRASH = """
import os, sys, time
sys.path.insert(0, sys.argv[1] + "/tests/monitoring")
from pathlib import Path
from test_prediction_log import record
from monitoring.prediction_log import PredictionLog
log = PredictionLog(Path(sys.argv[2]))
log.append([record(0)])
while not log.written: time.sleep(0.01)
log.append([record(1)])
os._exit(9)
"""


@pytest.mark.integration
def test_a_crash_loses_only_what_was_not_flushed(tmp_path):
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", CRASH, str(root), str(tmp_path)], cwd=root, check=False)
    assert read_predictions(tmp_path, "m")["as_of"].to_list() == [START]


def test_appending_takes_microseconds(make_log):
    log = make_log(flush_seconds=60, batch_rows=10**6)
    rows = [record()]
    started = time.perf_counter()
    for _ in range(10_000):
        log.append(rows)
    assert (time.perf_counter() - started) / 10_000 < 50e-6
