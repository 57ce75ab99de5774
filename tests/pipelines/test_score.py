"""Stage score: any rows through a registered version, in order, once each, in parts that stay."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitoring import score as entry_point
from pipelines import score as stage
from pipelines.data.frame_files import FrameFile
from pipelines.data.result_files import ResultFile
from pipelines.parameters import SourceParameters
from pipelines.recipes import scoring
from pipelines.recipes.scored_rows import of_body, rows_to_score
from pipelines.recipes.scoring import load_answerer, with_model
from pipelines.score import ScoreParameters
from registry.errors import (
    ColumnTypeError,
    DiskFullError,
    MissingColumnsError,
    MLEngineError,
    ParameterError,
)
from registry.flavors import Artifact
from registry.version_files import VersionFiles, digest_directory
from tests.small_versions import small_version

ONNX = Artifact("onnx")
N = 1000
TASK = {"model": "tabular/1"}


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    return small_version(tmp_path_factory.mktemp("tabular"), "tabular", "numbers").files


@pytest.fixture(scope="module")
def answerer(version):
    return with_model(version, load_answerer(version), ONNX)


@pytest.fixture
def frame():
    rng = np.random.default_rng(3)
    first = rng.standard_normal(N)
    return pl.DataFrame({"id": np.arange(N), "first": first, "second": rng.standard_normal(N)})


@pytest.fixture
def small_parts(monkeypatch):
    """Ten slices, five parts."""
    monkeypatch.setattr(stage, "SLICE_ROWS", 100)
    monkeypatch.setattr(stage, "PART_ROWS", 200)


@pytest.fixture
def rows(answerer, frame, tmp_path):
    frame.write_parquet(tmp_path / "rows.parquet", row_group_size=300)
    return of_body(answerer, FrameFile(tmp_path / "rows.parquet", "parquet"), ("id",))


@pytest.fixture
def result(tmp_path):
    return ResultFile(tmp_path / "answers.parquet", reserve_bytes=0)


def test_every_row_is_answered_once_and_in_order(
    version, answerer, frame, rows, result, small_parts
):
    scored = stage.run(version, answerer, rows, result, TASK)
    found = pl.read_parquet(result.path)
    assert (scored.n_rows, scored.n_new, scored.n_errors) == (N, N, 0)
    assert found["row"].to_list() == found["id"].to_list() == list(range(N))
    assert found.drop("row", "id").equals(answerer.answers(frame))
    assert not result.parts.exists()


def test_a_run_goes_on_where_the_one_before_it_stopped(
    version, answerer, rows, result, small_parts, monkeypatch
):
    kept = ResultFile.add_part

    def full_after_two(self, first_row, answers):
        if first_row >= 400:
            raise DiskFullError(0)
        kept(self, first_row, answers)

    monkeypatch.setattr(ResultFile, "add_part", full_after_two)
    with pytest.raises(DiskFullError):
        stage.run(version, answerer, rows, result, TASK)
    assert (result.n_done(), result.is_whole) == (400, False)
    monkeypatch.setattr(ResultFile, "add_part", kept)
    scored = stage.run(version, answerer, rows, result, TASK)
    assert (scored.n_rows, scored.n_new) == (N, N - 400)
    assert pl.read_parquet(result.path)["id"].to_list() == list(range(N))


def test_parts_of_another_task_are_not_taken(version, answerer, rows, result, small_parts):
    result.begin({"model": "tabular/2"})
    result.add_part(0, pl.DataFrame({"row": [0], "value": [1e9]}))
    scored = stage.run(version, answerer, rows, result, TASK)
    assert scored.n_new == N
    assert pl.read_parquet(result.path)["value"].abs().max() < 1e6


def test_all_parts_are_answered_by_the_artifact_that_answered_the_first(
    version, answerer, rows, result, small_parts, monkeypatch
):
    monkeypatch.setattr(stage, "fastest", lambda *_: pytest.fail("chosen anew"))
    known = result.begin(TASK)
    result.remember({**known, "artifact": "onnx.fp32"})
    assert stage.run(version, answerer, rows, result, TASK).artifact == "onnx.fp32"


def test_a_part_cut_off_by_a_crash_is_not_there(result):
    result.begin(TASK)
    result.add_part(0, pl.DataFrame({"row": [0, 1]}))
    (result.parts / ".half.arrow").write_bytes(b"PAR1")
    result.add_part(5, pl.DataFrame({"row": [5]}))  # behind a gap
    assert result.n_done() == 2


SCORE_SLOWLY = """
import sys, time
from pathlib import Path
import pipelines.score as stage
from pipelines.data.frame_files import FrameFile
from pipelines.data.result_files import ResultFile
from pipelines.recipes.scored_rows import of_body
from pipelines.recipes.scoring import load_answerer
from registry.version_files import VersionFiles, digest_directory
stage.SLICE_ROWS, stage.PART_ROWS = 100, 200
folder, rows, out, pause = sys.argv[1:]
version = VersionFiles("tabular", 1, Path(folder), digest_directory(Path(folder)))
answerer = load_answerer(version)
add = ResultFile.add_part
def slowly(self, first_row, answers):
    add(self, first_row, answers)
    time.sleep(float(pause))
ResultFile.add_part = slowly
body = of_body(answerer, FrameFile(Path(rows), "parquet"), ("id",))
print(stage.run(version, answerer, body, ResultFile(Path(out), 0), {"model": "tabular/1"}))
"""


@pytest.mark.integration
def test_a_killed_run_goes_on_and_no_row_is_there_twice(version, rows, result, tmp_path):
    asked = [str(version.directory), str(tmp_path / "rows.parquet"), str(result.path)]
    command = [sys.executable, "-c", SCORE_SLOWLY, *asked]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    killed = subprocess.Popen([*command, "60"], env=environment)
    deadline = time.monotonic() + 60
    while not list(result.parts.glob("0*.arrow")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert result.n_done() == 200
    done = subprocess.run([*command, "0"], env=environment, capture_output=True, text=True)
    assert f"n_new={N - 200}" in done.stdout, done.stderr
    found = pl.read_parquet(result.path)
    assert found["id"].to_list() == found["row"].to_list() == list(range(N))


def test_two_runs_at_once_leave_one_whole_result(version, answerer, rows, result, small_parts):
    other = ResultFile(result.path, 0)
    known = result.begin(TASK)
    result.remember({**known, "artifact": "onnx.fp32"})
    stage.run(version, answerer, rows, other, TASK)
    result.parts.mkdir()
    result.add_part(0, pl.DataFrame({"row": [0]}))  # one that was frozen meanwhile
    assert result.finish() == N


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_full_disk_is_said_and_leaves_no_half_result(result, tmp_path):
    full = replace(result, reserve_bytes=1 << 62)
    full.begin(TASK)
    with pytest.raises(DiskFullError, match="must stay free"):
        full.add_part(0, pl.DataFrame({"row": [0]}))
    assert list(full.parts.glob("*.arrow")) == []


FILL = """
import resource, signal, sys
from pathlib import Path
import numpy as np, polars as pl
from pipelines.data.result_files import ResultFile
from registry.errors import DiskFullError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
result = ResultFile(Path(sys.argv[1]), 0)
result.begin({})
try:
    result.add_part(0, pl.DataFrame({"x": np.random.default_rng(0).random(100_000)}))
except DiskFullError as exc:
    print(exc, sorted(p.name for p in result.parts.iterdir()))
"""


@pytest.mark.integration
def test_a_disk_that_fills_while_a_part_is_written_is_said(result):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", FILL, str(result.path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "the disk is full" in done.stdout, done.stderr
    assert "['state.json']" in done.stdout


# What rows may be -------------------------------------------------------------------------------


def score_file(answerer, path, keep=(), **changes):
    source = SourceParameters(source="files", path=str(path), **changes)
    with rows_to_score(answerer, source, None, keep) as rows:
        slices = list(rows.slices(300, 0))
        found = pl.concat([scoring.answers_of(part, answerer).answers for part in slices])
        assert len(found) == rows.n_rows
        return found


def test_csv_parquet_and_arrow_give_the_same_answers(answerer, frame, tmp_path):
    frame.write_csv(tmp_path / "rows.csv")
    frame.write_parquet(tmp_path / "rows.parquet")
    frame.write_ipc_stream(tmp_path / "rows.arrows")
    wanted = answerer.answers(frame)
    for name in ("rows.csv", "rows.parquet", "rows.arrows"):
        assert score_file(answerer, tmp_path / name).equals(wanted), name


def test_files_of_a_folder_are_scored_one_behind_the_other(answerer, frame, tmp_path):
    frame.head(430).write_parquet(tmp_path / "a.parquet")
    frame.slice(430).write_parquet(tmp_path / "b.parquet")
    found = score_file(answerer, tmp_path, ("id",))
    assert found["id"].to_list() == list(range(N))


def test_a_value_that_cannot_be_read_is_its_rows_error(answerer, frame, tmp_path):
    odd = frame.with_columns(pl.col("first").cast(pl.String)).head(4)
    odd = odd.with_columns(first=pl.Series(["1.5", "many", None, "1e39"]))
    odd.write_csv(tmp_path / "odd.csv")
    found = score_file(answerer, tmp_path / "odd.csv")
    assert found["error"].is_null().to_list() == [True, False, True, False]
    assert found["error"][1]["code"] == "parameter"
    assert "first" in found["error"][1]["message"]
    assert found["value"].is_null().to_list() == [False, True, False, True]


def test_infinity_is_an_error_and_nan_is_missing(answerer, frame):
    odd = frame.head(3).with_columns(first=pl.Series([np.inf, np.nan, 1.0]))
    found = answerer.answers(odd)
    assert found["error"].is_null().to_list() == [False, True, True]


@pytest.mark.parametrize(
    ("changed", "error", "named"),
    [
        ({"first": pl.Series(["a"] * N)}, ColumnTypeError, "first"),
        ({"first": pl.Series([True] * N)}, ColumnTypeError, "first"),
        ({"second": pl.Series([["a"]] * N)}, ColumnTypeError, "second"),
    ],
)
def test_a_column_of_a_wrong_type_is_named(answerer, frame, tmp_path, changed, error, named):
    frame.with_columns(**changed).write_parquet(tmp_path / "rows.parquet")
    with pytest.raises(error, match=named):
        score_file(answerer, tmp_path / "rows.parquet")


def test_a_column_that_is_absent_is_named(answerer, frame, tmp_path):
    frame.drop("second").write_parquet(tmp_path / "rows.parquet")
    with pytest.raises(MissingColumnsError, match="second"):
        score_file(answerer, tmp_path / "rows.parquet")


@pytest.mark.parametrize("keep", ["nowhere", "value", "row", "error"])
def test_what_cannot_be_kept_is_refused(answerer, frame, tmp_path, keep):
    frame.with_columns(value=1.0).write_parquet(tmp_path / "rows.parquet")
    with pytest.raises(ParameterError, match="keep"):
        score_file(answerer, tmp_path / "rows.parquet", (keep,))


def test_no_rows_are_an_empty_result_with_its_columns(version, answerer, frame, tmp_path, result):
    frame.clear().write_parquet(tmp_path / "rows.parquet")
    rows = of_body(answerer, FrameFile(tmp_path / "rows.parquet", "parquet"), ())
    assert stage.run(version, answerer, rows, result, TASK).n_rows == 0
    assert pl.read_parquet_schema(result.path).names() == ["row", *answerer.types()]


def test_dictionary_columns_are_answered_like_plain_ones(tmp_path):
    version = small_version(tmp_path / "v", "sentiment", "texts").files
    answerer = with_model(version, load_answerer(version), ONNX)
    texts = ["Shares plunged after the impairment.", "Profit rose.", None, "  "]
    plain = pa.table({"text": texts})
    encoded = pa.table({"text": pa.array(texts).dictionary_encode()})
    for name, table in (("plain", plain), ("encoded", encoded)):
        path = str(tmp_path / f"{name}.arrows")
        with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    found = [score_file(answerer, tmp_path / f"{n}.arrows") for n in ("plain", "encoded")]
    assert found[0].equals(found[1])
    assert found[0]["error"].is_null().to_list() == [True, True, False, False]


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_a_small_file_that_unfolds_too_far_is_refused(tmp_path, format):
    version = small_version(tmp_path / "v", "sentiment", "texts").files
    answerer = load_answerer(version)
    values = pa.DictionaryArray.from_arrays(np.zeros(400_000, np.int8), ["x" * 10_000])
    table = pa.table({"text": values})
    path = tmp_path / f"bomb.{format}"
    if format == "parquet":
        pq.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    assert path.stat().st_size < 1_000_000
    rows = of_body(answerer, FrameFile(path, format), ())
    with pytest.raises(MLEngineError, match="unfolds to"):
        list(rows.slices(32_768, 0))


@pytest.mark.parametrize("format", ["parquet", "arrow"])
@pytest.mark.parametrize("content", [b"", b"PAR1", b"\xff" * 64, b"PAR1" + b"\x00" * 99 + b"PAR1"])
def test_a_file_that_is_none_is_refused(answerer, tmp_path, content, format):
    (tmp_path / "odd").write_bytes(content)
    with pytest.raises(MLEngineError, match="Parquet file|Arrow IPC stream"):
        of_body(answerer, FrameFile(tmp_path / "odd", format), ())


# From the command line --------------------------------------------------------------------------


def test_parameters_that_do_not_fit_are_refused():
    for wanted, named in (
        (ScoreParameters(output="a.parquet"), "model_name"),
        (ScoreParameters("m", output="a.csv"), "output"),
        (ScoreParameters("m", 1, "staging", output="a.parquet"), "alias"),
    ):
        with pytest.raises(ParameterError, match=named):
            wanted.check()


@pytest.mark.integration
def test_bars_are_scored_at_every_time_with_a_whole_history(made, tmp_path, capsys):
    output = tmp_path / "scored.parquet"
    source = ("--source", "synthetic", "--symbols", "AAA,BBB", "--end", "2003-12-31")
    named = ("--model_name", "volatility_forecast", "--version", "1", "--output", str(output))
    entry_point.main([*named, *source])
    found = pl.read_parquet(output)
    assert set(found["symbol"]) == {"AAA", "BBB"}
    assert found["error"].null_count() == len(found)
    assert found["forecast_variance"].is_finite().all()
    assert found.select("symbol", "as_of").is_unique().all()
    assert f"{len(found)} rows, {len(found)} of them answered now" in capsys.readouterr().out
    with pytest.raises(MLEngineError):
        entry_point.main(
            ["--model_name", "volatility_forecast", "--version", "9", "--output", "x.parquet"]
        )


def test_a_version_whose_files_changed_is_not_scored(version, tmp_path):
    digests = digest_directory(version.directory) | {"contract.json": "0" * 64}
    with pytest.raises(MLEngineError):
        load_answerer(VersionFiles("tabular", 1, version.directory, digests))
