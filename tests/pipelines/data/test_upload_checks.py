import io
import pickle
import subprocess
import sys

import numpy as np
import onnx
import polars as pl
import pytest
import safetensors.numpy

from pipelines.data import reader_process
from pipelines.data.upload_checks import (
    HEAD_BYTES,
    KINDS,
    MOST_COLUMNS,
    Contents,
    Limits,
    Upload,
    check,
    read,
    refuse_models,
    refuse_others,
)
from pipelines.recipes.inputs import INPUT_KINDS
from registry.errors import (
    DataRefusedError,
    MissingColumnsError,
    MLEngineError,
    ModelFileError,
)

LIMITS = Limits(4_000_000_000, 60)


def parquet(**columns) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_parquet(buffer)
    return buffer.getvalue()


@pytest.fixture
def found(tmp_path):
    """Read a file in this process as the check's own process does."""

    def read_it(content: bytes, kind: str = "table", format: str = "csv", **given) -> Contents:
        refuse_models("data", content[:HEAD_BYTES])
        refuse_others("data", format, content[:HEAD_BYTES])
        path = tmp_path / f"data.{format}"
        path.write_bytes(content)
        return read(path, Upload(kind, format, **given))

    return read_it


@pytest.mark.parametrize("kind", ["table", "texts"])
def test_a_table_is_counted_in_both_formats(found, kind):
    assert found(b"a,b\n1,x\n2,y\n", kind) == Contents(kind, "csv", 2, ("a", "b"))
    content = parquet(a=[1, 2], b=["x", "y"])
    assert found(content, kind, "parquet") == Contents(kind, "parquet", 2, ("a", "b"))


def test_bars_are_read_as_training_will_read_them(found):
    rows = b"2024-01-01,1\n2024-01-02,2\n"
    assert found(b"date,close\n" + rows, "bars").n_rows == 2
    with pytest.raises(MissingColumnsError, match="columns=close=px"):
        found(b"date,px\n" + rows, "bars")
    assert found(b"date,px\n" + rows, "bars", columns={"close": "px"}).columns == ("date", "px")
    metatrader = b"<DATE>\t<CLOSE>\n2024.01.01\t1\n2024.01.02\t2\n"
    assert found(metatrader, "bars").n_rows == 2
    with pytest.raises(MLEngineError):
        found(b"date,close\n2024-01-01,one\n2024-01-02,2\n", "bars")


NO_TABLES = {
    "nothing": (b"", "empty"),
    "blank lines": (b"\n\n\n", "empty"),
    "only a header": (b"a,b\n", "no rows"),
    "no header": (b"1,2\n3,4\n", "no header"),
    "a short row": (b"a,b,c\n1,2,3\n4,5\n", "row 3 has 2 columns, the table has 3"),
    "cut off in a row": (b"a,b,c\n1,2,3\n4,5", "row 3 has 2 columns"),
    "a long row": (b"a,b\n1,2\n3,4,5\n", "row 3 has 3 columns, the table has 2"),
    "one name twice": (b"a,a\n1,2\n", "two columns are called a"),
    "a NUL byte": (b"a,b\n1,\x002\n", r"byte 6 is NUL"),
    "UTF-16 without its mark": ("a,b\n1,2\n".encode("utf-16-le"), "NUL"),
    "Latin-1": ("a,b\n\xe9,1\n".encode("latin-1"), "not UTF-8"),
    "an open quote": (b'a,b\n1,"x\n', "not CSV: the quote that opens in row 2 is never closed"),
    "a text behind a quote": (b'a,b\n1,"x"y\n', "not CSV: in row 2 text follows a closing quote"),
    "JSON": (b'{"a": [1]}', "JSON"),
    "a page": (b"<!DOCTYPE html><p>a,b</p>", "markup"),
    "gzip": (b"\x1f\x8b\x08\x00", "gzip"),
    "Excel": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Excel"),
    "Parquet": (parquet(a=[1]), "application/vnd.apache.parquet"),
    "a name of 600 letters": (b"a" * 600 + b",b\n1,2\n", "500 letters"),
}


@pytest.mark.parametrize("case", NO_TABLES)
def test_what_is_no_table_is_refused_with_its_reason(found, case):
    content, reason = NO_TABLES[case]
    with pytest.raises(MLEngineError, match=reason):
        found(content)


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_ten_thousand_columns_are_refused(found, format):
    names = [f"c{i}" for i in range(10_000)]
    text = ",".join(names) + "\n" + ",".join("1" * len(names)) + "\n"
    content = text.encode() if format == "csv" else parquet(**{name: [1] for name in names})
    with pytest.raises(DataRefusedError, match=f"10000 columns; at most {MOST_COLUMNS}"):
        found(content, "table", format)


def test_texts_need_a_column_of_texts(found):
    with pytest.raises(DataRefusedError, match="no column holds texts"):
        found(parquet(a=[1, 2]), "texts", "parquet")


def broken_parquet() -> dict[str, bytes]:
    whole = parquet(a=list(range(100)), b=["x"] * 100)
    flipped = bytearray(whole)
    for place in range(8, len(flipped) - 8, 7):
        flipped[place] ^= 0x5A
    long = whole[:-8] + (2**31 - 1).to_bytes(4, "little") + b"PAR1"
    return {
        "cut off": whole[: len(whole) // 2],
        "without its end": whole[:-8],
        "flipped bits": bytes(flipped),
        "metadata of two gigabytes": long,
        "only its beginning": b"PAR1",
        "only its ends": b"PAR1PAR1",
        "no rows": parquet(a=[]),
        "no columns": parquet(),
        "CSV": b"a,b\n1,2\n",
    }


@pytest.mark.parametrize("case", broken_parquet())
def test_broken_parquet_is_refused(found, case):
    with pytest.raises((MLEngineError, pl.exceptions.PolarsError)):
        found(broken_parquet()[case], "table", "parquet")


# Model files -----------------------------------------------------------------------------------


def onnx_model() -> bytes:
    helper, TensorProto = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    return helper.make_model(graph).SerializeToString()


def safetensors_model() -> bytes:
    return safetensors.numpy.save({"w": np.zeros(2, np.float32)})


def arrays() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, w=np.zeros(2))
    return buffer.getvalue()


def pickled(protocol: int) -> bytes:
    return pickle.dumps({"w": 1}, protocol=protocol)


MODELS = {
    "onnx": onnx_model,
    "safetensors": safetensors_model,
    "zip": arrays,
    "pickle 2": lambda: pickled(2),
    "pickle 5": lambda: pickled(5),
    "hdf5": lambda: b"\x89HDF\r\n\x1a\n" + bytes(80),
    "xgboost": lambda: b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner",
    "xgboost json": lambda: b'{"learner":{"attributes":{}}}',
    "lightgbm": lambda: b"tree\nversion=v4\nnum_class=1\n",
    "tflite": lambda: b"\x1c\x00\x00\x00TFL3" + bytes(60),
}


@pytest.mark.parametrize("format", ["csv", "parquet"])
@pytest.mark.parametrize("kind", MODELS)
def test_a_model_file_is_refused_whatever_it_is_sent_as(found, kind, format):
    with pytest.raises(ModelFileError, match="models are not uploaded"):
        found(MODELS[kind](), "table", format)


@pytest.mark.parametrize("name", ["m.onnx", "m.PKL", "m.pt", "m.safetensors", "m.zip", "a.b.h5"])
def test_a_name_of_a_model_is_refused_before_a_byte_is_read(name):
    with pytest.raises(ModelFileError, match="called like a model"):
        refuse_models(name)
    refuse_models(f"{name}.csv")


# The process of its own ------------------------------------------------------------------------


@pytest.fixture
def csv_file(tmp_path):
    path = tmp_path / "churn.csv"
    path.write_bytes(b"a,b\n1,x\n")
    return path


@pytest.mark.integration
def test_the_check_runs_apart_and_says_what_is_wrong_without_a_path(csv_file, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "secret")
    assert check("churn", csv_file, Upload("table", "csv"), LIMITS).columns == ("a", "b")
    csv_file.write_bytes(b"a,b\n1,2,3\n")
    with pytest.raises(DataRefusedError, match="churn is refused: churn.csv: row 2") as caught:
        check("churn", csv_file, Upload("table", "csv"), LIMITS)
    assert str(csv_file.parent) not in str(caught.value)
    assert "DATABASE_URL" not in reader_process.environment()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"date,close\n2024-01-01,zq!mark\n2024-01-02,2\n", "row 2: close"),
        (b"date,close\nzq!mark,1\n2024-01-02,2\n", "row 2"),
        (b"date,close\n2024-01-01,1\n31337/13/99,2\n", "row 3: its time"),
    ],
)
def test_what_is_wrong_is_said_without_the_values_of_the_file(csv_file, content, place):
    csv_file.write_bytes(content)
    with pytest.raises(DataRefusedError, match=place) as caught:
        check("churn", csv_file, Upload("bars", "csv"), LIMITS)
    assert "zq!mark" not in str(caught.value)
    assert "31337" not in str(caught.value)


@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no limit on a process's memory")
def test_a_small_file_that_unfolds_to_gigabytes_is_refused(tmp_path):
    path = tmp_path / "bomb.parquet"
    pl.select(a=pl.repeat(1.0, 60_000_000)).write_parquet(path)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(DataRefusedError, match="UPLOAD_CHECK_MEMORY"):
        check("bomb", path, Upload("table", "parquet"), Limits(900_000_000, 60))


@pytest.mark.integration
def test_a_check_ends_in_time(csv_file):
    with pytest.raises(DataRefusedError, match="not read within 0.05 s"):
        check("churn", csv_file, Upload("table", "csv"), Limits(4_000_000_000, 0.05))


def test_a_reader_that_breaks_refuses_the_file(csv_file, monkeypatch):
    def dead(*_, **__):
        return subprocess.CompletedProcess([], -6, stdout=b"", stderr=b"panicked")

    monkeypatch.setattr(subprocess, "run", dead)
    with pytest.raises(DataRefusedError, match="or its reader broke"):
        check("churn", csv_file, Upload("table", "csv"), LIMITS)


def test_every_kind_is_one_of_an_input():
    assert {INPUT_KINDS.get(name).uploaded_as for name in INPUT_KINDS} == set(KINDS)
