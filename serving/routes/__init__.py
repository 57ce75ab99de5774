"""The HTTP API, one file per heading; each declares every status it can answer with."""

from typing import Any

from serving.schemas import ErrorResponse

_MEANINGS = {
    400: "The body is not JSON.",
    404: "No such model, version or address.",
    405: "The address does not take this method.",
    409: "The recorded state does not allow it.",
    408: "The body has not arrived within DEFAULT_TIMEOUT.",
    413: "The body is longer than MAX_BODY_SIZE.",
    415: "The body is not declared as JSON.",
    422: "The request does not fit; the message names the field and what was expected.",
    500: "A bug; the log says more under the request id.",
    503: "Not loaded or not available now; try again after Retry-After seconds.",
    504: "The answer took longer than DEFAULT_TIMEOUT.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI declaration of these error statuses; all have the one error shape."""
    return {
        status: {"model": ErrorResponse, "description": _MEANINGS[status]} for status in statuses
    }
