"""What a failed call of MLflow means: it does not answer, or the store behind it does not.

MLflow wraps what it meets in exceptions of its own, several deep; the innermost says what happened.
An answer with a status below 500 is an answer: it stays MLflow's exception.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from registry.errors import (
    ArtifactStoreUnavailableError,
    RegistryUnavailableError,
    UnavailableError,
)

OF_ARTIFACTS = "/mlflow-artifacts/"
"""In the address of every request for files."""


@contextmanager
def answering(uri: str) -> Iterator[None]:
    """Turn a call without an answer into one deliberate error.

    Raises:
        RegistryUnavailableError: MLflow at this address does not answer, or its database does not.
        ArtifactStoreUnavailableError: it answers, but cannot read or write its files.
    """
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    try:
        yield
    except (MlflowException, RequestException) as exc:
        if (error := failure_of(exc, uri)) is None:
            raise
        raise error from exc


def failure_of(exc: BaseException, uri: str) -> UnavailableError | None:
    """Return the deliberate error for a missing answer; None when MLflow answered."""
    if getattr(exc, "error_code", "") == "TEMPORARILY_UNAVAILABLE":
        return RegistryUnavailableError(uri, "temporarily unavailable")
    for link in _chain(exc):
        if (cause := _cause(link)) is None:
            continue
        if OF_ARTIFACTS in f"{exc} {link}" and "error" in cause:
            return ArtifactStoreUnavailableError(uri, cause)
        return RegistryUnavailableError(uri, cause)
    return None


def _chain(exc: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = exc
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _cause(link: BaseException) -> str | None:
    """Return why one exception of a chain means that there was no answer; None where it was one."""
    from requests.exceptions import ConnectionError as NoConnection
    from requests.exceptions import HTTPError, RetryError, Timeout
    from sqlalchemy.exc import OperationalError

    if isinstance(link, Timeout):
        return "timed out"
    if isinstance(link, RetryError):
        return "error 500 or more, also when asked again"
    if isinstance(link, NoConnection):
        return "connection failed"
    if isinstance(link, HTTPError) and link.response is not None:
        status = link.response.status_code
        return f"error {status}" if status >= 500 else None
    if isinstance(link, OperationalError):
        return str(link.orig)
    return None
