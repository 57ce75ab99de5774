"""Damaged files: found whatever is broken in them, named, moved aside, never deleted."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from monitoring.damage import main
from pipelines.data.sources.segments import SegmentFolder
from pipelines.data.sources.store import BarStore
from registry.errors import DamagedBarsError


def bars_of(symbol, n=40, start=datetime(2024, 1, 1, tzinfo=UTC)):
    days = [start + timedelta(days=i) for i in range(n)]
    close = 100 + np.arange(n) / 7
    return pl.DataFrame({"symbol": [symbol] * n, "timestamp": days, "close": close})


@pytest.fixture
def store(settings, monkeypatch):
    """A store in which each of three symbols lies in a segment of its own."""
    monkeypatch.setenv("DATA_DIR", str(settings.data_dir))
    store = BarStore(settings.bars_dir)
    for symbol in ("AAA", "BBB", "CCC"):
        store.append(bars_of(symbol), "1d", "adjusted")
    return store


def segment_of(store, symbol):
    folder = SegmentFolder(store.directory / "1d")
    (name,) = [n for n in folder.names() if symbol in folder.load([n])["symbol"]]
    return folder.directory / name


def truncated(content):
    return content[: len(content) // 2]


def of_zeros(content):
    return bytes(len(content))


def with_a_page_of_zeros(content):
    middle = len(content) // 2
    return content[: middle - 50] + bytes(100) + content[middle + 50 :]


def with_one_bit(content):
    return content[:200] + bytes([content[200] ^ 1]) + content[201:]


DAMAGE = [truncated, of_zeros, with_a_page_of_zeros, with_one_bit, lambda _: b"", lambda _: b"text"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_one_damaged_segment_costs_its_symbol_alone(store, damage, settings, capsys):
    path = segment_of(store, "BBB")
    broken = damage(path.read_bytes())
    path.write_bytes(broken)
    fresh = BarStore(store.directory)
    assert fresh.symbols("1d") == ("AAA", "CCC")
    assert fresh.held("1d").damaged == {path.name: ("BBB",)}
    assert len(fresh.read("1d", ["AAA", "CCC"]).frame) == 80
    for symbols in (["BBB"], ["AAA", "BBB"], []):
        with pytest.raises(DamagedBarsError, match=r"1d bars of BBB is damaged"):
            fresh.read("1d", symbols)
    assert main([]) == 1
    assert f"{path}: 1d bars of BBB" in capsys.readouterr().out
    assert main(["--move-aside"]) == 0
    moved = settings.data_dir / "damaged" / path.relative_to(settings.data_dir)
    assert moved.read_bytes() == broken
    assert not path.exists()
    assert main([]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "no damaged file"
    fresh.append(bars_of("BBB"), "1d", "adjusted")
    assert len(fresh.read("1d").frame) == 120


def test_bars_that_arrive_for_a_damaged_symbol_are_kept_and_not_shown(store):
    segment_of(store, "BBB").write_bytes(b"broken")
    fresh = BarStore(store.directory)
    more = bars_of("BBB", 3, datetime(2024, 5, 1, tzinfo=UTC))
    assert fresh.append(more, "1d", "adjusted").accepted == 3
    assert fresh.symbols("1d") == ("AAA", "CCC")
    assert BarStore(store.directory).symbols("1d") == ("AAA", "CCC")
    main(["--move-aside"])
    assert len(fresh.read("1d", ["BBB"]).frame) == 3


def test_a_segment_without_a_seal_still_tells_its_symbols_where_it_can(store):
    path = segment_of(store, "BBB")
    path.with_name(f".{path.name}.seal").unlink()
    assert BarStore(store.directory).symbols("1d") == ("AAA", "BBB", "CCC")
    path.write_bytes(b"broken")
    fresh = BarStore(store.directory)
    assert fresh.held("1d").damaged == {path.name: ()}
    assert fresh.symbols("1d") == ("AAA", "CCC")


def test_nothing_is_merged_while_a_segment_is_damaged(store):
    path = segment_of(store, "BBB")
    path.write_bytes(b"broken")
    for i in range(40):
        store.append(
            bars_of("DDD", 1, datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=i)),
            "1d",
            "adjusted",
        )
    assert path.exists()
    assert len(BarStore(store.directory).read("1d", ["DDD"]).frame) == 40


def test_a_full_disk_leaves_nothing_behind(store, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    before = sorted(store.directory.rglob("*"))
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.data.sources.segments.os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            store.append(bars_of("EEE"), "1d", "adjusted")
    assert sorted(store.directory.rglob("*")) == before
    assert store.append(bars_of("EEE"), "1d", "adjusted").accepted == 40


def test_a_damaged_file_of_the_prediction_log_is_found(settings, monkeypatch, capsys):
    monkeypatch.setenv("DATA_DIR", str(settings.data_dir))
    path = settings.predictions_dir / "calm" / "day=2024-01-01" / "0_0_0-x.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"broken")
    assert main([]) == 1
    assert f"{path}: predictions of calm" in capsys.readouterr().out
    assert main(["--move-aside"]) == 0
    assert not path.exists()


def test_what_was_moved_aside_is_never_overwritten(settings, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(settings.data_dir))
    path = settings.predictions_dir / "calm" / "day=2024-01-01" / "0_0_0-x.parquet"
    path.parent.mkdir(parents=True)
    for content in (b"first", b"second"):
        path.write_bytes(content)
        main(["--move-aside"])
    kept = sorted((settings.data_dir / "damaged").rglob("*.parquet*"))
    assert [each.read_bytes() for each in kept] == [b"first", b"second"]
