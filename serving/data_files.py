"""Data files: an upload from its first header to the row that makes it data.

The body goes to a file as it comes, a megabyte at a time, never whole into memory. The file is then
checked in a process of its own (`pipelines.data.upload_checks`), one upload at a time, and kept.
Size and time are the envelope's limits (`BodyLimits`).
"""

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass

import sqlalchemy as sa
import structlog
from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from pipelines.data.upload_checks import (
    HEAD_BYTES,
    Limits,
    Upload,
    check,
    refuse_models,
    refuse_others,
)
from pipelines.data.uploads import Arriving, Kept, Uploads, check_name
from registry.errors import MLEngineError
from registry.settings import PlatformSettings
from serving.executor import Executor
from serving.route_table import UPLOAD_TYPES
from serving.settings import ServingSettings

CHUNK_BYTES = 1 << 20
MAX_WAITING = 16
"""Uploads that may wait for their check."""

log = structlog.get_logger("serving.data_files")


@dataclass(frozen=True, slots=True)
class DataFiles:
    """The uploaded data of one process: where they are, and how uploads are checked."""

    uploads: Uploads
    checking: Executor
    limits: Limits

    def start(self) -> None:
        """Remove what a killed process left."""
        try:
            self.uploads.sweep()
        except (MLEngineError, OSError, sa.exc.SQLAlchemyError) as exc:  # the next start does it
            log.warning("uploads not swept", error=str(exc).partition("\n")[0])

    def close(self) -> None:
        """Finish the check that has begun, drop what waits."""
        self.checking.close()

    async def receive(self, name: str, upload: Upload, request: Request, actor: str) -> Kept:
        """Take a file in; what does not become data leaves nothing.

        Raises:
            HTTPException: the body is too long, too late or cut off.
            MLEngineError: it cannot be data, or there is no room for it.
        """
        refuse_models(check_name(name))
        with ExitStack() as stack:
            arrival = self.uploads.arriving(name, upload.format)
            arriving = await asyncio.to_thread(stack.enter_context, arrival)
            await _write(request, name, upload.format, arriving)
            contents = await self.checking.run(
                lambda: check(name, arriving.path, upload, self.limits)
            )
            return await asyncio.to_thread(self.uploads.keep, name, arriving, contents, actor)


def make_data_files(
    database: sa.Engine, platform: PlatformSettings, serving: ServingSettings
) -> DataFiles:
    """Return the uploaded data of an installation."""
    limits = Limits(int(serving.upload_check_memory), serving.upload_timeout)
    uploads = Uploads(database, platform.uploads_dir)
    return DataFiles(uploads, Executor("uploads", MAX_WAITING), limits)


def format_of(request: Request) -> str:
    """Return the format that a request's headers declare.

    Raises:
        HTTPException: another content type than those taken here, or charset than UTF-8.
    """
    declared, *rest = request.headers.get("content-type", "").split(";")
    found = UPLOAD_TYPES.get(declared.strip().lower())
    if found is None:
        known = ", ".join(UPLOAD_TYPES)
        raise HTTPException(415, f"name the file's type in the header Content-Type: {known}")
    parameters = dict(part.strip().lower().partition("=")[::2] for part in rest)
    if parameters.get("charset", "utf-8").strip('"') not in ("utf-8", "utf8", "us-ascii"):
        raise HTTPException(415, "the charset of a file is UTF-8; write it so")
    return found


async def _write(request: Request, name: str, format: str, arriving: Arriving) -> None:
    """Write the body to the file; look at its first bytes as soon as they are there."""
    waiting, is_known = bytearray(), False
    try:
        async for chunk in request.stream():
            waiting += chunk
            if not is_known and len(waiting) >= HEAD_BYTES:
                _look(name, format, waiting)
                is_known = True
            if len(waiting) >= CHUNK_BYTES:
                await asyncio.to_thread(arriving.write, bytes(waiting))
                waiting.clear()
    except ClientDisconnect:
        raise HTTPException(400, "the body ended before it was whole") from None
    if not is_known:
        _look(name, format, waiting)
    await asyncio.to_thread(arriving.write, bytes(waiting))
    await asyncio.to_thread(arriving.sync)  # the check reads it from disk
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) != arriving.n_bytes:
        raise HTTPException(400, "the body ended before it was whole")


def _look(name: str, format: str, content: bytearray) -> None:
    head = bytes(content[:HEAD_BYTES])
    refuse_models(name, head)
    refuse_others(name, format, head)
