"""Frame checks: a look at rows that a stranger sent, in a process of its own with little memory.

A small file may unfold to any size, and a reader that breaks must not take the server with it. So
the server never opens such a file: this module, run as `python -m pipelines.data.frame_checks`,
writes its rows plainly beside it where they are few, and otherwise says how many they are. Messages
go through standard input and output as one line of JSON each.
"""

import json
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.data.frame_files import FrameFile
from pipelines.data.reader_process import ask
from registry.command_line import run
from registry.errors import FrameFileError, MLEngineError

MEMORY_BYTES = 4_000_000_000
"""Most bytes of data that a process which reads a stranger's file may hold."""
PLAIN = "rows.arrow"
BODY = "the body"


@dataclass(frozen=True, slots=True)
class Checked:
    """What a file holds: rows, the types of its columns, and a file with the rows if few."""

    n_rows: int
    schema: dict[str, pl.DataType]
    rows: Path | None

    def read(self) -> pl.DataFrame:
        """Return the rows, where they are few."""
        assert self.rows is not None
        return pl.read_ipc(self.rows.read_bytes())


def check(file: FrameFile, most_rows: int, seconds: float) -> Checked:
    """Look at a file; its rows are read only where they are at most `most_rows`.

    Raises:
        FrameFileError: it cannot be read, or only with more memory or time.
        OverloadedError: this machine has no room for the process now.
    """
    answer = ask(
        "pipelines.data.frame_checks",
        {"path": str(file.path), "format": file.format, "most_rows": most_rows},
        seconds,
        lambda problem: FrameFileError(BODY, problem),
        f"reading it takes more than {MEMORY_BYTES} bytes of memory, or its reader broke",
    )
    plain = file.path.with_name(PLAIN)
    known = pl.read_ipc_schema(plain)
    schema = {name: known.get(name, pl.Object()) for name in answer["columns"]}
    return Checked(answer["n_rows"], schema, plain if answer["is_read"] else None)


def limit_memory(n_bytes: int = MEMORY_BYTES) -> None:
    """Limit the data of this process; what asks for more gets MemoryError."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    with suppress(OSError, ValueError):  # the system allows less, or knows no such limit
        resource.setrlimit(resource.RLIMIT_DATA, (n_bytes, hard))


def main() -> None:
    """Answer one question."""
    asked = json.loads(sys.stdin.buffer.read())
    limit_memory()
    file = FrameFile(Path(asked["path"]), asked["format"])
    try:
        answer = _look(file, asked["most_rows"])
    except FrameFileError as exc:
        answer = {"problem": exc.problem}
    except MLEngineError as exc:
        answer = {"problem": exc.for_callers}
    except MemoryError:
        answer = {"problem": f"it unfolds to more than {MEMORY_BYTES} bytes"}
    print(json.dumps(answer))


def _look(file: FrameFile, most_rows: int) -> dict[str, Any]:
    schema, n_rows = file.schema(), file.n_rows()
    columns = [name for name, kind in schema.items() if kind != pl.Object]
    is_read = n_rows <= most_rows
    rows = pl.DataFrame(schema={name: schema[name] for name in columns})
    if is_read and columns:
        rows = pl.concat([rows, *file.slices(columns, 4096)], how="vertical")
    rows.write_ipc(file.path.with_name(PLAIN))
    return {"n_rows": n_rows, "columns": list(schema), "is_read": is_read}


if __name__ == "__main__":
    run(main)
