"""/data: tables, texts and bars that people upload, by name; models are made from them.

No path is ever taken: a name is letters, digits, `.`, `_` and `-`, and the file's place on disk is
made here. A key that is limited to some models may not touch data, because they belong to none.
"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from io import BufferedReader
from typing import Annotated, Any, Literal

from fastapi import Path, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from pipelines.data.sources.times import check_date_order, check_timezone
from pipelines.data.upload_checks import Upload
from pipelines.data.uploads import NAME, DataFile, check_name
from pipelines.parameters import parse_mapping
from registry.errors import UnknownNameError
from serving.data_files import CHUNK_BYTES, DataFiles, format_of
from serving.route_table import Example, Route, Scope
from serving.security import Principal, principal_of
from serving.service import service_of

DataName = Annotated[
    str,
    Path(
        description="Letters, digits, `.`, `_` and `-`, at most 100; the first is no sign.",
        json_schema_extra={"pattern": f"^{NAME.pattern}$"},
    ),
]
QUERY = ("kind", "columns", "timezone", "date_order")
CSV = b"age,city,churned\n41,Rome,no\n29,Oslo,yes\n"
CONTENT_TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}


class DataLine(BaseModel):
    """One name in the list."""

    name: str
    kind: str = Field(description="table, texts or bars.")
    format: str = Field(description="csv or parquet.")
    sha256: str = Field(description="Of the file, as it was sent.")
    n_bytes: int
    n_rows: int
    n_columns: int
    actor: str = Field(description="Id of the key that uploaded it.")
    uploaded_at: datetime


class DataList(BaseModel):
    """Every name."""

    data: list[DataLine]


class DataFacts(DataLine):
    """What a name holds."""

    columns: list[str]


class KeptData(DataFacts):
    """What a name holds after an upload."""

    is_new: bool = Field(description="Whether the name held nothing before.")
    is_changed: bool = Field(description="False: it held the same bytes already.")


async def list_data(request: Request) -> DataList:
    """List the uploaded data."""
    data = _data_of(request)
    found = await asyncio.to_thread(data.uploads.list_all)
    return DataList(data=[DataLine(**_line(file)) for file in found])


async def get_data(name: DataName, request: Request) -> DataFacts:
    """Show what a name holds."""
    data = _data_of(request)
    return DataFacts(**_facts(await asyncio.to_thread(data.uploads.get, name)))


async def get_content(name: DataName, request: Request) -> StreamingResponse:
    """Return the file as it was uploaded."""
    data, stack = _data_of(request), ExitStack()
    found = stack.enter_context
    file, opened, _ = await asyncio.to_thread(found, data.uploads.opened(name))
    headers = {
        "Content-Length": str(file.n_bytes),
        "Content-Disposition": f'attachment; filename="{file.file_name}"',
        "ETag": f'"{file.sha256}"',
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(
        _chunks(opened, stack), media_type=CONTENT_TYPES[file.format], headers=headers
    )


async def put_data(
    name: DataName,
    request: Request,
    kind: Annotated[
        Literal["table", "texts", "bars"], Query(description="What the file holds.")
    ] = "table",
    columns: Annotated[
        str, Query(description="Of bars: our_name=file_name pairs, as training will map them.")
    ] = "",
    timezone: Annotated[
        str, Query(description="Of bars: IANA zone of times written without one.")
    ] = "UTC",
    date_order: Annotated[
        str, Query(description="Of bars: day-first or month-first, where dates leave it open.")
    ] = "",
) -> KeptData:
    """Upload a CSV or Parquet file; a name that holds data already means the new ones from now on.

    The body is the file. It is read as training reads it before it is kept, so the answer comes
    when that is done. The same file again changes nothing. Model files are refused.
    """
    data, principal = _data_of(request), _principal(request)
    if unknown := sorted(set(request.query_params) - set(QUERY)):
        raise UnknownNameError("query parameter", unknown[0], QUERY)
    check_timezone(timezone)
    check_date_order(date_order)
    mapping = parse_mapping("columns", columns)
    upload = Upload(kind, format_of(request), mapping, timezone, date_order)
    kept = await data.receive(name, upload, request, principal.actor)
    return KeptData(**_facts(kept.file), is_new=kept.is_new, is_changed=kept.is_changed)


async def delete_data(name: DataName, request: Request) -> DataFacts:
    """Delete data that no model and no open job needs; the answer shows what they were."""
    data, actor = _data_of(request), _principal(request).actor
    return DataFacts(**_facts(await asyncio.to_thread(data.uploads.delete, name, actor)))


def _data_of(request: Request) -> DataFiles:
    _principal(request)
    if "name" in request.path_params:
        check_name(request.path_params["name"])
    return service_of(request).data_files


def _principal(request: Request) -> Principal:
    principal = principal_of(request)
    principal.check_model(None)
    return principal


def _line(file: DataFile) -> dict[str, Any]:
    facts = {name: getattr(file, name) for name in DataLine.model_fields if name != "n_columns"}
    return facts | {"n_columns": len(file.columns)}


def _facts(file: DataFile) -> dict[str, Any]:
    return _line(file) | {"columns": list(file.columns)}


def _chunks(opened: BufferedReader, stack: ExitStack) -> Iterator[bytes]:
    with stack:
        while chunk := opened.read(CHUNK_BYTES):
            yield chunk


CHURN = {"name": "churn"}
BINARY = {"schema": {"type": "string", "format": "binary"}}

ROUTES = (
    Route(
        "GET",
        "/data",
        Scope.READ,
        list_data,
        tag="data",
        errors=(503,),
        examples=(Example("every name"),),
    ),
    Route(
        "PUT",
        "/data/{name}",
        Scope.MANAGE,
        put_data,
        tag="data",
        errors=(409, 503),
        is_upload=True,
        examples=(
            Example(
                "a table",
                path=CHURN,
                query={"kind": "table"},
                headers={"Content-Type": "text/csv"},
                content=CSV,
            ),
        ),
    ),
    Route(
        "GET",
        "/data/{name}",
        Scope.READ,
        get_data,
        tag="data",
        errors=(404, 422, 503),
        examples=(Example("one name", path=CHURN),),
    ),
    Route(
        "GET",
        "/data/{name}/content",
        Scope.READ,
        get_content,
        tag="data",
        errors=(404, 422, 503),
        examples=(Example("the file", path=CHURN),),
        response_class=StreamingResponse,
        responses={
            200: {
                "description": "The file.",
                "content": dict.fromkeys(
                    (value.partition(";")[0] for value in CONTENT_TYPES.values()), BINARY
                ),
            }
        },
    ),
    Route(
        "DELETE",
        "/data/{name}",
        Scope.MANAGE,
        delete_data,
        tag="data",
        errors=(404, 409, 422, 503),
        examples=(Example("data that are no longer needed", path=CHURN),),
    ),
)
