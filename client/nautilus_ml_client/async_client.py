"""`AsyncClient`: every call of `Client`, awaited; for one event loop.

The calls are the flows of `nautilus_ml_client.calls`; this file says what they are called and how
their steps are taken. A test compares the names with those of `Client`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, aclosing
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from nautilus_ml_client.calls import (
    bars,
    data,
    jobs,
    keys,
    models,
    predicting,
    scoring,
    system,
    tuning,
)
from nautilus_ml_client.connection import Connection, connection
from nautilus_ml_client.requests import Flow, Item, Pause, Piece, Request, Stream
from nautilus_ml_client.retries import Retries, retried

P = ParamSpec("P")
T = TypeVar("T")
PIECE_BYTES = 1 << 20


class AsyncSender:
    """Takes the steps of flows over one pool of connections."""

    def __init__(self, server: Connection, http: httpx.AsyncClient) -> None:
        self.server, self.http = server, http

    async def run(self, flow: Flow[T]) -> T:
        """Run a flow to its end and return its answer."""
        steps = retried(flow, self.server.retries)
        outcome: Any = None
        async with AsyncExitStack() as opened:
            while True:
                try:
                    step = steps.send(outcome)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
                outcome = await self._take(step, opened)

    async def iterate(self, stream: Stream[T]) -> AsyncIterator[T]:
        """Yield the items of a stream; closing the iterator closes the connection."""
        steps = retried(stream, self.server.retries)
        pieces: AsyncIterator[bytes] = _nothing()
        outcome: Any = None
        async with AsyncExitStack() as opened:
            while True:
                try:
                    step = steps.send(outcome)
                except StopIteration:
                    return
                if isinstance(step, Item):
                    outcome = yield step.value
                elif isinstance(step, Piece):
                    outcome = await _next(pieces)
                else:
                    outcome = await self._take(step, opened)
                    if isinstance(outcome, httpx.Response):
                        pieces = outcome.aiter_bytes()

    async def _take(self, step: Pause | Request, opened: AsyncExitStack) -> Any:
        """Take a step; what goes wrong on the way is returned, for the flow to decide."""
        await opened.aclose()  # the response of the step before
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        try:
            built = self._built(step)
            is_kept = step.save_to is not None
            response = await self.http.send(built, stream=step.is_stream or is_kept)
            if step.is_stream:
                opened.push_async_callback(response.aclose)
            if is_kept:
                await _keep(response, step)
            elif step.is_stream and not response.is_success:
                await response.aread()
        except httpx.RequestError as error:
            return error
        return response

    def _built(self, step: Request) -> httpx.Request:
        arguments = dict(self.server.arguments(step))
        if not isinstance(step.body, Path):
            return self.http.build_request(**arguments, content=step.body or None)
        length = {"Content-Length": str(step.body.stat().st_size)}
        arguments["headers"] |= length
        return self.http.build_request(**arguments, content=_read(step.body))


async def _keep(response: httpx.Response, step: Request) -> None:
    """Write the body to the file that it is for, or read it where it is something else."""
    async with aclosing(response):
        if not response.is_success or not step.is_saved(response.headers.get("content-type", "")):
            await response.aread()
            return
        assert step.save_to is not None
        with await asyncio.to_thread(step.save_to.open, "wb") as file:
            async for piece in response.aiter_bytes(PIECE_BYTES):
                await asyncio.to_thread(file.write, piece)


async def _read(path: Path) -> AsyncIterator[bytes]:
    """Yield a file's bytes, read in a thread."""
    with await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece


async def _nothing() -> AsyncIterator[bytes]:
    for piece in list[bytes]():
        yield piece


async def _next(pieces: AsyncIterator[bytes]) -> bytes | httpx.RequestError | None:
    try:
        return await anext(pieces, None)
    except httpx.RequestError as error:
        return error


class AsyncPart:
    """A group of calls."""

    def __init__(self, sender: AsyncSender) -> None:
        self._sender = sender


def _call(
    flow: Callable[P, Flow[T]],
) -> Callable[Concatenate[AsyncPart, P], Coroutine[Any, Any, T]]:
    @wraps(flow)
    async def called(part: AsyncPart, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await part._sender.run(flow(*args, **kwargs))

    return called


def _iteration(
    stream: Callable[P, Stream[T]],
) -> Callable[Concatenate[AsyncPart, P], AsyncIterator[T]]:
    @wraps(stream)
    def called(part: AsyncPart, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        return part._sender.iterate(stream(*args, **kwargs))

    return called


class AsyncModels(AsyncPart):
    """Models: made, described, trained, validated, deployed, looked at, archived."""

    list = _call(models.list_models)
    get = _call(models.get_model)
    status = _call(models.status)
    create = _call(models.create)
    train = _call(models.train)
    validate = _call(models.validate)
    change = _call(models.change)
    deploy = _call(models.deploy)
    rollback = _call(models.rollback)
    withdraw = _call(models.withdraw)
    archive = _call(models.archive)
    restore = _call(models.restore)
    versions = _call(models.versions)
    version = _call(models.version)
    delete_version = _call(models.delete_version)
    events = _call(models.events)
    production = _call(models.production)
    wait_until_serving = _call(models.wait_until_serving)


class AsyncJobs(AsyncPart):
    """Jobs: listed, looked at, followed, waited for, cancelled."""

    list = _call(jobs.list_jobs)
    get = _call(jobs.get_job)
    cancel = _call(jobs.cancel)
    wait = _call(jobs.wait)
    events = _iteration(jobs.events)


class AsyncAutoML(AsyncPart):
    """Searches over the recipes of a template."""

    start = _call(tuning.start)
    status = _call(tuning.status)
    results = _call(tuning.results)
    deploy = _call(tuning.deploy)


class AsyncHyperopt(AsyncPart):
    """Searches over the parameters of one architecture, and how far any search is."""

    start = _call(tuning.start_one)
    progress = _call(tuning.progress)
    events = _iteration(tuning.events)


class AsyncData(AsyncPart):
    """Uploaded data, by name."""

    list = _call(data.list_data)
    get = _call(data.get_data)
    content = _call(data.content)
    put = _call(data.put)
    delete = _call(data.delete_data)


class AsyncBars(AsyncPart):
    """Bars that the server holds: corrected and removed."""

    put = _call(bars.put)
    delete = _call(bars.remove)


class AsyncKeys(AsyncPart):
    """Keys: listed, created, revoked."""

    list = _call(keys.list_keys)
    create = _call(keys.create)
    revoke = _call(keys.revoke)


class AsyncClient(AsyncPart):
    """A client of one server whose calls are awaited; close it, or use it in `async with`.

    Its arguments are those of `Client`.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8400",
        *,
        key: str | None = None,
        timeout: float = 30.0,
        upload_timeout: float = 600.0,
        retries: int | Retries = 5,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        server = connection(url, key, timeout, upload_timeout, retries)
        http = httpx.AsyncClient(base_url=server.url, headers=server.headers(), transport=transport)
        super().__init__(AsyncSender(server, http))
        self.models, self.jobs, self.data, self.keys, self.bars = (
            AsyncModels(self._sender),
            AsyncJobs(self._sender),
            AsyncData(self._sender),
            AsyncKeys(self._sender),
            AsyncBars(self._sender),
        )
        self.automl, self.hyperopt = AsyncAutoML(self._sender), AsyncHyperopt(self._sender)

    predict = _call(predicting.predict)
    predict_batch = _call(predicting.predict_batch)
    score = _call(scoring.score)
    post_bars = _call(predicting.post_bars)
    post_outcomes = _call(predicting.post_outcomes)
    events = _call(models.all_events)
    health = _call(system.health)
    system_status = _call(system.system_status)
    hardware_utilization = _call(system.hardware_utilization)
    metrics = _call(system.metrics)

    async def close(self) -> None:
        """Close the connections."""
        await self._sender.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._sender.server.url!r})"
