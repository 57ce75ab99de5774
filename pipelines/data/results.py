"""Results: what became of requests that were too large to be answered at once.

Each has a folder below DATA_DIR/results, named by letters that say nothing: the body as it came
until it is scored, and then the answers. The folder of a body that is still arriving lies in
`.arriving`; nobody else sees it. `sweep` removes what is older than it is kept.
"""

import json
import re
import shutil
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.data.frame_files import SUFFIXES, FrameFile
from pipelines.data.result_files import ResultFile
from pipelines.data.uploads import (
    MOST_ARRIVING,
    RESERVE_BYTES,
    Arriving,
    check_room,
    full_disk_said,
)
from registry.errors import ParameterError, TooManyUploadsError

NAME = re.compile(r"[0-9a-f]{32}")
ARRIVING = ".arriving"
BODY = "body"
ENTRIES = "entries.json"
PREPARED = "prepared.arrow"
RESULT = "answers.parquet"


@dataclass(frozen=True, slots=True)
class Entries:
    """Rows or texts as JSON has them, the context of each, and what their answers repeat."""

    entries: list[Any]
    context: dict[str, list[float | None]]
    kept: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class ResultFolder:
    """The folder of one request.

    Raises:
        ParameterError: a name that no folder has; every path is one.
    """

    root: Path
    name: str

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ParameterError("results", self.name, "a name that POST /predict/batch gave")

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.root / self.name

    @property
    def result(self) -> ResultFile:
        """The answers."""
        return ResultFile(self.path / RESULT)

    def body(self) -> FrameFile:
        """Return the rows to score.

        Raises:
            ParameterError: there are none.
        """
        for format, suffix in SUFFIXES.items():
            path = self.path / f"{BODY}{suffix}"
            if path.is_file():
                return FrameFile(path, format)
        raise ParameterError("results", self.name, "the folder of a request that waits")

    def entries(self) -> Entries | None:
        """Return the rows or texts of a JSON request; None where the body was a file."""
        try:
            return Entries(**json.loads((self.path / ENTRIES).read_bytes()))
        except FileNotFoundError:
            return None

    def prepared(self) -> Path | None:
        """Return the file of inputs that were made when the request was accepted, if there is one.

        See `pipelines.recipes.prepared_rows`.
        """
        path = self.path / PREPARED
        return path if path.is_file() else None

    def key(self) -> str:
        """Return the column of the answers that names each row; empty where its number does."""
        if self.prepared() is not None:
            return "symbol"
        asked = self.entries()
        return next(iter(asked.kept), "") if asked is not None else ""

    def drop_body(self) -> None:
        """Remove the rows that were scored."""
        for path in self.path.iterdir():
            if path.is_file() and path.name != RESULT:
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.path, ignore_errors=True)


def arriving(root: Path, format: str, reserve_bytes: int = RESERVE_BYTES) -> Arriving:
    """Return a new file for a body; `Arriving.close` removes what was not kept.

    Raises:
        TooManyUploadsError: as many bodies as may arrive at once do.
        DiskFullError: there is no room for a file.
    """
    with full_disk_said(reserve_bytes):
        path = _new_arriving(root) / f"{BODY}{SUFFIXES[format]}"
        return Arriving(path, reserve_bytes, path.open("xb"))


@contextmanager
def preparing(root: Path) -> Iterator[Path]:
    """Yield the file that inputs are written to; what was not put in its `place` is removed.

    Raises:
        TooManyUploadsError: as many bodies as may arrive at once do.
        DiskFullError: there is no room for a file.
    """
    with full_disk_said(RESERVE_BYTES):
        folder = _new_arriving(root)
    try:
        yield folder / PREPARED
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def place(root: Path, file: Path) -> ResultFolder:
    """Keep what has been prepared, to be scored."""
    folder = ResultFolder(root, file.parent.name)
    file.parent.rename(folder.path)
    return folder


def _new_arriving(root: Path) -> Path:
    if len(list(root.glob(f"{ARRIVING}/*"))) >= MOST_ARRIVING:
        raise TooManyUploadsError(MOST_ARRIVING)
    folder = root / ARRIVING / uuid.uuid4().hex
    folder.mkdir(parents=True)
    return folder


def keep_entries(root: Path, entries: Entries) -> ResultFolder:
    """Keep the rows or texts of a request, to be scored.

    Raises:
        DiskFullError: there is no room for them.
    """
    content = json.dumps(asdict(entries)).encode()
    root.mkdir(parents=True, exist_ok=True)
    check_room(root, len(content))
    folder = ResultFolder(root, uuid.uuid4().hex)
    with full_disk_said(RESERVE_BYTES):
        folder.path.mkdir()
        (folder.path / ENTRIES).write_bytes(content)
    return folder


def keep(root: Path, body: Arriving) -> ResultFolder:
    """Keep a body that has arrived, to be scored."""
    body.sync()
    return place(root, body.path)


def sweep(root: Path, kept_seconds: float, arriving_seconds: float, held: Collection[str]) -> int:
    """Remove folders that are older than they are kept; return how many those were.

    Args:
        arriving_seconds: longest time that a body may take to arrive.
        held: names that open jobs need.
    """
    removed = [path for path in root.glob(f"{ARRIVING}/*") if _age(path) > arriving_seconds]
    removed += [
        path
        for path in root.glob("*")
        if NAME.fullmatch(path.name) and path.name not in held and _age(path) > kept_seconds
    ]
    for path in removed:
        shutil.rmtree(path, ignore_errors=True)
    return len(removed)


def _age(path: Path) -> float:
    """Return the seconds since something was written into a folder, or removed from it."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
