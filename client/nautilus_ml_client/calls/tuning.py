"""Searches: started, looked at, followed, waited for; their winners deployed."""

from functools import partial
from typing import Any, Unpack

from nautilus_ml_client.answers import (
    SearchRequest,
    SearchResults,
    SearchStarted,
    SearchState,
    WinnerDeployment,
)
from nautilus_ml_client.calls.jobs import OPEN_STATES, Which, followed, id_of, until_ended
from nautilus_ml_client.errors import SearchFailedError
from nautilus_ml_client.requests import Flow, Stream, address, answered, enqueue, get, given

Search = Which | SearchResults


def start(
    *, idempotency_key: str | None = None, **search: Unpack[SearchRequest]
) -> Flow[SearchStarted]:
    """Search the recipes of one template, as a job.

    Args:
        idempotency_key: the same key and request get the same search; None makes one per call.
        search: parameters of the stage `tune`, and how many `workers` search side by side.
    """
    request = enqueue("/automl/start", {**search}, idempotency_key)
    return (yield from answered(request, SearchStarted))


def start_one(
    architecture: str,
    /,
    *,
    hyperparameters: dict[str, Any] | None = None,
    idempotency_key: str | None = None,
    **search: Unpack[SearchRequest],
) -> Flow[SearchStarted]:
    """Search the parameters of one architecture, as a job.

    Args:
        hyperparameters: name to a list of values, or to a range with low, high and scale; None
            searches the ranges that the architecture declares.
        idempotency_key, search: as of `automl.start`.
    """
    named = {"architecture": architecture, **given(hyperparameters=hyperparameters)}
    request = enqueue("/hyperopt/start", {**search, **named}, idempotency_key)
    return (yield from answered(request, SearchStarted))


def status(search: Search) -> Flow[SearchState]:
    """Show how far a search is: trials done, the best so far, time left."""
    return (yield from answered(get(_at("/automl/status", search)), SearchState))


def progress(search: Search) -> Flow[SearchState]:
    """Show how far a search is, as `automl.status`."""
    return (yield from answered(get(_at("/hyperopt/progress", search)), SearchState))


def events(search: Search) -> Stream[SearchState]:
    """Follow a search: yield how far it is now and whenever that changes, until it has ended.

    When the server stops, or the connection breaks, the stream is opened again and goes on after
    the event that was seen last; two minutes at most.
    """
    yield from followed(_at("/hyperopt/progress", search), SearchState)


def results(
    search: Search,
    *,
    wait: bool = False,
    timeout_seconds: float | None = None,
    progress: bool = False,
) -> Flow[SearchResults]:
    """Show what a search came to; `found` is None until it is decided.

    Args:
        wait: until it has ended.
        timeout_seconds: of waiting; None waits as long as it takes.
        progress: draw a bar with stage and time left on standard error while waiting.

    Raises:
        SearchFailedError: it was waited for, and failed or was cancelled.
        WaitTimeoutError: it has not ended in time; it goes on.
    """
    if wait:
        look = partial(status, search)
        ended = yield from until_ended(look, id_of(search), timeout_seconds, progress)
        if ended.state not in (*OPEN_STATES, "done"):
            raise SearchFailedError(ended.job_id, ended.state, ended.error)
    return (yield from answered(get(_at("/automl/results", search)), SearchResults))


def deploy(
    search: Search,
    *,
    promote: bool = False,
    flavors: str = "",
    idempotency_key: str | None = None,
) -> Flow[WinnerDeployment]:
    """Make a version of the winner of a search, as a job; `results` has its number afterwards.

    Args:
        promote: ask for alias production after staging.
        flavors: flavors to write, separated by commas; empty means all.

    Raises:
        ConflictError: the search has not ended, or found nothing.
    """
    body = {"promote": promote, "flavors": flavors}
    request = enqueue(_at("/automl/deploy", search), body, idempotency_key)
    return (yield from answered(request, WinnerDeployment))


def _at(path: str, search: Search) -> str:
    return address(path + "/{job_id}", job_id=id_of(search))
