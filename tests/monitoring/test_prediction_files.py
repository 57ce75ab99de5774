import json
import os
import threading
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from monitoring import prediction_files
from monitoring.prediction_files import (
    ModelFolder,
    between,
    read_files,
    read_folder,
    write_file,
)
from monitoring.prediction_log import read_predictions
from monitoring.prediction_rows import SCHEMA, frame_of
from tests.examples import make_logged

AT = datetime(2026, 11, 30, 12, tzinfo=UTC)
TODAY = AT.date()
HOUR = timedelta(hours=1)


def rows(*hours: int, **changes) -> pl.DataFrame:
    facts = {
        "request_id": "r",
        "served_at": AT,
        "model_id": "m",
        "version": 1,
        "flavor": "onnx",
        "backend": "cpu",
        "latency_ms": 1.0,
        "features": [0.5],
        "scores": [1.0],
        "answer": "{}",
        "source_kind": "bars",
    } | changes
    return frame_of(
        [make_logged(*(facts | {"as_of": AT + h * HOUR, "symbol": str(h)} for h in hours))]
    )


@pytest.fixture
def folder(tmp_path):
    return ModelFolder(tmp_path / "m")


def write(folder, *hours, day=TODAY, **changes):
    return write_file(folder.of_day(day), rows(*hours, **changes))


def symbols(folder, *span):
    return sorted(read_folder(folder, *span).rows["symbol"].to_list())


def test_a_file_lies_in_the_folder_of_its_day_and_tells_its_times(folder):
    path = write(folder, 3, 1, 2)
    assert path.parent == folder.directory / "day=2026-11-30"
    first, last = (AT + h * HOUR for h in (1, 3))
    assert path.name.startswith(f"{first.timestamp() * 1e6:.0f}_{last.timestamp() * 1e6:.0f}_0-")
    assert folder.days() == [TODAY] and folder.files() == [path]


def test_folders_that_are_no_days_are_left_alone(folder):
    write(folder, 1)
    for name in ("day=20261129", "day=yesterday", "other"):
        (folder.directory / name).mkdir()
    assert folder.days() == [TODAY] and len(folder.files()) == 1


def test_only_files_that_overlap_the_span_are_opened(folder):
    early, late = write(folder, 1, 2), write(folder, 5)
    found = between(folder.files(), AT + 2 * HOUR, AT + 4 * HOUR)
    assert found == [early]
    late.write_bytes(b"never opened")
    assert symbols(folder, AT + 2 * HOUR, AT + 4 * HOUR) == ["2"]


def test_a_file_whose_name_says_nothing_is_always_read(folder):
    folder.of_day(TODAY).mkdir(parents=True)
    rows(1, 9).write_parquet(folder.of_day(TODAY) / "by-hand.parquet")
    assert symbols(folder, AT + HOUR, AT + 2 * HOUR) == ["1"]


# Old layouts ------------------------------------------------------------------------------------

OLD_COLUMNS = [name for name in SCHEMA if name != "n_scores"]


def test_files_of_release_0_1_are_read_beside_new_ones(folder):
    folder.directory.mkdir()
    old = rows(1, 2).select(OLD_COLUMNS)
    old.write_parquet(folder.directory / "1_2000000000000000_abc.parquet")
    write(folder, 3)
    found = read_folder(folder).rows.sort("as_of")
    assert found.schema == pl.Schema(SCHEMA)
    assert found["n_scores"].to_list() == [None, None, 1]
    assert found["scores"].to_list() == [[1.0]] * 3


@pytest.mark.parametrize(
    "change",
    [
        lambda old: old.drop("source_kind", "latency_ms", "n_scores"),
        lambda old: old.with_columns(more=pl.lit(1), other=pl.lit("x")),
        lambda old: old.select(reversed(old.columns)),
        lambda old: old.with_columns(
            pl.col("version").cast(pl.Int64),
            pl.col("as_of").cast(pl.Datetime("ms", "UTC")),
            pl.col("scores").cast(pl.List(pl.Float64)),
            pl.col("symbol").cast(pl.Categorical),
        ),
    ],
    ids=["columns fewer", "columns more", "another order", "other types"],
)
def test_every_layout_is_read(folder, change):
    write(folder, 1)
    change(rows(2)).write_parquet(folder.of_day(TODAY) / "0_9999999999999999_x.parquet")
    found = read_folder(folder).rows.sort("as_of")
    assert found.schema == pl.Schema(SCHEMA)
    assert found["as_of"].to_list() == [AT + HOUR, AT + 2 * HOUR]
    assert found["version"].to_list() == [1, 1]
    assert found["scores"].to_list() == [[1.0], [1.0]]


# Damage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["empty", "cut", "no parquet", "another type"])
def test_a_damaged_file_is_skipped_and_named(folder, damage, capsys):
    write(folder, 1)
    bad = write(folder, 2)
    if damage == "another type":
        pl.DataFrame({"as_of": [{"a": 1}], "symbol": ["2"]}).write_parquet(bad)
    else:
        whole = bad.read_bytes()
        bad.write_bytes({"empty": b"", "cut": whole[:-40], "no parquet": b"text"}[damage])
    found = read_folder(folder)
    assert found.rows["symbol"].to_list() == ["1"]
    assert found.damaged == (bad,)
    assert "prediction files skipped" in capsys.readouterr().out


def test_a_file_that_may_not_be_opened_is_skipped(folder, monkeypatch):
    write(folder, 1)
    bad = write(folder, 2)
    real = pl.read_parquet

    def read(path, **options):
        if path == bad:
            raise PermissionError(13, "Permission denied")
        return real(path, **options)

    def scan(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pl, "scan_parquet", scan)
    monkeypatch.setattr(pl, "read_parquet", read)
    assert read_folder(folder).damaged == (bad,)


def test_where_every_file_is_damaged_there_are_no_rows(folder):
    write(folder, 1).write_bytes(b"")
    assert read_predictions(folder.directory.parent, "m").is_empty()


# Merges that are recorded -----------------------------------------------------------------------


@pytest.fixture
def merge(folder):
    """Two files, the file they were merged into, and its record, as a killed merge leaves them."""
    parts = [write(folder, 1), write(folder, 2)]
    made = write_file(folder.of_day(TODAY), rows(1, 2), 1, ".merged")
    names = [p.relative_to(folder.directory).as_posix() for p in parts]
    final = made.with_suffix(".parquet")
    record = folder.directory / "x.merge"
    facts = {"parts": names, "made": [final.relative_to(folder.directory).as_posix()]}
    return parts, made, final, record, json.dumps(facts)


def test_a_merged_file_counts_from_the_record_on_at_every_step(folder, merge):
    parts, made, final, record, text = merge
    assert symbols(folder) == ["1", "2"] and folder.files() == sorted(parts)
    record.write_text(text)
    assert symbols(folder) == ["1", "2"] and folder.files() == [made]
    made.rename(final)
    assert symbols(folder) == ["1", "2"] and folder.files() == [final]
    parts[0].unlink()
    assert symbols(folder) == ["1", "2"]
    parts[1].unlink()
    record.unlink()
    assert symbols(folder) == ["1", "2"] and folder.files() == [final]


def test_a_record_that_cannot_be_read_is_said_and_the_parts_count(folder, merge, capsys):
    merge[3].write_text('{"parts": 1')
    assert symbols(folder) == ["1", "2"]
    assert "cannot be read" in capsys.readouterr().out


def test_a_listing_that_missed_a_merge_is_taken_again(folder, merge, monkeypatch):
    parts, _, final, _, _ = merge
    looks = [set(parts), set(), {final}]  # the second saw neither the parts nor the merged file
    monkeypatch.setattr(ModelFolder, "_look", lambda _: looks.pop(0) if looks else {final})
    assert folder.files() == [final]


def test_a_merged_file_that_vanished_for_good_does_not_stop_a_reader(folder, merge, monkeypatch):
    monkeypatch.setattr(prediction_files, "READ_TRIES", 2)
    _, made, _, record, text = merge
    record.write_text(text)
    made.unlink()
    write(folder, 3)
    found = read_folder(folder)
    assert found.rows["symbol"].to_list() == ["3"]
    assert len(found.damaged) == 1


def test_a_file_that_is_removed_between_listing_and_reading_is_an_error_of_the_look(folder):
    path = write(folder, 1)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read_files([path], [])


# When something was last written ----------------------------------------------------------------


def test_the_newest_write_is_that_of_the_newest_file_whatever_the_day_is_called(folder):
    paths = [write(folder, 1, day=day) for day in (date(2099, 1, 1), TODAY, date(1970, 1, 1))]
    for age, path in enumerate(paths):
        at = (AT - age * HOUR).timestamp()
        os.utime(path, (at, at))
        os.utime(path.parent, (at, at))
    assert folder.newest_write() == AT
    assert ModelFolder(folder.directory / "none").newest_write() is None


def test_writing_in_many_threads_leaves_whole_files_only(folder):
    threads = [threading.Thread(target=write, args=(folder, i)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert symbols(folder) == sorted(map(str, range(8)))
