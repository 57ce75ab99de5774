"""What every source guarantees (see `pipelines.data.sources`), for all names of the catalog."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from pipelines.data.bars import SCHEMA, check_bars, infer_interval
from pipelines.data.sources import SOURCES, BarQuery, Source
from pipelines.data.sources.store import BarStore
from pipelines.data.upload_checks import Contents
from pipelines.data.uploads import Uploads
from registry.database import opened_engine
from registry.errors import UnknownSymbolError

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "sources.md"
TAKES_ANY_SYMBOL = {"synthetic"}


@pytest.fixture(scope="module")
def queries(tmp_path_factory, new_installation) -> dict[str, BarQuery]:
    """What to ask of the sources that cannot answer the empty query."""
    bars = SOURCES.get("synthetic").read(BarQuery(symbols=("A", "B"), seed=5))
    folder = tmp_path_factory.mktemp("bars")
    bars.frame.write_parquet(folder / "bars.parquet")
    BarStore(folder / "store").append(bars.frame, bars.interval, bars.price_basis)
    platform = new_installation(folder / "installation")
    with opened_engine(platform) as engine:
        uploads = Uploads(engine, platform.uploads_dir, reserve_bytes=0)
        with uploads.arriving("bars", "parquet") as arriving:
            arriving.write((folder / "bars.parquet").read_bytes())
            uploads.keep("bars", arriving, Contents("bars", "parquet", 1, ()), "test")
    return {
        "data": BarQuery(path=Path("bars"), platform=platform),
        "files": BarQuery(path=folder / "bars.parquet"),
        "store": BarQuery(path=folder / "store"),
    }


@pytest.fixture(params=list(SOURCES))
def source(request) -> Source:
    return SOURCES.get(request.param)


@pytest.fixture
def query(source, queries) -> BarQuery:
    return queries.get(source.name, BarQuery())


def test_bars_are_checked_and_described(source, query):
    bars = source.read(query)
    assert dict(bars.frame.schema) == SCHEMA
    again, _ = check_bars(bars.frame, policy="strict", where="")
    assert again.equals(bars.frame)
    assert bars.source == source.name
    assert bars.interval == infer_interval(bars.frame)
    assert bars.price_basis in ("adjusted", "raw", "mid", "unknown")


def test_the_same_query_gives_the_same_bars(source, query):
    assert source.read(query).digest() == source.read(query).digest()


def test_symbols_and_times_are_cut_out_of_the_whole(source, query):
    whole = source.read(query)
    symbol = whole.symbols[0]
    times = whole.frame.filter(pl.col("symbol") == symbol)["timestamp"]
    part = source.read(replace(query, symbols=(symbol,), start=times[100], end=times[200]))
    expected = whole.frame.filter(
        (pl.col("symbol") == symbol) & pl.col("timestamp").is_between(times[100], times[200])
    )
    assert len(part.frame) == 101
    assert part.frame.equals(expected)


def test_open_ends_are_left_open(source, query):
    whole = source.read(query)
    last = whole.frame["timestamp"].max()
    tail = source.read(replace(query, start=last - timedelta(days=30)))
    assert tail.frame["timestamp"].max() == last


def test_an_unknown_symbol_is_named_with_what_there_is(source, query):
    if source.name in TAKES_ANY_SYMBOL:
        assert source.read(replace(query, symbols=("ANY",))).symbols == ("ANY",)
        return
    known = source.read(query).symbols[0]
    with pytest.raises(UnknownSymbolError, match=f"symbol 'NOPE' is not in .*{known}"):
        source.read(replace(query, symbols=(known, "NOPE")))


def test_every_source_is_documented():
    text = DOCUMENTATION.read_text()
    assert [name for name in SOURCES if f"`{name}`" not in text] == []
