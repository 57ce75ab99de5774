"""Every error that the client raises; one class per family of answers.

An answer that is not 2xx becomes an `AnswerError` of its status' family, with the server's `code`
(stable), `message` (one line), `details` (facts), and the `request_id` that its log names.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nautilus_ml_client.answers import ErrorEntry, JobFacts


class ClientError(Exception):
    """Root of all of them."""


class InputError(ClientError, ValueError):
    """What was given cannot be sent; nothing was."""


class NoAnswerError(ClientError, ConnectionError):
    """The server could not be reached, or the connection broke, on the last try too."""

    def __init__(self, address: str, cause: str, n_tries: int) -> None:
        super().__init__(address, cause, n_tries)
        self.address, self.cause, self.n_tries = address, cause, n_tries

    def __str__(self) -> str:
        tries = "1 try" if self.n_tries == 1 else f"{self.n_tries} tries"
        return f"no answer from {self.address} after {tries}: {self.cause}"


class UnexpectedAnswerError(ClientError):
    """An answer that this client does not understand: another program's, or a newer server's."""


class AnswerError(ClientError):
    """An answer that is not 2xx."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(status, code, message, details, request_id, retry_after_seconds)
        self.status, self.code, self.message = status, code, message
        self.details: Mapping[str, Any] = details or {}
        self.request_id, self.retry_after_seconds = request_id, retry_after_seconds

    def __str__(self) -> str:
        told = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.status} {self.code}: {self.message}{told}"


class InvalidRequestError(AnswerError):
    """400, 405, 408, 413, 415, 422: the request does not fit; the message names the field."""


class UnauthenticatedError(AnswerError):
    """401: no key, or one that is not valid (any more)."""


class ForbiddenError(AnswerError):
    """403: the key's scopes or models do not allow it."""


class NotFoundError(AnswerError):
    """404: no such model, version, job or data."""


class ConflictError(AnswerError):
    """409: the recorded state does not allow it, such as a shut gate."""


class TooManyRequestsError(AnswerError):
    """429: the key's requests are used up; `retry_after_seconds` says for how long."""


class UnavailableError(AnswerError):
    """502, 503: not loaded, overloaded, or away."""


class DeadlineError(AnswerError):
    """504: the server needed longer than its DEFAULT_TIMEOUT."""


class ServerError(AnswerError):
    """500: a bug of the server."""


FAMILIES: dict[int, type[AnswerError]] = {
    401: UnauthenticatedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    429: TooManyRequestsError,
    502: UnavailableError,
    503: UnavailableError,
    504: DeadlineError,
}


def family_of(status: int) -> type[AnswerError]:
    """Return the class of errors with this status."""
    if status in FAMILIES:
        return FAMILIES[status]
    if status >= 500:
        return ServerError
    return InvalidRequestError if status >= 400 else AnswerError


class PredictionError(ClientError, LookupError):
    """There is no answer for one symbol, row or text; `entry` says why."""

    def __init__(self, name: str, entry: "ErrorEntry") -> None:
        super().__init__(name, entry)
        self.name, self.entry = name, entry

    def __str__(self) -> str:
        return f"{self.name}: {self.entry.code}: {self.entry.message}"


class JobFailedError(ClientError):
    """A job ended without success; `job` has its error and the end of its output."""

    def __init__(self, job: "JobFacts") -> None:
        super().__init__(job)
        self.job = job

    def __str__(self) -> str:
        told = self.job.error or "it gave no reason"
        return f"job {self.job.job_id} ({self.job.entry_point}) is {self.job.state}: {told}"


class ScoringFailedError(ClientError):
    """The job that a batch became ended without success."""

    def __init__(self, job_id: str, state: str, error: str | None) -> None:
        super().__init__(job_id, state, error)
        self.job_id, self.state, self.error = job_id, state, error

    def __str__(self) -> str:
        return f"job {self.job_id} (score) is {self.state}: {self.error or 'it gave no reason'}"


class WaitTimeoutError(ClientError, TimeoutError):
    """What was waited for had not come in time; it goes on without the wait."""


class SearchFailedError(ClientError):
    """A search ended without success."""

    def __init__(self, job_id: str, state: str, error: str | None) -> None:
        super().__init__(job_id, state, error)
        self.job_id, self.state, self.error = job_id, state, error

    def __str__(self) -> str:
        return f"search {self.job_id} is {self.state}: {self.error or 'it gave no reason'}"
