"""Result files: the answers about many rows, written part by part and there as a whole or not.

Beside `NAME.parquet` lies `NAME.parts` while it is being made: an Arrow file per part, named by its
first row, and what was begun (`state.json`). A part is there when it is whole, so whoever comes
after a killed process goes on behind the last one. Two processes at once write the same parts under
names of their own; the first to finish one wins. `finish` joins the parts and removes them.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from pipelines.data.sources.segments import sync_folder
from pipelines.data.uploads import RESERVE_BYTES, check_room, full_disk_said

if TYPE_CHECKING:
    import pyarrow as pa

STATE = "state.json"
PART_SUFFIX = ".arrow"


@dataclass(frozen=True, slots=True)
class ResultFile:
    """A result that is being made or that is there; every write may raise DiskFullError."""

    path: Path
    reserve_bytes: int = RESERVE_BYTES

    @property
    def parts(self) -> Path:
        """The folder of the parts."""
        return self.path.with_suffix(".parts")

    @property
    def is_whole(self) -> bool:
        """Whether the result is there."""
        return self.path.is_file()

    def begin(self, task: Mapping[str, str]) -> dict[str, str]:
        """Return what is known of this task from before; parts of another task are removed.

        Args:
            task: what makes the parts the same: source, version, columns.
        """
        known = self.state()
        if known.get("task") != json.dumps(dict(task), sort_keys=True):
            shutil.rmtree(self.parts, ignore_errors=True)
            known = {"task": json.dumps(dict(task), sort_keys=True)}
        self.parts.mkdir(parents=True, exist_ok=True)
        self.remember(known)
        return known

    def remember(self, state: Mapping[str, str]) -> None:
        """Keep what the next attempt must know."""
        with self._written(self.parts / STATE) as path:
            path.write_text(json.dumps(dict(state)))

    def state(self) -> dict[str, str]:
        """Return what was kept; empty when there is nothing, or nothing that can be read."""
        try:
            found = json.loads((self.parts / STATE).read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def n_done(self) -> int:
        """Return the number of rows in whole parts, from the first row on without a gap."""
        n_rows = 0
        for path in self._part_paths():
            if int(path.stem) != n_rows:
                break
            with opened_arrow(path) as part:
                n_rows += sum(len(part.get_batch(i)) for i in range(part.num_record_batches))
        return n_rows

    def add_part(self, first_row: int, answers: pl.DataFrame) -> None:
        """Keep the answers from `first_row` on, at once or not at all."""
        import pyarrow as pa

        check_room(self.parts, int(answers.estimated_size()), self.reserve_bytes)
        table = as_arrow(answers)
        with (
            self._written(self.parts / f"{first_row:012d}{PART_SUFFIX}") as path,
            pa.ipc.new_file(path, table.schema) as part,
        ):
            part.write_table(table)

    def finish(self) -> int:
        """Join the parts into the result and return its rows; one that is there already stands."""
        import pyarrow.parquet as pq

        paths = self._part_paths()
        if not self.is_whole:
            n_bytes = sum(path.stat().st_size for path in paths)
            check_room(self.path.parent, n_bytes, self.reserve_bytes)
            with self._written(self.path) as joined:
                _join(paths, joined)
        shutil.rmtree(self.parts, ignore_errors=True)
        return int(pq.read_metadata(self.path).num_rows)

    def page(self, offset: int, limit: int) -> pl.DataFrame:
        """Return some rows of a whole result."""
        return pl.scan_parquet(self.path).slice(offset, limit).collect()

    def n_rows(self) -> int:
        """Return the number of rows of a whole result."""
        import pyarrow.parquet as pq

        return int(pq.read_metadata(self.path).num_rows)

    def _part_paths(self) -> list[Path]:
        return sorted(path for path in self.parts.glob(f"*{PART_SUFFIX}") if path.stem.isdecimal())

    @contextmanager
    def _written(self, target: Path) -> Iterator[Path]:
        """Yield a name to write to; the file is on disk under its own name afterwards."""
        making = target.with_name(f".{uuid.uuid4().hex}{target.suffix}")
        try:
            with full_disk_said(self.reserve_bytes):
                yield making
                with making.open("rb") as file:
                    os.fsync(file.fileno())
                making.replace(target)
                sync_folder(target.parent)
        finally:
            with suppress(OSError):
                making.unlink()


def as_arrow(frame: pl.DataFrame) -> "pa.Table":
    """Return a frame as an Arrow table of types that every reader knows."""
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def _join(paths: list[Path], target: Path) -> None:
    """Write the parts into one Parquet file, a row group for each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with opened_arrow(paths[0]) as first:
        schema = first.schema
    with pq.ParquetWriter(target, schema) as writer:
        for path in paths:
            with opened_arrow(path) as part:
                batches = [part.get_batch(i) for i in range(part.num_record_batches)]
                writer.write_table(pa.Table.from_batches(batches, schema))


@contextmanager
def opened_arrow(path: Path) -> Iterator["pa.ipc.RecordBatchFileReader"]:
    """Yield the batches of an Arrow file, which are read when they are looked at."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as part:
        yield part
