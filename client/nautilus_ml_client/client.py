"""`Client`: every call, blocking. It may be used by several threads at once.

The calls are the flows of `nautilus_ml_client.calls`; this file says what they are called and how
their steps are taken. `AsyncClient` has the same names.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
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


class Sender:
    """Takes the steps of flows over one pool of connections."""

    def __init__(self, server: Connection, http: httpx.Client) -> None:
        self.server, self.http = server, http

    def run(self, flow: Flow[T]) -> T:
        """Run a flow to its end and return its answer."""
        steps = retried(flow, self.server.retries)
        outcome: Any = None
        with ExitStack() as opened:
            while True:
                try:
                    step = steps.send(outcome)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
                outcome = self._take(step, opened)

    def iterate(self, stream: Stream[T]) -> Iterator[T]:
        """Yield the items of a stream; leaving the loop closes the connection."""
        steps = retried(stream, self.server.retries)
        pieces: Iterator[bytes] = iter(())
        outcome: Any = None
        with ExitStack() as opened:
            while True:
                try:
                    step = steps.send(outcome)
                except StopIteration:
                    return
                if isinstance(step, Item):
                    outcome = yield step.value
                elif isinstance(step, Piece):
                    outcome = _next(pieces)
                else:
                    outcome = self._take(step, opened)
                    if isinstance(outcome, httpx.Response):
                        pieces = outcome.iter_bytes()

    def _take(self, step: Pause | Request, opened: ExitStack) -> Any:
        """Take a step; what goes wrong on the way is returned, for the flow to decide."""
        opened.close()  # the response of the step before
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        try:
            content: Any = step.body
            if isinstance(step.body, Path):
                content = opened.enter_context(step.body.open("rb"))
            built = self.http.build_request(**self.server.arguments(step), content=content or None)
            response = self.http.send(built, stream=step.is_stream or step.save_to is not None)
            if step.is_stream:
                opened.callback(response.close)
            if step.save_to is not None:
                _keep(response, step)
            elif step.is_stream and not response.is_success:
                response.read()
        except httpx.RequestError as error:
            return error
        return response


def _keep(response: httpx.Response, step: Request) -> None:
    """Write the body to the file that it is for, or read it where it is something else."""
    with closing(response):
        if not response.is_success or not step.is_saved(response.headers.get("content-type", "")):
            response.read()
            return
        assert step.save_to is not None
        with step.save_to.open("wb") as file:
            for piece in response.iter_bytes():
                file.write(piece)


def _next(pieces: Iterator[bytes]) -> bytes | httpx.RequestError | None:
    try:
        return next(pieces, None)
    except httpx.RequestError as error:
        return error


class Part:
    """A group of calls."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender


def _call(flow: Callable[P, Flow[T]]) -> Callable[Concatenate[Part, P], T]:
    @wraps(flow)
    def called(part: Part, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return part._sender.run(flow(*args, **kwargs))

    return called


def _iteration(stream: Callable[P, Stream[T]]) -> Callable[Concatenate[Part, P], Iterator[T]]:
    @wraps(stream)
    def called(part: Part, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return part._sender.iterate(stream(*args, **kwargs))

    return called


class Models(Part):
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


class Jobs(Part):
    """Jobs: listed, looked at, followed, waited for, cancelled."""

    list = _call(jobs.list_jobs)
    get = _call(jobs.get_job)
    cancel = _call(jobs.cancel)
    wait = _call(jobs.wait)
    events = _iteration(jobs.events)


class AutoML(Part):
    """Searches over the recipes of a template."""

    start = _call(tuning.start)
    status = _call(tuning.status)
    results = _call(tuning.results)
    deploy = _call(tuning.deploy)


class Hyperopt(Part):
    """Searches over the parameters of one architecture, and how far any search is."""

    start = _call(tuning.start_one)
    progress = _call(tuning.progress)
    events = _iteration(tuning.events)


class Data(Part):
    """Uploaded data, by name."""

    list = _call(data.list_data)
    get = _call(data.get_data)
    content = _call(data.content)
    put = _call(data.put)
    delete = _call(data.delete_data)


class Bars(Part):
    """Bars that the server holds: corrected and removed."""

    put = _call(bars.put)
    delete = _call(bars.remove)


class Keys(Part):
    """Keys: listed, created, revoked."""

    list = _call(keys.list_keys)
    create = _call(keys.create)
    revoke = _call(keys.revoke)


class Client(Part):
    """A blocking client of one server; close it, or use it in a `with` statement.

    Args:
        key: `ID.SECRET`; None where the server needs none.
        timeout: seconds for one request; uploads have `upload_timeout`.
        retries: how often a request is sent again where that is safe, or a whole `Retries`.
        transport: another way to send, of httpx.

    Raises:
        InputError: the address or the key cannot be used.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8400",
        *,
        key: str | None = None,
        timeout: float = 30.0,
        upload_timeout: float = 600.0,
        retries: int | Retries = 5,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        server = connection(url, key, timeout, upload_timeout, retries)
        http = httpx.Client(base_url=server.url, headers=server.headers(), transport=transport)
        super().__init__(Sender(server, http))
        self.models, self.jobs, self.data, self.keys, self.bars = (
            Models(self._sender),
            Jobs(self._sender),
            Data(self._sender),
            Keys(self._sender),
            Bars(self._sender),
        )
        self.automl, self.hyperopt = AutoML(self._sender), Hyperopt(self._sender)

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

    def close(self) -> None:
        """Close the connections."""
        self._sender.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._sender.server.url!r})"
