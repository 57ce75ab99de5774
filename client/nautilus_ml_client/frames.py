"""Rows out of frames, and frames out of rows: pandas, polars and Arrow, each only if it is there.

A frame is known by the library that its class comes from, so none of them is imported unless one of
its frames is given, or asked for. Missing values (NaN, NaT, NA, null) become None.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from nautilus_ml_client.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

Row = Mapping[str, Any]


def library_of(value: object) -> str:
    """Return `pandas`, `polars` or `pyarrow` where a value is one of their frames, else ``."""
    for kind in type(value).__mro__:
        library = kind.__module__.partition(".")[0]
        name = kind.__name__
        if (library, name) in FRAMES:
            return library
    return ""


FRAMES = {
    ("pandas", "DataFrame"),
    ("polars", "DataFrame"),
    ("polars", "LazyFrame"),
    ("pyarrow", "Table"),
    ("pyarrow", "RecordBatch"),
    ("pyarrow", "RecordBatchReader"),
}


def rows_of(data: Any) -> list[dict[str, Any]]:
    """Return a frame's rows, or the rows of an iterable of mappings.

    The named index of a pandas frame becomes columns.

    Raises:
        InputError: it is neither, or an element is no mapping.
    """
    library = library_of(data)
    if library == "pandas":
        return _rows_of_pandas(data)
    if library == "polars":
        whole = data.collect() if hasattr(data, "collect") else data
        return [_plain_row(row) for row in whole.iter_rows(named=True)]
    if library == "pyarrow":
        return [_plain_row(row) for row in _table(data).to_pylist()]
    return [_plain_row(row) for row in _mappings(data)]


def parquet_of(data: Any) -> bytes:
    """Return a frame as a Parquet file; see `write_parquet`."""
    with TemporaryDirectory() as folder:
        return write_parquet(data, Path(folder) / "frame.parquet").read_bytes()


def write_parquet(data: Any, target: Path) -> Path:
    """Write a frame as a Parquet file and return it.

    A lazy frame of polars and a reader of Arrow go through piece by piece, never whole in memory.

    Raises:
        InputError: it is no frame, or one of pandas where pyarrow is not installed.
    """
    library = library_of(data)
    if library == "polars":
        (data.sink_parquet if hasattr(data, "sink_parquet") else data.write_parquet)(target)
        return target
    if not library:
        raise InputError(f"expected a frame of pandas, polars or Arrow, got {type(data).__name__}")
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise InputError("a frame of pandas goes as Parquet, for which pyarrow is needed") from None
    if library == "pandas":
        is_named = any(name is not None for name in data.index.names)
        whole = data.reset_index() if is_named else data
        parquet.write_table(pa.Table.from_pandas(whole, preserve_index=False), target)
    elif isinstance(data, pa.Table):
        parquet.write_table(data, target)
    else:
        with parquet.ParquetWriter(target, data.schema) as writer:
            for batch in [data] if isinstance(data, pa.RecordBatch) else data:
                writer.write_batch(batch)
    return target


def file_at(path: Path) -> Path:
    """Return the path of a file that is there.

    Raises:
        InputError: it is not.
    """
    if not path.is_file():
        raise InputError(f"data: there is no file {path}")
    return path


def to_pandas(rows: Sequence[Row], columns: Sequence[str]) -> "pd.DataFrame":
    """Return rows as a pandas frame."""
    import pandas as pd

    return pd.DataFrame(
        [[row.get(name) for name in columns] for row in rows], columns=list(columns)
    )


def to_polars(rows: Sequence[Row], columns: Sequence[str]) -> "pl.DataFrame":
    """Return rows as a polars frame."""
    import polars as pl

    values = {name: [row.get(name) for row in rows] for name in columns}
    return pl.DataFrame(values, strict=False)


def to_arrow(rows: Sequence[Row], columns: Sequence[str]) -> "pa.Table":
    """Return rows as an Arrow table."""
    import pyarrow as pa

    return pa.table({name: pa.array([row.get(name) for row in rows]) for name in columns})


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (name, value) with the fields of inner mappings as `outer.inner`."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _rows_of_pandas(frame: Any) -> list[dict[str, Any]]:
    is_named = any(name is not None for name in frame.index.names)
    whole = frame.reset_index() if is_named else frame
    names = [str(name) for name in whole.columns]
    columns = [whole.iloc[:, i].astype(object).tolist() for i in range(len(names))]
    found = (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))
    return [_plain_row(row) for row in found]


def _table(data: Any) -> Any:
    return data.read_all() if hasattr(data, "read_all") else data


def _mappings(data: Any) -> Iterator[Row]:
    if isinstance(data, str | bytes | Mapping) or not isinstance(data, Iterable):
        raise InputError(
            "expected a frame of pandas, polars or Arrow, or an iterable of mappings, "
            f"got {type(data).__name__}"
        )
    for i, row in enumerate(data):
        if not isinstance(row, Mapping):
            raise InputError(f"row {i}: expected a mapping, got {type(row).__name__}")
        yield row


def _plain_row(row: Row) -> dict[str, Any]:
    return {str(name): plain(value) for name, value in row.items()}


def plain(value: Any) -> Any:
    """Return a cell without its library: None where it is missing."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    if type(value).__name__ in ("NaTType", "NAType"):
        return None
    if hasattr(value, "to_pydatetime"):
        return value.to_pydatetime(warn=False)  # nanoseconds are cut off
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return plain(value.item())
    return value
