import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from monitoring import prediction_log, prediction_merges
from monitoring.prediction_log import PredictionLog, read_predictions
from monitoring.prediction_rows import SCHEMA
from monitoring.settings import PredictionLogSettings
from tests.examples import make_logged

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
        "answer": '{"signal":"HOLD"}',
        "source_kind": "bars",
        "n_scores": 1,
        "job_id": None,
        "row": None,
        "corrected_by": None,
    } | changes


def append(log, *rows):
    """Log rows, each as a request of its own."""
    for row in rows:
        log.append(make_logged(row))


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
    append(log, record(1), record(0, "MSFT"), record(0), record(0, model_id="other"))
    log.close()
    found = read_predictions(tmp_path, "m")
    assert found.schema == pl.Schema(SCHEMA)
    assert found.rows(named=True) == [record(0), record(0, "MSFT"), record(1)]
    assert (log.written, log.dropped) == (4, 0)


def test_rows_reach_the_disk_after_the_flush_interval(make_log, tmp_path):
    log = make_log(flush_seconds=0.05)
    append(log, record())
    deadline = time.monotonic() + 5
    while not log.written and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(read_predictions(tmp_path, "m")) == 1


def test_a_full_batch_is_written_at_once(make_log, tmp_path):
    log = make_log(flush_seconds=60, batch_rows=10)
    append(log, *map(record, range(10)))
    deadline = time.monotonic() + 5
    while log.written < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(read_predictions(tmp_path, "m")) == 10


def test_rows_beyond_the_queue_are_dropped_and_counted(make_log, tmp_path):
    log = make_log(flush_seconds=60, queue_rows=3)
    log.append(make_logged(*map(record, range(5))))
    log.close()
    append(log, record())
    assert (log.written, log.dropped) == (3, 3)
    assert read_predictions(tmp_path, "m")["as_of"].to_list() == [START + i * DAY for i in range(3)]


def test_rows_that_cannot_be_written_are_counted_and_the_log_goes_on(make_log, tmp_path):
    (tmp_path / "blocked").write_text("a file where the model's folder should be")
    log = make_log(flush_seconds=0.05)
    append(log, record(model_id="blocked"))
    deadline = time.monotonic() + 5
    while not log.dropped and time.monotonic() < deadline:
        time.sleep(0.01)
    append(log, record())
    log.close()
    assert (log.written, log.dropped) == (1, 1)


def test_a_model_that_cannot_be_logged_takes_no_other_with_it(make_log, tmp_path):
    (tmp_path / "blocked").write_text("a file where the model's folder should be")
    log = make_log(flush_seconds=60)
    append(log, record(model_id="blocked"), record(), record(model_id="blocked"))
    log.close()
    assert (log.written, log.dropped) == (1, 2)


def test_a_file_that_cannot_be_finished_is_removed(make_log, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    log = make_log(flush_seconds=60)
    append(log, record())
    log.close()
    assert (log.written, log.dropped) == (0, 1)
    assert list(tmp_path.rglob("*.*")) == []


def test_a_span_is_closed_on_both_sides_and_opens_only_the_files_it_needs(make_log, tmp_path):
    for day in range(4):
        log = make_log(flush_seconds=60)
        append(log, record(day))
        log.close()
    untouched = min((tmp_path / "m").rglob("*.parquet"))
    untouched.write_bytes(b"not a parquet file: it must not be opened")
    found = read_predictions(tmp_path, "m", START + DAY, START + 2 * DAY)
    assert found["as_of"].to_list() == [START + DAY, START + 2 * DAY]


def test_a_model_without_a_log_has_no_rows(tmp_path):
    assert read_predictions(tmp_path, "m").is_empty()


def test_an_unfinished_file_is_never_read(make_log, tmp_path):
    log = make_log(flush_seconds=60)
    append(log, record())
    log.close()
    (path,) = (tmp_path / "m").rglob("*.parquet")
    path.with_suffix(".unfinished").write_bytes(b"half")
    assert len(read_predictions(tmp_path, "m")) == 1


CRASH = """
import os, sys, time
sys.path.insert(0, sys.argv[1] + "/tests/monitoring")
from pathlib import Path
from test_prediction_log import append, record
from monitoring.prediction_log import PredictionLog
log = PredictionLog(Path(sys.argv[2]))
append(log, record(0))
while not log.written: time.sleep(0.01)
append(log, record(1))
os._exit(9)
"""


@pytest.mark.integration
def test_a_crash_loses_only_what_was_not_flushed(tmp_path):
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", CRASH, str(root), str(tmp_path)], cwd=root, check=False)
    assert read_predictions(tmp_path, "m")["as_of"].to_list() == [START]


def test_appending_takes_microseconds(make_log):
    log = make_log(flush_seconds=60, batch_rows=10**6)
    given = make_logged(record())
    started = time.perf_counter()
    for _ in range(10_000):
        log.append(given)
    assert (time.perf_counter() - started) / 10_000 < 50e-6


def wait_until(is_true):
    deadline = time.monotonic() + 5
    while not is_true() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert is_true()


def test_rows_served_on_two_days_lie_in_two_folders(make_log, tmp_path):
    log = make_log(flush_seconds=60)
    append(log, record(0), record(1), record(1, "MSFT"))
    log.close()
    found = {path.name: len(list(path.iterdir())) for path in (tmp_path / "m").iterdir()}
    assert found == {"day=2007-01-02": 1, "day=2007-01-03": 1}


def test_many_small_files_become_few_while_the_log_is_written(make_log, tmp_path, monkeypatch):
    monkeypatch.setattr(prediction_merges, "FAN_IN", 4)
    log = make_log(flush_seconds=60, batch_rows=1)
    for n in range(1, 41):
        append(log, record(served_at=START, request_id=str(n)))
        wait_until(lambda n=n: log.written == n)
    wait_until(lambda: len(list((tmp_path / "m").rglob("*.parquet"))) < 10)
    assert len(read_predictions(tmp_path, "m")["request_id"].unique()) == 40


def test_a_new_day_merges_what_is_left_of_the_last(make_log, tmp_path):
    for _ in range(3):
        log = make_log(flush_seconds=60)
        append(log, record())
        log.close()
    log = make_log(flush_seconds=0.01)
    append(log, record(1))
    wait_until(lambda: len(list((tmp_path / "m").rglob("*.parquet"))) == 2)
    assert len(read_predictions(tmp_path, "m")) == 4


def test_a_merge_that_fails_costs_no_row_and_is_left_for_a_while(make_log, tmp_path, monkeypatch):
    tries = []

    def fail(*_):
        tries.append(1)
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(prediction_log, "merge_day", fail)
    log = make_log(flush_seconds=60, batch_rows=1)
    for n in range(1, 4):
        append(log, record())
        wait_until(lambda n=n: log.written == n)
    log.close()
    assert (log.written, log.dropped, len(tries)) == (3, 0, 1)


def test_files_set_aside_are_counted(make_log, tmp_path):
    log = make_log(flush_seconds=60)
    append(log, record(), record(1))
    log.close()
    min((tmp_path / "m").rglob("*.parquet")).write_bytes(b"")
    (tmp_path / "m" / "day=2007-01-02" / "0_0_0-x.parquet").write_bytes(b"")
    log = make_log(flush_seconds=0.01)
    append(log, record(2))
    wait_until(lambda: log.damaged == 2)
    log.close()
    assert len(read_predictions(tmp_path, "m")) == 2


def test_an_answer_that_cannot_be_stored_takes_no_other_with_it(make_log, tmp_path):
    log = make_log(flush_seconds=60)
    append(log, record(0), record(1, symbol="\ud800"), record(2))
    log.close()
    assert (log.written, log.dropped) == (2, 1)
    assert read_predictions(tmp_path, "m")["as_of"].to_list() == [START, START + 2 * DAY]


def test_memory_is_bounded_whatever_the_rows_are_like(make_log, monkeypatch):
    monkeypatch.setattr(prediction_log, "QUEUE_BYTES", 100_000)
    log = make_log(flush_seconds=60)
    wide = record(scores=[0.5] * 20_000)
    append(log, wide, wide)
    log.close()
    assert (log.written, log.dropped) == (1, 1)


def test_rows_of_one_version_and_some_columns_are_read(make_log, tmp_path):
    log = make_log(flush_seconds=60)
    append(log, record(0), record(1, version=2))
    log.close()
    columns = ("as_of", "symbol", "served_at")
    found = read_predictions(tmp_path, "m", None, None, 2, columns)
    assert found.rows() == [(START + DAY, "AAPL", START + DAY + timedelta(seconds=1))]
