"""Frame files: rows in a Parquet file or an Arrow IPC stream, read slice by slice.

A slice is a frame of plain columns: numbers, booleans, times, texts, lists of numbers. Columns that
repeat values by number (dictionaries) are unfolded where what they unfold to stays small, so that a
small file cannot become a large frame. The sizes that a file claims of itself are not believed: who
reads a stranger's file also limits the memory of the process (`pipelines/data/frame_checks.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from registry.errors import ColumnTypeError, FrameFileError, named

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET, ARROW = "parquet", "arrow"
SUFFIXES = {PARQUET: ".parquet", ARROW: ".arrows"}
NOUNS = {PARQUET: "Parquet file", ARROW: "Arrow IPC stream"}
BUFFER_BYTES = 1 << 20
MOST_COLUMNS = 5000
MOST_SLICE_BYTES = 256_000_000
"""Most bytes that a slice may unfold to."""


@dataclass(frozen=True, slots=True)
class FrameFile:
    """A file of rows in one of the two formats.

    Raises:
        FrameFileError: by every method, a file that is not of its format, or unfolds too far.
    """

    path: Path
    format: str

    def schema(self) -> dict[str, pl.DataType]:
        """Return column -> type, in order, as slices have them.

        A column that no slice can hold has the type `Object`.
        """
        with _reading(self), _opened(self) as source:
            return {field.name: _type_of(field.type) for field in _schema_of(source)}

    def n_rows(self) -> int:
        """Return the number of rows; of a stream by reading it to its end."""
        import pyarrow.parquet as pq

        with _reading(self), _opened(self) as source:
            if isinstance(source, pq.ParquetFile):
                return int(source.metadata.num_rows)
            return sum(len(batch) for batch in source)

    def slices(
        self, columns: Sequence[str], size: int, first_row: int = 0
    ) -> Iterator[pl.DataFrame]:
        """Yield these columns in frames of `size` rows from `first_row` on, the last one shorter.

        Raises:
            ColumnTypeError: a column whose values no frame holds, such as lists of texts.
        """
        with _reading(self), _opened(self, columns) as source:
            groups, skipped = _groups_from(source, first_row)
            batches = _batches(source, groups, size)
            frames = (_frame(batch, columns, self.path.name) for batch in batches)
            yield from cut(frames, size, first_row - skipped)


def cut(frames: Iterator[pl.DataFrame], size: int, first_row: int) -> Iterator[pl.DataFrame]:
    """Yield the rows of frames from `first_row` on in frames of `size` rows, the last shorter."""
    held: list[pl.DataFrame] = []
    n_held, to_skip = 0, first_row
    for frame in frames:
        skipped = min(to_skip, len(frame))
        to_skip -= skipped
        rest = frame.slice(skipped)
        held.append(rest)
        n_held += len(rest)
        while n_held >= size:
            whole = pl.concat(held)
            yield whole.head(size)
            held, n_held = [whole.slice(size)], n_held - size
    if n_held:
        yield pl.concat(held)


@contextmanager
def _opened(file: FrameFile, columns: Sequence[str] = ()) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with ExitStack() as stack:
        if file.format == PARQUET:
            texts: list[str] = []
            if columns:  # texts stay numbers of a dictionary until their size is known
                texts = _text_columns(pq.read_schema(file.path), columns)
            yield stack.enter_context(
                pq.ParquetFile(
                    file.path,
                    buffer_size=BUFFER_BYTES,
                    pre_buffer=False,
                    read_dictionary=texts or None,
                )
            )
            return
        opened = stack.enter_context(pa.OSFile(str(file.path), "rb"))
        included = None
        if columns:
            names = pa.ipc.open_stream(opened).schema.names
            included = pa.ipc.IpcReadOptions(included_fields=[names.index(c) for c in columns])
            opened.seek(0)
        yield stack.enter_context(pa.ipc.open_stream(opened, options=included))


def _text_columns(schema: "pa.Schema", columns: Sequence[str]) -> list[str]:
    import pyarrow as pa

    def is_text(kind: pa.DataType) -> bool:
        return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))

    return [field.name for field in schema if field.name in columns and is_text(field.type)]


def _schema_of(source: Any) -> "pa.Schema":
    schema = getattr(source, "schema_arrow", None) or source.schema
    names = schema.names
    if len(names) > MOST_COLUMNS:
        raise FrameFileError("the rows", f"there are {len(names)} columns, at most {MOST_COLUMNS}")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise FrameFileError("the rows", f"two columns are called {named(repeated[0])}")
    return schema


def _groups_from(source: Any, first_row: int) -> tuple[list[int], int]:
    """Return the row groups of a Parquet file from a row on, and how many rows lie before them."""
    metadata = getattr(source, "metadata", None)
    if metadata is None:
        return [], 0
    skipped, groups = 0, list(range(metadata.num_row_groups))
    while groups and skipped + metadata.row_group(groups[0]).num_rows <= first_row:
        skipped += metadata.row_group(groups.pop(0)).num_rows
    return groups, skipped


def _batches(source: Any, groups: Sequence[int], size: int) -> Iterator["pa.RecordBatch"]:
    import pyarrow.parquet as pq

    if isinstance(source, pq.ParquetFile):
        yield from source.iter_batches(batch_size=size, row_groups=groups, use_threads=False)
        return
    for batch in source:  # a batch of a stream may have any number of rows
        for start in range(0, len(batch), size):
            yield batch.slice(start, size)


def _frame(batch: "pa.RecordBatch", columns: Sequence[str], where: str) -> pl.DataFrame:
    plain = {name: _plain(batch.column(name), name, where) for name in columns}
    found = {name: pl.from_arrow(array) for name, array in plain.items()}
    return pl.DataFrame({name: pl.Series(name, series) for name, series in found.items()})


def _plain(array: "pa.Array", name: str, where: str) -> "pa.Array":
    """Return an array of plain values, dictionaries unfolded.

    Raises:
        FrameFileError: it would unfold to more than a slice may hold.
        ColumnTypeError: the values of no frame.
    """
    import pyarrow as pa

    if isinstance(_type_of(array.type), pl.Object):
        raise ColumnTypeError(name, "numbers, texts, booleans or times", str(array.type))
    if not pa.types.is_dictionary(array.type):
        return array
    if (unfolded := _unfolded_bytes(array)) > MOST_SLICE_BYTES:
        problem = f"column {named(name)} unfolds to {unfolded} bytes in {len(array)} rows"
        raise FrameFileError(where, f"{problem}, at most {MOST_SLICE_BYTES}")
    return array.dictionary_decode()


def _unfolded_bytes(array: "pa.DictionaryArray") -> int:
    import pyarrow as pa
    import pyarrow.compute as pc

    values = array.dictionary
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return 8 * len(array)
    lengths = pc.binary_length(values).cast(pa.int64())
    return int(pc.sum(lengths.take(array.indices)).as_py() or 0)


def _type_of(kind: "pa.DataType") -> pl.DataType:
    """Return the type of a frame's column; `Object` for values that no frame holds."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        is_nested = pa.types.is_nested(kind.value_type) or pa.types.is_dictionary(kind.value_type)
        return pl.Object() if is_nested else _type_of(kind.value_type)
    found = _PLAIN.get(str(kind))
    if found is not None:
        return found
    try:
        known = pl.from_arrow(pa.array([], type=kind))
    except (
        pl.exceptions.PolarsError,
        pa.ArrowException,
        TypeError,
        ValueError,
        NotImplementedError,
    ):
        return pl.Object()
    kept = known.dtype if isinstance(known, pl.Series) else pl.Object()
    inner = getattr(kept, "inner", None)
    if inner is not None:
        return kept if inner.is_numeric() else pl.Object()
    return pl.Object() if kept.is_nested() else kept


_PLAIN: Mapping[str, pl.DataType] = {
    "double": pl.Float64(),
    "float": pl.Float32(),
    "int64": pl.Int64(),
    "string": pl.String(),
    "large_string": pl.String(),
    "bool": pl.Boolean(),
}


@contextmanager
def _reading(file: FrameFile) -> Iterator[None]:
    """Say of a file that its library cannot read that it is not what it was sent as."""
    import pyarrow as pa

    try:
        yield
    except MemoryError as exc:
        raise FrameFileError(file.path.name, "it unfolds to more memory than it may take") from exc
    except FileNotFoundError:
        raise
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError) as exc:
        problem = f"it is no {NOUNS[file.format]}, or it is damaged or cut off"
        raise FrameFileError(file.path.name, problem) from exc
