"""Upload checks: whether a file that arrived is what training reads.

Training's own readers decide, so that an upload which was taken can be read later. They run in a
process of their own (`python -m pipelines.data.upload_checks`) with a limit on its memory: a small
Parquet file may unfold to any size, and a reader that breaks must not take the server with it.
Before that the first bytes tell a model file, an archive or a program.
"""

import json
import resource
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.data.reader_process import ask
from pipelines.data.sources import BarQuery
from pipelines.data.sources.files import SOURCE as FILES
from pipelines.data.sources.tables import Table, read_table
from registry.command_line import run
from registry.errors import (
    DataRefusedError,
    MLEngineError,
    ModelFileError,
)

KINDS = ("table", "texts", "bars")
MOST_COLUMNS = 5000
MOST_NAME_CHARS = 500
HEAD_BYTES = 64
PARQUET = b"PAR1"

MODELS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x80\x02", "a pickle"),
    (0, b"\x80\x03", "a pickle"),
    (0, b"\x80\x04", "a pickle"),
    (0, b"\x80\x05", "a pickle"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes models"),
    (0, b"{L\x00", "an XGBoost model"),
    (0, b'{"learner"', "an XGBoost model"),
    (0, b"tree\nversion=", "a LightGBM model"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (0, b"PK\x03\x04", "a zip archive, as torch, Keras and Core ML write models"),
    (0, b"\x93NUMPY", "an array of NumPy"),
    (0, b"x\x9c", "compressed by zlib, as joblib writes models"),
)
"""Offset and bytes by which a file is known, and what it is."""
OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x1f\x8b", "compressed by gzip; send it as it is"),
    (0, b"BZh91AY&SY", "compressed by bzip2; send it as it is"),
    (0, b"\xfd7zXZ", "compressed by xz; send it as it is"),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd; send it as it is"),
    (0, b"7z\xbc\xaf", "a 7-Zip archive"),
    (0, b"\xd0\xcf\x11\xe0", "an Excel file; export it as CSV"),
    (0, b"SQLite format 3", "a database"),
    (0, b"ARROW1", "an Arrow file; write it as Parquet"),
    (0, b"%PDF", "a PDF"),
    (0, b"\x7fELF", "a program"),
    (0, b"<!", "markup (HTML or XML)"),
    (0, b"<?", "markup (HTML or XML)"),
    (0, b"<html", "markup (HTML or XML)"),
    (0, b"{", "JSON"),
)
MODEL_SUFFIXES = (
    *(".onnx", ".pkl", ".pickle", ".joblib", ".pt", ".pt2", ".pth", ".ckpt", ".safetensors"),
    *(".h5", ".hdf5", ".keras", ".mlmodel", ".mlpackage", ".pb", ".tflite", ".ubj", ".cbm"),
    *(".bst", ".zip", ".npz", ".npy", ".pmml", ".gguf", ".bin"),
)


@dataclass(frozen=True, slots=True)
class Contents:
    """What the readers found in a file, in the format and kind it was sent as."""

    kind: str
    format: str
    n_rows: int
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Upload:
    """What a file is said to be, and how its bars are read.

    `columns`, `timezone` and `date_order` are those of a bars file that training is to read with
    the same parameters (`BarQuery`).
    """

    kind: str
    format: str
    columns: Mapping[str, str] = field(default_factory=dict)
    timezone: str = "UTC"
    date_order: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a check may take: bytes of address space, and seconds."""

    memory_bytes: int
    seconds: float


def refuse_models(name: str, head: bytes = b"") -> None:
    """Refuse a name or first bytes that say that a file is a model.

    Raises:
        ModelFileError: it is one.
    """
    if name.lower().endswith(MODEL_SUFFIXES):
        raise ModelFileError(name, f"called like a model (.{name.rpartition('.')[2]})")
    if what := _known_as(head, MODELS) or _model_of_fields(head):
        raise ModelFileError(name, what)


def refuse_others(name: str, format: str, head: bytes) -> None:
    """Refuse first bytes that are of another format than the one it was sent as.

    Raises:
        DataRefusedError: they are.
    """
    if format == "parquet":
        if not head.startswith(PARQUET):
            raise DataRefusedError(name, "it is not Parquet (it does not begin with PAR1)")
        return
    if head.startswith(PARQUET):
        raise DataRefusedError(
            name, "it is Parquet; send Content-Type: application/vnd.apache.parquet"
        )
    if what := _known_as(head.lstrip(), OTHERS):
        raise DataRefusedError(name, f"it is no CSV but {what}")


def check(name: str, path: Path, upload: Upload, limits: Limits) -> Contents:
    """Read a file as training does, in a process of its own, and return what was found.

    Raises:
        DataRefusedError: training could not read it, or only with more memory or time.
        OverloadedError: this machine has no room for the process now.
    """
    needed = f"reading it takes more than {limits.memory_bytes} bytes of memory"
    answer = ask(
        "pipelines.data.upload_checks",
        {"path": str(path), "memory_bytes": limits.memory_bytes, "upload": asdict(upload)},
        limits.seconds,
        lambda problem: DataRefusedError(name, problem),
        f"{needed} (UPLOAD_CHECK_MEMORY), or its reader broke",
    )
    return Contents(upload.kind, upload.format, answer["n_rows"], tuple(answer["columns"]))


def _known_as(head: bytes, known: tuple[tuple[int, bytes, str], ...]) -> str:
    return next((what for at, magic, what in known if head[at:].startswith(magic)), "")


def _model_of_fields(head: bytes) -> str:
    """Return what the layout of a model's first fields shows; empty for none."""
    if len(head) > 2 and head[0] == 0x08 and head[1] < 0x20:  # field 1: a version
        return "an ONNX or Core ML model"
    if len(head) > 9 and int.from_bytes(head[:8], "little") < 2**32 and head[8:10] == b'{"':
        return "a safetensors file"
    return ""


# In the process of its own ---------------------------------------------------------------------


def read(path: Path, upload: Upload) -> Contents:
    """Read a file with training's readers.

    Raises:
        MLEngineError: it cannot be read.
    """
    if upload.format == "parquet":
        _refuse_wide(path.name, len(pl.read_parquet_schema(path)))
    table = read_table(path)
    _check_columns(table)
    if upload.kind == "bars":
        FILES.read(
            BarQuery(
                path=path,
                columns=upload.columns,
                timezone=upload.timezone,
                date_order=upload.date_order,
                policy="repair",
            )
        )
    elif not table.has_header:
        raise DataRefusedError(path.name, "it has no header; name the columns in a first line")
    else:
        table.refuse_repeated()
    if upload.kind == "texts" and pl.String not in table.frame.dtypes:
        raise DataRefusedError(path.name, "no column holds texts")
    return Contents(upload.kind, upload.format, len(table.frame), tuple(table.columns))


def _refuse_wide(name: str, n_columns: int) -> None:
    if n_columns > MOST_COLUMNS:
        raise DataRefusedError(
            name, f"it has {n_columns} columns; at most {MOST_COLUMNS} are taken"
        )


def _check_columns(table: Table) -> None:
    _refuse_wide(table.where, len(table.columns))
    if any(len(name) > MOST_NAME_CHARS for name in table.columns):
        problem = f"a column's name is longer than {MOST_NAME_CHARS} letters"
        raise DataRefusedError(table.where, problem)


def main() -> None:
    """Answer one request of standard input with one line of standard output."""
    asked = json.loads(sys.stdin.buffer.read())
    if sys.platform == "linux":  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (asked["memory_bytes"], asked["memory_bytes"]))
    path = Path(asked["path"])
    try:
        found = read(path, Upload(**asked["upload"]))
        answer: dict[str, Any] = {"n_rows": found.n_rows, "columns": found.columns}
    except DataRefusedError as exc:
        answer = {"problem": exc.problem}
    except MLEngineError as exc:
        answer = {"problem": _plain(exc.for_callers, path)}
    except pl.exceptions.PolarsError as exc:  # its text may show what was read
        answer = {"problem": f"{path.name}: it cannot be read ({type(exc).__name__})"}
    print(json.dumps(answer))


def _plain(text: str, path: Path) -> str:
    """Return a reader's message as one line without the folder of the file."""
    return " ".join(text.replace(str(path), path.name).split())


if __name__ == "__main__":
    run(main)
