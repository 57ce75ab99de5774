"""The bars store: durable, idempotent, safe for several processes."""

import multiprocessing
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from pipelines.data.bars import SCHEMA
from pipelines.data.sources import SOURCES, BarQuery
from pipelines.data.sources.segments import FAN_IN, TICK_NS, SegmentFolder
from pipelines.data.sources.store import BarStore
from registry.errors import (
    BarsError,
    MissingColumnsError,
    ParameterError,
    PriceBasisConflictError,
    UnknownSymbolError,
)

START = datetime(2024, 1, 1, tzinfo=UTC)


def make_bars(first_day: int, n_days: int, symbol: str = "ABC", price: float = 100.0):
    days = range(first_day, first_day + n_days)
    return pl.DataFrame(
        {
            "symbol": [symbol] * n_days,
            "timestamp": [START + timedelta(days=d) for d in days],
            "close": [price + d for d in days],
            "volume": [0.0] * n_days,
        }
    )


def test_appended_bars_are_read_back_by_another_store(tmp_path):
    report = BarStore(tmp_path).append(make_bars(0, 5), "1d", "raw")
    assert (report.accepted, report.duplicates, report.conflicts) == (5, 0, ())
    bars = BarStore(tmp_path).read()
    assert bars.frame.columns == list(SCHEMA)
    assert bars.frame["close"].to_list() == [100, 101, 102, 103, 104]
    assert bars.frame["high"].null_count() == 5
    assert (bars.interval, bars.price_basis, bars.source) == ("1d", "raw", "store")


def test_append_is_idempotent(tmp_path):
    store = BarStore(tmp_path)
    store.append(make_bars(0, 5), "1d", "raw")
    again = store.append(make_bars(3, 4), "1d", "raw")
    assert (again.accepted, again.duplicates) == (2, 2)
    assert len(store.read().frame) == 7


def test_a_different_bar_of_a_held_time_is_reported_and_the_first_stands(tmp_path):
    store = BarStore(tmp_path)
    store.append(make_bars(0, 3), "1d", "raw")
    report = store.append(make_bars(2, 2, price=200.0), "1d", "raw")
    assert report.accepted == 1
    assert report.conflicts == (
        "ABC 2024-01-03 00:00 is held with close 102.0, not 202.0; the held bar stands",
    )
    assert store.read().frame["close"].to_list() == [100, 101, 102, 203]


def test_repeats_within_one_append_are_counted(tmp_path):
    frame = pl.concat([make_bars(0, 2), make_bars(0, 1), make_bars(1, 1, price=5.0)])
    report = BarStore(tmp_path).append(frame, "1d", "raw")
    assert (report.accepted, report.duplicates, len(report.conflicts)) == (2, 1, 1)


def test_late_bars_are_sorted_in(tmp_path):
    store = BarStore(tmp_path)
    store.append(make_bars(5, 2), "1d", "raw")
    store.append(make_bars(0, 2), "1d", "raw")
    assert store.read().frame["close"].to_list() == [100, 101, 105, 106]
    assert BarStore(tmp_path).read().frame.equals(store.read().frame)


def test_two_stores_on_one_folder_see_each_other(tmp_path):
    one, two = BarStore(tmp_path), BarStore(tmp_path)
    one.append(make_bars(0, 2), "1d", "raw")
    assert two.append(make_bars(0, 3), "1d", "raw").duplicates == 2
    assert len(one.read().frame) == 3


def test_an_unusable_bar_stores_nothing(tmp_path):
    store = BarStore(tmp_path)
    frame = pl.concat([make_bars(0, 2), make_bars(2, 1, price=-500.0)])
    with pytest.raises(BarsError, match=r"ABC, 2024-01-03 00:00\): close is -498\.0"):
        store.append(frame, "1d", "raw")
    assert store.symbols("1d") == ()
    with pytest.raises(MissingColumnsError, match="close"):
        store.append(make_bars(0, 2).drop("close"), "1d", "raw")


def test_another_price_basis_is_a_conflict(tmp_path):
    store = BarStore(tmp_path)
    store.append(make_bars(0, 2), "1d", "adjusted")
    with pytest.raises(PriceBasisConflictError, match="holds 'adjusted' prices"):
        store.append(make_bars(2, 2), "1d", "raw")
    store.append(make_bars(2, 2), "1h", "raw")
    assert store.intervals() == ("1d", "1h")
    assert store.price_basis("1h") == "raw"


@pytest.mark.parametrize("interval", ["../1d", "daily", "", "0d"])
def test_an_interval_that_is_none_is_refused(tmp_path, interval):
    with pytest.raises(ParameterError, match="interval"):
        BarStore(tmp_path).append(make_bars(0, 2), interval, "raw")


def test_read_names_what_is_not_held(tmp_path):
    store = BarStore(tmp_path)
    with pytest.raises(BarsError, match="holds no bars"):
        store.read()
    store.append(make_bars(0, 2), "1d", "raw")
    with pytest.raises(UnknownSymbolError, match=r"'XYZ'.*it has: ABC"):
        store.read(symbols=["XYZ"])
    with pytest.raises(ParameterError, match=r"1h.*one that the store holds: 1d"):
        store.read("1h")


def test_a_folder_whose_first_append_was_cut_off_is_empty(tmp_path):
    (tmp_path / "1d").mkdir()
    (tmp_path / "1d" / "interval.json").write_text('{"price_basis": "raw"}')
    with pytest.raises(BarsError, match="holds no bars"):
        BarStore(tmp_path).read()
    assert BarStore(tmp_path).append(make_bars(0, 2), "1d", "raw").accepted == 2


def test_tail_gives_the_newest_bars(tmp_path):
    store = BarStore(tmp_path)
    store.append(make_bars(0, 9), "1d", "raw")
    assert store.tail("1d", "ABC", 2)["close"].to_list() == [107, 108]
    assert store.tail("1d", "XYZ", 2).is_empty()


def test_times_that_are_texts_are_refused_as_such(tmp_path):
    given = pl.DataFrame({"symbol": ["A", "A"], "timestamp": ["1", "2"], "close": [1.0, 2.0]})
    with pytest.raises(BarsError, match="wrong type"):
        BarStore(tmp_path).append(given, "1d", "adjusted")


def test_many_appends_leave_few_files(tmp_path):
    store = BarStore(tmp_path)
    for day in range(3 * FAN_IN):
        store.append(make_bars(day, 1), "1d", "raw")
    assert len(SegmentFolder(tmp_path / "1d").names()) == 3
    assert len(BarStore(tmp_path).read().frame) == 3 * FAN_IN
    assert store.append(make_bars(0, 1), "1d", "raw").duplicates == 1


def test_a_half_written_file_is_not_read(tmp_path):
    BarStore(tmp_path).append(make_bars(0, 2), "1d", "raw")
    (tmp_path / "1d" / ".0-9-9.parquet.partial").write_bytes(b"PAR1 cut")
    assert len(BarStore(tmp_path).read().frame) == 2


def test_a_crash_between_merge_and_removal_loses_and_repeats_nothing(tmp_path):
    store = BarStore(tmp_path)
    store.append(make_bars(0, 2), "1d", "raw")
    store.append(make_bars(2, 2), "1d", "raw")
    folder = SegmentFolder(tmp_path / "1d")
    folder.write(folder.load(folder.names()), level=1)
    assert BarStore(tmp_path).read().frame["close"].to_list() == [100, 101, 102, 103]
    assert len(store.read().frame) == 4


def append_days(directory: Path, symbol: str, n_days: int) -> None:
    store = BarStore(directory)
    for day in range(n_days):
        store.append(make_bars(day, 1, symbol), "1d", "raw")


@pytest.mark.integration
def test_readers_see_whole_appends_while_processes_write_and_merge(tmp_path):
    n_days = FAN_IN + 5
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=append_days, args=(tmp_path, symbol, n_days))
        for symbol in ("AAA", "BBB")
    ]
    BarStore(tmp_path).append(make_bars(0, 1, "AAA"), "1d", "raw")
    for writer in writers:
        writer.start()
    seen = 0
    while any(writer.is_alive() for writer in writers):
        n = len(BarStore(tmp_path).read("1d").frame)
        assert n >= seen
        seen = n
        time.sleep(0.05)  # the writers need the processors
    assert [writer.exitcode for writer in writers] == [0, 0]
    counts = BarStore(tmp_path).read("1d").frame["symbol"].value_counts(sort=True)
    assert counts["count"].to_list() == [n_days, n_days]


def test_source_reads_the_folder_it_is_given(tmp_path):
    BarStore(tmp_path).append(make_bars(0, 4), "1d", "raw")
    query = BarQuery(path=tmp_path, symbols=("ABC",), start=START + timedelta(days=1))
    bars = SOURCES.get("store").read(query)
    assert len(bars.frame) == 3
    assert bars.frame["volume"].null_count() == 3
    assert "volume of ABC is zero in every bar" in bars.repairs[0]


def test_source_reads_the_platform_folder_by_default(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    BarStore(tmp_path / "bars").append(make_bars(0, 4), "1d", "raw")
    assert len(SOURCES.get("store").read(BarQuery()).frame) == 4


# What other processes do -----------------------------------------------------------------------


def read_names(monkeypatch) -> list[str]:
    """Return a list that gets the name of every segment read from now on."""
    found: list[str] = []
    load = SegmentFolder.load

    def counting(folder, names):
        found.extend(names)
        return load(folder, names)

    monkeypatch.setattr(SegmentFolder, "load", counting)
    return found


def test_a_reader_waits_for_no_writer(tmp_path):
    store = BarStore(tmp_path)
    store.append(make_bars(0, 3), "1d", "raw")
    with SegmentFolder(tmp_path / "1d").lock(exclusive=True):  # as a writer in its fsync
        began = time.monotonic()
        assert len(store.read().frame) == 3
        assert len(BarStore(tmp_path).read().frame) == 3
        assert time.monotonic() - began < 1


def test_unchanged_bars_are_the_same_object_and_read_once(tmp_path, monkeypatch):
    store = BarStore(tmp_path)
    store.append(make_bars(0, 3), "1d", "raw")
    frame = store.held("1d").frames["ABC"]
    read = read_names(monkeypatch)
    for _ in range(3):
        assert store.held("1d").frames["ABC"] is frame
    time.sleep(2 * TICK_NS / 1e9)
    settled = store.held("1d")
    assert store.held("1d") is settled
    assert read == []


def test_a_look_does_not_change_under_its_reader(tmp_path):
    store = BarStore(tmp_path)
    store.append(make_bars(0, 3), "1d", "raw")
    before = store.held("1d")
    store.append(make_bars(3, 2), "1d", "raw")
    store.append(make_bars(0, 1, "XYZ"), "1d", "raw")
    assert (len(before.frames["ABC"]), set(before.frames)) == (3, {"ABC"})
    assert len(store.held("1d").frames["ABC"]) == 5


def test_appends_within_one_tick_of_the_clock_are_seen(tmp_path):
    one, two = BarStore(tmp_path), BarStore(tmp_path)
    for day in range(12):
        one.append(make_bars(day, 1), "1d", "raw")
        assert len(two.held("1d").frames["ABC"]) == day + 1


def test_a_merge_of_known_segments_reads_nothing_again(tmp_path, monkeypatch):
    writer, reader = BarStore(tmp_path), BarStore(tmp_path)
    for day in range(FAN_IN - 1):
        writer.append(make_bars(day, 1), "1d", "raw")
    reader.held("1d")
    folder = SegmentFolder(tmp_path / "1d")
    parts = folder.names()
    merged = folder.write(folder.load(parts), 1, parts)
    for name in parts:
        (folder.directory / name).unlink()
    writer.append(make_bars(FAN_IN, 1, "XYZ"), "1d", "raw")
    read = read_names(monkeypatch)
    held = reader.held("1d")
    assert merged not in read
    assert len(read) == 1
    assert {s: len(frame) for s, frame in held.frames.items()} == {"ABC": FAN_IN - 1, "XYZ": 1}


def test_a_merge_of_segments_that_were_never_seen_is_read(tmp_path):
    writer, reader = BarStore(tmp_path), BarStore(tmp_path)
    writer.append(make_bars(0, 1), "1d", "raw")
    reader.held("1d")
    for day in range(1, FAN_IN + 2):
        writer.append(make_bars(day, 1), "1d", "raw")
    assert len(reader.held("1d").frames["ABC"]) == FAN_IN + 2


def test_segments_that_were_taken_away_are_held_no_longer(tmp_path):
    store = BarStore(tmp_path)
    store.append(make_bars(0, 2), "1d", "raw")
    store.append(make_bars(0, 2, "XYZ"), "1d", "raw")
    newest = max(SegmentFolder(tmp_path / "1d").names())
    (tmp_path / "1d" / newest).unlink()
    assert set(store.held("1d").frames) == {"ABC"}
    shutil.rmtree(tmp_path / "1d")
    assert store.held("1d").frames == {}
    store.append(make_bars(5, 1), "1d", "mid")
    assert (len(store.read().frame), store.read().price_basis) == (1, "mid")


def test_a_merge_while_segments_are_read_is_looked_at_again(tmp_path, monkeypatch):
    store, load = BarStore(tmp_path), SegmentFolder.load
    store.append(make_bars(0, 2), "1d", "raw")
    failures = iter([FileNotFoundError("merged")])

    def vanishing(folder, names):
        for error in failures:
            raise error
        return load(folder, names)

    monkeypatch.setattr(SegmentFolder, "load", vanishing)
    assert len(BarStore(tmp_path).read().frame) == 2


def test_a_reader_beside_an_append_of_its_process_has_all_that_was_there_before(
    tmp_path, monkeypatch
):
    store, write, seen = BarStore(tmp_path), SegmentFolder.write, []
    store.append(make_bars(0, 3), "1d", "raw")
    BarStore(tmp_path).append(make_bars(3, 2), "1d", "raw")

    def written(folder, *given):
        name = write(folder, *given)
        read = read_names(monkeypatch)
        seen.append((len(store.read().frame), read, name in folder.names()))
        return name

    with monkeypatch.context() as patched:
        patched.setattr(SegmentFolder, "write", written)
        store.append(make_bars(5, 1), "1d", "raw")
    assert seen == [(5, [], True)]  # nothing is read twice
    assert len(store.read().frame) == 6


def test_after_an_append_that_failed_a_reader_looks_again(tmp_path, monkeypatch):
    store = BarStore(tmp_path)
    store.append(make_bars(0, 3), "1d", "raw")

    def full(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="disk full"):
        patched.setattr(SegmentFolder, "write", full)
        store.append(make_bars(3, 1), "1d", "raw")
    BarStore(tmp_path).append(make_bars(3, 2), "1d", "raw")
    assert len(store.read().frame) == 5
