"""Uploaded data: put from a file, bytes or a frame; listed, read, deleted."""

import csv
import io
from pathlib import Path
from typing import Any, Literal

from nautilus_ml_client import frames
from nautilus_ml_client.answers import DataFacts, DataLine, DataList, KeptData
from nautilus_ml_client.errors import InputError
from nautilus_ml_client.requests import Flow, Request, address, answered, delete, get

CONTENT_TYPES = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
Kind = Literal["table", "texts", "bars"]
Format = Literal["csv", "parquet"]


def list_data() -> Flow[list[DataLine]]:
    """List the uploaded data."""
    return (yield from answered(get("/data"), DataList)).data


def get_data(name: str) -> Flow[DataFacts]:
    """Show what a name holds."""
    return (yield from answered(get(_at(name)), DataFacts))


def content(name: str) -> Flow[bytes]:
    """Return the file as it was uploaded."""
    response = yield get(_at(name, "/content"))
    return bytes(response.content)


def put(
    name: str,
    data: Any,
    *,
    kind: Kind = "table",
    format: Format | None = None,
    columns: str = "",
    timezone: str = "UTC",
    date_order: str = "",
) -> Flow[KeptData]:
    """Upload data under a name; a name that holds data already means the new ones from now on.

    The same file again changes nothing.

    Args:
        data: a path of a CSV or Parquet file, its bytes, a frame, or an iterable of mappings.
        format: of bytes, or of a file whose name does not end in .csv or .parquet.
        columns: of bars: our_name=file_name pairs, separated by commas.
        timezone: of bars: IANA zone of times written without one.
        date_order: of bars: day-first or month-first, where dates leave it open.

    Raises:
        InputError: the format is not known, or the frame cannot be written.
        InvalidRequestError: training could not read the file; the message says why.
    """
    body, found = _body_of(data, format)
    given = {"columns": columns, "date_order": date_order}
    query = {"kind": kind, "timezone": timezone} | {k: v for k, v in given.items() if v}
    request = Request(
        "PUT",
        _at(name),
        query=query,
        headers={"Content-Type": CONTENT_TYPES[found]},
        body=body,
        is_repeatable=True,
        is_upload=True,
    )
    return (yield from answered(request, KeptData))


def delete_data(name: str) -> Flow[DataFacts]:
    """Delete data that no model and no open job needs."""
    return (yield from answered(delete(_at(name)), DataFacts))


def _body_of(data: Any, format: Format | None) -> tuple[bytes | Path, Format]:
    if isinstance(data, bytes):
        return data, _checked(format, "the bytes")
    if isinstance(data, str | Path):
        path = frames.file_at(Path(data))
        return path, _checked(format or path.suffix.lower().removeprefix("."), path.name)
    if format is not None:
        raise InputError("format belongs to files and bytes; a frame is written by the client")
    return _written(data)


def _checked(format: str | None, what: str) -> Format:
    if format == "csv":
        return "csv"
    if format == "parquet":
        return "parquet"
    raise InputError(f"format of {what}: say format='csv' or format='parquet'")


def _written(data: Any) -> tuple[bytes, Format]:
    """Return a frame as a file: Parquet where its library writes it, which keeps the types."""
    if frames.library_of(data) in ("polars", "pyarrow"):
        return frames.parquet_of(data), "parquet"
    return _csv(frames.rows_of(data)), "csv"


def _csv(rows: list[dict[str, Any]]) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not names:
        raise InputError("data: expected at least one row with a column")
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _at(name: str, end: str = "") -> str:
    return address("/data/{name}" + end, name=name)
