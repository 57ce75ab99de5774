"""Which requests are sent again, when, and how often.

A request that never arrived is sent again, whatever it asks for, and so is one that the server
refused because the key's requests were used up (429): nothing had happened. A lost answer, 502 and
503 are asked for again only where that is safe (`Request.is_repeatable`): reading, predicting,
uploading, posting bars and outcomes, and everything with an `Idempotency-Key`. An answer that does
not come within the timeout is not asked for again: the caller said how long it may take.
"""

import random
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, TypeVar

import httpx

from nautilus_ml_client.errors import AnswerError, ClientError, NoAnswerError, family_of
from nautilus_ml_client.requests import Pause, Request

T = TypeVar("T")
REFUSED, AWAY = 429, (502, 503)
LASTING = ("backend_unavailable",)
"""Codes of a 503 that waiting does not mend."""
NEVER_ARRIVED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
LOST = (httpx.NetworkError, httpx.RemoteProtocolError)
Outcome = httpx.Response | httpx.RequestError


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how long to wait.

    The pause doubles from `first_seconds` to `most_seconds`; a random part of up to a half is taken
    off, so that many clients do not come back at once. `Retry-After` is waited for at least; one
    that asks for more than `longest_wait_seconds` is an error at once.
    """

    most: int = 5
    first_seconds: float = 0.25
    most_seconds: float = 5.0
    longest_wait_seconds: float = 60.0

    def pause(self, n_tries: int, asked_seconds: float | None) -> float:
        """Return how many seconds to wait after the `n_tries`-th try."""
        doubled = min(self.most_seconds, self.first_seconds * 2.0 ** min(n_tries - 1, 30))
        shaken = doubled * (1 - random.random() / 2)  # noqa: S311 (it spreads, it hides nothing)
        return max(shaken, asked_seconds or 0.0)


def retried(flow: Generator[Any, Any, T], retries: Retries) -> Generator[Any, Any, T]:
    """Run a flow or stream with its requests sent again; errors are raised inside of it."""
    with closing(flow):
        resume: Callable[[], Any] = partial(next, flow)
        while True:
            try:
                step = resume()
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            resume = yield from _outcome(flow, step, retries)


def _outcome(
    flow: Generator[Any, Any, Any], step: Any, retries: Retries
) -> Generator[Any, Any, Callable[[], Any]]:
    """Return how the flow goes on after a step."""
    if not isinstance(step, Request):
        return partial(flow.send, (yield step))
    try:
        response = yield from _tries(step, retries)
    except ClientError as error:
        return partial(flow.throw, error)
    return partial(flow.send, response)


def _tries(request: Request, retries: Retries) -> Generator[Any, Outcome, httpx.Response]:
    n_tries = 0
    while True:
        outcome = yield request
        n_tries += 1
        error = _error_of(request, outcome, n_tries)
        if error is None:
            assert isinstance(outcome, httpx.Response)
            return outcome
        asked = error.retry_after_seconds if isinstance(error, AnswerError) else None
        is_long = asked is not None and asked > retries.longest_wait_seconds
        is_lasting = isinstance(error, AnswerError) and error.code in LASTING
        is_last = n_tries > retries.most or is_long or is_lasting
        if is_last or not _may_repeat(request, outcome):
            raise error
        yield Pause(retries.pause(n_tries, asked))


def _may_repeat(request: Request, outcome: Outcome) -> bool:
    if isinstance(outcome, httpx.Response):
        is_away = outcome.status_code in AWAY and request.is_repeatable
        return is_away or outcome.status_code == REFUSED
    is_lost = isinstance(outcome, LOST) and request.is_repeatable
    return is_lost or isinstance(outcome, NEVER_ARRIVED)


def _error_of(
    request: Request, outcome: Outcome, n_tries: int
) -> AnswerError | NoAnswerError | None:
    """Return what is wrong with an outcome; None when it is the answer."""
    if not isinstance(outcome, httpx.Response):
        cause = str(outcome) or type(outcome).__name__
        return NoAnswerError(f"{request.method} {request.path}", cause, n_tries)
    if outcome.is_success or outcome.status_code in request.accepts:
        return None
    return error_of(outcome)


def error_of(response: httpx.Response) -> AnswerError:
    """Return the error that an answer stands for, the engine's or a proxy's."""
    entry = _entry(response)
    return family_of(response.status_code)(
        response.status_code,
        str(entry.get("code", f"http_{response.status_code}")),
        str(entry.get("message", response.reason_phrase)),
        entry.get("details"),
        response.headers.get("x-request-id"),
        seconds_of(response.headers.get("retry-after")),
    )


def _entry(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    entry = body.get("error") if isinstance(body, dict) else None
    return entry if isinstance(entry, dict) else {}


def seconds_of(retry_after: str | None) -> float | None:
    """Return the seconds that a `Retry-After` asks for; None where it cannot be read.

    It is a number of seconds or an HTTP date, which counts by this machine's clock.
    """
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())
