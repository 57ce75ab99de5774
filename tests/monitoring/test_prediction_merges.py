import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import polars as pl
import pytest

from monitoring import prediction_merges
from monitoring.prediction_files import ModelFolder, read_folder, write_file
from monitoring.prediction_log import PredictionLog, read_predictions
from monitoring.prediction_merges import FAN_IN, level_of, locked, merge_day, merge_past
from monitoring.prediction_rows import frame_of
from monitoring.settings import PredictionLogSettings
from tests.examples import make_logged

AT = datetime(2026, 11, 30, 12, tzinfo=UTC)
TODAY, TOMORROW = AT.date(), AT.date() + timedelta(days=1)
ROOT = Path(__file__).parents[2]


def row(i: int, **changes) -> dict:
    return {
        "request_id": f"r{i}",
        "served_at": AT,
        "as_of": AT + i * timedelta(seconds=1),
        "model_id": "m",
        "version": 1,
        "flavor": "onnx",
        "backend": "cpu",
        "symbol": str(i),
        "latency_ms": 1.0,
        "features": [0.5],
        "scores": [1.0],
        "answer": "{}",
        "source_kind": "bars",
    } | changes


@pytest.fixture
def folder(tmp_path):
    return ModelFolder(tmp_path / "m")


@pytest.fixture
def write(folder):
    """Write n files of one row each; every row ever written is counted on from 0."""
    numbers = count()

    def write(n: int, day=TODAY, place=None):
        for _ in range(n):
            frame = frame_of([make_logged(row(next(numbers)))])
            write_file(place or folder.of_day(day), frame)

    return write


def symbols(folder):
    return sorted(map(int, read_folder(folder).rows["symbol"]))


def names(folder):
    return sorted(path.name for path in folder.directory.rglob("*") if path.is_file())


def test_a_full_level_becomes_one_file_of_the_next(folder, write):
    write(FAN_IN - 1)
    assert merge_day(folder, TODAY).is_changed is False
    write(1)
    before = read_folder(folder).rows.sort("as_of")
    assert merge_day(folder, TODAY).is_changed is True
    (path,) = folder.files()
    assert level_of(path) == 1 and path.parent == folder.of_day(TODAY)
    assert read_folder(folder).rows.sort("as_of").equals(before)
    assert names(folder) == [path.name]


def test_the_merged_file_tells_the_times_of_all_its_rows_and_when_they_were_written(folder, write):
    write(FAN_IN)
    newest = max(path.stat().st_mtime_ns for path in folder.files())
    written_at = folder.newest_write()
    merge_day(folder, TODAY)
    (path,) = folder.files()
    low, high, _ = path.stem.split("_")
    assert int(high) - int(low) == (FAN_IN - 1) * 1_000_000
    assert path.stat().st_mtime_ns == newest and folder.newest_write() == written_at


def test_levels_are_merged_in_turn(folder, write, monkeypatch):
    monkeypatch.setattr(prediction_merges, "FAN_IN", 2)
    write(2)
    merge_day(folder, TODAY)
    write(2)
    assert merge_day(folder, TODAY).is_changed and merge_day(folder, TODAY).is_changed
    assert [level_of(path) for path in folder.files()] == [2]
    assert symbols(folder) == [0, 1, 2, 3]


def test_large_files_are_left_as_they_are(folder, write, monkeypatch):
    monkeypatch.setattr(prediction_merges, "FULL_BYTES", 1)
    write(FAN_IN)
    assert not merge_day(folder, TODAY).is_changed and not merge_past(folder, TOMORROW).is_changed


def test_a_merge_takes_a_bounded_number_of_bytes(folder, write, monkeypatch):
    write(FAN_IN)
    size = folder.files()[0].stat().st_size
    monkeypatch.setattr(prediction_merges, "MOST_BYTES", 3 * size + size // 2)
    merge_day(folder, TODAY)
    assert sorted(level_of(path) for path in folder.files()) == [0] * (FAN_IN - 3) + [1]
    assert symbols(folder) == list(range(FAN_IN))


def test_a_past_day_becomes_one_file_and_today_is_left_to_be_written(folder, write):
    write(3)
    write(2, TOMORROW)
    assert merge_past(folder, TOMORROW).is_changed
    assert not merge_past(folder, TOMORROW).is_changed
    found = [path.parent.name for path in folder.files()]
    assert found == ["day=2026-11-30", "day=2026-12-01", "day=2026-12-01"]
    assert symbols(folder) == [0, 1, 2, 3, 4]


def test_files_of_release_0_1_are_taken_into_their_days(folder, write):
    old = [row(i, served_at=AT + i * timedelta(hours=6)) for i in range(4)]
    frame = frame_of([make_logged(each) for each in old]).drop("n_scores")
    folder.directory.mkdir()
    frame[:3].write_parquet(folder.directory / "1_2000000000000000_abc.parquet")
    frame[3:].write_parquet(folder.directory / "1_2000000000000000_def.parquet")
    assert symbols(folder) == [0, 1, 2, 3]
    assert merge_past(folder, TODAY).is_changed
    assert [path.parent.name for path in folder.files()] == ["day=2026-11-30", "day=2026-12-01"]
    assert symbols(folder) == [0, 1, 2, 3]
    assert not list(folder.directory.glob("*.parquet"))


def test_a_column_that_this_release_does_not_know_is_kept(folder, write):
    write(1)
    newer = frame_of([make_logged(row(7))]).with_columns(more=pl.lit(5))
    write_file(folder.of_day(TODAY), newer)
    merge_past(folder, TOMORROW)
    (path,) = folder.files()
    assert pl.read_parquet(path).sort("as_of")["more"].to_list() == [None, 5]
    assert symbols(folder) == [0, 7]


def test_a_damaged_file_is_set_aside_and_the_rest_is_merged(folder, write, capsys):
    write(3)
    bad = folder.files()[1]
    bad.write_bytes(b"")
    outcome = merge_past(folder, TOMORROW)
    assert outcome.damaged == (bad,)
    assert len(folder.files()) == 1 and symbols(folder) == [0, 2]
    assert bad.with_suffix(".damaged").exists() and not bad.exists()
    assert "set aside" in capsys.readouterr().out
    assert not merge_past(folder, TOMORROW).is_changed


def test_a_file_that_the_disk_does_not_give_now_is_not_set_aside(folder, write, monkeypatch):
    write(3)

    def fail(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(OSError, match="Input/output"):
        merge_past(folder, TOMORROW)
    monkeypatch.undo()
    assert len(folder.files()) == 3 and symbols(folder) == [0, 1, 2]


# Faults -----------------------------------------------------------------------------------------


def test_a_full_disk_changes_nothing_and_leaves_nothing(folder, write, monkeypatch):
    write(3)
    before = names(folder)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        merge_past(folder, TOMORROW)
    monkeypatch.undo()
    assert names(folder) == before and symbols(folder) == [0, 1, 2]


@pytest.mark.parametrize("step", range(1, 8))
def test_a_merge_that_stops_anywhere_loses_no_row_and_has_none_twice(
    folder, write, monkeypatch, step
):
    """Every change of the disk in turn is the last one; then another process goes on."""
    write(3)
    steps = count(1)
    real = {name: getattr(Path, name) for name in ("rename", "unlink")}

    def stop_at(name):
        def change(path, *args, **options):
            if next(steps) >= step:
                raise KeyboardInterrupt
            return real[name](path, *args, **options)

        return change

    for name in real:
        monkeypatch.setattr(Path, name, stop_at(name))
    with pytest.raises(KeyboardInterrupt):
        merge_past(folder, TOMORROW)
    monkeypatch.undo()
    assert symbols(folder) == [0, 1, 2]
    write(1)
    while merge_past(folder, TOMORROW).is_changed:
        assert symbols(folder) == [0, 1, 2, 3]
    assert symbols(folder) == [0, 1, 2, 3]
    (path,) = folder.files()
    left = [name for name in names(folder) if not name.endswith(".unfinished")]
    assert left == [path.name]


def test_merged_files_that_somebody_removed_give_way_to_the_parts(folder, write, capsys):
    write(2)
    named = [p.relative_to(folder.directory).as_posix() for p in folder.files()]
    record = {"parts": named, "made": ["day=2026-11-30/0_0_1-gone.parquet"]}
    (folder.directory / "x.merge").write_text(json.dumps(record))
    assert merge_past(folder, TOMORROW).is_changed
    assert symbols(folder) == [0, 1]
    assert "are gone" in capsys.readouterr().out


def test_what_killed_writers_left_is_removed_after_a_day(folder, write):
    write(1)
    place = folder.of_day(TODAY)
    for name in ("old.unfinished", "new.unfinished", "x.merged"):
        (place / name).write_bytes(b"half")
    long_ago = time.time() - 2 * 86_400
    os.utime(place / "old.unfinished", (long_ago, long_ago))
    merge_past(folder, TOMORROW)
    left = {path.name for path in place.iterdir()}
    assert "new.unfinished" in left and left.isdisjoint({"old.unfinished", "x.merged"})


def test_while_another_process_merges_nobody_waits(folder, write):
    write(FAN_IN)
    descriptor = os.open(folder.directory, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert not merge_day(folder, TODAY).is_changed
    with locked(folder) as is_mine:
        assert is_mine is False
    assert symbols(folder) == list(range(FAN_IN))
    write(1)
    os.close(descriptor)
    assert merge_day(folder, TODAY).is_changed


WRITER = """
import sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests/monitoring"]
from pathlib import Path
from monitoring import prediction_merges
from monitoring.prediction_log import PredictionLog
from monitoring.settings import PredictionLogSettings
from test_prediction_merges import make_logged, row
prediction_merges.FAN_IN = 3
settings = PredictionLogSettings(prediction_log_batch_rows=1, prediction_log_flush_seconds=0.01)
log = PredictionLog(Path(sys.argv[2]), settings)
for i in range(100_000):
    while log.written < i: pass
    log.append(make_logged(row(i, request_id=sys.argv[3])))
    if log.written: print(log.written, flush=True)
"""


@pytest.mark.integration
@pytest.mark.slow
def test_killed_writers_and_readers_that_look_on_see_every_row_once(tmp_path):
    """Two processes write and merge in one folder; both are killed; rows told as written stay."""
    line = [sys.executable, "-c", WRITER, str(ROOT), str(tmp_path)]
    writers = [
        subprocess.Popen([*line, name], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for name in "ab"
    ]
    until = time.monotonic() + 60
    while len(read_predictions(tmp_path, "m")) < 60 and time.monotonic() < until:
        found = read_predictions(tmp_path, "m")
        assert len(found) == len(found.unique(["request_id", "symbol"]))
        for name in "ab":
            seen = sorted(map(int, found.filter(request_id=name)["symbol"]))
            assert seen == list(range(len(seen)))
    told = {}
    for name, writer in zip("ab", writers, strict=True):
        writer.send_signal(signal.SIGKILL)
        said, _ = writer.communicate()
        told[name] = int(said.split()[-1])
    last = PredictionLog(tmp_path, PredictionLogSettings(prediction_log_flush_seconds=0.01))
    last.append(make_logged(row(0, request_id="c", served_at=AT + timedelta(days=1))))
    folder = ModelFolder(tmp_path / "m")
    until = time.monotonic() + 20
    while len(folder.files()) > 2 and time.monotonic() < until:
        time.sleep(0.01)
    last.close()
    found = read_predictions(tmp_path, "m")
    for name in "ab":
        seen = sorted(map(int, found.filter(request_id=name)["symbol"]))
        assert seen == list(range(len(seen))) and len(seen) >= told[name] > 0
    assert len(folder.files()) == 2
