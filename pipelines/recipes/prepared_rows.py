"""Prepared rows: inputs that were made when a request was accepted, on disk until they are scored.

What symbols and portfolios are asked about changes from minute to minute (the newest bar, the last
close), so a request that is too large to be answered at once has its inputs made while it is
accepted, slice by slice, and its answers later. Whoever scores the file needs no bars.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.frame_files import cut
from pipelines.data.result_files import as_arrow, opened_arrow
from pipelines.data.uploads import RESERVE_BYTES, check_room, full_disk_said
from pipelines.recipes.answering import ERROR, error_column
from pipelines.recipes.inputs.frames import FrameInputs
from pipelines.recipes.scored_rows import ScoredRows, Slice
from registry.contract import ModelContract
from registry.errors import MLEngineError, RowRefusedError

if TYPE_CHECKING:
    import pyarrow as pa

INPUTS = ".inputs"
CONTEXT = ".context."
ASKED = b"asked"
"""Key of the fields that are asked for in the metadata of the file's schema."""


@dataclass(slots=True)
class PreparedWriter:
    """Writes slices to one file; close it, or use it in a `with` statement.

    Args:
        asked: the fields that the questions ask for; see `Answerer`.
    """

    path: Path
    asked: tuple[str, ...] = ()
    reserve_bytes: int = RESERVE_BYTES
    n_rows: int = 0
    _opened: ExitStack = field(default_factory=ExitStack)
    _file: "pa.ipc.RecordBatchFileWriter | None" = None

    def __enter__(self) -> "PreparedWriter":
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def write(self, part: Slice) -> None:
        """Add a slice whose inputs have been made.

        Raises:
            DiskFullError: there is no room for it.
        """
        frame = _frame(part)
        check_room(self.path.parent, int(frame.estimated_size()), self.reserve_bytes)
        with full_disk_said(self.reserve_bytes):
            table = as_arrow(frame)
            self._writer(table.schema).write_table(table)
        self.n_rows += len(frame)

    def close(self) -> None:
        """End the file."""
        with full_disk_said(self.reserve_bytes):
            self._opened.close()

    def _writer(self, schema: "pa.Schema") -> "pa.ipc.RecordBatchFileWriter":
        import pyarrow as pa

        if self._file is None:
            told = schema.with_metadata({ASKED: json.dumps(self.asked).encode()})
            self._file = self._opened.enter_context(pa.ipc.new_file(self.path, told))
        return self._file


def asked_in(path: Path) -> tuple[str, ...]:
    """Return the fields that the questions of a file ask for."""
    with opened_arrow(path) as file:
        return tuple(json.loads(file.schema.metadata[ASKED]))


def of_prepared(path: Path, contract: ModelContract) -> ScoredRows:
    """Return the rows of a file that `PreparedWriter` wrote."""
    shape = tuple(size or 0 for size in contract.inputs.shape[1:])

    def slices(size: int, first_row: int) -> Iterator[Slice]:
        with opened_arrow(path) as file:
            batches = (file.get_batch(i) for i in range(file.num_record_batches))
            frames = (cast(pl.DataFrame, pl.from_arrow(batch)) for batch in batches)
            yield from (_slice(part, shape) for part in cut(frames, size, first_row))

    with opened_arrow(path) as file:
        n_rows = sum(len(file.get_batch(i)) for i in range(file.num_record_batches))
    return ScoredRows(n_rows, slices)


def _frame(part: Slice) -> pl.DataFrame:
    inputs = cast(FrameInputs, part.rows)
    n_rows = len(part.kept)
    X = np.zeros((n_rows, int(np.prod(inputs.X.shape[1:]))), dtype=np.float32)
    X[inputs.rows] = inputs.X.reshape(len(inputs.rows), X.shape[1])
    context = {
        name: _spread(values, inputs.rows, n_rows) for name, values in inputs.context.items()
    }
    columns = [pl.Series(f"{CONTEXT}{name}", values) for name, values in context.items()]
    errors = error_column(inputs.errors, n_rows)
    return part.kept.with_columns(pl.Series(INPUTS, X), *columns, errors)


def _spread(
    values: NDArray[np.float64], rows: NDArray[np.intp], n_rows: int
) -> NDArray[np.float64]:
    whole = np.full(n_rows, np.nan)
    whole[rows] = values
    return whole


def _slice(frame: pl.DataFrame, shape: Sequence[int]) -> Slice:
    is_refused = frame[ERROR].is_not_null().to_numpy()
    rows = np.flatnonzero(~is_refused)
    X = frame[INPUTS].to_numpy().reshape(len(frame), *shape)
    names = [name for name in frame.columns if name.startswith(CONTEXT)]
    context = {name.removeprefix(CONTEXT): frame[name].to_numpy()[rows] for name in names}
    refused = np.flatnonzero(is_refused).tolist()
    told: list[Mapping[str, str]] = frame[ERROR].gather(refused).to_list()
    errors: dict[int, MLEngineError] = {
        row: RowRefusedError(one["code"], one["message"])
        for row, one in zip(refused, told, strict=True)
    }
    kept = frame.drop(INPUTS, *names, ERROR)
    X = np.ascontiguousarray(X[rows] if refused else X, dtype=np.float32)
    return Slice(kept, FrameInputs(rows, X, context, errors))
