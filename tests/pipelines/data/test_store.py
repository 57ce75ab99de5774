"""The bars store from the command line."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from pipelines.data import store as command
from pipelines.data.sources.store import BarStore
from registry import events
from registry.errors import BarsError, ParameterError

START = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def held(settings, engine, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(settings.data_dir))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    store = BarStore(settings.bars_dir)
    times = [START + timedelta(days=i) for i in range(4)]
    frame = pl.DataFrame({"symbol": ["M&M.NS"] * 4, "timestamp": times, "close": [1.0, 2, 30, 4]})
    store.append(frame, "1d", "raw")
    return lambda: store.held("1d").frames["M&M.NS"]["close"].to_list()


def run(*words):
    command.main([*words, "--interval", "24h", "--reason", "cents", "--actor", "ada"])


def test_bars_of_a_file_are_put_and_others_removed(held, engine, tmp_path, capsys):
    path = tmp_path / "fixed.csv"
    path.write_text("timestamp,close\n2024-01-03,3\n2024-01-05,5\n")
    run("put", str(path), "--symbol", "M&M.NS")
    assert held() == [1, 2, 3, 4, 5]
    assert capsys.readouterr().out.endswith(": 1 bars before, 2 after\n")
    run("put", str(path), "--symbol", "M&M.NS")
    assert capsys.readouterr().out == "nothing was changed\n"
    run("remove", "M&M.NS", "--first", "2024-01-02", "--last", "2024-01-03T00:00:00Z")
    assert held() == [1, 4, 5]
    capsys.readouterr()
    command.main(["list"])
    assert "M&M.NS" in (line := capsys.readouterr().out)
    assert line.split()[2:5] == ["3", "bars", "2024-01-01"]
    command.main(["history"])
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("bars_corrected  1 bars before, 2 after, ada: cents")
    assert second.endswith("bars_removed    2 bars before, 0 after, ada: cents")
    kinds = [event.kind for event in events.read(engine)]
    assert kinds == ["bars_corrected", "bars_removed"]


@pytest.mark.parametrize(
    ("words", "error", "text"),
    [
        (("remove", "M&M.NS"), ParameterError, "--whole-symbol"),
        (("remove", "M&M.NS", "--first", "2024", "--whole-symbol"), ParameterError, "without"),
        (("remove", "M&M.NS", "--first", "1704067200000"), ParameterError, "ISO date"),
        (("put", "none.csv"), ParameterError, "an existing file"),
    ],
)
def test_a_command_that_cannot_be_done_changes_nothing(held, engine, words, error, text):
    with pytest.raises(error, match=text):
        run(*words)
    assert held() == [1, 2, 30, 4]
    assert events.read(engine) == []


def test_a_file_with_a_wrong_bar_changes_nothing(held, tmp_path):
    path = tmp_path / "wrong.csv"
    path.write_text("timestamp,close\n2024-01-03,3\n2024-01-05,-5\n")
    with pytest.raises(BarsError, match=r"close is -5"):
        run("put", str(path), "--symbol", "M&M.NS")
    assert held() == [1, 2, 30, 4]
