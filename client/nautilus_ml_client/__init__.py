"""The client of the Nautilus ML Engine: ask its models, feed it, and manage what it holds.

`Client` blocks, `AsyncClient` awaits; both have the same calls. It needs httpx and pydantic, and
nothing of the server. pandas, polars and pyarrow are used where their frames are given or wanted.
"""

from nautilus_ml_client.answer import Answer
from nautilus_ml_client.async_client import AsyncClient
from nautilus_ml_client.calls.scoring import Scored
from nautilus_ml_client.client import Client
from nautilus_ml_client.errors import (
    AnswerError,
    ClientError,
    ConflictError,
    DeadlineError,
    ForbiddenError,
    InputError,
    InvalidRequestError,
    JobFailedError,
    NoAnswerError,
    NotFoundError,
    PredictionError,
    ScoringFailedError,
    SearchFailedError,
    ServerError,
    TooManyRequestsError,
    UnauthenticatedError,
    UnavailableError,
    UnexpectedAnswerError,
    WaitTimeoutError,
)
from nautilus_ml_client.predictions import Predictions
from nautilus_ml_client.retries import Retries

__all__ = [
    "Answer",
    "AnswerError",
    "AsyncClient",
    "Client",
    "ClientError",
    "ConflictError",
    "DeadlineError",
    "ForbiddenError",
    "InputError",
    "InvalidRequestError",
    "JobFailedError",
    "NoAnswerError",
    "NotFoundError",
    "PredictionError",
    "Predictions",
    "Retries",
    "Scored",
    "ScoringFailedError",
    "SearchFailedError",
    "ServerError",
    "TooManyRequestsError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnexpectedAnswerError",
    "WaitTimeoutError",
]
