"""Batch questions: the body of a batch request by its content type -> what is asked.

JSON has the forms of /predict, or is a list of symbols with their features. Rows also come as an
Arrow IPC stream or a Parquet file: those go to disk as they arrive and are looked at in a process
of their own (`pipelines.data.frame_checks`), never in this one.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect

from pipelines.data.frame_files import ARROW, PARQUET
from pipelines.data.uploads import Arriving
from registry.errors import ParameterError
from serving.data_files import CHUNK_BYTES
from serving.loading import LoadedVersion
from serving.schemas import ColumnFeatures, Label, PredictRequest, Symbol
from serving.strict_json import parse

JSON_TYPE = "application/json"
ARROW_TYPE = "application/vnd.apache.arrow.stream"
PARQUET_TYPE = "application/vnd.apache.parquet"
FILE_TYPES = {
    ARROW_TYPE: ARROW,
    PARQUET_TYPE: PARQUET,
    "application/x-parquet": PARQUET,
}
CONTENT_TYPES = (JSON_TYPE, *FILE_TYPES)
BESIDE_POSITIONS = ("risk_metrics", "time_horizon")
"""What may stand beside the positions of a portfolio in a list."""


class BatchEntry(BaseModel):
    """One symbol (or the name of one row) and what the caller knows of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    symbol: Symbol
    features: dict[Label, Any] | None = None


ENTRIES: TypeAdapter[list[BatchEntry]] = TypeAdapter(
    Annotated[list[BatchEntry], Field(min_length=1)]
)


@dataclass(frozen=True, slots=True)
class Named:
    """The version asked for, by the query or by the body."""

    model_id: str
    version: int | None
    alias: str | None
    hardware: str | None = None
    strict: bool = False


def type_of(request: Request) -> str:
    """Return the content type of a body.

    Raises:
        HTTPException: another one than those taken here.
    """
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared not in CONTENT_TYPES:
        known = ", ".join(CONTENT_TYPES)
        raise HTTPException(415, f"name the body's type in the header Content-Type: {known}")
    return declared


async def read_json(request: Request, max_bytes: int) -> tuple[Any, str]:
    """Return a JSON body and its digest.

    Raises:
        RequestValidationError: it is not JSON.
        HTTPException: it is longer than MAX_BODY_SIZE, or broke off.
    """
    content = bytearray()
    try:
        async for chunk in request.stream():
            content += chunk
            if len(content) > max_bytes:
                named = f"{max_bytes} bytes (MAX_BODY_SIZE)"
                long = f"the body is longer than {named}; send rows as Arrow or Parquet"
                raise HTTPException(413, long, headers={"Connection": "close"})
    except ClientDisconnect:
        raise HTTPException(400, "the body ended before it was whole") from None
    body = bytes(content)
    try:
        return await asyncio.to_thread(parse, body), hashlib.sha256(body).hexdigest()
    except ValueError as exc:
        place, reason = getattr(exc, "pos", 0), getattr(exc, "msg", "not JSON")
        problem: dict[str, Any] = {"type": "json_invalid", "loc": ("body", place), "input": {}}
        told = {"msg": reason, "ctx": {"error": reason}}
        raise RequestValidationError([problem | told]) from None


async def write_body(request: Request, body: Arriving) -> None:
    """Write a body to its file as it arrives.

    Raises:
        HTTPException: it broke off.
        DiskFullError: there is no room for it.
    """
    waiting = bytearray()
    try:
        async for chunk in request.stream():
            waiting += chunk
            if len(waiting) >= CHUNK_BYTES:
                await asyncio.to_thread(body.write, bytes(waiting))
                waiting.clear()
    except ClientDisconnect:
        raise HTTPException(400, "the body ended before it was whole") from None
    await asyncio.to_thread(body.write, bytes(waiting))
    await asyncio.to_thread(body.sync)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) != body.n_bytes:
        raise HTTPException(400, "the body ended before it was whole")


def request_of(content: Any) -> PredictRequest:
    """Return a JSON body in one of the forms of /predict.

    Raises:
        RequestValidationError: it is none.
    """
    with _validated():
        return PredictRequest.model_validate(content)


def entries_of(content: Any) -> list[BatchEntry]:
    """Return a JSON body that is a list.

    Raises:
        RequestValidationError: an entry is not a symbol with features.
    """
    with _validated():
        return ENTRIES.validate_python(content)


def listed_request(
    entries: Sequence[BatchEntry], named: Named, version: LoadedVersion
) -> PredictRequest:
    """Return a list of symbols with features as a request to a version, in a form that it takes.

    Raises:
        ParameterError: features that a text or a row cannot be made of.
        RequestValidationError: values of the wrong type.
    """
    facts: dict[str, Any] = {"model": named.model_id}
    if version.template.inputs == "bars":
        facts["symbols"] = [entry.symbol for entry in entries]
        if features := _columns([dict(entry.features or {}) for entry in entries]):
            facts["features"] = features
    elif version.template.inputs == "texts":
        facts["texts"] = [_text(entry, i) for i, entry in enumerate(entries)]
    else:
        facts |= {
            "symbols": [entry.symbol for entry in entries],
            "rows": [dict(entry.features or {}) for entry in entries],
        }
    with _validated():
        return PredictRequest.model_validate(facts)


def listed_portfolios(entries: Sequence[BatchEntry], named: Named) -> dict[str, PredictRequest]:
    """Return a list of named portfolios as requests; `features` has the positions.

    Raises:
        ParameterError: features of something else, or a name twice.
        RequestValidationError: values of the wrong type.
    """
    found: dict[str, PredictRequest] = {}
    for i, entry in enumerate(entries):
        features = dict(entry.features or {})
        if unknown := sorted(set(features) - {"positions", *BESIDE_POSITIONS}):
            expected = f"positions, {', '.join(BESIDE_POSITIONS)}"
            raise ParameterError(f"[{i}].features", unknown[0], expected)
        if entry.symbol in found:
            raise ParameterError(f"[{i}].symbol", entry.symbol, "each name once")
        beside = {name: features[name] for name in BESIDE_POSITIONS if name in features}
        portfolio = {"positions": features.get("positions")}
        with _validated((i, "features")):
            found[entry.symbol] = PredictRequest.model_validate(
                {"model": named.model_id, "portfolio": portfolio, **beside}
            )
    return found


def cutter(
    request: PredictRequest, symbols: Sequence[str], *, cuts_bars: bool
) -> Callable[[int, int], PredictRequest]:
    """Return the function that gives the part of a request about symbols `start` to `end`.

    Args:
        cuts_bars: whether an answer needs the bars of its own symbol only.
    """
    facts = None
    if request.features is not None:
        facts = request.features.model_dump(exclude_unset=True)

    def part(start: int, end: int) -> PredictRequest:
        changed: dict[str, Any] = {"symbols": list(symbols[start:end])}
        if request.bars is not None and cuts_bars:
            given = [name for name in symbols[start:end] if name in request.bars]
            changed["bars"] = {name: request.bars[name] for name in given}
        if isinstance(request.prediction_horizon, list):
            changed["prediction_horizon"] = request.prediction_horizon[start:end]
        if facts is not None:
            changed["features"] = ColumnFeatures.model_construct(**_cut(facts, start, end))
        return request.model_copy(update=changed)

    return part


def check_lengths(request: PredictRequest, n_symbols: int) -> None:
    """Refuse lists of another length than the symbols, before they are cut.

    Raises:
        ParameterError: one of them.
    """
    lists: dict[str, Any] = {"prediction_horizon": request.prediction_horizon}
    if request.features is not None:
        facts = request.features.model_dump(exclude_unset=True)
        indicators = facts.pop("technical_indicators", None) or {}
        lists |= {f"features.{name}": values for name, values in facts.items()}
        lists |= {f"features.technical_indicators.{n}": v for n, v in indicators.items()}
    for name, values in lists.items():
        if isinstance(values, list) and len(values) != n_symbols:
            raise ParameterError(name, len(values), f"{n_symbols} values, one per symbol")


def _cut(facts: Mapping[str, Any], start: int, end: int) -> dict[str, Any]:
    return {
        name: values[start:end]
        if isinstance(values, list)
        else _cut(values, start, end)
        if isinstance(values, dict)
        else values
        for name, values in facts.items()
    }


def _columns(every: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return features per symbol as lists in the order of the symbols, null where absent."""
    names = dict.fromkeys(name for features in every for name in features)
    columns: dict[str, Any] = {}
    for name in names:
        values = [features.get(name) for features in every]
        if name == "technical_indicators":
            columns[name] = _columns([v if isinstance(v, dict) else {} for v in values])
        else:
            columns[name] = values
    return columns


def _text(entry: BatchEntry, number: int) -> dict[str, Any]:
    features = entry.features or {}
    if set(features) != {"text"}:
        found = ", ".join(sorted(features))
        raise ParameterError(f"[{number}].features", found, "an object with text")
    return {"id": entry.symbol, "text": features["text"]}


@contextmanager
def _validated(place: tuple[int | str, ...] = ()) -> Iterator[None]:
    try:
        yield
    except ValidationError as exc:
        problems = exc.errors(include_url=False)
        for problem in problems:
            problem["loc"] = (*place, *problem["loc"])
        raise RequestValidationError(problems) from None
