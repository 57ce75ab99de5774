"""Corrections of bars: all or nothing, kept for ever, seen by every reader."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
import sqlalchemy as sa

from pipelines.data.bars import SCHEMA
from pipelines.data.sources.corrections import Author, CorrectionFolder, Removal
from pipelines.data.sources.segments import FAN_IN, SegmentFolder
from pipelines.data.sources.store import BarStore
from registry import events
from registry.errors import BarsError, DamagedBarsError, PriceBasisConflictError
from serving.history import History

START = datetime(2024, 1, 1, tzinfo=UTC)
PERSON = Author("ada", "the feed sent cents")


def make_bars(first_day, n_days, symbol="ABC", price=100.0):
    return pl.DataFrame(
        {
            "symbol": [symbol] * n_days,
            "timestamp": [START + timedelta(days=first_day + i) for i in range(n_days)],
            "close": [price + first_day + i for i in range(n_days)],
        }
    )


def closes(store, symbol="ABC"):
    frame = store.held("1d").frames.get(symbol)
    return [] if frame is None else frame["close"].to_list()


@pytest.fixture
def store(tmp_path):
    store = BarStore(tmp_path / "bars")
    store.append(make_bars(0, 3), "1d", "raw")
    store.append(make_bars(0, 2, "XYZ", 50.0), "1d", "raw")
    return store


def told(engine):
    return [e for e in events.read(engine) if e.kind in ("bars_corrected", "bars_removed")]


def test_a_put_bar_is_held_instead_and_the_event_keeps_what_was_there(store, engine):
    other, history = BarStore(store.directory), History(store)
    assert closes(other) == [100, 101, 102]
    before = {s: history.look("1d").newest(s, 10).series for s in ("ABC", "XYZ")}
    found = store.put(make_bars(1, 1, price=0.0), "1d", "raw", PERSON, engine)
    assert found.was["close"].to_list() == [101] and found.now["close"].to_list() == [1]
    assert closes(store) == closes(other) == closes(BarStore(store.directory)) == [100, 1, 102]
    after = {s: history.look("1d").newest(s, 10).series for s in ("ABC", "XYZ")}
    assert after["ABC"].close.tolist() == [100, 1, 102]
    assert (after["ABC"].revision, after["XYZ"].revision) == (1, 0)
    assert after["XYZ"] is before["XYZ"]  # what was not touched stays as it was
    assert before["ABC"].close.tolist() == [100, 101, 102]
    (event,) = told(engine)
    assert (event.kind, event.actor, event.reason) == ("bars_corrected", *vars_of(PERSON))
    time = "2024-01-02T00:00:00+00:00"
    assert event.facts["before"] == [{"symbol": "ABC", "timestamp": time, "close": 101.0}]
    assert event.facts["after"] == [{"symbol": "ABC", "timestamp": time, "close": 1.0}]
    kept = CorrectionFolder(SegmentFolder(store.directory / "1d")).get(found.id)
    assert kept.was.equals(found.was) and kept.now.equals(found.now) and kept.author == PERSON


def vars_of(author):
    return author.actor, author.reason


def test_putting_what_is_held_changes_nothing(store, engine):
    assert store.put(make_bars(0, 3), "1d", "raw", PERSON, engine) is None
    assert told(engine) == []
    added = store.put(make_bars(0, 5), "1d", "raw", PERSON, engine)
    assert (len(added.was), len(added.now)) == (0, 2)
    assert closes(store) == [100, 101, 102, 103, 104]


def test_bars_and_whole_symbols_are_removed_and_can_come_back(store, engine):
    day = START + timedelta(days=1)
    assert len(store.remove("1d", Removal("ABC", day, day), PERSON, engine).was) == 1
    assert closes(store) == [100, 102]
    assert len(store.remove("1d", Removal("XYZ"), PERSON, engine).was) == 2
    assert store.symbols("1d") == BarStore(store.directory).symbols("1d") == ("ABC",)
    assert store.remove("1d", Removal("XYZ"), PERSON, engine) is None
    assert store.remove("1h", Removal("ABC"), PERSON, engine) is None
    assert store.append(make_bars(0, 1, "XYZ", 7.0), "1d", "raw").accepted == 1
    assert closes(BarStore(store.directory), "XYZ") == [7.0]
    assert [event.kind for event in told(engine)] == ["bars_removed"] * 2


def test_corrections_survive_merges_of_segments(store, engine):
    for day in range(3, FAN_IN + 1):
        store.append(make_bars(day, 1), "1d", "raw")
    store.put(make_bars(1, 1, price=0.0), "1d", "raw", PERSON, engine)
    for day in range(FAN_IN + 1, 3 * FAN_IN):
        store.append(make_bars(day, 1), "1d", "raw")
    expected = [100, 1, *(100 + day for day in range(2, 3 * FAN_IN))]
    assert closes(store) == closes(BarStore(store.directory)) == expected


def test_bad_corrections_change_nothing(store, engine):
    with pytest.raises(BarsError, match="two bars of one time differ"):
        both = pl.concat([make_bars(0, 1), make_bars(0, 1, price=5.0)])
        store.put(both, "1d", "raw", PERSON, engine)
    with pytest.raises(BarsError, match="close"):
        store.put(make_bars(0, 1, price=-5.0), "1d", "raw", PERSON, engine)
    with pytest.raises(PriceBasisConflictError):
        store.put(make_bars(0, 1), "1d", "adjusted", PERSON, engine)
    noon = make_bars(0, 1).with_columns(pl.col("timestamp") + timedelta(hours=12))
    with pytest.raises(BarsError, match="two bars of one day"):
        store.put(noon, "1d", "raw", PERSON, engine)
    assert closes(store) == [100, 101, 102] and told(engine) == []


def test_without_a_database_nothing_changes(store, tmp_path):
    nowhere = sa.create_engine(f"sqlite:///{tmp_path}/none/engine.db")
    with pytest.raises(sa.exc.OperationalError):
        store.remove("1d", Removal("ABC"), PERSON, nowhere)
    nowhere.dispose()
    assert closes(BarStore(store.directory)) == [100, 101, 102]


@pytest.mark.parametrize("dies_at", ["change", "_remove"])
def test_what_a_killed_process_decided_happens(store, engine, monkeypatch, dies_at):
    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SegmentFolder, dies_at, die)
        store.remove("1d", Removal("ABC"), PERSON, engine)
    whole = ([100, 101, 102], [])
    assert closes(BarStore(store.directory)) in whole
    assert len(told(engine)) == 1
    other = BarStore(store.directory)
    assert closes(other) in whole
    other.append(make_bars(9, 1), "1d", "raw")
    assert closes(store) == closes(other) == closes(BarStore(store.directory)) == [109]
    store.recover(engine)
    assert len(told(engine)) == 1


def test_an_event_that_a_crash_kept_out_is_told_later(store, engine, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        # the file is there, the transaction is not: its commit never came
        patch.setattr("pipelines.data.sources.corrections.sync_folder", die)
        store.remove("1d", Removal("ABC"), PERSON, engine)
    assert told(engine) == []
    store.recover(engine)
    store.recover(engine)
    (event,) = told(engine)
    assert event.facts["n_before"] == 3
    assert closes(store) == closes(BarStore(store.directory)) == []


def test_the_same_length_in_another_unit_is_the_same_interval(store, engine):
    assert store.append(make_bars(0, 3), "24h", "raw").duplicates == 3
    assert store.append(make_bars(3, 1), "1440m", "raw").accepted == 1
    assert store.intervals() == ("1d",)
    bars = store.read("24h", ["ABC"])
    assert (bars.interval, len(bars.frame)) == ("1d", 4)
    assert store.held("24h") is store.held("1d")


def test_stores_with_other_spellings_are_read(tmp_path):
    for spelled, first in (("60m", 0), ("1h", 2)):
        rows = make_bars(first, 2).select(
            (pl.col(c) if c in ("symbol", "timestamp", "close") else pl.lit(None))
            .cast(dtype)
            .alias(c)
            for c, dtype in SCHEMA.items()
        )
        (tmp_path / spelled).mkdir()
        (tmp_path / spelled / "interval.json").write_text('{"price_basis": "raw"}')
        SegmentFolder(tmp_path / spelled).write(rows)
        found = BarStore(tmp_path).read("1h").frame["close"].to_list()
        assert found == [100.0 + i for i in range(first + 2)]
    assert BarStore(tmp_path).intervals() == ("1h",)
    assert BarStore(tmp_path).append(make_bars(4, 1), "3600s", "raw").accepted == 1
    assert len(BarStore(tmp_path).read("60m").frame) == 5


def test_a_damaged_segment_keeps_no_correction_of_other_symbols_out(store, engine):
    folder = SegmentFolder(store.directory / "1d")
    (name,) = [n for n in folder.names() if "XYZ" in folder.load([n])["symbol"]]
    content = bytearray((folder.directory / name).read_bytes())
    content[len(content) // 2] ^= 255
    (folder.directory / name).write_bytes(content)
    fresh = BarStore(store.directory)
    assert fresh.put(make_bars(1, 1, price=0.0), "1d", "raw", PERSON, engine) is not None
    assert fresh.append(make_bars(3, 1), "1d", "raw").accepted == 1
    assert closes(fresh) == closes(BarStore(store.directory)) == [100, 1, 102, 103]
    with pytest.raises(DamagedBarsError):
        fresh.put(make_bars(0, 1, "XYZ"), "1d", "raw", PERSON, engine)
    with pytest.raises(DamagedBarsError):
        fresh.remove("1d", Removal("XYZ"), PERSON, engine)
    assert (folder.directory / name).read_bytes() == bytes(content)
