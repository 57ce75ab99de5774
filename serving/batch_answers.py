"""Batch answers: answers as columns -> JSON, an Arrow IPC stream or Parquet, by Accept."""

import io
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import polars as pl
from fastapi import Request, Response

from pipelines.data.result_files import as_arrow
from registry.errors import ParameterError
from serving.batch_questions import ARROW_TYPE, JSON_TYPE, PARQUET_TYPE

ANY = ("", "*/*", "application/*", JSON_TYPE)
FACTS = b"nautilus_ml_engine"
"""Key of the facts about an answer in the metadata of its Arrow schema."""


def accepted(request: Request) -> str:
    """Return the content type that a caller wants.

    Raises:
        ParameterError: none of those that there are.
    """
    asked = [
        part.partition(";")[0].strip().lower()
        for part in request.headers.get("accept", "").split(",")
    ]
    for kind in asked:
        if kind in ANY:
            return JSON_TYPE
        if kind in (ARROW_TYPE, PARQUET_TYPE):
            return kind
    known = ", ".join((JSON_TYPE, ARROW_TYPE, PARQUET_TYPE))
    raise ParameterError("Accept", asked[0], f"one of {known}")


def response(answers: pl.DataFrame, facts: Mapping[str, Any], kind: str) -> Response:
    """Return answers with the facts about them in the type that was asked for."""
    if kind == JSON_TYPE:
        body = {**facts, "answers": answers.to_dicts()}
        return Response(json.dumps(body, default=_plain, allow_nan=False), media_type=JSON_TYPE)
    return Response(_written(answers, facts, kind), media_type=kind)


def _written(answers: pl.DataFrame, facts: Mapping[str, Any], kind: str) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    told = {FACTS: json.dumps(dict(facts), default=_plain).encode()}
    table = as_arrow(answers).replace_schema_metadata(told)
    content = io.BytesIO()
    if kind == PARQUET_TYPE:
        pq.write_table(table, content)
    else:
        with pa.ipc.new_stream(content, table.schema) as writer:
            writer.write_table(table)
    return content.getvalue()


def _plain(value: object) -> str:
    """Return a time as /predict writes it."""
    assert isinstance(value, datetime)
    return value.isoformat().replace("+00:00", "Z")
